//! Public keys, as verifier keys hold them.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA256_ASN1, ED25519, VerificationAlgorithm};

/// What comes before the point in the SubjectPublicKeyInfo (RFC 5480) of a key on P-256, which is DER and so has one
/// form only.
const SPKI_P256: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// On P-384.
const SPKI_P384: [u8; 23] = [
    0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81,
    0x04, 0x00, 0x22, 0x03, 0x62, 0x00,
];
/// What a point begins with that is not compressed (SEC 1, section 2.3.3).
const UNCOMPRESSED: u8 = 4;

/// A public key.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum PublicKey {
    /// Ed25519 (RFC 8032).
    Ed25519([u8; 32]),
    /// ECDSA on NIST P-256 with SHA-256: the uncompressed point.
    P256([u8; 65]),
    /// ECDSA on NIST P-384 with SHA-256, as those who use notes do on every curve: the uncompressed point.
    P384([u8; 97]),
}

impl PublicKey {
    pub(crate) fn of_ed25519(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self::Ed25519)
    }

    /// From an uncompressed point of one of the two curves.
    pub fn of_point(bytes: &[u8]) -> Option<Self> {
        if bytes.first() != Some(&UNCOMPRESSED) {
            return None;
        }
        let p256 = bytes.try_into().map(Self::P256);
        p256.or_else(|_| bytes.try_into().map(Self::P384)).ok()
    }

    /// From a SubjectPublicKeyInfo (RFC 5480), in DER.
    pub fn of_spki(der: &[u8]) -> Option<Self> {
        let point = der
            .strip_prefix(&SPKI_P256)
            .or_else(|| der.strip_prefix(&SPKI_P384))?;
        Self::of_point(point).filter(|key| key.to_bytes() == der)
    }

    /// As a verifier key has it: 32 bytes, or a SubjectPublicKeyInfo.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Ed25519(key) => key.to_vec(),
            Self::P256(point) => [&SPKI_P256[..], point].concat(),
            Self::P384(point) => [&SPKI_P384[..], point].concat(),
        }
    }

    /// Whether a signature over `message` is by this key; those by ECDSA are in DER (RFC 3279).
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let (algorithm, key): (&dyn VerificationAlgorithm, &[u8]) = match self {
            Self::Ed25519(key) => (&ED25519, key),
            Self::P256(point) => (&ECDSA_P256_SHA256_ASN1, point),
            Self::P384(point) => (&ECDSA_P384_SHA256_ASN1, point),
        };
        algorithm.verify_sig(key, message, signature).is_ok()
    }
}

impl std::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let curve = match self {
            Self::Ed25519(_) => "Ed25519",
            Self::P256(_) => "P-256",
            Self::P384(_) => "P-384",
        };
        f.write_str(curve)
    }
}
