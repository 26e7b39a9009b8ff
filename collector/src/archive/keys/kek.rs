//! The key that segments' keys are wrapped under, and where it comes from.

use super::{KEY_BYTES, WRAPPED_BYTES};
use crate::audit::key::{Ask, Class, InToken, Pkcs11Uri, SCHEME, TokenError, UriError, Wrapping};
use aws_lc_rs::key_wrap::{AES_256, AesKek, KeyWrap as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use norma_wire::text::Hex;
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Far more than a key takes.
const MAX_BYTES: u64 = 4096;
/// Before the key, where its name is worked out.
const NAMING: &[u8] = b"norma.dev/key-encryption-key/v1\n";
const ID_BYTES: usize = 8;
/// Before the answer of a token that names its key.
const NAMING_IN_TOKEN: &[u8] = b"norma.dev/key-encryption-key-in-token/v1\n";

/// Where a key-encryption key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KekSource {
    /// In a file.
    File(PathBuf),
    /// In a token.
    Token(Box<Pkcs11Uri>),
}

impl fmt::Display for KekSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Token(uri) => uri.fmt(f),
        }
    }
}

/// A key-encryption key.
#[derive(Clone)]
pub struct Kek {
    id: String,
    place: Place,
}

#[derive(Clone)]
enum Place {
    Memory([u8; KEY_BYTES]),
    Token(Arc<InToken<Wrapping>>),
}

impl fmt::Debug for Kek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kek({})", self.id)
    }
}

