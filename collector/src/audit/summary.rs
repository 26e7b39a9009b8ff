//! What a segment holds, told record by record: all that its manifest says.

use super::format::{Frame, Hash, MAGIC};
use super::watermark::Outbox;
use norma_tlog::tree::Growing;
use norma_wire::audit::{Record, record::Body};
use norma_wire::id::EventHead;
use prost::Message as _;
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
    digest: Sha256,
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
            digest: Sha256::new_with_prefix(MAGIC),
        }
    }

    /// Takes the next frame into account, of which `record` is the payload decoded.
    pub fn follow(&mut self, frame: &Frame<'_>, record: &Record) {
        self.last = self.last.wrapping_add(1);
        self.time_ns.0 = self.time_ns.0.min(record.received_wall_ns);
        self.time_ns.1 = self.time_ns.1.max(record.received_wall_ns);
        self.tree.push(norma_tlog::Hash::leaf(frame.payload));
        self.chain.1 = frame.hash;
        self.bytes += frame.len();
        self.digest.update(frame.prefix);
        self.digest.update(frame.payload);
        self.digest.update(frame.hash.0);
        self.account(record);
    }

    /// SHA-256 of the file.
    pub fn digest(&self) -> [u8; 32] {
        self.digest.clone().finalize().into()
    }

    fn account(&mut self, record: &Record) {
        match &record.body {
            Some(Body::Header(header)) => {
                if let Ok(previous) = header.previous_hash.as_slice().try_into() {
                    self.chain.0 = Hash(previous);
                }
            }
            Some(Body::Event(bytes)) => {
                if let Ok(EventHead { id: Some(id), .. }) = EventHead::decode(bytes.clone()) {
                    self.reach(&id.node, id.epoch, id.sequence, id.sequence).events += 1;
                }
            }
            Some(Body::Rejected(rejected)) => {
                let sequence = rejected.sequence;
                self.reach(&rejected.node, rejected.epoch, sequence, sequence)
                    .rejected += 1;
            }
            Some(Body::Gap(gap)) => {
                self.reach(&gap.node, gap.epoch, gap.first_sequence, gap.last_sequence);
                self.gaps.push(Missing {
                    outbox: outbox(&gap.node, gap.epoch),
                    first: gap.first_sequence,
                    last: gap.last_sequence,
                });
            }
            _ => {}
        }
    }

    fn reach(&mut self, node: &str, epoch: u64, first: u64, last: u64) -> &mut Held {
        let held = self.outboxes.entry(outbox(node, epoch)).or_insert(Held {
            first,
            ..Held::default()
        });
        held.last = last;
        held
    }
}

fn outbox(node: &str, epoch: u64) -> Outbox {
    Outbox {
        node: node.to_owned(),
        epoch,
    }
}
