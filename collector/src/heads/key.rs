//! The public key of a node's certificate, and signatures by it.

use norma_wire::head::{Hash, hash, signed_bytes, signed_handover};
use norma_wire::pb::{SignedHandover, SignedHead};
use rustls::SignatureScheme;
use rustls::crypto::aws_lc_rs;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// A key that can verify heads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeKey {
    id: Hash,
    /// Content of the AlgorithmIdentifier, as webpki compares it.
    algorithm: Vec<u8>,
    /// The subjectPublicKey.
    public: Vec<u8>,
}

/// Why a signature does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The certificate is none.
    #[error("the certificate cannot be read")]
    Certificate,
    /// Another key than the one of the certificate is named.
    #[error("it names another key than that of the certificate")]
    OtherKey,
    /// Not an algorithm for this key.
    #[error("signature scheme {0:#06x} does not go with the key")]
    Scheme(u32),
    /// It was not made with this key over these bytes.
    #[error("its signature does not verify")]
    Wrong,
}

impl NodeKey {
    /// The key of a certificate (DER).
    pub fn of(certificate: &[u8]) -> Result<Self, SignatureError> {
        let (_, certificate) =
            X509Certificate::from_der(certificate).map_err(|_| SignatureError::Certificate)?;
        let info = certificate.public_key();
        let algorithm = sequence_content(info.raw)
            .and_then(first_element)
            .and_then(sequence_content)
            .ok_or(SignatureError::Certificate)?;
        Ok(Self {
            id: hash(info.raw),
            algorithm: algorithm.to_vec(),
            public: info.subject_public_key.data.to_vec(),
        })
    }

    /// SHA-256 of the SubjectPublicKeyInfo.
    pub fn id(&self) -> &Hash {
        &self.id
    }

    /// Checks that a head was signed with this key.
    pub fn verify(&self, signed: &SignedHead) -> Result<(), SignatureError> {
        let message = signed_bytes(&signed.head);
        self.check(&signed.key, signed.scheme, &signed.signature, &message)
    }

    /// Checks that a hand-over was signed with this key.
    pub fn verify_handover(&self, signed: &SignedHandover) -> Result<(), SignatureError> {
        let message = signed_handover(&signed.handover);
        self.check(&signed.key, signed.scheme, &signed.signature, &message)
    }

    fn check(&self, key: &[u8], scheme: u32, signature: &[u8], message: &[u8]) -> Result<(), SignatureError> {
        if key != self.id {
            return Err(SignatureError::OtherKey);
        }
        let wrong_scheme = SignatureError::Scheme(scheme);
        let Ok(scheme) = u16::try_from(scheme).map(SignatureScheme::from) else {
            return Err(wrong_scheme);
        };
        let supported = aws_lc_rs::default_provider().signature_verification_algorithms;
        let algorithms = supported
            .mapping
            .iter()
            .filter(|(of, _)| *of == scheme)
            .flat_map(|(_, algorithms)| algorithms.iter());
        for algorithm in algorithms {
            if algorithm.public_key_alg_id().as_ref() == self.algorithm {
                return algorithm
                    .verify_signature(&self.public, message, signature)
                    .map_err(|_| SignatureError::Wrong);
            }
        }
        Err(wrong_scheme)
    }
}

/// Content of a DER SEQUENCE.
fn sequence_content(der: &[u8]) -> Option<&[u8]> {
    const SEQUENCE: u8 = 0x30;
    let (header, length) = lengths(der)?;
    (der.first() == Some(&SEQUENCE)).then(|| der.get(header..header + length))?
}

/// The first DER element.
fn first_element(der: &[u8]) -> Option<&[u8]> {
    let (header, length) = lengths(der)?;
    der.get(..header + length)
}

/// Lengths of header and content of the DER element at the beginning.
fn lengths(der: &[u8]) -> Option<(usize, usize)> {
    match *der.get(1)? {
        short @ 0..=0x7f => Some((2, short.into())),
        0x81 => Some((3, (*der.get(2)?).into())),
        0x82 => Some((4, u16::from_be_bytes([*der.get(2)?, *der.get(3)?]).into())),
        _ => None,
    }
}