/// Why a key is not wrapped or unwrapped.
#[derive(Debug, thiserror::Error)]
pub enum WrapError {
    /// The cryptographic library.
    #[error("the cryptographic library does not wrap a key")]
    Library,
    /// The token.
    #[error(transparent)]
    Token(#[from] TokenError),
}

/// Why there is no key-encryption key.
#[derive(Debug, thiserror::Error)]
pub enum KekError {
    /// The file.
    #[error("cannot read the key {}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// Everybody can read it.
    #[error(
        "the key {} can be read or written by everybody (mode {mode:03o}): chmod 600 it, and use a new one if others had \
         access", path.display()
    )]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Not a key.
    #[error(
        "{}: it is not a key: {KEY_BYTES} bytes, as they are or in base64, which `openssl rand -base64 {KEY_BYTES}` makes",
        .0.display()
    )]
    Content(PathBuf),
    /// Not the name of a key in a token.
    #[error(transparent)]
    Uri(#[from] UriError),
    /// The token.
    #[error(transparent)]
    Token(#[from] TokenError),
}

impl KekSource {
    /// As it is named in configurations and on command lines; files are relative to `base`.
    ///
    /// # Errors
    /// It names a key in a token in a way that cannot be used.
    pub fn named(text: &str, base: &Path) -> Result<Self, KekError> {
        if text.starts_with(SCHEME) {
            let uri = Pkcs11Uri::of(text, Class::Secret)?;
            return Ok(Self::Token(Box::new(uri)));
        }
        Ok(Self::File(base.join(text)))
    }

    /// Finds out whether it can be used, as far as that needs no token.
    pub fn check(&self) -> Result<(), KekError> {
        match self {
            Self::File(_) => self.open().map(drop),
            Self::Token(_) => Ok(()),
        }
    }

    /// Takes it.
    pub fn open(&self) -> Result<Kek, KekError> {
        match self {
            Self::File(path) => Self::read(path),
            Self::Token(uri) => Ok(Kek::in_token(InToken::open(uri)?)),
        }
    }

    fn read(path: &Path) -> Result<Kek, KekError> {
        let failed = |source| KekError::Io {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(failed)?;
        let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
        // A group is how a volume of Kubernetes gives a file to a program that is not root (fsGroup).
        if mode & 0o007 != 0 {
            return Err(KekError::Open {
                path: path.to_owned(),
                mode,
            });
        }
        let mut content = Vec::new();
        file.take(MAX_BYTES).read_to_end(&mut content).map_err(failed)?;
        let bytes = <[u8; KEY_BYTES]>::try_from(content.as_slice()).ok().or_else(|| {
            let decoded = STANDARD.decode(content.trim_ascii()).ok()?;
            decoded.try_into().ok()
        });
        bytes
            .map(Kek::of)
            .ok_or_else(|| KekError::Content(path.to_owned()))
    }
}

impl Kek {
    /// Of its bytes.
    pub(super) fn of(bytes: [u8; KEY_BYTES]) -> Self {
        let digest = Sha256::new_with_prefix(NAMING).chain_update(bytes).finalize();
        Self {
            id: Hex(&digest[..ID_BYTES]).to_string(),
            place: Place::Memory(bytes),
        }
    }

    fn in_token(key: InToken<Wrapping>) -> Self {
        let digest = Sha256::new_with_prefix(NAMING_IN_TOKEN).chain_update(key.identity());
        Self {
            id: Hex(&digest.finalize()[..ID_BYTES]).to_string(),
            place: Place::Token(Arc::new(key)),
        }
    }

    /// Names it, and tells nothing of it.
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn wrap(&self, key: &[u8; KEY_BYTES]) -> Result<[u8; WRAPPED_BYTES], WrapError> {
        match &self.place {
            Place::Memory(bytes) => {
                let mut wrapped = [0; WRAPPED_BYTES];
                let kek = AesKek::new(&AES_256, bytes).map_err(|_| WrapError::Library)?;
                kek.wrap(key, &mut wrapped).map_err(|_| WrapError::Library)?;
                Ok(wrapped)
            }
            Place::Token(token) => {
                let wrapped = token.ask(Ask::Wrap(*key))?;
                let wrapped = wrapped.and_then(|wrapped| wrapped.try_into().ok());
                wrapped.ok_or(WrapError::Library)
            }
        }
    }

    /// The key; `None` where it was changed, or wrapped under another one.
    pub(super) fn unwrap(&self, wrapped: &[u8; WRAPPED_BYTES]) -> Result<Option<[u8; KEY_BYTES]>, WrapError> {
        match &self.place {
            Place::Memory(bytes) => {
                // The library wants room for the length of what is wrapped.
                let mut key = [0; WRAPPED_BYTES];
                let kek = AesKek::new(&AES_256, bytes).map_err(|_| WrapError::Library)?;
                let unwrapped = kek.unwrap(wrapped, &mut key).ok();
                Ok(unwrapped.and_then(|key| key.as_ref().try_into().ok()))
            }
            Place::Token(token) => {
                let unwrapped = token.ask(Ask::Unwrap(wrapped.to_vec()))?;
                Ok(unwrapped.and_then(|key| key.try_into().ok()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_key_is_read_as_it_is_or_in_base64_and_never_from_what_everybody_reads() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kek");
        let write = |content: &[u8], mode| {
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            KekSource::named("kek", directory.path()).unwrap().open()
        };
        let raw = write(&[7; 32], 0o600).unwrap();
        let text = write(format!("{}\n", STANDARD.encode([7; 32])).as_bytes(), 0o640).unwrap();
        assert_eq!(raw.id(), text.id());
        assert!(matches!(write(&[7; 31], 0o600), Err(KekError::Content(_))));
        assert!(matches!(
            write(&[7; 32], 0o604),
            Err(KekError::Open { mode: 0o604, .. })
        ));
        assert!(KekSource::named("pkcs11:token=a", directory.path()).is_err());
        let signs = "pkcs11:token=a;object=b;type=private?module-path=/m";
        let error = KekSource::named(signs, directory.path()).unwrap_err().to_string();
        assert!(error.contains("secret-key"), "{error}");
    }

    #[test]
    fn wrapping_is_that_of_rfc_3394() {
        // Section 4.6 of the RFC.
        let kek = Kek::of(std::array::from_fn(|at| at as u8));
        let key: [u8; 32] = [
            0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff,
            0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,
        ];
        let wrapped = kek.wrap(&key).unwrap();
        assert_eq!(
            Hex(&wrapped).to_string(),
            "28c9f404c4b810f4cbccb35cfb87f8263f5786e2d80ed326cbc7f0e71a99f43bfb988b9b7a02dd21"
        );
        assert_eq!(kek.unwrap(&wrapped).unwrap(), Some(key));
        let mut bad = wrapped;
        bad[9] ^= 1;
        assert_eq!(kek.unwrap(&bad).unwrap(), None);
    }
}
