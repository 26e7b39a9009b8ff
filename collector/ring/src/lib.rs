//! What the crate `parquet` encrypts with, on aws-lc-rs.
//!
//! It knows no other library than `ring`, and Norma has one cryptographic library, which has a validated form
//! (deny.toml). Cargo puts this crate in the place of that one; it has the names that `parquet` uses, and nothing else.

/// Encryption with associated data.
pub mod aead {
    use crate::error::Unspecified;
    pub use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, Nonce, NonceSequence, Tag, UnboundKey};
    use std::sync::Arc;

    /// A key whose user takes care that no nonce comes twice.
    #[derive(Clone, Debug)]
    pub struct LessSafeKey(Arc<aws_lc_rs::aead::LessSafeKey>);

    impl LessSafeKey {
        /// Of a key that is not used for anything yet.
        pub fn new(key: UnboundKey) -> Self {
            Self(Arc::new(aws_lc_rs::aead::LessSafeKey::new(key)))
        }

        /// Encrypts in place, and gives the tag.
        ///
        /// # Errors
        /// More is to be encrypted than a nonce is good for.
        pub fn seal_in_place_separate_tag<A: AsRef<[u8]>>(
            &self,
            nonce: Nonce,
            aad: Aad<A>,
            in_out: &mut [u8],
        ) -> Result<Tag, Unspecified> {
            self.0.seal_in_place_separate_tag(nonce, aad, in_out)
        }

        /// Decrypts in place what ends with its tag.
        ///
        /// # Errors
        /// It was changed, or encrypted with another key, nonce or associated data.
        pub fn open_in_place<'a, A: AsRef<[u8]>>(
            &self,
            nonce: Nonce,
            aad: Aad<A>,
            in_out: &'a mut [u8],
        ) -> Result<&'a mut [u8], Unspecified> {
            self.0.open_in_place(nonce, aad, in_out)
        }
    }
}

/// What goes wrong.
pub mod error {
    pub use aws_lc_rs::error::Unspecified;
}

/// Random bytes.
pub mod rand {
    pub use aws_lc_rs::rand::{SecureRandom, SystemRandom};
}
