//! DSSE envelopes (github.com/secure-systems-lab/dsse, version 1) under a key from a PEM file.

use crate::durable;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use norma_wire::text::Hex;
use rustls::SignatureScheme;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::sign::SigningKey;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What is signed with, in the order of preference; which one a key allows follows from its kind.
const SCHEMES: [SignatureScheme; 4] = [
    SignatureScheme::ED25519,
    SignatureScheme::ECDSA_NISTP384_SHA384,
    SignatureScheme::ECDSA_NISTP256_SHA256,
    SignatureScheme::RSA_PSS_SHA256,
];

/// Why nothing can be signed.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file.
    #[error("cannot use the key {}: {what}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// Signing failed.
    #[error("cannot sign: {0}")]
    Sign(String),
}

/// A key that signs evidence.
#[derive(Debug)]
pub struct Signer {
    key: Arc<dyn SigningKey>,
    public: Vec<u8>,
    id: String,
}

impl Signer {
    /// The key in the PEM file at `path`: Ed25519, ECDSA on P-256 or P-384, or RSA.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        let failed = |what: &dyn std::fmt::Display| KeyError::File {
            path: path.to_owned(),
            what: what.to_string(),
        };
        let der = PrivateKeyDer::from_pem_file(path).map_err(|error| failed(&error))?;
        let key = any_supported_type(&der).map_err(|error| failed(&error))?;
        let public = key
            .public_key()
            .ok_or_else(|| failed(&"its public half is not known"))?
            .to_vec();
        let id = Hex(&Sha256::digest(&public)).to_string();
        Ok(Self { key, public, id })
    }

    /// The key at `path`, which is made (Ed25519, mode 0600) where there is none.
    pub fn load_or_make(path: &Path) -> Result<Self, KeyError> {
        let failed = |what: &dyn std::fmt::Display| KeyError::File {
            path: path.to_owned(),
            what: what.to_string(),
        };
        if !path.exists() {
            let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).map_err(|error| failed(&error))?;
            match durable::create(path, key.serialize_pem().as_bytes(), 0o600) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(failed(&format!("{error}; name another with --key")));
                }
                _ => {}
            }
        }
        Self::load(path)
    }

    /// SHA-256 of the public key (SubjectPublicKeyInfo, DER), in hex.
    pub fn key_id(&self) -> &str {
        &self.id
    }

    /// The public key.
    pub fn public_pem(&self) -> String {
        let text = STANDARD.encode(&self.public);
        let mut pem = "-----BEGIN PUBLIC KEY-----\n".to_owned();
        for line in text.as_bytes().chunks(64) {
            pem.push_str(&String::from_utf8_lossy(line));
            pem.push('\n');
        }
        pem + "-----END PUBLIC KEY-----\n"
    }

    /// The envelope of a payload.
    pub fn envelope(&self, payload_type: &str, payload: &[u8]) -> Result<Value, KeyError> {
        let signer = self
            .key
            .choose_scheme(&SCHEMES)
            .ok_or_else(|| KeyError::Sign("a key of this kind is not supported".to_owned()))?;
        let signature = signer
            .sign(&signed_bytes(payload_type, payload))
            .map_err(|error| KeyError::Sign(error.to_string()))?;
        Ok(json!({
            "payload": STANDARD.encode(payload),
            "payloadType": payload_type,
            "signatures": [{ "keyid": self.id, "sig": STANDARD.encode(signature) }],
        }))
    }
}

/// What is signed: the pre-authentication encoding.
fn signed_bytes(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification (protocol.md).
    #[test]
    fn what_is_signed_is_that_of_the_specification() {
        assert_eq!(
            signed_bytes("http://example.com/HelloWorld", b"hello world"),
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
    }

    #[test]
    fn a_key_is_made_once_and_signs_the_same_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");
        assert!(Signer::load(&path).is_err());
        let one = Signer::load_or_make(&path).unwrap();
        let two = Signer::load_or_make(&path).unwrap();
        assert_eq!(one.key_id(), two.key_id());
        assert_eq!(one.envelope("t", b"p").unwrap(), two.envelope("t", b"p").unwrap());
        assert_ne!(one.envelope("t", b"p").unwrap(), two.envelope("t", b"q").unwrap());
        std::fs::write(&path, "no key").unwrap();
        assert!(
            Signer::load_or_make(&path)
                .unwrap_err()
                .to_string()
                .contains("key.pem")
        );
    }
}
