//! How far each outbox has been stored.

use super::by_outbox::ByOutbox;
use super::frames::Place;
use norma_wire::audit::{Watermark, record::Body};

/// The source of one gap-free sequence: the outbox of a node, which is made anew with a new epoch.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Outbox {
    /// Name of the node.
    pub node: String,
    /// Epoch of its outbox.
    pub epoch: u64,
}

impl Outbox {
    /// Of a node, with this epoch.
    pub fn new(node: &str, epoch: u64) -> Self {
        Self {
            node: node.to_owned(),
            epoch,
        }
    }
}

/// Highest sequence stored of each outbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watermarks(ByOutbox<u64>);

/// A record that does not go on where its outbox was.
#[derive(Debug, thiserror::Error)]
pub enum SequenceFault {
    /// Neither the next sequence nor, for a gap, a range from it.
    #[error("{node}/{epoch:016x}: sequence {found} where {expected} is next and no gap was recorded")]
    OutOfOrder {
        /// The node.
        node: String,
        /// The epoch.
        epoch: u64,
        /// What the record has.
        found: u64,
        /// What it should have.
        expected: u64,
    },
    /// An event that says not where it belongs was never stored by a collector.
    #[error("the stored event has no readable id")]
    NoId,
}

impl Watermarks {
    /// Highest sequence of `outbox`, 0 for none.
    pub fn get(&self, outbox: &Outbox) -> u64 {
        self.0.get(outbox).copied().unwrap_or(0)
    }

    /// Takes over the outboxes of `other`.
    pub fn merge(&mut self, other: Self) {
        self.0.extend(other.0.into_sorted());
    }

    /// Sets how far an outbox is stored.
    pub fn set(&mut self, outbox: Outbox, sequence: u64) {
        self.0.insert(outbox, sequence);
    }

    /// Follows one record, of whose event `place` tells where it belongs; says what is wrong where the record cannot be
    /// there.
    pub fn follow(&mut self, body: &Body, place: Option<&Place>) -> Result<(), SequenceFault> {
        match body {
            Body::Event(_) => {
                let place = place.ok_or(SequenceFault::NoId)?;
                self.reach(&place.outbox, place.sequence, place.sequence)
            }
            Body::Rejected(rejected) => {
                let outbox = Outbox::new(&rejected.node, rejected.epoch);
                self.reach(&outbox, rejected.sequence, rejected.sequence)
            }
            Body::Gap(gap) => {
                let outbox = Outbox::new(&gap.node, gap.epoch);
                self.reach(&outbox, gap.first_sequence, gap.last_sequence)
            }
            _ => Ok(()),
        }
    }

    fn reach(&mut self, outbox: &Outbox, first: u64, last: u64) -> Result<(), SequenceFault> {
        let known = self.0.get_mut(outbox);
        let mark = known.as_ref().map_or(0, |mark| **mark);
        if mark.checked_add(1) != Some(first) || last < first {
            return Err(SequenceFault::OutOfOrder {
                node: outbox.node.clone(),
                epoch: outbox.epoch,
                found: first,
                expected: mark.saturating_add(1),
            });
        }
        match known {
            Some(mark) => *mark = last,
            None => self.set(outbox.clone(), last),
        }
        Ok(())
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&Outbox, u64)> {
        self.0.iter().map(|(outbox, sequence)| (outbox, *sequence))
    }
}

impl From<&Watermarks> for Vec<Watermark> {
    fn from(marks: &Watermarks) -> Self {
        marks
            .iter()
            .map(|(outbox, sequence)| Watermark {
                node: outbox.node.clone(),
                epoch: outbox.epoch,
                sequence,
            })
            .collect()
    }
}

impl From<Vec<Watermark>> for Watermarks {
    fn from(marks: Vec<Watermark>) -> Self {
        Self(
            marks
                .into_iter()
                .map(|mark| {
                    (
                        Outbox {
                            node: mark.node,
                            epoch: mark.epoch,
                        },
                        mark.sequence,
                    )
                })
                .collect(),
        )
    }
}
