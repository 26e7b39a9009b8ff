//! The key that checkpoints are signed with.
//!
//! It lies beside the log and not in it, so that who copies a log does not copy the power to forge it; or in a token
//! that does not let it out ([`token`]).

mod session;
mod signing;
mod speaker;
mod token;
mod uri;
mod wrapping;

pub use speaker::{InToken, TokenError};
pub use token::TokenKey;
pub use uri::{Class, Pkcs11Uri, SCHEME, UriError};
pub use wrapping::{Ask, Wrapping};

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use norma_tlog::key::{KeyError, Use};
use norma_tlog::note::SignatureLine;
use norma_tlog::{SigningKey, VerifierKey};
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

/// Where the key of a log is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// In a file, which is made where there is none.
    File(PathBuf),
    /// In a token.
    Token {
        /// Where in it.
        uri: Box<Pkcs11Uri>,
        /// File for the verifier key.
        public: PathBuf,
    },
}

/// The key of a log.
#[derive(Debug)]
pub enum LogKey {
    /// In memory.
    File(SigningKey),
    /// In a token.
    Token(Box<TokenKey>),
}

impl KeySource {
    /// What a configuration or a command line says: a PKCS #11 URI, or the path of a file, in `base`. The verifier key
    /// of a token's key goes into `public`.
    pub fn named(text: &str, base: &Path, public: &Path) -> Result<Self, UriError> {
        if text.starts_with(SCHEME) {
            Ok(Self::Token {
                uri: Box::new(Pkcs11Uri::of(text, Class::Private)?),
                public: public.to_owned(),
            })
        } else {
            Ok(Self::File(base.join(text)))
        }
    }

    /// Takes the key; that in a file is made where there is none. `name` is the log's, made up where there is none.
    pub fn open(&self, name: Option<&str>) -> Result<LogKey, KeyFileError> {
        match self {
            Self::File(path) => load_or_make(path, name, LOG).map(LogKey::File),
            Self::Token { uri, .. } => Ok(LogKey::Token(Box::new(TokenKey::open(uri, name)?))),
        }
    }

    /// Whether it is a file that is not there.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::File(path) if !path.exists())
    }

    /// Writes the verifier key where others find it.
    pub fn publish(&self, key: &LogKey) -> Result<(), KeyFileError> {
        let public = match self {
            Self::File(path) => public_of(path),
            Self::Token { public, .. } => public.clone(),
        };
        publish_at(&public, &key.verifier())
    }
}

impl From<PathBuf> for KeySource {
    fn from(path: PathBuf) -> Self {
        Self::File(path)
    }
}

impl std::fmt::Display for KeySource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Token { uri, .. } => uri.fmt(f),
        }
    }
}

impl LogKey {
    /// What others verify with.
    pub fn verifier(&self) -> VerifierKey {
        match self {
            Self::File(key) => key.verifier(Use::Log),
            Self::Token(key) => key.verifier().clone(),
        }
    }

    /// The log's name.
    pub fn name(&self) -> &str {
        match self {
            Self::File(key) => key.name(),
            Self::Token(key) => key.verifier().name(),
        }
    }

    /// Signs the text of a note.
    pub fn sign(&self, text: &str) -> Result<SignatureLine, TokenError> {
        match self {
            Self::File(key) => Ok(key.sign(text)),
            Self::Token(key) => key.sign(text),
        }
    }
}

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
    /// In a token.
    #[error("cannot use the key {0}")]
    Token(#[from] TokenError),
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
    publish_at(&public_of(path), &key.verifier(usage))
}

fn publish_at(public: &Path, key: &VerifierKey) -> Result<(), KeyFileError> {
    let text = format!("{key}\n");
    if fs::read_to_string(public).is_ok_and(|there| there == text) {
        return Ok(());
    }
    crate::durable::replace(public, text.as_bytes(), crate::durable::Sync::Now).map_err(io_error(public))?;
    fs::set_permissions(public, fs::Permissions::from_mode(0o644)).map_err(io_error(public))
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
