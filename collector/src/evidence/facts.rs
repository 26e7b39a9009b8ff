//! What a log shows of a time and a namespace, gathered record by record.

use crate::au3::coverage::Coverage;
use crate::audit::ReadError;
use crate::audit::show::record_kind;
use crate::audit::walk::walk;
use norma_wire::audit::{AdministrativeAct, Record, record::Body};
use norma_wire::pb::{ClockState, Kind, LossCause, Severity, Verdict};
use norma_wire::{Detail, Event, id, json};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What evidence is about.
#[derive(Clone, Debug, Serialize)]
pub struct Scope {
    /// From this time of receipt on, nanoseconds since 1970.
    #[serde(serialize_with = "as_date")]
    pub from_ns: u64,
    /// Up to this one.
    #[serde(serialize_with = "as_date")]
    pub to_ns: u64,
    /// Events of containers of this Kubernetes namespace alone; `None` for all events, and the collector's own records.
    pub namespace: Option<String>,
}

/// What is known of it.
#[derive(Debug, Serialize)]
pub struct Facts {
    pub scope: Scope,
    /// Records in scope.
    pub records: u64,
    pub by_record: BTreeMap<String, u64>,
    pub by_node: BTreeMap<String, u64>,
    pub by_kind: BTreeMap<String, u64>,
    pub by_namespace: BTreeMap<String, u64>,
    /// Time of receipt of the last record in scope, nanoseconds since 1970.
    #[serde(serialize_with = "as_date")]
    pub last_ns: u64,
    /// What somebody should have looked at, by code.
    pub findings: BTreeMap<String, Finding>,
    /// How containers were set up against a control when the time ended, by container and name.
    #[serde(serialize_with = "as_list")]
    pub postures: BTreeMap<(String, String), Posture>,
    /// Containers of which the runtime told how they are set up.
    pub described_containers: u64,
    /// Events that agents admit to have lost, by cause and kind.
    pub lost: BTreeMap<String, u64>,
    /// The last that agents said of themselves until the time ended.
    pub agents: BTreeMap<String, Agent>,
    /// The same of the collector.
    pub collector: Collector,
    /// Workloads whose baseline was complete, and the revision that it is of.
    pub baselines: BTreeMap<String, Baseline>,
    /// Decisions on baselines in scope.
    pub decisions: u64,
    /// Policies that gave a verdict or a response, with the revision where it is known.
    pub policies: BTreeSet<(String, String)>,
    /// Steps of clocks in scope, by node.
    pub clock_steps: BTreeMap<String, u64>,
    /// Commands whose arguments are there in full, and all.
    pub commands: (u64, u64),
    /// AU-3's answers.
    pub au3: Coverage,
    #[serde(skip)]
    described: BTreeSet<String>,
}

/// Findings of one code.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    pub count: u64,
    pub severity: String,
    pub controls: Vec<String>,
    pub why: String,
    /// The first event of it, and when it was received.
    pub first: String,
    #[serde(serialize_with = "as_date")]
    pub first_ns: u64,
}

/// A container that is set up against a control.
#[derive(Clone, Debug, Serialize)]
pub struct Posture {
    pub value: String,
    pub severity: String,
    pub controls: Vec<String>,
    pub event: String,
    #[serde(serialize_with = "as_date")]
    pub since_ns: u64,
}

/// What an agent said of itself.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Agent {
    pub version: String,
    pub program_sha256: String,
    /// SHA-256 over configuration and policies.
    pub config_revision: String,
    pub kernel: String,
    /// Sensors that do not work though they are wanted.
    pub blind: Vec<String>,
    pub clock: Option<ClockState>,
}

/// What the collector recorded of itself.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Collector {
    pub version: String,
    pub program_sha256: String,
    pub configuration_sha256: String,
    pub clock: Option<ClockState>,
    /// Acts of administration in scope, by name.
    pub administration: BTreeMap<String, u64>,
}

/// A complete baseline.
#[derive(Clone, Debug, Serialize)]
pub struct Baseline {
    pub revision: String,
    pub event: String,
}

