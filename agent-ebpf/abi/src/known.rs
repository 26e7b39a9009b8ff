//! The table of behaviours that the kernel side recognises.
//!
//! A behaviour is known by an identity: a keyed hash of what the kernel compares, made by the kernel side alone.
//! It travels to the agent with the record of an act, and back as an entry of the table when the agent holds the
//! act for expected. Whoever does not know the key, which is another one each time the agent starts, cannot make up
//! names whose identities collide.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Entries of a bucket.
pub const KNOWN_WAYS: usize = 4;
/// Words that an identity is made of.
pub const IDENTITY_WORDS: usize = 17;
/// Identities that each processor has found in the table and remembers with their words; a power of two.
pub const KNOWN_MEMORY: u32 = 512;

/// Value of the table: a cache line of entries. An identity may stand in either of two buckets.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct KnownBucket {
    /// Identities; 0 for a free entry.
    pub identities: [u64; KNOWN_WAYS],
    /// How often each was recognised. It only ever grows, whoever stands in the entry.
    pub counts: [u64; KNOWN_WAYS],
}

/// Connections at one time that the kernel side remembers to have recognised; of those beyond it the end is reported.
pub const KNOWN_CONNECTIONS: u32 = 16_384;
/// Identities of connections that there can be in the table.
pub const KNOWN_TRAFFICS: u32 = 8_192;

/// What became of the connections that were recognised by one identity. It only ever grows.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Traffic {
    /// Those that the workload began and that were established.
    pub established: u64,
    /// Those that are over.
    pub ended: u64,
    /// Attempts that came to nothing.
    pub failed: u64,
    /// Payload bytes sent by those that are over, without what was sent again.
    pub sent: u64,
    /// Payload bytes that they received.
    pub received: u64,
}

/// The buckets that an identity may stand in, of a table with `mask` + 1 of them, a power of two.
#[inline(always)]
#[must_use]
pub const fn known_buckets(identity: u64, mask: u32) -> [u32; 2] {
    [identity as u32 & mask, (identity >> 32) as u32 & mask]
}

/// SipHash-1-3 of words, as of their bytes in little-endian order.
#[inline(always)]
#[must_use]
pub fn siphash<const N: usize>(key: [u64; 2], word: impl Fn(usize) -> u64) -> u64 {
    let mut state = [
        key[0] ^ 0x736f_6d65_7073_6575,
        key[1] ^ 0x646f_7261_6e64_6f6d,
        key[0] ^ 0x6c79_6765_6e65_7261,
        key[1] ^ 0x7465_6462_7974_6573,
    ];
    let mut at = 0;
    while at < N {
        absorb(&mut state, word(at));
        at += 1;
    }
    absorb(&mut state, (8 * N as u64) << 56);
    state[2] ^= 0xff;
    round(&mut state);
    round(&mut state);
    round(&mut state);
    state[0] ^ state[1] ^ state[2] ^ state[3]
}

#[inline(always)]
fn absorb(state: &mut [u64; 4], word: u64) {
    state[3] ^= word;
    round(state);
    state[0] ^= word;
}

#[inline(always)]
fn round(state: &mut [u64; 4]) {
    let [mut a, mut b, mut c, mut d] = *state;
    a = a.wrapping_add(b);
    b = b.rotate_left(13) ^ a;
    a = a.rotate_left(32);
    c = c.wrapping_add(d);
    d = d.rotate_left(16) ^ c;
    a = a.wrapping_add(d);
    d = d.rotate_left(21) ^ a;
    c = c.wrapping_add(b);
    b = b.rotate_left(17) ^ c;
    c = c.rotate_left(32);
    *state = [a, b, c, d];
}

const _: () = assert!(size_of::<KnownBucket>() == 64);
const _: () = assert!(size_of::<Traffic>() == 40);
