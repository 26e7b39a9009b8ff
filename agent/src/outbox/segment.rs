//! Segment files.
//!
//! ```text
//! header   "NORMASPL"  u32 version = 3  u64 epoch  u64 first sequence  u32 CRC-32C of these     32 bytes
//! frame    u32 length of payload  u32 CRC-32C of payload  payload             repeated
//! payload  record: MessagePack array [sequence, kind, keep, event bytes]
//!          mark:   MessagePack array [1, first sequence, last sequence, cause, counts by kind]
//!          pack:   byte 0xc1, then a zstd frame (RFC 8878) of frames with records
//! ```
//!
//! Integers are little-endian. Sequences ascend. A segment is written as records; one that was rewritten has
//! packs, and marks that state what was dropped from it ([`super::rewrite`]). 0xc1 begins no MessagePack value.
//! Version 1 had records only, and version 2 no checksum in its header; a later one must keep this header, so that a
//! changed version is told from another one. [`Scanner`] reads any bytes without trusting them: after damage it goes on with
//! the next intact frame, and an unfinished record at the end is told apart from damage.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

const MAGIC: &[u8; 8] = b"NORMASPL";
const VERSION: u32 = 3;
/// The versions without a checksum in the header, which are read as well.
const UNCHECKED: std::ops::RangeInclusive<u32> = 1..=2;
/// Length of the header.
pub const HEADER_LEN: usize = 32;
/// Length of the header of the older versions, which is what the checksum is of.
pub const UNCHECKED_LEN: usize = 28;
/// Length of what stands before each payload.
pub const FRAME_LEN: usize = 8;
/// Longest payload; an event is far shorter.
pub const PAYLOAD_MAX: usize = 1 << 20;
/// First byte of a record: a MessagePack array of four.
const RECORD_START: u8 = 0x94;
/// First byte of a mark: a MessagePack array of five.
const MARK_START: u8 = 0x95;
/// First byte of a pack.
const PACK_START: u8 = 0xc1;
/// What a pack holds at the most: the size at which one is closed, and a record of any length.
const PACK_MAX: usize = PACK_BYTES + FRAME_LEN + PAYLOAD_MAX;
/// Size at which a pack is closed, in bytes of frames: damage costs one, and longer ones compress little better.
pub const PACK_BYTES: usize = 256 << 10;
/// zstd's fastest ordinary level: a few percent more space than level 3 for half of its time.
const PACK_LEVEL: i32 = 1;

/// What a segment says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Epoch of the spool.
    pub epoch: u64,
    /// Sequence of the first record that was ever in it.
    pub first: u64,
    /// A checksum says that this is what was written.
    pub checked: bool,
}

impl Header {
    /// Reads it, with its length.
    fn read(bytes: &[u8]) -> io::Result<(Self, usize)> {
        let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
        let head = bytes
            .get(..UNCHECKED_LEN)
            .ok_or_else(|| invalid("too short for a segment header"))?;
        if &head[..8] != MAGIC {
            return Err(invalid("not an outbox segment"));
        }
        let version = u32_at(head, 8).unwrap_or(0);
        let checked = u32_at(bytes, UNCHECKED_LEN) == Some(crc32c::crc32c(head));
        // The version itself may be what was damaged.
        let would_be = [&head[..8], &VERSION.to_le_bytes(), &head[12..]].concat();
        let length = match version {
            VERSION if checked => HEADER_LEN,
            _ if u32_at(bytes, UNCHECKED_LEN) == Some(crc32c::crc32c(&would_be)) => {
                return Err(invalid("damaged segment header"));
            }
            _ if UNCHECKED.contains(&version) => UNCHECKED_LEN,
            VERSION.. if checked => {
                return Err(io::Error::new(
                    io::ErrorKind::Unsupported,
                    "outbox segment of a version that this agent does not know",
                ));
            }
            _ => return Err(invalid("damaged segment header")),
        };
        let header = Self {
            epoch: u64_at(head, 12).unwrap_or(0),
            first: u64_at(head, 20).unwrap_or(0),
            checked: checked && length == HEADER_LEN,
        };
        Ok((header, length))
    }