impl Facts {
    /// Those of the log in `directory`, up to its record `last`.
    pub fn read(directory: &Path, scope: Scope, last: u64) -> Result<Self, ReadError> {
        let mut facts = Self {
            scope,
            records: 0,
            by_record: BTreeMap::new(),
            by_node: BTreeMap::new(),
            by_kind: BTreeMap::new(),
            by_namespace: BTreeMap::new(),
            last_ns: 0,
            findings: BTreeMap::new(),
            postures: BTreeMap::new(),
            described_containers: 0,
            lost: BTreeMap::new(),
            agents: BTreeMap::new(),
            collector: Collector::default(),
            baselines: BTreeMap::new(),
            decisions: 0,
            policies: BTreeSet::new(),
            clock_steps: BTreeMap::new(),
            commands: (0, 0),
            au3: Coverage::default(),
            described: BTreeSet::new(),
        };
        walk(directory, 0, &mut |record, event| {
            // What came after it was verified is not evidence.
            if record.index <= last {
                facts.take(record, event);
            }
            Ok::<_, ReadError>(())
        })?;
        facts.described_containers = facts.described.len() as u64;
        Ok(facts)
    }

    fn take(&mut self, record: &Record, event: Option<&Event>) {
        if record.received_wall_ns > self.scope.to_ns {
            return;
        }
        let in_namespace = match (&self.scope.namespace, event) {
            (None, _) => true,
            (Some(namespace), Some(event)) => event
                .container
                .as_ref()
                .is_some_and(|container| container.namespace == *namespace),
            (Some(_), None) => false,
        };
        // What was said before the time may still hold in it.
        match (&record.body, event) {
            (Some(Body::Event(_)), Some(event)) => self.state(record, event, in_namespace),
            (body, _) => self.own_state(body.as_ref()),
        }
        if record.received_wall_ns < self.scope.from_ns {
            return;
        }
        match (&record.body, event) {
            (Some(Body::Event(_)), Some(event)) => self.admission(event),
            (body, _) => self.own(body.as_ref()),
        }
        if !in_namespace {
            return;
        }
        self.records += 1;
        self.last_ns = self.last_ns.max(record.received_wall_ns);
        add(&mut self.by_record, record_kind(record.body.as_ref()));
        self.au3.count(record, event);
        if let Some(event) = event {
            self.count(record, event);
        }
    }

    /// What an event says that holds until another says otherwise.
    fn state(&mut self, record: &Record, event: &Event, in_namespace: bool) {
        let node = node(event);
        let name = || event.id.as_ref().map(ToString::to_string).unwrap_or_default();
        match &event.detail {
            Some(Detail::Lifecycle(lifecycle)) if lifecycle.state == "started" => {
                let agent = self.agents.entry(node.to_owned()).or_default();
                agent.version.clone_from(&lifecycle.agent_version);
                agent.program_sha256.clone_from(&lifecycle.program_sha256);
                agent.config_revision.clone_from(&lifecycle.config_revision);
            }
            Some(Detail::Coverage(coverage)) => {
                let agent = self.agents.entry(node.to_owned()).or_default();
                agent.kernel.clone_from(&coverage.kernel);
                agent.blind = coverage
                    .capabilities
                    .iter()
                    .filter(|capability| capability.tier.is_empty() && !capability.off)
                    .map(|capability| capability.name.clone())
                    .collect();
            }
            Some(Detail::ClockState(state)) => {
                self.agents.entry(node.to_owned()).or_default().clock = Some(state.clone());
            }
            Some(Detail::BaselineReady(ready)) if in_namespace => {
                let baseline = Baseline {
                    revision: ready.revision.clone(),
                    event: name(),
                };
                self.baselines.insert(ready.workload.clone(), baseline);
            }
            Some(Detail::IdentityResolved(resolved)) if in_namespace && resolved.facts.is_some() => {
                self.described
                    .extend(event.container.iter().map(|container| container.id.clone()));
            }
            Some(Detail::Posture(posture)) if in_namespace => {
                let container = event.container.as_ref();
                let subject = container.map_or_else(
                    || format!("node {node}"),
                    |container| format!("{} {}", container.workload, container.id),
                );
                self.described
                    .extend(container.map(|container| container.id.clone()));
                let key = (subject, posture.name.clone());
                if posture.change == "gone" {
                    self.postures.remove(&key);
                } else {
                    let verdict = event.verdict.as_ref();
                    let found = Posture {
                        value: posture.value.clone(),
                        severity: severity(event),
                        controls: controls(verdict),
                        event: name(),
                        since_ns: record.received_wall_ns,
                    };
                    self.postures.insert(key, found);
                }
            }
            _ => {}
        }
    }

