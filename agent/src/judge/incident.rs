//! Findings of one lineage within a time are one incident.
//!
//! A lineage is what descends from the same beginning: an exec session (all sessions with the same command line), or
//! the container's own first process. Below a supervisor that only starts services each service is a lineage of its
//! own. An incident goes on as long as no [`QUIET`] passes between its findings, and [`LONGEST`] at most.

use super::session::Sessions;
use crate::identity::{Container, Identified, Session};
use crate::observation::{BootTime, CgroupId, ProcessKey};
use foldhash::{HashMap, HashMapExt as _};
use serde::{Deserialize, Serialize};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

/// After this long without a finding the next one begins another incident.
const QUIET: Duration = Duration::from_secs(600);
/// An incident is not longer than this, however it goes on.
const LONGEST: Duration = Duration::from_secs(6 * 3600);
/// Most codes of findings that an incident lists.
const KINDS_MAX: usize = 32;
/// Most incidents that are open; above it those that were quiet longest are closed.
const OPEN_MAX: usize = 4_096;
/// First processes that do nothing but start services and look after them.
const SUPERVISORS: [&str; 14] = [
    "tini",
    "tini-static",
    "dumb-init",
    "docker-init",
    "podman-init",
    "catatonit",
    "init",
    "systemd",
    "supervisord",
    "s6-svscan",
    "s6-supervise",
    "runsvdir",
    "runsv",
    "pause",
];

/// An incident as an event shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incident {
    /// 32 hexadecimal digits; the same nowhere else.
    pub id: Arc<str>,
    /// Findings until now.
    pub findings: u64,
    /// How often one of them was repeated.
    pub repeated: u64,
    /// When it began.
    pub first: BootTime,
    /// Codes of its findings, in the order of their first.
    pub kinds: Vec<String>,
}

/// One that is open, to be found again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct KeptIncident {
    lineage: Lineage,
    id: Arc<str>,
    findings: u64,
    repeated: u64,
    first: BootTime,
    last: BootTime,
    kinds: Vec<String>,
}

/// What the findings of an incident have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Lineage {
    container: CgroupId,
    beginning: Beginning,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum Beginning {
    /// The container's first process.
    First,
    /// A service that a supervisor started.
    Service(ProcessKey),
    /// A session with this command line.
    Command(u64),
    /// A session that began before the agent did.
    Session(ProcessKey),
}

impl Lineage {
    /// That of an act.
    pub fn of(container: &Container, identified: &Identified, sessions: &Sessions) -> Self {
        let process = &identified.process;
        let chain = &process.ancestors[..identified.lineage.min(process.ancestors.len())];
        let beginning = match process.session {
            Session::Exec => {
                let first = chain.last().map_or(process.key, |first| first.key);
                sessions
                    .command(first)
                    .map_or(Beginning::Session(first), |command| {
                        Beginning::Command(command.identity())
                    })
            }
            Session::Own => service(chain, process.key).map_or(Beginning::First, Beginning::Service),
        };
        Self {
            container: container.cgroup,
            beginning,
        }
    }
}

/// The service that a process belongs to, where its container's first process is a supervisor.
fn service(chain: &[crate::identity::Ancestor], own: ProcessKey) -> Option<ProcessKey> {
    let first = chain.last()?;
    let name = super::places::name(&first.exe);
    SUPERVISORS.contains(&name).then(|| {
        let child = chain.len().checked_sub(2).and_then(|index| chain.get(index));
        child.map_or(own, |child| child.key)
    })
}

struct Open {
    incident: Incident,
    last: BootTime,
}

/// Those that go on.
pub(super) struct Incidents {
    open: HashMap<Lineage, Open>,
    names: [RandomState; 2],
    begun: u64,
}

impl Default for Incidents {
    fn default() -> Self {
        Self {
            open: HashMap::new(),
            names: [RandomState::new(), RandomState::new()],
            begun: 0,
        }
    }
}

impl Incidents {
    /// The incident that a finding of this lineage belongs to; there is one afterwards.
    pub fn current(&mut self, lineage: Lineage, at: BootTime) -> Arc<str> {
        let goes_on =
            |open: &Open| !is_past(open.last, at, QUIET) && !is_past(open.incident.first, at, LONGEST);
        if let Some(open) = self.open.get(&lineage)
            && goes_on(open)
        {
            return Arc::clone(&open.incident.id);
        }
        if self.open.len() >= OPEN_MAX {
            self.close_some(at);
        }
        self.begun += 1;
        let [high, low] = &self.names;
        let id: Arc<str> = Arc::from(format!(
            "{:016x}{:016x}",
            high.hash_one((self.begun, lineage)),
            low.hash_one((self.begun, at))
        ));
        let incident = Incident {
            id: Arc::clone(&id),
            findings: 0,
            repeated: 0,
            first: at,
            kinds: Vec::new(),
        };
        self.open.insert(lineage, Open { incident, last: at });
        id
    }

