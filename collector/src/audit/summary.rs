//! What a segment holds, told record by record: all that its manifest says.

use super::format::{Frame, Hash, MAGIC};
use super::frames::Place;
use super::watermark::Outbox;
use norma_tlog::tree::Growing;
use norma_wire::audit::{Record, record::Body};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;

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
    pub outboxes: BTreeMap<Outbox, Held>,
    /// Sequences that did not arrive, in the order in which that was noticed.
    pub gaps: Vec<Missing>,
    digest: Digest,
}

/// SHA-256 of a file.
#[derive(Clone, Debug)]
enum Digest {
    /// Of what was followed of it so far.
    Growing(Sha256),
    /// Somebody else computes it, and may not have told it yet.
    Elsewhere(Option<[u8; 32]>),
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
            outboxes: BTreeMap::new(),
            gaps: Vec::new(),
            digest: Digest::Growing(Sha256::new_with_prefix(MAGIC)),
        }
    }

    /// As [`Self::new`], where somebody else computes the digest of the file and tells it in the end.
    pub fn without_digest(first: u64) -> Self {
        Self {
            digest: Digest::Elsewhere(None),
            ..Self::new(first)
        }
    }

    /// What somebody else computed of the file.
    pub fn tell_digest(&mut self, digest: [u8; 32]) {
        self.digest = Digest::Elsewhere(Some(digest));
    }

    /// Takes the next frame into account, of which `record` is the payload decoded.
    pub fn follow(&mut self, frame: &Frame<'_>, record: &Record) {
        self.follow_placed(frame, record, Place::of(record).as_ref());
    }

    /// As [`Self::follow`], where the place of the record's event is known.
    pub fn follow_placed(&mut self, frame: &Frame<'_>, record: &Record, place: Option<&Place>) {
        self.last = self.last.wrapping_add(1);
        self.time_ns.0 = self.time_ns.0.min(record.received_wall_ns);
        self.time_ns.1 = self.time_ns.1.max(record.received_wall_ns);
        self.tree.push(frame.leaf);
        self.chain.1 = frame.hash;
        self.bytes += frame.len();
        if let Digest::Growing(digest) = &mut self.digest {
            digest.update(frame.prefix);
            digest.update(frame.payload);
            digest.update(frame.hash.0);
        }
        self.account(record, place);
    }

    /// SHA-256 of the file; that of nothing where it was not told.
    pub fn digest(&self) -> [u8; 32] {
        match &self.digest {
            Digest::Growing(digest) => digest.clone().finalize().into(),
            Digest::Elsewhere(digest) => digest.unwrap_or_else(|| Sha256::digest([]).into()),
        }
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
        if let Some(held) = self.outboxes.get_mut(outbox) {
            held.last = last;
            count(held);
            return;
        }
        let mut held = Held {
            first,
            last,
            ..Held::default()
        };
        count(&mut held);
        self.outboxes.insert(outbox.clone(), held);
    }
}
