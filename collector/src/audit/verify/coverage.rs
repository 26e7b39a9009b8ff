//! Whether the sequence of each outbox is complete, or what accounts for its gaps.

use super::super::by_outbox::ByOutbox;
use super::super::frames::Place;
use super::super::manifest::Manifest;
use super::super::ranges::{count, minus, normal};
use super::super::watermark::Outbox;
use super::report::{Contents, OutboxReport, Range, Told};
use norma_wire::audit::{Record, record::Body};
use norma_wire::pb::{Handover, Held, Kind, event::Detail};
use prost::Message as _;

/// What was seen of each outbox so far.
#[derive(Default)]
pub struct Coverage(ByOutbox<Seen>);

#[derive(Default)]
struct Seen {
    report: OutboxReport,
    gaps: Vec<Range>,
    admitted: Vec<Range>,
    /// What the node says that other logs acknowledged.
    elsewhere: Vec<Range>,
    /// What is in the log, and what is said of other logs, to be held against them.
    detail: Contents,
    /// Some of the gaps are of segments that were removed, and with them maybe what accounts for them.
    removed: bool,
}

impl Seen {
    /// These are in the log.
    fn arrived(&mut self, first: u64, last: u64) {
        self.report.reach(first, last);
        match self.detail.arrived.last_mut() {
            Some(range) if range.last + 1 == first => range.last = last,
            _ => self.detail.arrived.push(Range { first, last }),
        }
    }
}

impl Coverage {
    /// Takes one record into account, of whose event `place` tells where it belongs.
    pub fn follow(&mut self, record: &Record, place: Option<&Place>) {
        match &record.body {
            Some(Body::Event(bytes)) => {
                let Some(place) = place else { return };
                let seen = self.outbox(&place.outbox);
                seen.arrived(place.sequence, place.sequence);
                seen.report.events += 1;
                if place.kind == Kind::Loss as i32
                    && let Ok(event) = norma_wire::Event::decode(bytes.clone())
                    && let Some(Detail::Loss(loss)) = event.detail
                    && loss.last_sequence >= loss.first_sequence.max(1)
                {
                    seen.admitted.push(Range {
                        first: loss.first_sequence,
                        last: loss.last_sequence,
                    });
                }
            }
            Some(Body::Rejected(rejected)) => {
                let seen = self.outbox(&Outbox::new(&rejected.node, rejected.epoch));
                seen.arrived(rejected.sequence, rejected.sequence);
                seen.report.rejected += 1;
            }
            Some(Body::Gap(gap)) => {
                let seen = self.outbox(&Outbox::new(&gap.node, gap.epoch));
                seen.report.reach(gap.first_sequence, gap.last_sequence);
                seen.gaps.push(Range {
                    first: gap.first_sequence,
                    last: gap.last_sequence,
                });
            }
            // Whether the node signed it is checked with what it signed of its batches.
            Some(Body::HandedOver(handed)) => {
                let signed = handed.statement.as_ref();
                let Some(Ok(handover)) = signed.map(|signed| Handover::decode(&signed.handover[..])) else {
                    return;
                };
                let others = |held: &&Held| held.logs.iter().any(|log| *log != handed.log);
                let seen = self.outbox(&Outbox::new(&handover.node, handover.epoch));
                seen.detail.names.insert(handed.log.clone());
                seen.detail.held.extend(handover.held.iter().map(Told::from));
                seen.detail
                    .in_doubt
                    .extend(handover.in_doubt.iter().map(Told::from));
                for held in handover.held.iter().filter(others) {
                    seen.elsewhere.push(Range {
                        first: held.first_sequence,
                        last: held.last_sequence,
                    });
                    seen.report
                        .other_logs
                        .extend(held.logs.iter().filter(|log| **log != handed.log).cloned());
                }
            }
            _ => {}
        }
    }

    /// Takes a segment that is not there any more into account, by its proven manifest.
    pub fn follow_removed(&mut self, manifest: &Manifest) {
        for (outbox, held) in &manifest.outboxes {
            let gaps = manifest
                .gaps
                .iter()
                .filter(|gap| gap.outbox == *outbox)
                .map(|gap| Range {
                    first: gap.first,
                    last: gap.last,
                });
            let whole = Range {
                first: held.first,
                last: held.last,
            };
            let seen = self.outbox(outbox);
            for range in minus(&[whole], &normal(gaps)) {
                seen.arrived(range.first, range.last);
            }
            seen.report.reach(held.first, held.last);
            seen.report.events += held.events;
            seen.report.rejected += held.rejected;
        }
        for gap in &manifest.gaps {
            let seen = self.outbox(&gap.outbox);
            seen.gaps.push(Range {
                first: gap.first,
                last: gap.last,
            });
            seen.removed = true;
        }
    }

    /// The verdict on each outbox.
    pub fn finish(self) -> Vec<OutboxReport> {
        self.0
            .into_sorted()
            .into_iter()
            .map(|(_, mut seen)| {
                seen.report.missing = count(&seen.gaps);
                let not_elsewhere = minus(&seen.gaps, &normal(seen.elsewhere.into_iter()));
                let missing_here = count(&not_elsewhere).min(seen.report.missing);
                seen.report.elsewhere = seen.report.missing - missing_here;
                seen.report.unexplained = minus(&not_elsewhere, &normal(seen.admitted.iter().copied()));
                seen.report.removed = seen.removed;
                seen.detail.admitted = seen.admitted;
                seen.report.detail = seen.detail;
                seen.report
            })
            .collect()
    }

    fn outbox(&mut self, outbox: &Outbox) -> &mut Seen {
        self.0.get_or_insert_with(outbox, || Seen {
            report: OutboxReport {
                node: outbox.node.clone(),
                epoch: format!("{:016x}", outbox.epoch),
                ..Default::default()
            },
            ..Seen::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(gap: (u64, u64), admitted: &[(u64, u64)], expected: &[(u64, u64)]) {
        let range = |&(first, last): &(u64, u64)| Range { first, last };
        let admitted = normal(admitted.iter().map(range));
        let expected: Vec<Range> = expected.iter().map(range).collect();
        assert_eq!(minus(&[range(&gap)], &admitted), expected);
    }

    #[test]
    fn only_what_no_loss_event_admits_is_unexplained() {
        check((5, 9), &[], &[(5, 9)]);
        check((5, 9), &[(5, 9)], &[]);
        check((5, 9), &[(1, u64::MAX)], &[]);
        check((5, 9), &[(7, 7)], &[(5, 6), (8, 9)]);
        check((5, 9), &[(8, 20), (1, 5)], &[(6, 7)]);
        check((5, 9), &[(1, 4), (10, 12)], &[(5, 9)]);
    }
}
