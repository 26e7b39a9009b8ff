//! Walking one file record by record, checking everything that can be checked on the way.

use super::format::{FORMAT, Frame, FrameError, Hash, MAGIC, OVERHEAD, version_of};
use super::frames::{Frames, Place, Plain};
use super::watermark::{SequenceFault, Watermarks};
use norma_wire::audit::{FileHeader, Record, record::Body};
use norma_wire::head;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;

/// What is wrong with a record.
#[derive(Debug, thiserror::Error)]
pub enum Defect {
    /// Not a file of the log, or its first bytes were changed.
    #[error("the file does not begin as an audit file does")]
    Magic,
    /// Not a whole record.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// Whole, but not the record that followed the one before when it was written.
    #[error(
        "the chain hash does not follow from the record before: this record was changed, or records before it were removed, swapped or inserted"
    )]
    Chain,
    /// Chained, but not a record.
    #[error("the payload is not a record: {0}")]
    Payload(#[from] prost::DecodeError),
    /// Records are numbered without gaps.
    #[error("the record has index {found} where {expected} is next")]
    Index {
        /// What it has.
        found: u64,
        /// What it should have.
        expected: u64,
    },
    /// The first record of a file must be a header, and no other may be.
    #[error("a file header is not where it must be")]
    Header,
    /// Written by another version.
    #[error(
        "its format is {0}, and this version reads format {FORMAT}; use the norma-collector that wrote it"
    )]
    Format(u32),
    /// The header does not continue the file before.
    #[error("the header does not continue the file before it: {0}")]
    Discontinuous(&'static str),
    /// An event twice, out of order, or after a gap that was not recorded.
    #[error(transparent)]
    Sequence(#[from] SequenceFault),
}

impl Defect {
    /// Whether a crash in the middle of a write can look like this.
    pub fn may_be_torn(&self) -> bool {
        matches!(
            self,
            Self::Magic
                | Self::Frame(FrameError::Incomplete { .. } | FrameError::Length(_) | FrameError::Checksum)
        )
    }
}

/// Where a log stands after a record.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Index of the newest record, 0 before the first.
    pub index: u64,
    /// Its chain hash.
    pub hash: Hash,
    /// How far each outbox is stored.
    pub watermarks: Watermarks,
}

/// A file being walked.
#[derive(Debug)]
pub struct Scan<F> {
    frames: F,
    length: u64,
    offset: u64,
    first_index: u64,
    continues: bool,
    header_seen: bool,
    state: State,
    /// The one that was read last.
    record: Record,
}

/// A record that was read.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// It.
    pub record: &'a Record,
    /// The frame that it lies in.
    pub frame: Frame<'a>,
    /// Where its event belongs.
    pub place: Option<&'a Place>,
    /// SHA-256 of its event.
    pub event: Option<head::Hash>,
}

/// A file being walked in the way of [`Scan::open`].
pub type FileScan = Scan<Plain<BufReader<File>>>;

impl FileScan {
    /// Begins to walk the file at `path`, of which what is there now is read.
    pub fn open(path: &Path, first_index: u64, before: Option<State>) -> io::Result<Self> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        Ok(Self::new(
            Plain::new(BufReader::with_capacity(1 << 18, file)),
            length,
            first_index,
            before,
        ))
    }
}

impl<F: Frames> Scan<F> {
    /// Begins to walk `length` bytes of a file whose first record is `first_index`; `before` is the state
    /// after the file before, where that is known.
    pub fn new(frames: F, length: u64, first_index: u64, before: Option<State>) -> Self {
        Self {
            frames,
            length,
            offset: 0,
            first_index,
            continues: before.is_some(),
            header_seen: false,
            state: before.unwrap_or_default(),
            record: Record::default(),
        }
    }

    /// Goes on with a file of `length` bytes at `offset`, where `frames` are and the log stands at `state`.
    pub fn resume(frames: F, length: u64, offset: u64, state: State) -> Self {
        Self {
            offset,
            header_seen: true,
            ..Self::new(frames, length, state.index, Some(state))
        }
    }

