//! Where a scan gets the frames of a file from, and what everybody asks of a frame.

use super::format::{Frame, FrameError, Hash, MAGIC, OVERHEAD, PREFIX, read_frame};
use super::lanes;
use super::leaf::{self, Parts};
use super::watermark::Outbox;
use bytes::Bytes;
use norma_tlog::Hash as Leaf;
use norma_wire::audit::{Record, record::Body};
use norma_wire::head;
use norma_wire::id::EventHead;
use norma_wire::pb::EventId;
use prost::{DecodeError, Message as _};
use std::io::{self, Read};
use std::sync::Arc;

/// Bytes that are hashed for the leaf of a record with an event: numbers of usual size, and the event's hash.
const USUAL_MESSAGE: usize = 64;

/// The bytes of a file, frame by frame.
pub trait Frames {
    /// The bytes with which the file begins; asked for once, before anything else.
    fn magic(&mut self) -> io::Result<[u8; MAGIC.len()]>;

    /// The next frame, from which on `remaining` bytes of the file are left.
    fn next_frame(&mut self, remaining: u64) -> Result<&Taken, FrameError>;
}

/// A frame whose checksum holds, and what can be said of it by itself.
#[derive(Debug)]
pub struct Taken {
    /// Its bytes.
    frame: Bytes,
    /// Its link of the chain, as it is stored.
    pub hash: Hash,
    /// Whether that follows on the link that is stored before it; `None` where that is left to who knows the link.
    pub follows: Option<bool>,
    /// Its leaf of the segment's tree.
    pub leaf: Leaf,
    /// Where its event belongs.
    pub place: Option<Place>,
    /// SHA-256 of its event.
    pub event: Option<head::Hash>,
    stored: Stored,
}

/// What a payload says. Nearly all are events, and pass from one thread to another: they take little room.
#[derive(Debug)]
enum Stored {
    Event(Parts),
    Other(Box<Result<Record, DecodeError>>),
}

/// Where an event belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Whose it is.
    pub outbox: Arc<Outbox>,
    /// Its sequence there.
    pub sequence: u64,
    /// Its kind, as the contract numbers it.
    pub kind: i32,
}

/// A frame whose checksum holds and of which nothing else is known.
#[derive(Debug)]
pub struct Sound {
    /// Its bytes.
    pub frame: Bytes,
    /// The link that is stored before it in the file, where that is known.
    pub before: Option<Hash>,
}

/// Appends what can be said of each frame by itself; the hashes of all are worked out at once. `outbox` is that of the
/// frame before them, and becomes that of the last.
pub fn take(frames: Vec<Sound>, outbox: &mut Option<Arc<Outbox>>, taken: &mut Vec<Taken>) {
    let parts: Vec<_> = frames.iter().map(|frame| Parts::of(frame.payload())).collect();
    let events = lanes::hash(frames.iter().zip(&parts).map(|(frame, parts)| match parts {
        Some(parts) => parts.event(frame.payload()),
        None => &[],
    }));
    let leaves = leaves(&frames, &parts, &events);
    let links: Vec<_> = frames
        .iter()
        .zip(&leaves)
        .map(|(frame, leaf)| frame.before.unwrap_or_default().before(&Leaf(*leaf)))
        .collect();
    let links = lanes::hash(links.iter().map(|link| &link[..]));
    let found = parts.into_iter().zip(events).zip(leaves.into_iter().zip(links));
    let each = frames.into_iter().zip(found);
    taken.extend(each.map(|(frame, ((parts, event), (leaf, link)))| {
        let follows = frame.before.map(|_| Hash(link) == frame.hash());
        frame.with(parts.map(|parts| (parts, event)), Leaf(leaf), follows, outbox)
    }));
}

impl Sound {
    /// The record, as it is stored.
    fn payload(&self) -> &[u8] {
        payload(&self.frame)
    }

    /// Its link of the chain, as it is stored.
    pub fn hash(&self) -> Hash {
        self.frame.last_chunk().map_or(Hash::ZERO, |hash| Hash(*hash))
    }

    /// As [`take`], of this one.
    fn take(self) -> Taken {
        let parts = Parts::hashed(self.payload());
        let leaf = leaf::leaf_of(self.payload(), &parts);
        let follows = self.before.map(|before| before.then(&leaf) == self.hash());
        self.with(parts, leaf, follows, &mut None)
    }

