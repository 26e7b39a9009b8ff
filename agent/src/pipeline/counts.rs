//! Counts that become events: losses of the kernel side, and what said nothing new.

use crate::clock::WallClock;
use crate::identity::{Container, Identified};
use crate::judge::Fact;
use crate::observation::{BootTime, CgroupId};
use crate::outbox::{kind_name, named};
use crate::respond::{Connections, Recognised};
use crate::sensor::{self, Losses, Totals, growth};
use norma_abi::{KINDS, Traffic};
use norma_wire::pb::{self, Kind, LossCause};
use norma_wire::{Detail, Event};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};

/// Connections that one roll-up tells of.
const CONNECTIONS_MAX: usize = 200;

/// What the kernel side counted of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct KindTotals {
    /// Records that it made, delivered or not.
    pub seen: u64,
    /// Records that found the ring full.
    pub lost: u64,
    /// Acts that it could not describe.
    pub failed: u64,
    /// Acts that it recognised and counted instead.
    pub recognised: u64,
    /// The most acts that no program can have seen, because the kernel passed it over.
    pub passed_over: u64,
}

/// What was lost since it was last asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lost {
    /// Whose it was; `CgroupId(0)` where that is not known.
    pub cgroup: CgroupId,
    /// Why.
    pub cause: LossCause,
    /// How many of each `KIND_*`.
    pub counts: BTreeMap<usize, u64>,
}

impl Lost {
    /// Whether one of these `KIND_*` is among it.
    pub fn has(&self, kinds: &[u16]) -> bool {
        kinds
            .iter()
            .any(|kind| self.counts.contains_key(&usize::from(*kind)))
    }

    /// Whether it is the same but for the number.
    pub fn is_alike(&self, other: &Self) -> bool {
        (self.cgroup, self.cause) == (other.cgroup, other.cause)
    }

    /// Adds the numbers of another.
    pub fn add(&mut self, other: &Self) {
        for (kind, count) in &other.counts {
            *self.counts.entry(*kind).or_default() += count;
        }
    }

    /// As it is reported.
    pub fn to_pb(&self) -> pb::Loss {
        let counts = self.counts.iter();
        let counts: BTreeMap<String, u64> = counts.map(|(kind, count)| (kind_word(*kind), *count)).collect();
        pb::Loss {
            cause: self.cause as i32,
            counts: named(&counts),
            ..pb::Loss::default()
        }
    }
}

/// The kernel side's counters as last read.
#[derive(Debug, Default)]
pub(super) struct KernelCounts {
    last: Totals,
    losses: Losses,
    /// Losses that were reported with whose they are.
    reported: u64,
}

impl KernelCounts {
    /// What was lost since the last call, by whose it was; `CgroupId(0)` where that is not known.
    ///
    /// `losses` are those of the kernel side by control group, `None` where nothing new was lost.
    pub fn update(&mut self, totals: &Totals, losses: Option<Losses>) -> Vec<Lost> {
        let mut by_cgroup = BTreeMap::<CgroupId, BTreeMap<usize, u64>>::new();
        for ((cgroup, kind), count) in losses.iter().flatten() {
            let before = self.losses.get(&(*cgroup, *kind)).copied().unwrap_or(0);
            if *count > before {
                by_cgroup
                    .entry(*cgroup)
                    .or_default()
                    .insert(*kind, count - before);
                self.reported += count - before;
            }
        }
        let nobodys = [
            (LossCause::Unreadable, growth(&totals.failed, &self.last.failed)),
            (
                LossCause::PassedOver,
                growth(&totals.passed_over, &self.last.passed_over),
            ),
        ];
        self.last = *totals;
        if let Some(losses) = losses {
            self.losses = losses;
        }
        by_cgroup
            .into_iter()
            .map(|(cgroup, counts)| (cgroup, LossCause::RingFull, counts))
            .chain(
                nobodys
                    .into_iter()
                    .filter(|(_, counts)| !counts.is_empty())
                    .map(|(cause, counts)| (CgroupId(0), cause, counts)),
            )
            .map(|(cgroup, cause, counts)| Lost {
                cgroup,
                cause,
                counts,
            })
            .collect()
    }

    /// Whether more was lost than was reported.
    pub fn has_new_losses(&self, totals: &Totals) -> bool {
        totals.all_lost() > self.reported
    }

    /// Forgets a control group, whose losses were reported.
    pub fn forget(&mut self, cgroup: CgroupId) {
        self.losses.retain(|(of, _), _| *of != cgroup);
    }

