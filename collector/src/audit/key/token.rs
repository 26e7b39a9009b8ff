//! A log's key that never leaves a token.

use super::signing::Signing;
use super::speaker::{InToken, TokenError, Why, told};
use super::uri::Pkcs11Uri;
use norma_tlog::VerifierKey;
use norma_tlog::key::Use;
use norma_tlog::note::SignatureLine;

/// A key in a token.
pub struct TokenKey {
    verifier: VerifierKey,
    key: InToken<Signing>,
}

impl TokenKey {
    /// Opens the key, which is to sign for the log `origin`.
    pub fn open(uri: &Pkcs11Uri, origin: Option<&str>) -> Result<Self, TokenError> {
        let origin = origin.ok_or_else(|| told(uri, Why::NoOrigin))?;
        let key = InToken::<Signing>::open(uri)?;
        let verifier = VerifierKey::new(origin, Use::Log, key.identity().clone());
        Ok(Self {
            verifier: verifier.map_err(|error| told(uri, Why::Origin(error)))?,
            key,
        })
    }

    /// What others verify with.
    pub fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// Signs the text of a note.
    pub fn sign(&self, text: &str) -> Result<SignatureLine, TokenError> {
        Ok(SignatureLine {
            name: self.verifier.name().to_owned(),
            id: self.verifier.id(),
            signature: self.key.ask(text.to_owned())?,
        })
    }
}

impl std::fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TokenKey({}, {})", self.key.uri(), self.verifier)
    }
}
