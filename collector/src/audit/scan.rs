//! Walking one file record by record, checking everything that can be checked on the way.

use super::format::{FORMAT, Frame, FrameError, Hash, MAGIC, OVERHEAD, PREFIX, read_frame};
use super::watermark::{SequenceFault, Watermarks};
use norma_wire::audit::{FileHeader, Record, record::Body};
use prost::Message as _;
use std::fs::File;
use std::io::{self, BufReader, Read};
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
    /// Written by a newer version.
    #[error("format {0} is not known to this version; use a newer norma-collector")]
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
pub struct Scan<R> {
    input: R,
    length: u64,
    offset: u64,
    first_index: u64,
    continues: bool,
    header_seen: bool,
    state: State,
    prefix: [u8; PREFIX],
    payload: Vec<u8>,
}

impl Scan<BufReader<File>> {
    /// Begins to walk the file at `path`, of which what is there now is read.
    pub fn open(path: &Path, first_index: u64, before: Option<State>) -> io::Result<Self> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        Ok(Self::new(
            BufReader::with_capacity(1 << 18, file),
            length,
            first_index,
            before,
        ))
    }
}

impl<R: Read> Scan<R> {
    /// Begins to walk `length` bytes of a file whose first record is `first_index`; `before` is the state
    /// after the file before, where that is known.
    pub fn new(input: R, length: u64, first_index: u64, before: Option<State>) -> Self {
        Self {
            input,
            length,
            offset: 0,
            first_index,
            continues: before.is_some(),
            header_seen: false,
            state: before.unwrap_or_default(),
            prefix: [0; PREFIX],
            payload: Vec::new(),
        }
    }

    /// Goes on with a file of `length` bytes at `offset`, where `input` is and the log stands at `state`.
    pub fn resume(input: R, length: u64, offset: u64, state: State) -> Self {
        Self {
            offset,
            header_seen: true,
            ..Self::new(input, length, state.index, Some(state))
        }
    }

    /// The next record; `None` at the end of the file.
    ///
    /// After a defect, [`Self::offset`] is where the bad record begins and [`Self::state`] what was proven
    /// before it.
    pub fn next(&mut self) -> Result<Option<Record>, Defect> {
        if self.offset == 0 {
            self.read_magic()?;
        } else if self.offset == self.length && self.header_seen {
            return Ok(None);
        }
        let (prefix, hash) = read_frame(&mut self.input, self.length - self.offset, &mut self.payload)?;
        self.prefix = prefix;
        if !self.header_seen && !self.continues {
            self.state.hash = self.claimed_hash()?;
            self.state.index = self.first_index.wrapping_sub(1);
        }
        if self.state.hash.then(&self.payload) != hash {
            return Err(Defect::Chain);
        }
        let record = Record::decode(self.payload.as_slice())?;
        let expected = self.next_index();
        if record.index != expected {
            return Err(Defect::Index {
                found: record.index,
                expected,
            });
        }
        match &record.body {
            Some(Body::Header(header)) if !self.header_seen => self.check_header(header)?,
            Some(Body::Header(_)) => return Err(Defect::Header),
            _ if !self.header_seen => return Err(Defect::Header),
            Some(body) => self.state.watermarks.follow(body)?,
            // A kind of record that only a newer version knows.
            None => {}
        }
        self.header_seen = true;
        self.state.index = record.index;
        self.state.hash = hash;
        self.offset += (OVERHEAD + self.payload.len()) as u64;
        Ok(Some(record))
    }

    /// The frame of the record that was read last.
    pub fn frame(&self) -> Frame<'_> {
        Frame {
            prefix: &self.prefix,
            payload: &self.payload,
            hash: self.state.hash,
        }
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
    pub fn state(&self) -> &State {
        &self.state
    }

    /// As [`Self::state`], at the end.
    pub fn into_state(self) -> State {
        self.state
    }

    fn read_magic(&mut self) -> Result<(), Defect> {
        let mut magic = [0; MAGIC.len()];
        if self.length < magic.len() as u64 {
            let need = (magic.len() + OVERHEAD) as u64;
            return Err(FrameError::Incomplete {
                have: self.length,
                need,
            }
            .into());
        }
        self.input.read_exact(&mut magic).map_err(FrameError::Io)?;
        if magic != MAGIC {
            return Err(Defect::Magic);
        }
        self.offset = magic.len() as u64;
        Ok(())
    }

    /// The hash before a file that is read without the one before it, as its header claims it.
    fn claimed_hash(&self) -> Result<Hash, Defect> {
        match Record::decode(self.payload.as_slice())?.body {
            Some(Body::Header(header)) => header
                .previous_hash
                .as_slice()
                .try_into()
                .map(Hash)
                .map_err(|_| Defect::Header),
            _ => Err(Defect::Header),
        }
    }

    fn check_header(&mut self, header: &FileHeader) -> Result<(), Defect> {
        if header.format != FORMAT {
            return Err(Defect::Format(header.format));
        }
        let watermarks = Watermarks::from(header.watermarks.clone());
        if self.continues {
            if self.first_index != self.next_index() {
                return Err(Defect::Discontinuous(
                    "the name of the file is not that of its first record",
                ));
            }
            if header.previous_hash != self.state.hash.0 {
                return Err(Defect::Discontinuous("it names another hash"));
            }
            if watermarks != self.state.watermarks {
                return Err(Defect::Discontinuous("it states other sequences"));
            }
        }
        self.state.watermarks = watermarks;
        Ok(())
    }
}
