//! Segment files.
//!
//! ```text
//! header   "NORMASPL"  u32 version = 1  u64 epoch  u64 first sequence         28 bytes
//! record   u32 length of payload  u32 CRC-32C of payload  payload             repeated
//! payload  MessagePack array [sequence, kind, keep, event bytes]
//! ```
//!
//! Integers are little-endian. Sequences ascend; in a segment that was reduced to keep the bound they have
//! gaps. [`Scanner`] reads any bytes without trusting them: after damage it goes on with the next intact
//! record, and an unfinished record at the end is told apart from damage.

use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

const MAGIC: &[u8; 8] = b"NORMASPL";
const VERSION: u32 = 1;
/// Length of the header.
pub const HEADER_LEN: usize = 28;
/// Length of what stands before each payload.
pub const FRAME_LEN: usize = 8;
/// Longest payload; an event is far shorter.
pub const PAYLOAD_MAX: usize = 1 << 20;
/// First byte of every payload: a MessagePack array of four.
const PAYLOAD_START: u8 = 0x94;

/// What a segment says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Epoch of the spool.
    pub epoch: u64,
    /// Sequence of the first record that was ever in it.
    pub first: u64,
}

/// A stored event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its sequence.
    pub sequence: u64,
    /// Its kind, as the contract numbers it.
    pub kind: i32,
    /// It is dropped last.
    pub keep: bool,
    /// The encoded event.
    pub event: serde_bytes::ByteBuf,
}

/// Something found in a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// An intact record.
    Record {
        /// The record.
        record: Record,
        /// Offset of the byte after it.
        end: u64,
    },
    /// Bytes that are no record, before an intact one or the end.
    Damaged {
        /// Offset of the first bad byte.
        from: u64,
        /// Offset of the byte after the last.
        to: u64,
    },
    /// The file ends within a record.
    Torn {
        /// Offset of that record.
        offset: u64,
    },
}

/// Reads a segment from its beginning, or goes on where an earlier reading ended.
pub struct Scanner {
    /// The file from `base` on.
    bytes: Vec<u8>,
    base: u64,
    header: Header,
    offset: usize,
    last: u64,
}

impl Scanner {
    /// Reads a file.
    ///
    /// # Errors
    /// `InvalidData` where it does not begin with a header.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::new(std::fs::read(path)?)
    }

    /// Reads bytes.
    ///
    /// # Errors
    /// `InvalidData` where they do not begin with a header.
    pub fn new(bytes: Vec<u8>) -> io::Result<Self> {
        let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
        let head = bytes
            .get(..HEADER_LEN)
            .ok_or_else(|| invalid("too short for a segment header"))?;
        if &head[..8] != MAGIC {
            return Err(invalid("not an outbox segment"));
        }
        if u32_at(head, 8) != Some(VERSION) {
            return Err(invalid("outbox segment of an unknown version"));
        }
        let header = Header {
            epoch: u64_at(head, 12).unwrap_or(0),
            first: u64_at(head, 20).unwrap_or(0),
        };
        Ok(Self {
            bytes,
            base: 0,
            offset: HEADER_LEN,
            last: header.first.saturating_sub(1),
            header,
        })
    }

    /// Reads what was appended to a file since a reading that ended at `offset` after the record `last`.
    pub fn resume(path: &Path, offset: u64, last: u64) -> io::Result<Self> {
        let mut file = File::open(path)?;
        file.seek(io::SeekFrom::Start(offset))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(Self {
            bytes,
            base: offset,
            header: Header {
                epoch: 0,
                first: last + 1,
            },
            offset: 0,
            last,
        })
    }

    /// What the segment says of itself.
    pub fn header(&self) -> Header {
        self.header
    }

    /// The record at an offset, with the offset after it.
    fn record_at(&self, offset: usize) -> Option<(Record, usize)> {
        let length = u32_at(&self.bytes, offset)? as usize;
        let checksum = u32_at(&self.bytes, offset + 4)?;
        let start = offset + FRAME_LEN;
        if length == 0 || length > PAYLOAD_MAX || self.bytes.get(start) != Some(&PAYLOAD_START) {
            return None;
        }
        let payload = self.bytes.get(start..start.checked_add(length)?)?;
        if crc32c::crc32c(payload) != checksum {
            return None;
        }
        let record: Record = rmp_serde::from_slice(payload).ok()?;
        (record.sequence > self.last).then_some((record, start + length))
    }

    /// Whether what stands at the offset is the beginning of a record that the file is too short for.
    fn is_torn_at(&self, offset: usize) -> bool {
        let rest = self.bytes.len() - offset;
        match u32_at(&self.bytes, offset) {
            None => true,
            Some(length) => {
                let length = length as usize;
                let fits_nowhere = length <= PAYLOAD_MAX && FRAME_LEN + length > rest;
                // Blocks that were allocated and never written read as zeros.
                fits_nowhere || self.bytes[offset..].iter().all(|byte| *byte == 0)
            }
        }
    }
}

