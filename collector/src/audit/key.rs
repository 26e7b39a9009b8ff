//! The key that checkpoints are signed with.
//!
//! It lies beside the log and not in it, so that who copies a log does not copy the power to forge it.

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use norma_tlog::SigningKey;
use norma_tlog::key::{KeyError, Use};
use norma_wire::text::Hex;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// What names that are made up begin with: a log's, and a witness's.
pub const LOG: &str = "norma.local/audit";
/// A witness's.
pub const WITNESS: &str = "norma.local/witness";

/// A key's file is far smaller.
const MAX_BYTES: u64 = 16 << 10;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file cannot be used.
    #[error("cannot use the key {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// Not a key.
    #[error("{}: {source}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: KeyError,
    },
    /// Everybody can read it.
    #[error(
        "the key {} can be read or written by everybody (mode {mode:03o}); whoever reads it can forge the audit log: \
         chmod 600 it, and begin a log with a new key if others had access", path.display()
    )]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The configuration has another name.
    #[error(
        "the key {} is that of `{found}`, and the configuration says audit.origin: {wanted}; a log keeps its name: \
         take the configured name back, or move log and key away to begin a new one", path.display()
    )]
    Origin {
        /// The file.
        path: PathBuf,
        /// In the key's file.
        found: String,
        /// In the configuration.
        wanted: String,
    },
}

/// Where the public half of a key lies.
pub fn public_of(key: &Path) -> PathBuf {
    let mut path = key.as_os_str().to_owned();
    path.push(".pub");
    path.into()
}

/// Reads the key at `path`, or makes it, named `name` or else by chance, where there is none.
pub fn load_or_make(path: &Path, name: Option<&str>, made_up: &str) -> Result<SigningKey, KeyFileError> {
    match load(path) {
        Ok(key) => match name {
            Some(wanted) if wanted != key.name() => Err(KeyFileError::Origin {
                path: path.to_owned(),
                found: key.name().to_owned(),
                wanted: wanted.to_owned(),
            }),
            _ => Ok(key),
        },
        Err(KeyFileError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            make(path, name, made_up)
        }
        Err(error) => Err(error),
    }
}

/// Writes the public half of `key` beside it, where it is not there yet.
pub fn publish(path: &Path, key: &SigningKey, usage: Use) -> Result<(), KeyFileError> {
    let public = public_of(path);
    let text = format!("{}\n", key.verifier(usage));
    if fs::read_to_string(&public).is_ok_and(|there| there == text) {
        return Ok(());
    }
    crate::durable::replace(&public, text.as_bytes(), crate::durable::Sync::Now)
        .map_err(io_error(&public))?;
    fs::set_permissions(&public, fs::Permissions::from_mode(0o644)).map_err(io_error(&public))
}

fn load(path: &Path) -> Result<SigningKey, KeyFileError> {
    let file = File::open(path).map_err(io_error(path))?;
    let mode = file.metadata().map_err(io_error(path))?.permissions().mode() & 0o777;
    // A group is how a volume of Kubernetes gives a file to a program that is not root (fsGroup).
    if mode & 0o007 != 0 {
        return Err(KeyFileError::Open {
            path: path.to_owned(),
            mode,
        });
    }
    let mut text = String::new();
    file.take(MAX_BYTES)
        .read_to_string(&mut text)
        .map_err(io_error(path))?;
    SigningKey::parse(&text).map_err(key_error(path))
}

fn make(path: &Path, name: Option<&str>, made_up: &str) -> Result<SigningKey, KeyFileError> {
    let mut chance = [0; 8];
    SystemRandom::new()
        .fill(&mut chance)
        .map_err(|_| key_error(path)(KeyError::Randomness))?;
    let name = name.map_or_else(|| format!("{made_up}/{}", Hex(&chance)), str::to_owned);
    let (key, text) = SigningKey::generate(&name).map_err(key_error(path))?;
    crate::durable::create(path, text.as_bytes(), 0o600).map_err(io_error(path))?;
    Ok(key)
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> KeyFileError + use<> {
    let path = path.to_owned();
    move |source| KeyFileError::Io { path, source }
}

fn key_error(path: &Path) -> impl FnOnce(KeyError) -> KeyFileError + use<> {
    let path = path.to_owned();
    move |source| KeyFileError::Key { path, source }
}
