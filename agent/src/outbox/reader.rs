//! The reading end of the spool: batches of what is on stable storage, in order.

use super::Shared;
use super::segment::{Item, Scanner};
use bytes::Bytes;
use norma_wire::pb::KindCount;
use std::io;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use tokio::sync::watch;

/// Events that go out together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Encoded events in ascending sequence.
    pub events: Vec<Bytes>,
    /// Sequence of the last.
    pub last: u64,
}

/// A position in the spool. There may be several readers; each event is given to each.
pub struct SpoolReader {
    shared: Arc<Shared>,
    durable: watch::Receiver<u64>,
    next: u64,
    /// Where the last record that was given ends.
    place: Option<Place>,
    read_ahead: Option<ReadAhead>,
    /// Damage was met since the last intact record.
    damaged: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Place {
    segment: u64,
    generation: u64,
    offset: u64,
    last: u64,
}

/// What was read of a segment and not given yet.
struct ReadAhead {
    segment: u64,
    generation: u64,
    /// Last sequence of the segment, as far as this reading can hold it.
    last: u64,
    /// Everything up to this sequence was on stable storage, so in the file, before it was read.
    holds_through: u64,
    scanner: Scanner,
}

impl SpoolReader {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let durable = shared.durable.subscribe();
        let next = shared.acked.load(Ordering::Acquire) + 1;
        Self {
            shared,
            durable,
            next,
            place: None,
            read_ahead: None,
            damaged: false,
        }
    }

    /// The events that the spool has with these sequences; nothing moves.
    pub fn range(&self, first: u64, last: u64) -> io::Result<Vec<Bytes>> {
        let mut reader = Self::new(Arc::clone(&self.shared));
        reader.next = first;
        let last = last.min(reader.durable());
        let mut events = Vec::new();
        while reader.next <= last {
            match reader.next_record(last)? {
                Some((sequence, event)) => {
                    reader.next = sequence + 1;
                    events.push(event);
                }
                None => break,
            }
        }
        Ok(events)
    }

    /// Epoch of the spool.
    pub fn epoch(&self) -> u64 {
        self.shared.epoch
    }

    /// Highest sequence on stable storage.
    pub fn durable(&self) -> u64 {
        *self.durable.borrow()
    }

    /// Highest acknowledged sequence.
    pub fn acked(&self) -> u64 {
        self.shared.acked.load(Ordering::Acquire)
    }

    /// What the kernel side has counted as lost since the agent started, by kind.
    pub fn kernel_lost(&self) -> Vec<KindCount> {
        self.shared
            .kernel_lost
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Goes on after a sequence that the collector has.
    pub fn resume_after(&mut self, sequence: u64) {
        self.next = sequence + 1;
        self.place = None;
        self.read_ahead = None;
        self.acknowledge(sequence);
    }

    /// Notes that the collector has everything up to a sequence.
    pub fn acknowledge(&self, through: u64) {
        self.shared.acked.fetch_max(through, Ordering::AcqRel);
    }

    /// Waits until there is something to read.
    pub async fn ready(&mut self) {
        let next = self.next;
        // An error would mean that the sender is gone, which this reader itself keeps alive.
        self.durable.wait_for(|durable| *durable >= next).await.ok();
    }

    /// The next events that are on stable storage; empty where there is none.
    pub fn next_batch(&mut self, max_events: usize, max_bytes: usize) -> io::Result<Batch> {
        let durable = self.durable();
        let mut batch = Batch::default();
        let mut bytes = 0;
        while self.next <= durable && batch.events.len() < max_events && bytes < max_bytes {
            let Some((sequence, event)) = self.next_record(durable)? else {
                break;
            };
            bytes += event.len();
            batch.last = sequence;
            batch.events.push(event);
            self.next = sequence + 1;
        }
        Ok(batch)
    }

    fn next_record(&mut self, durable: u64) -> io::Result<Option<(u64, Bytes)>> {
        while self.next <= durable {
            let Some(ahead) = self.read_ahead(durable)? else {
                return Ok(None);
            };
            match ahead.scanner.next() {
                Some(Item::Record { record, end }) if record.sequence <= durable => {
                    self.place = Some(Place {
                        segment: ahead.segment,
                        generation: ahead.generation,
                        offset: end,
                        last: record.sequence,
                    });
                    if record.sequence >= self.next {
                        self.report_damage(record.sequence);
                        return Ok(Some((record.sequence, Bytes::from(record.event.into_vec()))));
                    }
                }
                // What was dropped is told by an event of its own.
                Some(Item::Mark { .. }) => {}
                Some(Item::Damaged { from, to }) => {
                    tracing::error!(
                        segment = ahead.segment,
                        from,
                        to,
                        "part of an outbox segment is damaged"
                    );
                    self.damaged = true;
                }
                other @ (Some(Item::Record { .. } | Item::Torn { .. }) | None) => {
                    let (holds_through, last) = (ahead.holds_through, ahead.last);
                    self.read_ahead = None;
                    if self.next <= holds_through {
                        // It should have been there, and in a segment that was not reduced it is missing.
                        let through = last.min(durable);
                        if std::mem::take(&mut self.damaged) || matches!(other, Some(Item::Torn { .. })) {
                            self.shared.damage().meet(self.next, through);
                        }
                        self.next = through + 1;
                    }
                }
            }
        }
        Ok(None)
    }

    /// What was read of the segment in which the next sequence lies; `None` where there is none.
    fn read_ahead(&mut self, durable: u64) -> io::Result<Option<&mut ReadAhead>> {
        let generation = self.shared.generation.load(Ordering::Acquire);
        if self
            .read_ahead
            .as_ref()
            .is_some_and(|ahead| ahead.generation != generation)
        {
            self.read_ahead = None;
        }
        if self.read_ahead.is_none() {
            let found = {
                let index = self.shared.index();
                index.iter().find(|segment| segment.last >= self.next).cloned()
            };
            let Some(segment) = found else {
                self.next = durable + 1;
                return Ok(None);
            };
            let scanner = self.open(&segment.path, segment.first, generation);
            match scanner {
                Ok(scanner) => {
                    self.read_ahead = Some(ReadAhead {
                        segment: segment.first,
                        generation,
                        last: segment.last,
                        holds_through: durable.min(segment.last),
                        scanner,
                    });
                }
                // Removed to keep the bound since the index was read: the next call looks again.
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        Ok(self.read_ahead.as_mut())
    }

    fn open(&self, path: &Path, segment: u64, generation: u64) -> io::Result<Scanner> {
        match self.place {
            Some(place) if place.segment == segment && place.generation == generation => {
                Scanner::resume(path, place.offset, place.last)
            }
            _ => Scanner::open(path),
        }
    }

    /// Has the sequences between the last intact record and this one reported, where damage lay between.
    fn report_damage(&mut self, intact: u64) {
        if !std::mem::take(&mut self.damaged) || intact <= self.next {
            return;
        }
        self.shared.damage().meet(self.next, intact - 1);
    }
}