    /// Counts a finding of the current incident of a lineage; gives the incident with it.
    pub fn count(&mut self, lineage: Lineage, at: BootTime, code: &str, repeated: bool) -> Option<Incident> {
        let open = self.open.get_mut(&lineage)?;
        open.last = open.last.max(at);
        let incident = &mut open.incident;
        if repeated {
            incident.repeated += 1;
        } else {
            incident.findings += 1;
        }
        if incident.kinds.len() < KINDS_MAX && incident.kinds.iter().all(|known| known != code) {
            incident.kinds.push(code.to_owned());
        }
        Some(incident.clone())
    }

    /// What is to be found again.
    pub fn kept(&self) -> Vec<KeptIncident> {
        self.open
            .iter()
            .map(|(lineage, Open { incident, last })| KeptIncident {
                lineage: *lineage,
                id: Arc::clone(&incident.id),
                findings: incident.findings,
                repeated: incident.repeated,
                first: incident.first,
                last: *last,
                kinds: incident.kinds.clone(),
            })
            .collect()
    }

    /// Takes what was found again.
    pub fn take(&mut self, kept: Vec<KeptIncident>) {
        for kept in kept.into_iter().take(OPEN_MAX) {
            let incident = Incident {
                id: kept.id,
                findings: kept.findings,
                repeated: kept.repeated,
                first: kept.first,
                kinds: kept.kinds,
            };
            let last = kept.last;
            self.open.insert(kept.lineage, Open { incident, last });
        }
    }

    /// Forgets those of a container that is gone.
    pub fn forget(&mut self, cgroup: CgroupId) {
        self.open.retain(|lineage, _| lineage.container != cgroup);
    }

    fn close_some(&mut self, now: BootTime) {
        self.open.retain(|_, open| !is_past(open.last, now, QUIET));
        if self.open.len() < OPEN_MAX {
            return;
        }
        let mut times: Vec<BootTime> = self.open.values().map(|open| open.last).collect();
        let middle = times.len() / 2;
        let (_, median, _) = times.select_nth_unstable(middle);
        let median = *median;
        self.open.retain(|_, open| open.last > median);
    }
}

fn is_past(since: BootTime, now: BootTime, limit: Duration) -> bool {
    now.0 >= since.0.saturating_add(limit.as_nanos() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn lineage(container: u64) -> Lineage {
        Lineage {
            container: CgroupId(container),
            beginning: Beginning::First,
        }
    }

    fn find(incidents: &mut Incidents, container: u64, second: u64, code: &str) -> Incident {
        let at = BootTime(second * SECOND);
        incidents.current(lineage(container), at);
        incidents.count(lineage(container), at, code, false).unwrap()
    }

    #[test]
    fn an_incident_goes_on_while_findings_come_and_not_for_ever() {
        let mut incidents = Incidents::default();
        let first = find(&mut incidents, 1, 0, "a");
        let second = find(&mut incidents, 1, 599, "b");
        assert_eq!((&second.id, second.findings), (&first.id, 2));
        assert_eq!(second.kinds, ["a", "b"]);
        assert_eq!(second.first, BootTime(0));
        assert_ne!(
            find(&mut incidents, 2, 599, "a").id,
            first.id,
            "another container"
        );
        assert_ne!(
            find(&mut incidents, 1, 599 + 600, "a").id,
            first.id,
            "it was quiet"
        );
        let mut ids = std::collections::HashSet::new();
        for second in (2_000..2_000 + 7 * 3_600).step_by(300) {
            ids.insert(find(&mut incidents, 1, second, "a").id);
        }
        assert_eq!(ids.len(), 2, "six hours, and what came after");
    }

    #[test]
    fn one_that_is_found_again_goes_on() {
        let mut before = Incidents::default();
        let first = find(&mut before, 1, 0, "a");
        let mut incidents = Incidents::default();
        incidents.take(before.kept());
        let second = find(&mut incidents, 1, 300, "b");
        assert_eq!((&second.id, second.findings), (&first.id, 2));
        assert_eq!(second.kinds, ["a", "b"]);
        assert_ne!(find(&mut incidents, 1, 1_000, "a").id, first.id, "it was quiet");
    }

    #[test]
    fn repetitions_are_counted_apart_and_keep_it_open() {
        let mut incidents = Incidents::default();
        let first = find(&mut incidents, 1, 0, "a");
        for second in [500, 1_000, 1_500] {
            let at = BootTime(second * SECOND);
            assert_eq!(incidents.current(lineage(1), at), first.id);
            incidents.count(lineage(1), at, "a", true);
        }
        let last = find(&mut incidents, 1, 2_000, "a");
        assert_eq!((last.id, last.findings, last.repeated), (first.id, 2, 3));
    }

    #[test]
    fn there_is_an_end_to_how_many_are_open() {
        let mut incidents = Incidents::default();
        for number in 0..3 * OPEN_MAX as u64 {
            find(&mut incidents, number, number / 1_000, "a");
        }
        assert!(incidents.open.len() <= OPEN_MAX);
    }
}