    /// What was lost since the start, by kind.
    pub fn lost(&self) -> Vec<pb::KindCount> {
        (0..KINDS)
            .filter(|kind| self.last.lost[*kind] > 0)
            .map(|kind| pb::KindCount {
                kind: kind_word(kind),
                count: self.last.lost[kind],
            })
            .collect()
    }

    /// The counters by kind.
    pub fn by_kind(&self) -> BTreeMap<&'static str, KindTotals> {
        let totals = &self.last;
        (0..KINDS)
            .filter_map(|kind| {
                let counted = KindTotals {
                    seen: totals.seen[kind],
                    lost: totals.lost[kind],
                    failed: totals.failed[kind],
                    recognised: totals.recognised[kind],
                    passed_over: totals.passed_over[kind],
                };
                Some((sensor::kind_name(kind)?, counted))
            })
            .collect()
    }
}

fn kind_word(kind: usize) -> String {
    sensor::kind_name(kind).unwrap_or("unknown").to_owned()
}

/// What was counted for one control group.
struct Rollup {
    container: Option<pb::Container>,
    since: BootTime,
    counts: BTreeMap<i32, u64>,
    repeated_alerts: BTreeMap<i32, u64>,
    recognised: BTreeMap<i32, u64>,
    /// By code and incident.
    repeated_findings: BTreeMap<(String, String), u64>,
    connections: HashMap<Fact, (u64, Traffic)>,
}

/// Events that said nothing new, by control group.
#[derive(Default)]
pub(super) struct Rollups {
    by_cgroup: HashMap<CgroupId, Rollup>,
}

impl Rollups {
    /// Counts one; of an alert that was raised before, by its code and incident too.
    pub fn count(&mut self, identified: &Identified, kind: Kind, repeated: Option<(&str, &str)>) {
        let cgroup = identified.observation.actor.cgroup;
        let container = identified.place.container();
        let rollup = self.of(cgroup, container.map(AsRef::as_ref), identified.observation.at);
        *rollup.counts.entry(kind as i32).or_default() += 1;
        if let Some((code, incident)) = repeated {
            *rollup.repeated_alerts.entry(kind as i32).or_default() += 1;
            let finding = (code.to_owned(), incident.to_owned());
            *rollup.repeated_findings.entry(finding).or_default() += 1;
        }
    }

    /// Counts what the kernel side recognised and did not report.
    pub fn count_recognised(&mut self, recognised: &Recognised, now: BootTime) {
        let container = &recognised.container;
        let rollup = self.of(container.cgroup, Some(container), now);
        rollup.add_recognised(Kind::Open, recognised.opens);
        for Connections { fact, begun, traffic } in &recognised.connections {
            let later = traffic.established + traffic.ended + traffic.failed;
            match fact {
                Fact::Accept { .. } => rollup.add_recognised(Kind::Socket, begun + later),
                _ => {
                    rollup.add_recognised(Kind::Connect, *begun);
                    rollup.add_recognised(Kind::Socket, later);
                }
            }
            let (sum, became) = rollup.connections.entry(fact.clone()).or_default();
            *sum += begun;
            became.established += traffic.established;
            became.ended += traffic.ended;
            became.failed += traffic.failed;
            became.sent += traffic.sent;
            became.received += traffic.received;
        }
    }

    fn of(&mut self, cgroup: CgroupId, container: Option<&Container>, since: BootTime) -> &mut Rollup {
        self.by_cgroup.entry(cgroup).or_insert_with(|| Rollup {
            container: container.map(crate::event::container),
            since,
            counts: BTreeMap::new(),
            repeated_alerts: BTreeMap::new(),
            recognised: BTreeMap::new(),
            repeated_findings: BTreeMap::new(),
            connections: HashMap::new(),
        })
    }

    /// All of them as events; counting begins anew.
    pub fn take(&mut self, now: BootTime, clock: &WallClock) -> Vec<Event> {
        std::mem::take(&mut self.by_cgroup)
            .into_values()
            .flat_map(|rollup| rollup.into_events(now, clock))
            .collect()
    }

    /// Those of one control group.
    pub fn take_one(&mut self, cgroup: CgroupId, now: BootTime, clock: &WallClock) -> Vec<Event> {
        self.by_cgroup
            .remove(&cgroup)
            .map_or_else(Vec::new, |rollup| rollup.into_events(now, clock))
    }
}

impl Rollup {
    fn add_recognised(&mut self, kind: Kind, count: u64) {
        if count > 0 {
            *self.counts.entry(kind as i32).or_default() += count;
            *self.recognised.entry(kind as i32).or_default() += count;
        }
    }

