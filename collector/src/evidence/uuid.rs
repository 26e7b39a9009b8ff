//! Names for parts of documents: UUIDs of version 5 (RFC 9562), so that the same input gives the same document.

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};

/// Norma's own namespace.
const NAMESPACE: [u8; 16] = *b"norma.dev/eviden";

/// The UUID of a name. SHA-1 is what version 5 demands; nothing rests on it.
pub fn of(name: &str) -> String {
    let mut hash = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    hash.update(&NAMESPACE);
    hash.update(name.as_bytes());
    let digest = hash.finish();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest.as_ref()[..16]);
    bytes[6] = (bytes[6] & 0x0f) | 0x50;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex = norma_wire::text::Hex(&bytes).to_string();
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}

#[cfg(test)]
mod tests {
    /// As `uuid.uuid5(uuid.UUID(bytes=b'norma.dev/eviden'), 'a')` of Python gives it.
    #[test]
    fn a_name_is_that_of_other_tools() {
        assert_eq!(super::of("a"), "692b4e42-8e43-5100-befa-04901101dfb8");
    }
}