    /// With what was found out of it; its event has the hash beside its parts. `outbox` is that of the frame before.
    fn with(
        self,
        parts: Option<(Parts, head::Hash)>,
        leaf: Leaf,
        follows: Option<bool>,
        outbox: &mut Option<Arc<Outbox>>,
    ) -> Taken {
        let (stored, place, event) = match parts {
            Some((parts, event)) => {
                let place = Place::after(outbox, parts.event(self.payload()));
                (Stored::Event(parts), place, Some(event))
            }
            None => {
                let record = Record::decode(self.frame.slice_ref(self.payload()));
                let known = record.as_ref().ok();
                let (place, event) = (known.and_then(Place::of), known.and_then(event_hash));
                (Stored::Other(Box::new(record)), place, event)
            }
        };
        Taken {
            hash: self.hash(),
            frame: self.frame,
            follows,
            leaf,
            place,
            event,
            stored,
        }
    }
}

impl Taken {
    /// The record.
    pub fn record(&self) -> Result<Record, DecodeError> {
        match &self.stored {
            Stored::Event(parts) => Ok(Record {
                index: parts.index,
                received_wall_ns: parts.received_wall_ns,
                body: Some(Body::Event(
                    self.frame.slice_ref(parts.event(payload(&self.frame))),
                )),
            }),
            Stored::Other(record) => Result::clone(record),
        }
    }

    /// As it lies in the file.
    pub fn frame(&self) -> Frame<'_> {
        Frame {
            prefix: &self.frame[..PREFIX.min(self.frame.len())],
            payload: payload(&self.frame),
            leaf: self.leaf,
            hash: self.hash,
        }
    }
}

/// The record that a whole frame has, as it is stored.
fn payload(frame: &[u8]) -> &[u8] {
    let end = frame.len().saturating_sub(OVERHEAD - PREFIX);
    frame.get(PREFIX..end).unwrap_or_default()
}

fn leaves(frames: &[Sound], parts: &[Option<Parts>], events: &[head::Hash]) -> Vec<head::Hash> {
    let mut messages = Vec::with_capacity(frames.len() * USUAL_MESSAGE);
    let ends: Vec<_> = frames
        .iter()
        .zip(parts.iter().zip(events))
        .map(|(frame, (parts, event))| {
            match parts {
                Some(parts) => parts.message(frame.payload(), event, &mut messages),
                None => leaf::message(frame.payload(), &mut messages),
            }
            messages.len()
        })
        .collect();
    let mut begin = 0;
    lanes::hash(ends.into_iter().map(|end| {
        let message = &messages[begin..end];
        begin = end;
        message
    }))
}

impl Place {
    /// Of the event of a record, where it has one that can be read.
    pub fn of(record: &Record) -> Option<Self> {
        match &record.body {
            Some(Body::Event(event)) => Self::after(&mut None, event),
            _ => None,
        }
    }

    /// Of an event that can be read, sharing the name of the outbox with the place before, where it is the same.
    fn after(before: &mut Option<Arc<Outbox>>, event: &[u8]) -> Option<Self> {
        let EventHead { id, kind } = EventHead::decode(event).ok()?;
        let EventId {
            node,
            epoch,
            sequence,
        } = id?;
        let outbox = match before {
            Some(outbox) if outbox.epoch == epoch && outbox.node == node => outbox,
            _ => before.insert(Arc::new(Outbox { node, epoch })),
        };
        Some(Self {
            outbox: Arc::clone(outbox),
            sequence,
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

/// Frames of what is read one after the other.
#[derive(Debug)]
pub struct Plain<R> {
    input: R,
    taken: Option<Taken>,
}

impl<R> Plain<R> {
    /// Of what `input` gives.
    pub fn new(input: R) -> Self {
        Self { input, taken: None }
    }
}

impl<R: Read> Frames for Plain<R> {
    fn magic(&mut self) -> io::Result<[u8; MAGIC.len()]> {
        let mut magic = [0; MAGIC.len()];
        self.input.read_exact(&mut magic)?;
        Ok(magic)
    }

    fn next_frame(&mut self, remaining: u64) -> Result<&Taken, FrameError> {
        let frame = read_frame(&mut self.input, remaining)?;
        let sound = Sound {
            frame: frame.into(),
            before: None,
        };
        Ok(self.taken.insert(sound.take()))
    }
}