    /// Reads that of a file.
    pub fn of(path: &Path) -> io::Result<Self> {
        let mut bytes = Vec::with_capacity(HEADER_LEN);
        File::open(path)?
            .take(HEADER_LEN as u64)
            .read_to_end(&mut bytes)?;
        Ok(Self::read(&bytes)?.0)
    }

    fn bytes(self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.epoch.to_le_bytes());
        bytes[20..28].copy_from_slice(&self.first.to_le_bytes());
        let checksum = crc32c::crc32c(&bytes[..UNCHECKED_LEN]);
        bytes[28..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Writes it over what stands there, in the form that the frames of the file leave room for.
    pub fn mend(self, path: &Path) -> io::Result<()> {
        let modified = std::fs::metadata(path)?.modified()?;
        let mut bytes = self.bytes();
        let is_older = payload_at(&std::fs::read(path)?, UNCHECKED_LEN).is_some();
        let bytes = if is_older {
            bytes[8..12].copy_from_slice(&UNCHECKED.end().to_le_bytes());
            &bytes[..UNCHECKED_LEN]
        } else {
            &bytes[..]
        };
        let file = File::options().write(true).open(path)?;
        file.write_all_at(bytes, 0)?;
        file.sync_all()?;
        // Its age is that of what is in it.
        file.set_modified(modified)
    }
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

/// What was dropped from a segment. Its event of loss may be in the spool already, or not yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Sequence of the first event that was dropped.
    pub first: u64,
    /// Sequence of the last.
    pub last: u64,
    /// Why, as `LossCause` of the contract numbers it.
    pub cause: i32,
    /// How many, by kind.
    pub counts: BTreeMap<String, u64>,
}

/// A mark as it is written.
#[derive(Serialize, Deserialize)]
struct MarkForm(u8, u64, u64, i32, BTreeMap<String, u64>);

/// Tells forms of marks apart.
const MARK_FORM: u8 = 1;

/// Something found in a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// An intact record.
    Record {
        /// The record.
        record: Record,
        /// Offset of the byte after it, or after the pack that holds it.
        end: u64,
    },
    /// A statement of what was dropped.
    Mark {
        /// The mark.
        mark: Mark,
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
    /// Records of the pack that ends at `offset`.
    unpacked: VecDeque<Record>,
}

/// What an intact frame holds.
enum Frame {
    Record(Record),
    Mark(Mark),
    Pack(VecDeque<Record>),
}

impl Scanner {
    /// Reads a file.
    ///
    /// # Errors
    /// `InvalidData` where it does not begin with a header, `Unsupported` where it is of a later version.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::new(std::fs::read(path)?)
    }

    /// Reads bytes.
    ///
    /// # Errors
    /// `InvalidData` where they do not begin with a header, `Unsupported` where they are of a later version.
    pub fn new(bytes: Vec<u8>) -> io::Result<Self> {
        let (header, offset) = Header::read(&bytes)?;
        Ok(Self {
            bytes,
            base: 0,
            offset,
            last: header.first.saturating_sub(1),
            header,
            unpacked: VecDeque::new(),
        })
    }