    fn own_state(&mut self, body: Option<&Body>) {
        match body {
            Some(Body::Started(started)) => self.collector.version.clone_from(&started.collector_version),
            Some(Body::ClockState(state)) => self.collector.clock = Some(state.clone()),
            Some(Body::Administration(done)) if done.act == AdministrativeAct::Configuration as i32 => {
                let fact = |name: &str| {
                    let found = done.facts.iter().find(|fact| fact.name == name);
                    found.map(|fact| fact.value.clone()).unwrap_or_default()
                };
                self.collector.configuration_sha256 = fact("sha256");
                self.collector.program_sha256 = fact("program sha256");
            }
            _ => {}
        }
    }

    /// What the collector's own records say of the time.
    fn own(&mut self, body: Option<&Body>) {
        match body {
            Some(Body::Administration(done)) => {
                let name = json::name::<AdministrativeAct>(done.act);
                *self.collector.administration.entry(name).or_default() += 1;
            }
            Some(Body::BaselineDecision(_)) => self.decisions += 1,
            Some(Body::ClockStep(_)) => add(&mut self.clock_steps, crate::au3::coverage::COLLECTOR),
            _ => {}
        }
    }

    /// What an agent has to admit, whatever the namespace.
    fn admission(&mut self, event: &Event) {
        match &event.detail {
            Some(Detail::Loss(loss)) => {
                for count in &loss.counts {
                    let what = format!("{} ({})", count.kind, json::name::<LossCause>(loss.cause));
                    *self.lost.entry(what).or_default() += count.count;
                }
            }
            Some(Detail::ClockStep(_)) => add(&mut self.clock_steps, node(event)),
            Some(Detail::BaselineDecision(_)) => self.decisions += 1,
            _ => {}
        }
    }

    fn count(&mut self, record: &Record, event: &Event) {
        add(&mut self.by_node, node(event));
        add(&mut self.by_kind, &json::name::<Kind>(event.kind));
        if let Some(container) = &event.container {
            add(&mut self.by_namespace, &container.namespace);
        }
        if let Some(Detail::Exec(exec)) = &event.detail {
            self.commands.0 += u64::from(!exec.argv_truncated);
            self.commands.1 += 1;
        }
        let reasons = event.verdict.iter().flat_map(|verdict| &verdict.reasons);
        for reason in reasons.clone().filter(|reason| !reason.policy.is_empty()) {
            self.policies.insert((reason.policy.clone(), String::new()));
        }
        for response in event.responses.iter().filter(|done| !done.policy.is_empty()) {
            self.policies
                .insert((response.policy.clone(), response.policy_revision.clone()));
        }
        if !event.verdict.as_ref().is_some_and(id::calls_for_action) {
            return;
        }
        for reason in reasons {
            let finding = self
                .findings
                .entry(reason.code.clone())
                .or_insert_with(|| Finding {
                    count: 0,
                    severity: severity(event),
                    controls: reason.controls.clone(),
                    why: reason.why.clone(),
                    first: event.id.as_ref().map(ToString::to_string).unwrap_or_default(),
                    first_ns: record.received_wall_ns,
                });
            finding.count += 1;
        }
    }
}

fn node(event: &Event) -> &str {
    event.id.as_ref().map_or("", |id| &id.node)
}

fn severity(event: &Event) -> String {
    json::name::<Severity>(id::severity(event).into())
}

fn controls(verdict: Option<&Verdict>) -> Vec<String> {
    let mut controls: Vec<String> = verdict
        .into_iter()
        .flat_map(|verdict| &verdict.reasons)
        .flat_map(|reason| reason.controls.clone())
        .collect();
    controls.sort_unstable();
    controls.dedup();
    controls
}

fn add(counts: &mut BTreeMap<String, u64>, name: &str) {
    match counts.get_mut(name) {
        Some(count) => *count += 1,
        None => drop(counts.insert(name.to_owned(), 1)),
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
fn as_date<S: serde::Serializer>(wall_ns: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&super::date(*wall_ns))
}

fn as_list<S: serde::Serializer>(
    postures: &BTreeMap<(String, String), Posture>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Entry<'a> {
        container: &'a str,
        name: &'a str,
        #[serde(flatten)]
        posture: &'a Posture,
    }
    serializer.collect_seq(postures.iter().map(|((container, name), posture)| Entry {
        container,
        name,
        posture,
    }))
}
