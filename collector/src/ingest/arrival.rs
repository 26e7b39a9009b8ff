//! What came in: is it an event, and this node's?

use super::steps::Steps;
use crate::audit::{Arrival, Content, Outbox};
use crate::clock::wall_ns;
use crate::config::EventLimits;
use bytes::Bytes;
use norma_wire::Event;
use norma_wire::audit::Rejected;
use norma_wire::id::EventHead;
use norma_wire::pb::{EventId, RejectionReason};
use prost::Message as _;
use sha2::{Digest as _, Sha256};
use std::time::Duration;

/// A rejected event's own claim of its place is believed only so far ahead; a damaged one must not move
/// the whole sequence.
const MAX_JUMP: u64 = 1 << 20;

/// Checks the events of one stream, which come in ascending sequence.
#[derive(Debug)]
pub struct Arrivals {
    outbox: Outbox,
    limits: EventLimits,
    /// The place before the next one.
    last: u64,
    /// Whether `last` comes from this stream's own events.
    known: bool,
    /// What the outbox told of steps of its clock.
    steps: Steps,
    /// Whether it told one since that was last asked.
    has_stepped: bool,
}

struct Fault {
    reason: RejectionReason,
    detail: String,
    claimed: Option<EventId>,
}

impl Arrivals {
    /// For a stream of `outbox`, which told `steps` of its clock, that goes on after `durable_sequence`.
    pub fn new(outbox: Outbox, limits: EventLimits, durable_sequence: u64, steps: Steps) -> Self {
        Self {
            outbox,
            limits,
            last: durable_sequence,
            known: false,
            steps,
            has_stepped: false,
        }
    }

    /// What is known now of steps of the clock, where one was told since this was last asked.
    pub fn news(&mut self) -> Option<Steps> {
        std::mem::take(&mut self.has_stepped).then(|| self.steps.clone())
    }

    /// The events of one batch, each with its place.
    pub fn examine(&mut self, events: Vec<Bytes>) -> Vec<Arrival> {
        let mut checked: Vec<_> = events
            .into_iter()
            .map(|bytes| (self.check(&bytes), bytes))
            .collect();
        if self.has_stepped {
            // A node notices a step a moment after the first event that it explains.
            for (check, bytes) in &mut checked {
                if matches!(check, Err(fault) if fault.reason == RejectionReason::Future) {
                    *check = self.check(bytes);
                }
            }
        }
        if !self.known
            && let Some((distance, sequence)) = checked
                .iter()
                .enumerate()
                .find_map(|(distance, (check, _))| Some((distance as u64, *check.as_ref().ok()?)))
        {
            // What cannot say its own place comes right before what can.
            self.last = sequence.saturating_sub(distance + 1);
            self.known = true;
        }
        checked
            .into_iter()
            .map(|(check, bytes)| self.place(check, bytes))
            .collect()
    }

    fn place(&mut self, check: Result<u64, Fault>, bytes: Bytes) -> Arrival {
        match check {
            Ok(sequence) => {
                self.last = sequence;
                Arrival {
                    sequence,
                    content: Content::Event(bytes),
                }
            }
            Err(fault) => {
                let claimed = fault.claimed.as_ref().map_or(0, |id| id.sequence);
                let near = claimed > self.last && claimed - self.last <= MAX_JUMP;
                let sequence = if near {
                    claimed
                } else {
                    self.last.saturating_add(1)
                };
                self.last = sequence;
                let content = Content::Rejected(Rejected {
                    node: self.outbox.node.clone(),
                    epoch: self.outbox.epoch,
                    sequence,
                    reason: fault.reason.into(),
                    detail: fault.detail,
                    claimed: fault.claimed,
                    sha256: Sha256::digest(&bytes).to_vec(),
                    bytes: bytes.len() as u64,
                });
                Arrival { sequence, content }
            }
        }
    }

