//! One-time tokens.
//!
//! `norma-token-1.ID.SECRET.AUTHORITY`, all in hex: the collector knows the token by its ID and keeps a SHA-256 of the
//! secret only; the agent knows the collector by AUTHORITY, the SHA-256 of its authority's certificate (DER), so that
//! already the first contact is authenticated on both sides. A token is a file, which taking it renames: it can be
//! taken once.

use crate::durable::{self, Sync};
use crate::pki::NodeName;
use norma_wire::text::Hex;
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

/// What may be told of a token that was not used yet.
#[derive(Clone, Debug)]
pub struct Good {
    /// Its id.
    pub id: String,
    /// The node that it is for.
    pub node: String,
    /// Until when it is good, in seconds since 1970.
    pub expires: i64,
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
        let lifetime = i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX);
        let kept = Kept {
            node: node.to_string(),
            secret_sha256: sha256(token.secret.as_bytes()),
            expires: jiff::Timestamp::now().as_second().saturating_add(lifetime),
        };
        let bytes = serde_json::to_vec(&kept).map_err(|error| self.failed(io::Error::other(error)))?;
        fs::create_dir_all(&self.0)
            .and_then(|()| durable::create(&self.file(&token.id, "token"), &bytes, 0o600))
            .map_err(|error| self.failed(error))?;
        Ok(token)
    }

    /// Takes a token, which is the end of it; gives its id and the node that it is for.
    pub fn take(&self, text: &str) -> Result<(String, NodeName), TokenError> {
        let (id, secret) = parse(text).ok_or(TokenError::Malformed)?;
        let file = self.file(id, "token");
        let bytes = match fs::read(&file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(TokenError::Unknown),
            read => read.map_err(|error| self.failed(error))?,
        };
        let kept: Kept =
            serde_json::from_slice(&bytes).map_err(|error| self.failed(io::Error::other(error)))?;
        // Both are hashes: how long the comparison takes tells nothing of the secret.
        if sha256(secret.as_bytes()) != kept.secret_sha256 {
            return Err(TokenError::Unknown);
        }
        let used = self.file(id, "used");
        match fs::rename(&file, &used) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(TokenError::Unknown),
            renamed => renamed
                .and_then(|()| durable::sync_directory(&used))
                .map_err(|error| self.failed(error))?,
        }
        if jiff::Timestamp::now().as_second() > kept.expires {
            return Err(TokenError::Expired(kept.node));
        }
        let node = kept.node.parse().map_err(|_| TokenError::Unknown)?;
        // What is left tells who had it, and no secret.
        let told = serde_json::json!({ "node": kept.node, "used": jiff::Timestamp::now().as_second() });
        if let Err(error) = durable::replace(&used, told.to_string().as_bytes(), Sync::Lazy) {
            tracing::debug!(%error, "cannot note that a token was used");
        }
        Ok((id.to_owned(), node))
    }

    /// Those that were not used yet; what cannot be read is none.
    pub fn good(&self) -> Vec<Good> {
        let entries = fs::read_dir(&self.0).into_iter().flatten().flatten();
        let read = |entry: fs::DirEntry| {
            let name = entry.file_name().into_string().ok()?;
            let id = name.strip_suffix(".token")?.to_owned();
            let kept: Kept = serde_json::from_slice(&fs::read(entry.path()).ok()?).ok()?;
            Some(Good {
                id,
                node: kept.node,
                expires: kept.expires,
            })
        };
        let mut good: Vec<Good> = entries.filter_map(read).collect();
        good.sort_unstable_by(|one, other| one.id.cmp(&other.id));
        good
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
        assert!(matches!(tokens.take(&other_secret), Err(TokenError::Unknown)));
        assert_eq!(tokens.take(&token).unwrap().1, node);
        assert!(matches!(tokens.take(&token), Err(TokenError::Unknown)));
        for file in fs::read_dir(dir.path().join("tokens")).unwrap() {
            let text = fs::read_to_string(file.unwrap().path()).unwrap();
            assert!(
                !text.contains(token.split('.').nth(2).unwrap()),
                "the secret is kept: {text}"
            );
        }
        let late = tokens.make(&node, Duration::ZERO, b"ca").unwrap().to_string();
        std::thread::sleep(Duration::from_millis(1100));
        assert!(matches!(tokens.take(&late), Err(TokenError::Expired(_))));
        for wrong in [
            "",
            "norma-token-1",
            "norma-token-1.../../../etc.a.b.c",
            &token[1..],
        ] {
            assert!(
                matches!(tokens.take(wrong), Err(TokenError::Malformed)),
                "{wrong}"
            );
        }
    }
}
