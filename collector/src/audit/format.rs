//! Frames: how one record lies in a file.

use super::leaf::leaf;
use norma_tlog::Hash as Leaf;
use norma_wire::text::Hex;
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;

/// First bytes of every file of the log.
pub const MAGIC: [u8; 16] = *b"norma audit v03\n";
/// Version of the format, in the magic and in the header record.
pub const FORMAT: u32 = 3;
/// Bounds what a damaged length can make a reader allocate; a file header with the watermarks of a large
/// fleet is the largest record.
pub const MAX_PAYLOAD: usize = 16 << 20;
/// Bytes of a frame before its payload.
pub const PREFIX: usize = 8;
/// Bytes of a frame besides its payload.
pub const OVERHEAD: usize = PREFIX + 32;

/// The version that a file states, where it is another one of such files.
pub fn version_of(magic: &[u8; MAGIC.len()]) -> Option<u32> {
    let version = magic.strip_prefix(b"norma audit v")?.strip_suffix(b"\n")?;
    std::str::from_utf8(version).ok()?.parse().ok()
}

/// A link of the chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// Before the first record of a log.
    pub const ZERO: Self = Self([0; 32]);

    /// The link after this one for a record with this leaf hash, which stands for all of its payload: who has worked
    /// out the leaf has the link for the hash of 64 bytes more.
    pub fn then(&self, leaf: &Leaf) -> Self {
        Self(Sha256::digest(self.before(leaf)).into())
    }

    /// What is hashed for that.
    pub fn before(&self, leaf: &Leaf) -> [u8; 64] {
        let mut bytes = [0; 64];
        let (here, there) = bytes.split_at_mut(32);
        here.copy_from_slice(&self.0);
        there.copy_from_slice(&leaf.0);
        bytes
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hex(&self.0).fmt(f)
    }
}

impl FromStr for Hash {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a hash of 64 hex digits");
        if text.len() != 64 || !text.is_ascii() {
            return Err(wrong());
        }
        let mut hash = [0; 32];
        for (byte, digits) in hash.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let digits = std::str::from_utf8(digits).map_err(|_| wrong())?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| wrong())?;
        }
        Ok(Self(hash))
    }
}

/// A frame, as it lies in a file.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Length and checksum.
    pub prefix: &'a [u8],
    /// The record.
    pub payload: &'a [u8],
    /// Its leaf of the segment's tree.
    pub leaf: Leaf,
    /// Its link of the chain.
    pub hash: Hash,
}

impl<'a> Frame<'a> {
    /// Bytes that it takes.
    pub fn len(&self) -> u64 {
        (OVERHEAD + self.payload.len()) as u64
    }

    /// Takes the first frame off `bytes`, which this process has written with that leaf; `None` at their end.
    pub fn take(bytes: &mut &'a [u8], leaf: Leaf) -> Option<Self> {
        let (prefix, rest) = bytes.split_at_checked(PREFIX)?;
        let length = u32::from_le_bytes(*prefix.first_chunk()?);
        let (payload, rest) = rest.split_at_checked(length as usize)?;
        let (hash, rest) = rest.split_first_chunk()?;
        *bytes = rest;
        Some(Self {
            prefix,
            payload,
            leaf,
            hash: Hash(*hash),
        })
    }
}

/// Why bytes are not a frame.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The file ends within the frame.
    #[error("the file ends within the record: {have} of {need} bytes are there")]
    Incomplete {
        /// Bytes up to the end of the file.
        have: u64,
        /// Bytes that the frame needs, as far as known.
        need: u64,
    },
    /// No frame has this length.
    #[error("a record cannot have a length of {0} bytes")]
    Length(u32),
    /// The frame is whole and not what was written.
    #[error("the checksum does not match the record")]
    Checksum,
    /// The file cannot be read.
    #[error("cannot read: {0}")]
    Io(#[from] io::Error),
}

/// Appends a frame with `payload` to `out` and gives its leaf and its chain hash.
pub fn push_frame(out: &mut Vec<u8>, previous: &Hash, payload: &[u8]) -> (Leaf, Hash) {
    let leaf = leaf(payload);
    let hash = previous.then(&leaf);
    let length = (payload.len() as u32).to_le_bytes();
    out.extend_from_slice(&length);
    out.extend_from_slice(&checksum(length, payload, &hash).to_le_bytes());
    out.extend_from_slice(payload);
    out.extend_from_slice(&hash.0);
    (leaf, hash)
}

/// Reads the frame that `input` is at, of which `remaining` bytes of file are left.
pub fn read_frame(input: &mut impl Read, remaining: u64) -> Result<Vec<u8>, FrameError> {
    let mut prefix = [0; PREFIX];
    if remaining >= PREFIX as u64 {
        input.read_exact(&mut prefix)?;
    }
    let length = payload_length(&prefix, remaining)?;
    let mut frame = vec![0; OVERHEAD + length];
    let (head, rest) = frame.split_at_mut(PREFIX);
    head.copy_from_slice(&prefix);
    input.read_exact(rest)?;
    if is_sound(&frame) {
        Ok(frame)
    } else {
        Err(FrameError::Checksum)
    }
}

/// Length of the payload of a frame that begins with `prefix`, from which on `remaining` bytes of the file are left; the
/// prefix is not looked at where it is not whole.
pub fn payload_length(prefix: &[u8; PREFIX], remaining: u64) -> Result<usize, FrameError> {
    if remaining < PREFIX as u64 {
        return Err(FrameError::Incomplete {
            have: remaining,
            need: OVERHEAD as u64,
        });
    }
    let [l0, l1, l2, l3, ..] = *prefix;
    let length = u32::from_le_bytes([l0, l1, l2, l3]);
    if length == 0 || length as usize > MAX_PAYLOAD {
        return Err(FrameError::Length(length));
    }
    let need = OVERHEAD as u64 + u64::from(length);
    if remaining < need {
        return Err(FrameError::Incomplete {
            have: remaining,
            need,
        });
    }
    Ok(length as usize)
}

/// Whether the checksum of a whole frame holds.
pub fn is_sound(frame: &[u8]) -> bool {
    let Some(([l0, l1, l2, l3, c0, c1, c2, c3], rest)) = frame.split_first_chunk() else {
        return false;
    };
    let length = crc32c::crc32c(&[*l0, *l1, *l2, *l3]);
    crc32c::crc32c_append(length, rest) == u32::from_le_bytes([*c0, *c1, *c2, *c3])
}

/// Where in `bytes` the first whole frame begins, if any.
///
/// Every payload begins with the tag of the record's index, which is never zero; that passes over nearly
/// all places at the cost of one look.
pub fn find_frame(bytes: &[u8]) -> Option<usize> {
    const INDEX_TAG: u8 = 1 << 3;
    (0..bytes.len().saturating_sub(OVERHEAD)).find(|&at| {
        let rest = &bytes[at..];
        rest.get(PREFIX) == Some(&INDEX_TAG) && read_frame(&mut &rest[..], rest.len() as u64).is_ok()
    })
}

fn checksum(length: [u8; 4], payload: &[u8], hash: &Hash) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(crc32c::crc32c(&length), payload), &hash.0)
}