    /// One event, and further ones where there are so many connections that it would be too large.
    fn into_events(self, now: BootTime, clock: &WallClock) -> Vec<Event> {
        let event = |rollup: pb::Rollup| Event {
            boot_ns: now.0,
            wall_ns: clock.wall_ns(now),
            kind: Kind::Rollup as i32,
            container: self.container.clone(),
            detail: Some(Detail::Rollup(rollup)),
            ..Event::default()
        };
        let mut connections: Vec<pb::ConnectionCount> = self
            .connections
            .iter()
            .map(|(fact, (begun, traffic))| crate::event::connections(fact, *begun, traffic))
            .collect();
        connections.sort_unstable_by(|one, other| in_order(one).cmp(&in_order(other)));
        let rest = connections.split_off(connections.len().min(CONNECTIONS_MAX));
        let first = pb::Rollup {
            counts: counts_by_name(self.counts),
            repeated_alerts: counts_by_name(self.repeated_alerts),
            since_boot_ns: self.since.0,
            recognised: counts_by_name(self.recognised),
            repeated_findings: self
                .repeated_findings
                .into_iter()
                .map(|((code, incident), count)| pb::FindingCount {
                    code,
                    incident,
                    count,
                })
                .collect(),
            connections,
        };
        let further = rest.chunks(CONNECTIONS_MAX).map(|connections| pb::Rollup {
            since_boot_ns: self.since.0,
            connections: connections.to_vec(),
            ..pb::Rollup::default()
        });
        std::iter::once(first).chain(further).map(event).collect()
    }
}

/// By what connections are put in order: so that the same ones always are in the same.
fn in_order(count: &pb::ConnectionCount) -> (bool, u32, &str, &str) {
    (count.accepted, count.port, &count.remote_address, &count.exe)
}

fn counts_by_name(counts: BTreeMap<i32, u64>) -> Vec<pb::KindCount> {
    counts
        .into_iter()
        .map(|(kind, count)| pb::KindCount {
            kind: kind_name(kind),
            count,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use norma_abi::{KIND_CONNECT, KIND_EXEC};

    #[test]
    fn many_peers_are_told_in_several_roll_ups_and_none_is_left_out() {
        let peers = 2 * CONNECTIONS_MAX + 1;
        let fact = |number: usize| Fact::Connect {
            exe: "/usr/bin/app".into(),
            peer: std::net::Ipv4Addr::from(0x0a00_0000 + number as u32).into(),
            names: crate::judge::PeerNames::default(),
            port: 443,
            udp: false,
        };
        let mut rollup = Rollup {
            container: None,
            since: BootTime(1),
            counts: BTreeMap::new(),
            repeated_alerts: BTreeMap::new(),
            recognised: BTreeMap::new(),
            repeated_findings: BTreeMap::new(),
            connections: (0..peers)
                .map(|number| (fact(number), (1, Traffic::default())))
                .collect(),
        };
        rollup.add_recognised(Kind::Connect, peers as u64);
        let events = rollup.into_events(BootTime(2), &WallClock::new(0));
        let told: Vec<&pb::Rollup> = events
            .iter()
            .filter_map(|event| match &event.detail {
                Some(Detail::Rollup(rollup)) => Some(rollup),
                _ => None,
            })
            .collect();
        assert_eq!(told.len(), 3);
        assert!(told.iter().all(|rollup| rollup.since_boot_ns == 1));
        assert_eq!(told.iter().filter(|rollup| !rollup.counts.is_empty()).count(), 1);
        let addresses: std::collections::BTreeSet<&str> = told
            .iter()
            .flat_map(|rollup| &rollup.connections)
            .map(|count| count.remote_address.as_str())
            .collect();
        assert_eq!(addresses.len(), peers);
    }

    #[test]
    fn what_was_passed_over_is_told_once_and_is_nobodys() {
        let (exec, connect) = (usize::from(KIND_EXEC), usize::from(KIND_CONNECT));
        let mut counts = KernelCounts::default();
        let mut totals = Totals::default();
        totals.passed_over[exec] = 2;
        totals.failed[connect] = 1;
        let told = |cause, counts: &[(usize, u64)]| Lost {
            cgroup: CgroupId(0),
            cause,
            counts: counts.iter().copied().collect(),
        };
        assert_eq!(
            counts.update(&totals, None),
            [
                told(LossCause::Unreadable, &[(connect, 1)]),
                told(LossCause::PassedOver, &[(exec, 2)]),
            ]
        );
        assert_eq!(counts.update(&totals, None), []);
        totals.passed_over[exec] = 5;
        totals.passed_over[connect] = 1;
        assert_eq!(
            counts.update(&totals, None),
            [told(LossCause::PassedOver, &[(exec, 3), (connect, 1)])]
        );
    }
}
