//! One-time tokens.
//!
//! `norma-token-1.ID.SECRET.AUTHORITY`, all in hex: the collector knows the token by its ID and keeps a SHA-256 of the
//! secret only; the agent knows the collector by AUTHORITY, the SHA-256 of its authority's certificate (DER), so that
//! already the first contact is authenticated on both sides. A token is a file `ID.token`; `ID.used` says which key
//! took it, and there is one of these only. `ID.recorded` says that its making is in the audit log.

use crate::durable::{self, Sync};
use crate::pki::NodeName;
use norma_wire::audit::TokenMade;
use norma_wire::text::Hex;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a token is good, unless asked otherwise.
pub const LIFETIME: Duration = Duration::from_secs(60 * 60);
const PREFIX: &str = "norma-token-1";
const ID_BYTES: usize = 8;
const SECRET_BYTES: usize = 32;

/// A token, which whoever has it can use.
pub struct Token {
    id: String,
    secret: String,
    authority: String,
}

/// What is kept of a token.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    node: String,
    secret_sha256: String,
    /// Seconds since 1970.
    expires: i64,
    /// Seconds since 1970; 0 where whoever made it did not say.
    #[serde(default)]
    made: i64,
}

/// What is kept of its use: no secret.
#[derive(Debug, Serialize, Deserialize)]
struct Used {
    node: String,
    /// Seconds since 1970.
    used: i64,
    /// Of the public key that it was used for; empty where an older collector took it.
    #[serde(default)]
    key_sha256: String,
    /// What was given for it, DER.
    #[serde(default, with = "serde_bytes", skip_serializing_if = "Option::is_none")]
    certificate: Option<Vec<u8>>,
}

/// A token that was taken.
#[derive(Debug)]
pub struct Taken {
    /// Names it.
    pub id: String,
    /// Whom it is for.
    pub node: NodeName,
    /// The certificate (DER) that was given for it before, to the same key.
    pub certificate: Option<Vec<u8>>,
}

/// Why no certificate is given for a token. What is told of one that is not known helps nobody to guess.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// Not of this form.
    #[error("this is no token; make one with `norma-collector pki token`")]
    Malformed,
    /// Never made, used before, or another secret.
    #[error("the token is not known, or was used already; make another with `norma-collector pki token`")]
    Unknown,
    /// Too late.
    #[error("the token for node {0} has expired; make another with `norma-collector pki token`")]
    Expired(String),
    /// Tokens cannot be read or written.
    #[error("cannot use the tokens in {}: {source}", path.display())]
    Io {
        /// Where they are.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
}

/// Tokens in a directory.
#[derive(Clone, Debug)]
pub struct Tokens(PathBuf);

impl Tokens {
    /// Those in `directory`, which is made when the first is.
    pub fn in_directory(directory: &Path) -> Self {
        Self(directory.to_owned())
    }

    /// Makes a token for a node; `authority` is the certificate (DER) by which the agent knows the collector.
    pub fn make(&self, node: &NodeName, lifetime: Duration, authority: &[u8]) -> Result<Token, TokenError> {
        let random = |bytes: &mut [u8]| {
            rustls::crypto::aws_lc_rs::default_provider()
                .secure_random
                .fill(bytes)
                .map_err(|_| self.failed(io::Error::other("there is no randomness")))
        };
        let (mut id, mut secret) = ([0; ID_BYTES], [0; SECRET_BYTES]);
        random(&mut id)?;
        random(&mut secret)?;
        let token = Token {
            id: Hex(&id).to_string(),
            secret: Hex(&secret).to_string(),
            authority: sha256(authority),
        };
        let made = jiff::Timestamp::now().as_second();
        let lifetime = i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX);
        let kept = Kept {
            node: node.to_string(),
            secret_sha256: sha256(token.secret.as_bytes()),
            expires: made.saturating_add(lifetime),
            made,
        };
        let bytes = serde_json::to_vec(&kept).map_err(|error| self.failed(io::Error::other(error)))?;
        fs::create_dir_all(&self.0)
            .and_then(|()| durable::create(&self.file(&token.id, "token"), &bytes, 0o600))
            .map_err(|error| self.failed(error))?;
        Ok(token)
    }

    /// Takes a token for a signing request with this public key, which is the end of it for every other key; gives
    /// whose it is. The same key may come again while the token is good: an answer can be lost on its way.
    pub fn take(&self, text: &str, key: &[u8]) -> Result<Taken, TokenError> {
        let (id, secret) = parse(text).ok_or(TokenError::Malformed)?;
        let kept = self.kept(id)?;
        // Both are hashes: how long the comparison takes tells nothing of the secret.
        if sha256(secret.as_bytes()) != kept.secret_sha256 {
            return Err(TokenError::Unknown);
        }
        if jiff::Timestamp::now().as_second() > kept.expires {
            return Err(TokenError::Expired(kept.node));
        }
        let used = self.file(id, "used");
        let now = Used {
            node: kept.node.clone(),
            used: jiff::Timestamp::now().as_second(),
            key_sha256: sha256(key),
            certificate: None,
        };
        let bytes = serde_json::to_vec(&now).map_err(|error| self.failed(io::Error::other(error)))?;
        let taken = match durable::create(&used, &bytes, 0o600) {
            Ok(()) => now,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self.used(id)?,
            Err(error) => return Err(self.failed(error)),
        };
        if taken.key_sha256 != sha256(key) {
            return Err(TokenError::Unknown);
        }
        Ok(Taken {
            id: id.to_owned(),
            node: kept.node.parse().map_err(|_| TokenError::Unknown)?,
            certificate: taken.certificate,
        })
    }

    /// Keeps the certificate that was given for a token, for whoever did not get it.
    pub fn gave(&self, taken: &Taken, certificate: &[u8]) -> Result<(), TokenError> {
        let mut used = self.used(&taken.id)?;
        used.certificate = Some(certificate.to_vec());
        let bytes = serde_json::to_vec(&used).map_err(|error| self.failed(io::Error::other(error)))?;
        durable::replace(&self.file(&taken.id, "used"), &bytes, Sync::Now).map_err(|error| self.failed(error))
    }

    /// Tokens whose making is not on record yet. What cannot be read is passed over: it is no token that anybody can
    /// use.
    pub fn unrecorded(&self) -> Result<Vec<TokenMade>, TokenError> {
        let entries = match fs::read_dir(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(|error| self.failed(error))?,
        };
        let mut unrecorded = Vec::new();
        for entry in entries {
            let name = entry.map_err(|error| self.failed(error))?.file_name();
            let id = name.to_str().and_then(|name| name.strip_suffix(".token"));
            let Some(id) = id.filter(|id| !self.file(id, "recorded").exists()) else {
                continue;
            };
            if let Ok(kept) = self.kept(id) {
                let ns = |seconds: i64| u64::try_from(seconds).unwrap_or(0).saturating_mul(1_000_000_000);
                unrecorded.push(TokenMade {
                    node: kept.node,
                    id: id.to_owned(),
                    expires_wall_ns: ns(kept.expires),
                    made_wall_ns: ns(kept.made),
                });
            }
        }
        Ok(unrecorded)
    }

    /// The making of this token is on record.
    pub fn recorded(&self, id: &str) -> Result<(), TokenError> {
        match durable::create(&self.file(id, "recorded"), &[], 0o600) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(self.failed(error)),
            _ => Ok(()),
        }
    }

    fn kept(&self, id: &str) -> Result<Kept, TokenError> {
        match fs::read(self.file(id, "token")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(TokenError::Unknown),
            read => self.parsed(read),
        }
    }

    fn used(&self, id: &str) -> Result<Used, TokenError> {
        self.parsed(fs::read(self.file(id, "used")))
    }

    fn parsed<T: DeserializeOwned>(&self, read: io::Result<Vec<u8>>) -> Result<T, TokenError> {
        let bytes = read.map_err(|error| self.failed(error))?;
        serde_json::from_slice(&bytes).map_err(|error| self.failed(io::Error::other(error)))
    }

    fn file(&self, id: &str, state: &str) -> PathBuf {
        self.0.join(format!("{id}.{state}"))
    }

    fn failed(&self, source: io::Error) -> TokenError {
        TokenError::Io {
            path: self.0.clone(),
            source,
        }
    }
}

