//! Where a scan gets the frames of a file from, and what everybody asks of a frame.

use super::format::{FrameError, Hash, MAGIC, PREFIX, read_frame};
use super::lanes;
use super::leaf::{self, Parts};
use super::watermark::Outbox;
use bytes::Bytes;
use norma_tlog::Hash as Leaf;
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
    pub leaf: Leaf,
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

/// A frame whose checksum holds and of which nothing else is known.
#[derive(Debug)]
pub struct Sound {
    /// Length and checksum.
    pub prefix: [u8; PREFIX],
    /// The record.
    pub payload: Bytes,
    /// The link that is stored before it in the file; `None` for the first.
    pub before: Option<Hash>,
    /// Its own link, as it is stored.
    pub hash: Hash,
}

/// Finds out what can be said of each frame by itself; the hashes of all at once.
pub fn take(frames: Vec<Sound>) -> impl Iterator<Item = Taken> {
    let parts: Vec<_> = frames.iter().map(|frame| Parts::of(&frame.payload)).collect();
    let events: Vec<_> = parts
        .iter()
        .map(|parts| parts.map_or(&[][..], |parts| parts.event))
        .collect();
    let events = lanes::hash(&events);
    let messages: Vec<_> = frames
        .iter()
        .zip(parts.iter().zip(&events))
        .map(|(frame, (parts, event))| match parts {
            Some(parts) => parts.message(event),
            None => leaf::message(&frame.payload),
        })
        .collect();
    let leaves = lanes::hash(&messages);
    let links: Vec<_> = frames
        .iter()
        .zip(&leaves)
        .map(|(frame, leaf)| frame.before.unwrap_or_default().before(&Leaf(*leaf)))
        .collect();
    let links = lanes::hash(&links);
    let records: Vec<_> = frames
        .iter()
        .zip(parts.iter().zip(events))
        .map(|(frame, (parts, event))| match parts {
            Some(parts) => (Ok(record_of(&frame.payload, parts)), Some(event)),
            None => {
                let record = Record::decode(frame.payload.clone());
                let event = record.as_ref().ok().and_then(event_hash);
                (record, event)
            }
        })
        .collect();
    let found = records.into_iter().zip(leaves.into_iter().zip(links));
    frames
        .into_iter()
        .zip(found)
        .map(|(frame, ((record, event), (leaf, link)))| {
            let facts = Facts {
                link: frame.before.map(|_| Hash(link)),
                leaf: Leaf(leaf),
                place: record.as_ref().ok().and_then(Place::of),
                event,
                record,
            };
            Taken {
                prefix: frame.prefix,
                payload: frame.payload,
                hash: frame.hash,
                facts: Some(facts),
            }
        })
}

/// What decoding a payload gives that has these parts.
fn record_of(payload: &Bytes, parts: &Parts<'_>) -> Record {
    Record {
        index: parts.index,
        received_wall_ns: parts.received_wall_ns,
        body: Some(Body::Event(payload.slice_ref(parts.event))),
    }
}

impl Place {
    /// Of the event of a record, where it has one that can be read.
    pub fn of(record: &Record) -> Option<Self> {
        let Some(Body::Event(bytes)) = &record.body else {
            return None;
        };
        let EventHead { id, kind } = EventHead::decode(&bytes[..]).ok()?;
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
    match &record.body {
        Some(Body::Event(bytes)) => Some(head::hash(bytes)),
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