    /// Reads the frames of a file whose header says nothing, and which is named by `first`.
    pub fn open_headless(path: &Path, first: u64) -> io::Result<Self> {
        let bytes = std::fs::read(path)?;
        Ok(Self {
            offset: UNCHECKED_LEN.min(bytes.len()),
            bytes,
            base: 0,
            last: first.saturating_sub(1),
            header: Header {
                epoch: 0,
                first,
                checked: false,
            },
            unpacked: VecDeque::new(),
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
                checked: false,
            },
            offset: 0,
            last,
            unpacked: VecDeque::new(),
        })
    }

    /// What the segment says of itself.
    pub fn header(&self) -> Header {
        self.header
    }

    /// The intact frame at an offset, with the offset after it.
    fn frame_at(&self, offset: usize) -> Option<(Frame, usize)> {
        let (payload, end) = payload_at(&self.bytes, offset)?;
        let frame = match *payload.first()? {
            RECORD_START => Frame::Record(record_after(payload, self.last)?),
            MARK_START => {
                let MarkForm(form, first, last, cause, counts) = rmp_serde::from_slice(payload).ok()?;
                let mark = Mark {
                    first,
                    last,
                    cause,
                    counts,
                };
                (form == MARK_FORM && mark.first <= mark.last).then_some(Frame::Mark(mark))?
            }
            PACK_START => Frame::Pack(unpack(&payload[1..], self.last)?),
            _ => return None,
        };
        Some((frame, end))
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
        if let Some(record) = self.unpacked.pop_front() {
            self.last = record.sequence;
            let end = self.base + from as u64;
            return Some(Item::Record { record, end });
        }
        if from >= self.bytes.len() {
            return None;
        }
        if let Some((frame, end)) = self.frame_at(from) {
            self.offset = end;
            let end = self.base + end as u64;
            return match frame {
                Frame::Record(record) => {
                    self.last = record.sequence;
                    Some(Item::Record { record, end })
                }
                Frame::Mark(mark) => Some(Item::Mark { mark, end }),
                Frame::Pack(records) => {
                    self.unpacked = records;
                    self.next()
                }
            };
        }
        let next = (from + 1..self.bytes.len()).find(|offset| self.frame_at(*offset).is_some());
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

/// The payload of the frame at an offset, where its checksum holds, with the offset after it.
fn payload_at(bytes: &[u8], offset: usize) -> Option<(&[u8], usize)> {
    let length = u32_at(bytes, offset)? as usize;
    let checksum = u32_at(bytes, offset + 4)?;
    let start = offset + FRAME_LEN;
    let known = [RECORD_START, MARK_START, PACK_START];
    if length == 0 || length > PAYLOAD_MAX || !bytes.get(start).is_some_and(|first| known.contains(first)) {
        return None;
    }
    let end = start.checked_add(length)?;
    let payload = bytes.get(start..end)?;
    (crc32c::crc32c(payload) == checksum).then_some((payload, end))
}

fn record_after(payload: &[u8], last: u64) -> Option<Record> {
    let record: Record = rmp_serde::from_slice(payload).ok()?;
    (record.sequence > last).then_some(record)
}

/// The records of a pack, of which there is at least one; `None` where it is not as it was written.
fn unpack(packed: &[u8], mut last: u64) -> Option<VecDeque<Record>> {
    let frames = zstd::bulk::decompress(packed, PACK_MAX).ok()?;
    let mut records = VecDeque::new();
    let mut offset = 0;
    while offset < frames.len() {
        let (payload, end) = payload_at(&frames, offset)?;
        let record = record_after(payload, last)?;
        last = record.sequence;
        records.push_back(record);
        offset = end;
    }
    (!records.is_empty()).then_some(records)
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
        let header = Header {
            epoch,
            first,
            checked: true,
        };
        let mut file = File::create(path)?;
        let written = file
            .write_all(&header.bytes())
            .and_then(|()| match path.parent() {
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
        self.write(&frame(record)?)
    }

    /// Appends what was dropped.
    pub fn append_mark(&mut self, mark: &Mark) -> io::Result<()> {
        let form = MarkForm(MARK_FORM, mark.first, mark.last, mark.cause, mark.counts.clone());
        self.write(&framed(&rmp_serde::to_vec(&form).map_err(io::Error::other)?)?)
    }

    /// Appends frames of records as a pack; as they are where that would not be shorter.
    pub fn append_pack(&mut self, frames: &[u8]) -> io::Result<()> {
        let mut payload = vec![PACK_START];
        payload.extend(zstd::bulk::compress(frames, PACK_LEVEL)?);
        if payload.len() + FRAME_LEN < frames.len() && payload.len() <= PAYLOAD_MAX {
            self.write(&framed(&payload)?)
        } else {
            self.write(frames)
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Err(error) = self.file.write_all_at(bytes, self.bytes) {
            // A failure here is repaired by the next write at the same place, or by recovery.
            self.file.set_len(self.bytes).ok();
            return Err(error);
        }
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Brings it to stable storage.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// A record with what stands before it.
pub(super) fn frame(record: &Record) -> io::Result<Vec<u8>> {
    framed(&rmp_serde::to_vec(record).map_err(io::Error::other)?)
}

fn framed(payload: &[u8]) -> io::Result<Vec<u8>> {
    if payload.len() > PAYLOAD_MAX {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "event is too large for the outbox",
        ));
    }
    let mut frame = Vec::with_capacity(FRAME_LEN + payload.len());
    frame.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    frame.extend_from_slice(&crc32c::crc32c(payload).to_le_bytes());
    frame.extend_from_slice(payload);
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
