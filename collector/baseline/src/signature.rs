//! Ed25519 signatures (RFC 8032), by the one cryptographic library.

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;

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

impl TrustedKeys {
    pub(crate) fn verify(&self, message: &[u8], signature: &Signature) -> Result<(), Untrusted> {
        if !self.0.contains(&signature.key) {
            return Err(Untrusted::UnknownKey(signature.key));
        }
        UnparsedPublicKey::new(&ED25519, signature.key.bytes())
            .verify(message, &signature.bytes)
            .map_err(|_| Untrusted::Wrong(signature.key))
    }
}