    /// The next record; `None` at the end of the file.
    ///
    /// After a defect, [`Self::offset`] is where the bad record begins and [`Self::into_state`] what was proven
    /// before it.
    pub fn next(&mut self) -> Result<Option<Found<'_>>, Defect> {
        if self.offset == 0 {
            self.read_magic()?;
        } else if self.offset == self.length && self.header_seen {
            return Ok(None);
        }
        let taken = self.frames.next_frame(self.length - self.offset)?;
        let record = taken.record();
        let state = &mut self.state;
        if !self.header_seen && !self.continues {
            state.hash = claimed_hash(record.clone()?)?;
            state.index = self.first_index.wrapping_sub(1);
        }
        // What is stored before it was found to be the hash that the log stood at.
        let follows = taken.follows;
        if !follows.unwrap_or_else(|| state.hash.then(&taken.leaf) == taken.hash) {
            return Err(Defect::Chain);
        }
        self.record = record?;
        let record = &self.record;
        let expected = state.index.wrapping_add(1);
        if record.index != expected {
            return Err(Defect::Index {
                found: record.index,
                expected,
            });
        }
        match &record.body {
            Some(Body::Header(header)) if !self.header_seen => {
                let before = self.continues.then_some(&*state);
                state.watermarks = checked(header, self.first_index, before)?;
            }
            Some(Body::Header(_)) => return Err(Defect::Header),
            _ if !self.header_seen => return Err(Defect::Header),
            Some(body) => state.watermarks.follow(body, taken.place.as_ref())?,
            // A kind of record that only a newer version knows.
            None => {}
        }
        self.header_seen = true;
        state.index = record.index;
        state.hash = taken.hash;
        let frame = taken.frame();
        self.offset += frame.len();
        Ok(Some(Found {
            record,
            frame,
            place: taken.place.as_ref(),
            event: taken.event,
        }))
    }

    /// Where in the file the next record begins.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Index that the next record must have.
    pub fn next_index(&self) -> u64 {
        if self.header_seen || self.continues {
            self.state.index.wrapping_add(1)
        } else {
            self.first_index
        }
    }

    /// Whether not even the first record of the file was read.
    pub fn is_empty(&self) -> bool {
        !self.header_seen
    }

    /// Whether nothing of the file is left.
    pub fn is_at_end(&self) -> bool {
        self.offset == self.length
    }

    /// Where the log stands.
    pub fn into_state(self) -> State {
        self.state
    }

    fn read_magic(&mut self) -> Result<(), Defect> {
        if self.length < MAGIC.len() as u64 {
            let need = (MAGIC.len() + OVERHEAD) as u64;
            return Err(FrameError::Incomplete {
                have: self.length,
                need,
            }
            .into());
        }
        let magic = self.frames.magic().map_err(FrameError::Io)?;
        if magic != MAGIC {
            return Err(version_of(&magic).map_or(Defect::Magic, Defect::Format));
        }
        self.offset = MAGIC.len() as u64;
        Ok(())
    }
}

/// The hash before a file that is read without the one before it, as its header claims it.
fn claimed_hash(first: Record) -> Result<Hash, Defect> {
    match first.body {
        Some(Body::Header(header)) => header
            .previous_hash
            .try_into()
            .map(Hash)
            .map_err(|_| Defect::Header),
        _ => Err(Defect::Header),
    }
}

/// How far each outbox is stored by the header of the file that begins with record `first_index`, which must continue
/// the file that ended as `before` says, where that is known.
fn checked(header: &FileHeader, first_index: u64, before: Option<&State>) -> Result<Watermarks, Defect> {
    if header.format != FORMAT {
        return Err(Defect::Format(header.format));
    }
    let watermarks = Watermarks::from(header.watermarks.clone());
    if let Some(before) = before {
        if first_index != before.index.wrapping_add(1) {
            return Err(Defect::Discontinuous(
                "the name of the file is not that of its first record",
            ));
        }
        if header.previous_hash != before.hash.0 {
            return Err(Defect::Discontinuous("it names another hash"));
        }
        if watermarks != before.watermarks {
            return Err(Defect::Discontinuous("it states other sequences"));
        }
    }
    Ok(watermarks)
}
