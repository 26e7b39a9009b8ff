//! What a segment holds, told record by record: all that its manifest says.

use super::by_outbox::ByOutbox;
use super::format::{Frame, Hash, MAGIC};
use super::frames::Place;
use super::watermark::Outbox;
use norma_tlog::tree::Growing;
use norma_wire::audit::{Record, record::Body};
use sha2::{Digest as _, Sha256};
use std::ops::Deref;

/// The records of one file so far.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Index of the first record.
    pub first: u64,
    /// Index of the newest; one less than `first` before there is any.
    pub last: u64,
    /// When the earliest and the latest of them were written, by the collector's clock.
    pub time_ns: (u64, u64),
    /// The tree over their payloads.
    pub tree: Growing,
    /// Chain hash before the first and of the newest.
    pub chain: (Hash, Hash),
    /// Length of the file up to the newest, in bytes.
    pub bytes: u64,
    /// What is there of each outbox.
    pub outboxes: ByOutbox<Held>,
    /// Sequences that did not arrive, in the order in which that was noticed.
    pub gaps: Vec<Missing>,
}

/// The records of one file so far, and SHA-256 of it.
#[derive(Clone, Debug)]
pub struct Digested {
    summary: Summary,
    sha256: Sha256,
}

/// What a segment has of one outbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// First sequence that it accounts for.
    pub first: u64,
    /// Last one.
    pub last: u64,
    /// Events among them.
    pub events: u64,
    /// Rejections among them.
    pub rejected: u64,
}

/// Sequences that were not delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Of which outbox.
    pub outbox: Outbox,
    /// First of them.
    pub first: u64,
    /// Last of them.
    pub last: u64,
}

impl Summary {
    /// Of a file that begins with record `first` and has only its magic yet.
    pub fn new(first: u64) -> Self {
        Self {
            first,
            last: first.wrapping_sub(1),
            time_ns: (u64::MAX, 0),
            tree: Growing::default(),
            chain: (Hash::ZERO, Hash::ZERO),
            bytes: MAGIC.len() as u64,
            outboxes: ByOutbox::default(),
            gaps: Vec::new(),
        }
    }

    /// Takes the next frame into account, of which `record` is the payload decoded and `place` where its event belongs.
    pub fn follow(&mut self, frame: &Frame<'_>, record: &Record, place: Option<&Place>) {
        self.last = self.last.wrapping_add(1);
        self.time_ns.0 = self.time_ns.0.min(record.received_wall_ns);
        self.time_ns.1 = self.time_ns.1.max(record.received_wall_ns);
        self.tree.push(frame.leaf);
        self.chain.1 = frame.hash;
        self.bytes += frame.len();
        self.account(record, place);
    }

    fn account(&mut self, record: &Record, place: Option<&Place>) {
        match &record.body {
            Some(Body::Header(header)) => {
                if let Ok(previous) = header.previous_hash.as_slice().try_into() {
                    self.chain.0 = Hash(previous);
                }
            }
            Some(Body::Event(_)) => {
                if let Some(place) = place {
                    self.reach(&place.outbox, place.sequence, place.sequence, |held| {
                        held.events += 1;
                    });
                }
            }
            Some(Body::Rejected(rejected)) => {
                let sequence = rejected.sequence;
                let outbox = Outbox::new(&rejected.node, rejected.epoch);
                self.reach(&outbox, sequence, sequence, |held| {
                    held.rejected += 1;
                });
            }
            Some(Body::Gap(gap)) => {
                let outbox = Outbox::new(&gap.node, gap.epoch);
                self.reach(&outbox, gap.first_sequence, gap.last_sequence, |_| ());
                self.gaps.push(Missing {
                    outbox,
                    first: gap.first_sequence,
                    last: gap.last_sequence,
                });
            }
            _ => {}
        }
    }

    fn reach(&mut self, outbox: &Outbox, first: u64, last: u64, count: impl FnOnce(&mut Held)) {
        let held = self.outboxes.get_or_insert_with(outbox, || Held {
            first,
            ..Held::default()
        });
        held.last = last;
        count(held);
    }
}

impl Digested {
    /// Of a file that begins with record `first` and has only its magic yet.
    pub fn new(first: u64) -> Self {
        Self {
            summary: Summary::new(first),
            sha256: Sha256::new_with_prefix(MAGIC),
        }
    }

    /// As [`Summary::follow`].
    pub fn follow(&mut self, frame: &Frame<'_>, record: &Record, place: Option<&Place>) {
        self.summary.follow(frame, record, place);
        self.sha256.update(frame.prefix);
        self.sha256.update(frame.payload);
        self.sha256.update(frame.hash.0);
    }

    /// SHA-256 of the file.
    pub fn sha256(&self) -> norma_tlog::Hash {
        norma_tlog::Hash(self.sha256.clone().finalize().into())
    }
}

impl Deref for Digested {
    type Target = Summary;

    fn deref(&self) -> &Summary {
        &self.summary
    }
}