/// The id of a token, for records; empty where the text is none.
pub fn id_of(text: &str) -> &str {
    parse(text).map_or("", |(id, _)| id)
}

/// Id and secret.
fn parse(text: &str) -> Option<(&str, &str)> {
    let mut parts = text.trim().split('.');
    let (prefix, id, secret, authority) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let hex = |text: &str, bytes: usize| {
        text.len() == 2 * bytes
            && text
                .bytes()
                .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    };
    let fits = prefix == PREFIX
        && hex(id, ID_BYTES)
        && hex(secret, SECRET_BYTES)
        && hex(authority, 32)
        && parts.next().is_none();
    fits.then_some((id, secret))
}

fn sha256(bytes: &[u8]) -> String {
    Hex(&Sha256::digest(bytes)).to_string()
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}.{}.{}.{}", self.id, self.secret, self.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_once_for_its_node_and_for_its_time() {
        let dir = tempfile::tempdir().unwrap();
        let tokens = Tokens::in_directory(&dir.path().join("tokens"));
        let node: NodeName = "worker-1".parse().unwrap();
        let token = tokens.make(&node, LIFETIME, b"ca").unwrap().to_string();
        let other_secret = {
            let mut parts: Vec<String> = token.split('.').map(str::to_owned).collect();
            parts[2] = "0".repeat(64);
            parts.join(".")
        };
        assert_eq!(tokens.unrecorded().unwrap().len(), 1);
        assert!(matches!(
            tokens.take(&other_secret, b"key"),
            Err(TokenError::Unknown)
        ));
        let taken = tokens.take(&token, b"key").unwrap();
        assert_eq!((&taken.node, &taken.certificate), (&node, &None));
        assert!(matches!(tokens.take(&token, b"other"), Err(TokenError::Unknown)));
        tokens.gave(&taken, b"certificate").unwrap();
        let again = tokens.take(&token, b"key").unwrap();
        assert_eq!(again.certificate.as_deref(), Some(&b"certificate"[..]));
        tokens.recorded(&taken.id).unwrap();
        assert_eq!(tokens.unrecorded().unwrap(), []);
        for file in fs::read_dir(dir.path().join("tokens")).unwrap() {
            let text = fs::read_to_string(file.unwrap().path()).unwrap();
            assert!(
                !text.contains(token.split('.').nth(2).unwrap()),
                "the secret is kept: {text}"
            );
        }
        let late = tokens.make(&node, Duration::ZERO, b"ca").unwrap().to_string();
        std::thread::sleep(Duration::from_millis(1100));
        assert!(matches!(tokens.take(&late, b"key"), Err(TokenError::Expired(_))));
        for wrong in [
            "",
            "norma-token-1",
            "norma-token-1.../../../etc.a.b.c",
            &token[1..],
        ] {
            assert!(
                matches!(tokens.take(wrong, b"key"), Err(TokenError::Malformed)),
                "{wrong}"
            );
        }
    }
}