    /// The sequence of an event, or why it is not taken as one.
    fn check(&mut self, bytes: &Bytes) -> Result<u64, Fault> {
        if bytes.len() > self.limits.max_bytes {
            return Err(Fault {
                reason: RejectionReason::Oversized,
                detail: format!("{} bytes where {} are taken", bytes.len(), self.limits.max_bytes),
                claimed: EventHead::decode(bytes.clone())
                    .ok()
                    .and_then(|head| head.id)
                    .and_then(plausible),
            });
        }
        let malformed = |detail: String, claimed| Fault {
            reason: RejectionReason::Malformed,
            detail,
            claimed,
        };
        let mut event = Event::decode(bytes.clone()).map_err(|error| malformed(error.to_string(), None))?;
        let Some(id) = event.id.take() else {
            return Err(malformed("it has no id".to_owned(), None));
        };
        if id.sequence == 0 {
            return Err(malformed("sequences begin at 1".to_owned(), plausible(id)));
        }
        if id.node != self.outbox.node {
            let detail = format!("the certificate names node {}", self.outbox.node);
            return Err(Fault {
                reason: RejectionReason::ForeignNode,
                detail,
                claimed: plausible(id),
            });
        }
        if id.epoch != self.outbox.epoch {
            let detail = format!("the stream's epoch is {:016x}", self.outbox.epoch);
            return Err(Fault {
                reason: RejectionReason::ForeignEpoch,
                detail,
                claimed: plausible(id),
            });
        }
        let now = wall_ns();
        self.has_stepped |= self.steps.follow(&event, now, &self.limits);
        let ahead = Duration::from_nanos(event.wall_ns.saturating_sub(now));
        if ahead > self.limits.max_ahead && !self.steps.explain(&event, now, &self.limits) {
            return Err(Fault {
                reason: RejectionReason::Future,
                detail: format!(
                    "its time is {} s ahead of the collector's clock, where {} s are taken, and no step of the node's \
                     clock that was told explains that; check the node's clock",
                    ahead.as_secs(),
                    self.limits.max_ahead.as_secs()
                ),
                claimed: plausible(id),
            });
        }
        Ok(id.sequence)
    }
}

/// A claim that is small enough to be recorded.
fn plausible(id: EventId) -> Option<EventId> {
    const MAX_NODE: usize = 253;
    (id.node.len() <= MAX_NODE).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(node: &str, epoch: u64, sequence: u64) -> Bytes {
        let id = Some(EventId {
            node: node.into(),
            epoch,
            sequence,
        });
        Bytes::from(
            Event {
                id,
                ..Event::default()
            }
            .encode_to_vec(),
        )
    }

    fn check(durable: u64, events: Vec<Bytes>, expected: &[(u64, Option<RejectionReason>)]) {
        let outbox = Outbox {
            node: "n".into(),
            epoch: 7,
        };
        let limits = EventLimits {
            max_bytes: 200,
            max_ahead: Duration::from_secs(60),
            max_clock_step: Duration::from_secs(3600),
        };
        let places: Vec<_> = Arrivals::new(outbox, limits, durable, Steps::default())
            .examine(events)
            .into_iter()
            .map(|arrival| match arrival.content {
                Content::Event(_) => (arrival.sequence, None),
                Content::Rejected(rejected) => (arrival.sequence, Some(rejected.reason())),
            })
            .collect();
        assert_eq!(places, expected);
    }

    #[test]
    fn what_is_rejected_takes_its_place_in_the_sequence() {
        use RejectionReason::{ForeignEpoch, ForeignNode, Future, Malformed, Oversized};
        let garbage = || Bytes::from_static(b"\xff\xff\xff");
        check(4, vec![garbage()], &[(5, Some(Malformed))]);
        check(
            4,
            vec![garbage(), event("n", 7, 3)],
            &[(2, Some(Malformed)), (3, None)],
        );
        check(
            0,
            vec![event("n", 7, 1), garbage(), event("n", 7, 3)],
            &[(1, None), (2, Some(Malformed)), (3, None)],
        );
        check(
            4,
            vec![event("m", 7, 5), event("n", 8, 6)],
            &[(5, Some(ForeignNode)), (6, Some(ForeignEpoch))],
        );
        check(4, vec![event("m", 7, u64::MAX)], &[(5, Some(ForeignNode))]);
        let at = |seconds: u64| {
            let mut event = Event::decode(event("n", 7, 5)).unwrap();
            event.wall_ns = wall_ns() + seconds * 1_000_000_000;
            Bytes::from(event.encode_to_vec())
        };
        check(4, vec![at(50)], &[(5, None)]);
        check(4, vec![at(70)], &[(5, Some(Future))]);
        let mut large = event("n", 7, 9).to_vec();
        large.extend([0x1d, 0, 0, 0, 0].repeat(60));
        check(4, vec![Bytes::from(large)], &[(9, Some(Oversized))]);
        check(
            0,
            vec![Bytes::new(), event("n", 7, 0)],
            &[(1, Some(Malformed)), (2, Some(Malformed))],
        );
    }
}
