//! What both sides compute of a batch head: the digest of its events, its own hash, and what is signed.

use sha2::{Digest as _, Sha256};

/// Begins what is signed, so that no signature of a node's key for anything else can be taken for one of a head.
const CONTEXT: &[u8] = b"norma batch head v1\0";

/// Begins what is signed of a hand-over.
const HANDOVER_CONTEXT: &[u8] = b"norma hand-over v1\0";

/// A SHA-256.
pub type Hash = [u8; 32];

/// SHA-256 of some bytes: of an encoded event, or of an encoded head.
pub fn hash(bytes: &[u8]) -> Hash {
    Sha256::digest(bytes).into()
}

/// The digest of a batch, as `BatchHead.digest` has it, from the hashes of its events.
pub fn digest<'a>(events: impl IntoIterator<Item = &'a Hash>) -> Hash {
    let mut all = Sha256::new();
    for event in events {
        all.update(event);
    }
    all.finalize().into()
}

/// What is signed of an encoded head.
pub fn signed_bytes(head: &[u8]) -> Vec<u8> {
    [CONTEXT, head].concat()
}

/// What is signed of an encoded hand-over.
pub fn signed_handover(handover: &[u8]) -> Vec<u8> {
    [HANDOVER_CONTEXT, handover].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::Hex;

    /// As `printf a | sha256sum` and `(printf a | sha256sum; printf b | sha256sum) | xxd -r -p | sha256sum` give them.
    #[test]
    fn the_digest_is_what_other_tools_compute() {
        let hashes = [hash(b"a"), hash(b"b")];
        assert_eq!(
            Hex(&hashes[0]).to_string(),
            "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"
        );
        assert_eq!(
            Hex(&digest(&hashes)).to_string(),
            "e5a01fee14e0ed5c48714f22180f25ad8365b53f9779f79dc4a3d7e93963f94a"
        );
    }
}
