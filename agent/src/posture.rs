//! Posture: how containers are set up, held against the controls that say how they should be.
//!
//! [`checks`] looks at one container, as its runtime describes it, and finds what is against a control;
//! [`Posture`] remembers what was said of each workload, also over a restart of the agent, and gives only what is
//! new, changed, or gone. What no runtime tells is not judged.

mod checks;
mod memory;

use crate::event;
use crate::identity::Container;
use checks::{Check, Finding};
use foldhash::{HashMap, HashMapExt as _};
use memory::Memory;
use norma_wire::pb::{self, Kind, Reason, Severity, Verdict, VerdictKind};
use norma_wire::{Detail, Event};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// What the configuration says of posture.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PostureConfig {
    /// Where images may come from: a registry, or a path in one. Empty where that is not looked at.
    pub approved_registries: Vec<String>,
}

/// The stage beside the others: looks at containers when they appear and when their description changes.
pub struct Posture {
    config: PostureConfig,
    memory: Memory,
    /// Descriptions that were looked at, by container id.
    seen: HashMap<String, Arc<crate::identity::cri::Described>>,
}

impl Posture {
    /// Goes on from what was said before.
    pub fn open(state_dir: &Path, config: PostureConfig) -> Self {
        Self {
            config,
            memory: Memory::open(&state_dir.join("posture.json")),
            seen: HashMap::new(),
        }
    }

    /// What there is to say of the containers that run.
    pub fn look(&mut self, running: &[Arc<Container>]) -> Vec<Event> {
        let mut events = Vec::new();
        for container in running {
            let Some(described) = &container.described else {
                continue;
            };
            let is_same = |seen: &Arc<_>| Arc::ptr_eq(seen, described);
            if self.seen.get(&container.id.0).is_some_and(is_same) {
                continue;
            }
            self.seen.insert(container.id.0.clone(), Arc::clone(described));
            if let Some(findings) = checks::look(described, &self.config) {
                self.compare(container, &findings, &mut events);
            }
        }
        if self.seen.len() > running.len() {
            self.seen
                .retain(|id, _| running.iter().any(|container| container.id.0 == *id));
        }
        self.memory.save();
        events
    }

    fn compare(&mut self, container: &Container, findings: &[Finding], events: &mut Vec<Event>) {
        let now: BTreeMap<String, String> = findings
            .iter()
            .map(|finding| (finding.check.name().to_owned(), finding.value.clone()))
            .collect();
        let before = self.memory.replace(&container.workload.0, now.clone());
        for finding in findings {
            let change = match before.get(finding.check.name()) {
                None => ("new", ""),
                Some(value) if *value == finding.value => continue,
                Some(value) => ("changed", value.as_str()),
            };
            events.push(said(container, finding, change));
        }
        for (name, value) in &before {
            if !now.contains_key(name)
                && let Some(check) = Check::by_name(name)
            {
                events.push(gone(container, check, value));
            }
        }
    }
}

fn said(container: &Container, finding: &Finding, (change, before): (&str, &str)) -> Event {
    let reason = Reason {
        code: finding.check.name().to_owned(),
        expected: finding.check.expected().to_owned(),
        why: finding.check.why().to_owned(),
        policy: String::new(),
        clause: String::new(),
        controls: finding
            .check
            .controls()
            .iter()
            .map(|control| (*control).to_owned())
            .collect(),
        next: "the workload's manifest: change it, or have somebody sign for it".to_owned(),
    };
    let verdict = Verdict {
        kind: VerdictKind::Violation as i32,
        severity: finding.severity as i32,
        score: score(finding.severity),
        reasons: vec![reason],
        ..Verdict::default()
    };
    posture(
        container,
        finding.check,
        verdict,
        change,
        (&finding.value, before),
    )
}

fn gone(container: &Container, check: Check, before: &str) -> Event {
    let verdict = Verdict {
        kind: VerdictKind::Expected as i32,
        severity: Severity::Info as i32,
        ..Verdict::default()
    };
    posture(container, check, verdict, "gone", ("", before))
}

fn posture(
    container: &Container,
    check: Check,
    verdict: Verdict,
    change: &str,
    (value, before): (&str, &str),
) -> Event {
    Event {
        container: Some(event::container(container)),
        verdict: Some(verdict),
        ..event::own(
            Kind::Posture,
            Detail::Posture(pb::Posture {
                name: check.name().to_owned(),
                change: change.to_owned(),
                value: value.to_owned(),
                before: before.to_owned(),
            }),
        )
    }
}

fn score(severity: Severity) -> u32 {
    match severity {
        Severity::Critical => 95,
        Severity::High => 80,
        Severity::Medium => 55,
        Severity::Low => 30,
        Severity::Info | Severity::Unspecified => 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::cri::{Described, Privileges};
    use crate::identity::{ContainerId, IdentityState, WorkloadName};
    use crate::observation::CgroupId;

    fn container(id: &str, uid: u32) -> Arc<Container> {
        Arc::new(Container {
            id: ContainerId(id.into()),
            name: "c".into(),
            runtime: "containerd".into(),
            image: "reg.example/web:v1".into(),
            image_digest: String::new(),
            workload: WorkloadName("shop/Deployment/web/c".into()),
            pod: "p".into(),
            namespace: "shop".into(),
            cgroup: CgroupId(1),
            cgroup_path: "/c".into(),
            state: IdentityState::Known,
            init_pid: 1,
            start_seen: true,
            described: Some(Arc::new(Described {
                id: id.into(),
                privileges: Some(Privileges {
                    uid: Some(uid),
                    read_only_root: true,
                    cpu_limit_us: 1,
                    memory_limit: 1,
                    ..Privileges::default()
                }),
                ..Described::default()
            })),
        })
    }

    fn words(events: &[Event]) -> Vec<String> {
        events
            .iter()
            .map(|event| match &event.detail {
                Some(Detail::Posture(posture)) => format!("{} {}", posture.name, posture.change),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn each_finding_is_said_once_over_restarts_until_it_changes() {
        let dir = tempfile::tempdir().unwrap();
        let open = || Posture::open(dir.path(), PostureConfig::default());
        let mut posture = open();
        assert_eq!(
            words(&posture.look(&[container("1", 0)])),
            ["posture.runs-as-root new"]
        );
        // Its next replica, and the same after a restart.
        assert_eq!(posture.look(&[container("2", 0)]), []);
        let mut posture = open();
        assert_eq!(posture.look(&[container("2", 0)]), []);
        assert_eq!(
            words(&posture.look(&[container("3", 1000)])),
            ["posture.runs-as-root gone"]
        );
        assert_eq!(
            words(&posture.look(&[container("4", 0)])),
            ["posture.runs-as-root new"]
        );
    }

    #[test]
    fn a_damaged_memory_is_begun_anew() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("posture.json"), "{\"version\":").unwrap();
        let mut posture = Posture::open(dir.path(), PostureConfig::default());
        assert_eq!(posture.look(&[container("1", 0)]).len(), 1);
    }
}