impl Iterator for Scanner {
    type Item = Item;

    fn next(&mut self) -> Option<Item> {
        let from = self.offset;
        if from >= self.bytes.len() {
            return None;
        }
        if let Some((record, end)) = self.record_at(from) {
            self.last = record.sequence;
            self.offset = end;
            return Some(Item::Record {
                record,
                end: self.base + end as u64,
            });
        }
        let next = (from + 1..self.bytes.len()).find(|offset| self.record_at(*offset).is_some());
        let to = next.unwrap_or(self.bytes.len());
        self.offset = to;
        if next.is_none() && self.is_torn_at(from) {
            return Some(Item::Torn {
                offset: self.base + from as u64,
            });
        }
        Some(Item::Damaged {
            from: self.base + from as u64,
            to: self.base + to as u64,
        })
    }
}

/// A segment that is being written.
pub struct SegmentFile {
    file: Arc<File>,
    first: u64,
    bytes: u64,
}

impl SegmentFile {
    /// Makes a new segment; one of the same name, which can only be a leftover without records, is replaced.
    pub fn create(path: &Path, epoch: u64, first: u64) -> io::Result<Self> {
        let mut head = Vec::with_capacity(HEADER_LEN);
        head.extend_from_slice(MAGIC);
        head.extend_from_slice(&VERSION.to_le_bytes());
        head.extend_from_slice(&epoch.to_le_bytes());
        head.extend_from_slice(&first.to_le_bytes());
        let mut file = File::create(path)?;
        let written = file.write_all(&head).and_then(|()| match path.parent() {
            Some(parent) => File::open(parent)?.sync_all(),
            None => Ok(()),
        });
        if let Err(error) = written {
            drop(file);
            std::fs::remove_file(path)?;
            return Err(error);
        }
        Ok(Self {
            file: Arc::new(file),
            first,
            bytes: HEADER_LEN as u64,
        })
    }

    /// Sequence of its first record.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// Its length.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The file, for bringing it to stable storage elsewhere.
    pub fn handle(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    /// Appends a record; a record that could not be written whole leaves no trace.
    pub fn append(&mut self, record: &Record) -> io::Result<()> {
        let frame = frame(record)?;
        if let Err(error) = self.file.write_all_at(&frame, self.bytes) {
            // A failure here is repaired by the next write at the same place, or by recovery.
            self.file.set_len(self.bytes).ok();
            return Err(error);
        }
        self.bytes += frame.len() as u64;
        Ok(())
    }

    /// Brings it to stable storage.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

fn frame(record: &Record) -> io::Result<Vec<u8>> {
    let payload = rmp_serde::to_vec(record).map_err(io::Error::other)?;
    if payload.len() > PAYLOAD_MAX {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "event is too large for the outbox",
        ));
    }
    let mut frame = Vec::with_capacity(FRAME_LEN + payload.len());
    frame.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    frame.extend_from_slice(&crc32c::crc32c(&payload).to_le_bytes());
    frame.extend_from_slice(&payload);
    Ok(frame)
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_le_bytes(
        bytes.get(offset..offset.checked_add(4)?)?.try_into().ok()?,
    ))
}

fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    Some(u64::from_le_bytes(
        bytes.get(offset..offset.checked_add(8)?)?.try_into().ok()?,
    ))
}
