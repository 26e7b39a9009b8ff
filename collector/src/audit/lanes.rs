//! SHA-256 (FIPS 180-4) of many messages.
//!
//! Each block of a message waits for the one before it, and a processor that has nothing else to do waits with it. Where
//! blocks of other messages lie between, it works on these meanwhile: a third more in the same time where the
//! instructions for SHA-256 are there.

use norma_wire::head::Hash;
use sha2::compress256;
use sha2::digest::generic_array::{GenericArray, typenum::U64};
use std::array;

/// Messages at once.
const LANES: usize = 3;
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

/// SHA-256 of each message, in their order.
pub fn hash<'a>(messages: impl ExactSizeIterator<Item = &'a [u8]>) -> Vec<Hash> {
    let mut hashes = vec![Hash::default(); messages.len()];
    let mut waiting = hashes.iter_mut().zip(messages);
    let mut begin = || waiting.next().map(|(hash, message)| (hash, Lane::of(message)));
    let mut lanes: [_; LANES] = array::from_fn(|_| begin());
    while lanes.iter().any(Option::is_some) {
        for slot in &mut lanes {
            if let Some((hash, lane)) = slot
                && lane.step()
            {
                **hash = lane.digest();
                *slot = begin();
            }
        }
    }
    hashes
}

/// A message on its way.
#[derive(Debug)]
struct Lane<'a> {
    state: [u32; 8],
    bits: u64,
    rest: &'a [u8],
    /// Whether the bit after the message is there.
    ended: bool,
}

impl<'a> Lane<'a> {
    fn of(message: &'a [u8]) -> Self {
        Self {
            state: INITIAL,
            bits: message.len() as u64 * 8,
            rest: message,
            ended: false,
        }
    }

    /// Takes the next block; whether it was the last.
    fn step(&mut self) -> bool {
        if let Some((whole, rest)) = self.rest.split_at_checked(BLOCK) {
            self.rest = rest;
            self.take(whole);
            return false;
        }
        let mut block = [0; BLOCK];
        let mut filled = self.rest.len();
        block[..filled].copy_from_slice(self.rest);
        self.rest = &[];
        if !self.ended {
            self.ended = true;
            block[filled] = 0x80;
            filled += 1;
        }
        let is_last = filled <= LENGTH;
        if is_last {
            block[LENGTH..].copy_from_slice(&self.bits.to_be_bytes());
        }
        self.take(&block);
        is_last
    }

    fn take(&mut self, block: &[u8]) {
        let block: &GenericArray<u8, U64> = GenericArray::from_slice(block);
        compress256(&mut self.state, std::slice::from_ref(block));
    }

    fn digest(&self) -> Hash {
        let mut digest = Hash::default();
        for (bytes, word) in digest.chunks_exact_mut(4).zip(self.state) {
            bytes.copy_from_slice(&word.to_be_bytes());
        }
        digest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sha2::{Digest as _, Sha256};

    proptest! {
        #[test]
        fn each_is_what_it_is_alone(
            messages in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..12),
        ) {
            let alone: Vec<Hash> = messages.iter().map(|message| Sha256::digest(message).into()).collect();
            prop_assert_eq!(hash(messages.iter().map(Vec::as_slice)), alone);
        }
    }

    #[test]
    fn each_length_around_the_end_of_a_block_is_padded_rightly() {
        let bytes = [0x5a; 200];
        for length in 0..bytes.len() {
            let message = &bytes[..length];
            let alone: Hash = Sha256::digest(message).into();
            assert_eq!(hash([message].into_iter()), [alone], "{length}");
        }
    }
}
