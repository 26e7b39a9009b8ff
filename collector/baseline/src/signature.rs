//! Ed25519 signatures (RFC 8032), by the one cryptographic library.

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

/// Who signed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// Of its 32 bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its 32 bytes.
    #[must_use]
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// A text that stands for no public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a public key is 64 hexadecimal digits")]
pub struct NotAPublicKey;

/// Hexadecimal.
impl FromStr for PublicKey {
    type Err = NotAPublicKey;

    fn from_str(text: &str) -> Result<Self, NotAPublicKey> {
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return Err(NotAPublicKey);
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |digit: u8| char::from(digit).to_digit(16).ok_or(NotAPublicKey);
            *byte = (digit(pair[0])? << 4 | digit(pair[1])?) as u8;
        }
        Ok(Self(bytes))
    }
}

/// Hexadecimal.
impl fmt::Display for PublicKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "PublicKey({self})")
    }
}

/// A signature with the key that it verifies under.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Signature {
    /// Who signed.
    pub key: PublicKey,
    /// 64 bytes.
    bytes: Vec<u8>,
}

impl Signature {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Signature(by {})", self.key)
    }
}

/// A key that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an Ed25519 private key in PKCS #8 form")]
pub struct NotAKey;

/// A signature that does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Untrusted {
    /// Nobody said that this key is to be trusted.
    #[error("signed with a key that is not trusted: {0}")]
    UnknownKey(PublicKey),
    /// The content or the signature was changed.
    #[error("the signature does not verify: the content was changed after it was signed with {0}")]
    Wrong(PublicKey),
}

/// A private key.
pub struct Signer {
    pair: Ed25519KeyPair,
    key: PublicKey,
}

impl fmt::Debug for Signer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Signer({})", self.key)
    }
}

impl Signer {
    /// Of a private key in PKCS #8 form (DER), version 1 or 2.
    pub fn of_pkcs8(der: &[u8]) -> Result<Self, NotAKey> {
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map_err(|_| NotAKey)?;
        let key = PublicKey(pair.public_key().as_ref().try_into().map_err(|_| NotAKey)?);
        Ok(Self { pair, key })
    }

    /// Of a seed of 32 random bytes.
    pub fn of_seed(seed: &[u8; 32]) -> Result<Self, NotAKey> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| NotAKey)?;
        let key = PublicKey(pair.public_key().as_ref().try_into().map_err(|_| NotAKey)?);
        Ok(Self { pair, key })
    }

    /// What others verify with.
    #[must_use]
    pub const fn key(&self) -> PublicKey {
        self.key
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Signature {
        Signature {
            key: self.key,
            bytes: self.pair.sign(message).as_ref().to_vec(),
        }
    }
}

/// The keys that count.
#[derive(Clone, Debug, Default)]
pub struct TrustedKeys(BTreeSet<PublicKey>);

impl FromIterator<PublicKey> for TrustedKeys {
    fn from_iter<I: IntoIterator<Item = PublicKey>>(keys: I) -> Self {
        Self(keys.into_iter().collect())
    }
}

/// Keys that a configuration names and that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// Neither a key nor a file that can be read.
    #[error(
        "`{entry}` is neither the 64 hexadecimal digits of a public key nor a file that can be read: {reason}"
    )]
    Unreadable {
        /// As configured.
        entry: String,
        /// The operating system's answer.
        reason: std::io::Error,
    },
    /// A line of the file.
    #[error("{file}:{line}: {reason}")]
    Line {
        /// The file.
        file: String,
        /// From 1.
        line: usize,
        /// What is wrong.
        reason: NotAPublicKey,
    },
    /// The file names no key.
    #[error("{0}: there is no public key in it")]
    Empty(String),
}

impl TrustedKeys {
    /// The keys that an entry of a configuration stands for: one in hexadecimal digits, or those of a file, which is
    /// relative to `base` and holds one a line; a `#` begins a comment.
    pub fn named(entry: &str, base: &Path) -> Result<Vec<PublicKey>, KeysError> {
        if let Ok(key) = entry.parse() {
            return Ok(vec![key]);
        }
        let path = base.join(entry);
        let text = std::fs::read_to_string(&path).map_err(|reason| KeysError::Unreadable {
            entry: entry.to_owned(),
            reason,
        })?;
        let file = path.display().to_string();
        let mut keys = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if !line.is_empty() {
                keys.push(line.parse().map_err(|reason| KeysError::Line {
                    file: file.clone(),
                    line: number + 1,
                    reason,
                })?);
            }
        }
        if keys.is_empty() {
            return Err(KeysError::Empty(file));
        }
        Ok(keys)
    }

    pub(crate) fn verify(&self, message: &[u8], signature: &Signature) -> Result<(), Untrusted> {
        if !self.0.contains(&signature.key) {
            return Err(Untrusted::UnknownKey(signature.key));
        }
        UnparsedPublicKey::new(&ED25519, signature.key.bytes())
            .verify(message, &signature.bytes)
            .map_err(|_| Untrusted::Wrong(signature.key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_named_in_digits_or_in_a_file() {
        let key = Signer::of_seed(&[7; 32]).unwrap().key();
        let dir = tempfile::tempdir().unwrap();
        let named = |entry: &str| TrustedKeys::named(entry, dir.path()).map_err(|error| error.to_string());
        assert_eq!(named(&key.to_string()), Ok(vec![key]));
        std::fs::write(
            dir.path().join("keys"),
            format!("# alice\n\n{key} # bob\n{key}\n"),
        )
        .unwrap();
        assert_eq!(named("keys"), Ok(vec![key, key]));
        std::fs::write(dir.path().join("bad"), format!("{key}\n{key}0\n")).unwrap();
        let message = named("bad").unwrap_err();
        assert!(
            message.ends_with("bad:2: a public key is 64 hexadecimal digits"),
            "{message}"
        );
        std::fs::write(dir.path().join("none"), "# nobody\n").unwrap();
        assert!(
            named("none")
                .unwrap_err()
                .ends_with("there is no public key in it")
        );
        assert!(named("nowhere").unwrap_err().contains("`nowhere` is neither"));
    }
}
