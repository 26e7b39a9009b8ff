//! Where a scan gets the frames of a file from, and what everybody asks of a frame.

use super::format::{FrameError, Hash, MAGIC, PREFIX, read_frame};
use super::lanes::{self, Lane};
use super::watermark::Outbox;
use bytes::Bytes;
use norma_wire::audit::{Record, record::Body};
use norma_wire::head;
use norma_wire::id::EventHead;
use prost::{DecodeError, Message as _};
use std::io::{self, Read};

/// The bytes of a file, frame by frame.
pub trait Frames {
    /// The bytes with which the file begins; asked for once, before anything else.
    fn magic(&mut self) -> io::Result<[u8; MAGIC.len()]>;

    /// The next frame, from which on `remaining` bytes of the file are left.
    fn next_frame(&mut self, remaining: u64) -> Result<Taken, FrameError>;
}

/// A frame whose checksum holds.
#[derive(Debug)]
pub struct Taken {
    /// Length and checksum.
    pub prefix: [u8; PREFIX],
    /// The record.
    pub payload: Bytes,
    /// Its link of the chain, as it is stored.
    pub hash: Hash,
    /// What was found out of it by somebody else already.
    pub facts: Option<Facts>,
}

/// What can be said of a frame by itself.
#[derive(Debug)]
pub struct Facts {
    /// The link that it must have after the one that is stored before it in the file; `None` for the first.
    pub link: Option<Hash>,
    /// Its leaf of the segment's tree.
    pub leaf: norma_tlog::Hash,
    /// The record.
    pub record: Result<Record, DecodeError>,
    /// Where its event belongs.
    pub place: Option<Place>,
    /// SHA-256 of its event.
    pub event: Option<head::Hash>,
}

/// Where an event belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Whose it is.
    pub outbox: Outbox,
    /// Its sequence there.
    pub sequence: u64,
    /// Its kind, as the contract numbers it.
    pub kind: i32,
}

impl Facts {
    /// Of a payload, and of the hash that is stored before it.
    pub fn of(payload: &Bytes, before: Option<&Hash>) -> Self {
        let record = Record::decode(payload.clone());
        let bytes = record.as_ref().ok().and_then(event_of);
        let (leaf, event) = match bytes {
            Some(bytes) => {
                let (leaf, event) =
                    lanes::both(Lane::with_first(norma_tlog::Hash::LEAF, payload), Lane::of(bytes));
                (norma_tlog::Hash(leaf), Some(event))
            }
            None => (norma_tlog::Hash::leaf(payload), None),
        };
        Self {
            link: before.map(|before| before.then(&leaf)),
            leaf,
            place: record.as_ref().ok().and_then(Place::of),
            event,
            record,
        }
    }
}

impl Place {
    /// Of the event of a record, where it has one that can be read.
    pub fn of(record: &Record) -> Option<Self> {
        let Some(Body::Event(bytes)) = &record.body else {
            return None;
        };
        let EventHead { id, kind } = EventHead::decode(bytes.clone()).ok()?;
        let id = id?;
        Some(Self {
            outbox: Outbox {
                node: id.node,
                epoch: id.epoch,
            },
            sequence: id.sequence,
            kind,
        })
    }
}

/// SHA-256 of the event of a record, where it has one.
pub fn event_hash(record: &Record) -> Option<head::Hash> {
    event_of(record).map(|bytes| head::hash(bytes))
}

fn event_of(record: &Record) -> Option<&Bytes> {
    match &record.body {
        Some(Body::Event(bytes)) => Some(bytes),
        _ => None,
    }
}

impl<R: Read> Frames for R {
    fn magic(&mut self) -> io::Result<[u8; MAGIC.len()]> {
        let mut magic = [0; MAGIC.len()];
        self.read_exact(&mut magic)?;
        Ok(magic)
    }

    fn next_frame(&mut self, remaining: u64) -> Result<Taken, FrameError> {
        let mut payload = Vec::new();
        let (prefix, hash) = read_frame(self, remaining, &mut payload)?;
        Ok(Taken {
            prefix,
            payload: payload.into(),
            hash,
            facts: None,
        })
    }
}
