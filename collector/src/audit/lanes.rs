//! SHA-256 (FIPS 180-4) of two messages at once.
//!
//! Each block of a message waits for the one before it, and a processor that has nothing else to do waits with it. Where
//! blocks of another message lie between, it works on these meanwhile: a third more in the same time where the
//! instructions for SHA-256 are there.

use sha2::compress256;
use sha2::digest::generic_array::{GenericArray, typenum::U64};

const BLOCK: usize = 64;
/// Where in the last block the length of the message is.
const LENGTH: usize = BLOCK - 8;
/// FIPS 180-4, 5.3.3.
const INITIAL: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// A message: a first byte where it has one apart, and the rest.
#[derive(Debug)]
pub struct Lane<'a> {
    state: [u32; 8],
    bits: u64,
    first: Option<u8>,
    rest: &'a [u8],
    stage: Stage,
}

#[derive(Debug, PartialEq, Eq)]
enum Stage {
    Message,
    /// The bit after the message is there; its length is not.
    Length,
    Done,
}

impl<'a> Lane<'a> {
    /// The message `bytes`.
    pub fn of(bytes: &'a [u8]) -> Self {
        Self {
            state: INITIAL,
            bits: bytes.len() as u64 * 8,
            first: None,
            rest: bytes,
            stage: Stage::Message,
        }
    }

    /// The message `first` ‖ `bytes`.
    pub fn with_first(first: u8, bytes: &'a [u8]) -> Self {
        Self {
            bits: (bytes.len() as u64 + 1) * 8,
            first: Some(first),
            ..Self::of(bytes)
        }
    }

    /// Takes the next block; false where there is none any more.
    fn step(&mut self) -> bool {
        if self.stage == Stage::Done {
            return false;
        }
        if self.first.is_none()
            && let Some((whole, rest)) = self.rest.split_at_checked(BLOCK)
        {
            self.rest = rest;
            self.take(whole);
            return true;
        }
        let mut block = [0; BLOCK];
        let mut filled = 0;
        if let Some(first) = self.first.take() {
            block[0] = first;
            filled = 1;
        }
        let (here, rest) = self.rest.split_at(self.rest.len().min(BLOCK - filled));
        block[filled..][..here.len()].copy_from_slice(here);
        filled += here.len();
        self.rest = rest;
        if self.stage == Stage::Message && filled < BLOCK {
            block[filled] = 0x80;
            filled += 1;
            self.stage = Stage::Length;
        }
        if self.stage == Stage::Length && filled <= LENGTH {
            block[LENGTH..].copy_from_slice(&self.bits.to_be_bytes());
            self.stage = Stage::Done;
        }
        self.take(&block);
        true
    }

    fn take(&mut self, block: &[u8]) {
        let block: &GenericArray<u8, U64> = GenericArray::from_slice(block);
        compress256(&mut self.state, std::slice::from_ref(block));
    }

    fn digest(&self) -> [u8; 32] {
        let mut digest = [0; 32];
        for (bytes, word) in digest.chunks_exact_mut(4).zip(self.state) {
            bytes.copy_from_slice(&word.to_be_bytes());
        }
        digest
    }
}

/// SHA-256 of both.
pub fn both(mut one: Lane<'_>, mut other: Lane<'_>) -> ([u8; 32], [u8; 32]) {
    while one.step() | other.step() {}
    (one.digest(), other.digest())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sha2::{Digest as _, Sha256};

    proptest! {
        #[test]
        fn each_is_what_it_is_alone(
            one in proptest::collection::vec(any::<u8>(), 0..300),
            other in proptest::collection::vec(any::<u8>(), 0..300),
            first: u8,
        ) {
            let (prefixed, plain) = both(Lane::with_first(first, &one), Lane::of(&other));
            let wanted: [u8; 32] = Sha256::new_with_prefix([first]).chain_update(&one).finalize().into();
            prop_assert_eq!(prefixed, wanted);
            prop_assert_eq!(plain, <[u8; 32]>::from(Sha256::digest(&other)));
        }
    }

    #[test]
    fn each_length_around_the_end_of_a_block_is_padded_rightly() {
        let bytes = [0x5a; 200];
        for length in 0..bytes.len() {
            let message = &bytes[..length];
            let (prefixed, plain) = both(Lane::with_first(0, message), Lane::of(message));
            let wanted: [u8; 32] = Sha256::new_with_prefix([0])
                .chain_update(message)
                .finalize()
                .into();
            assert_eq!(prefixed, wanted, "{length}");
            assert_eq!(plain, <[u8; 32]>::from(Sha256::digest(message)), "{length}");
        }
    }
}
