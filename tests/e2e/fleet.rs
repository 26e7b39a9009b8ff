//! What one node learned is known on the next, and no fault loses or doubles it.

use super::line::{LIMIT, text};
use norma_baseline::evidence::Total;
use norma_collector::baselines::{Known, read_all};
use norma_rig::container::steady_workload;
use norma_rig::net::Peer;
use norma_rig::{
    Agent, AgentSettings, Collector, CollectorSettings, Container, ContainerSpec, Pki, Programs, Scratch,
    skip, wait_until,
};
use serde_json::Value;
use std::time::Duration;

/// A collector, and what its nodes need.
struct Fleet {
    /// What the workload's pods are named after: all agents of this machine see all of its containers.
    owner: &'static str,
    collector: Collector,
    /// The workload connects to it again and again.
    friend: Peer,
    programs: Programs,
    pki: Pki,
    scratch: Scratch,
}

/// One node: its fields are dropped in this order.
struct Node {
    workload: String,
    container: Container,
    agent: Agent,
    scratch: Scratch,
}

impl Fleet {
    fn start(owner: &'static str) -> Self {
        let scratch = Scratch::new("fleet").unwrap();
        let programs = Programs::find().unwrap();
        let pki = Pki::create(&programs, &scratch.folder("pki").unwrap()).unwrap();
        let collector =
            Collector::start(&scratch, &programs, &pki, None, &CollectorSettings::default()).unwrap();
        Self {
            owner,
            collector,
            friend: Peer::start().unwrap(),
            programs,
            pki,
            scratch,
        }
    }

    /// A node that runs one replica of the workload. The agent is there first, as on a real node.
    fn node(&self, name: &str, learning: Duration) -> Node {
        let scratch = Scratch::new(name).unwrap();
        let settings = AgentSettings {
            node: name.to_owned(),
            learning,
            ..AgentSettings::default()
        };
        let agent = Agent::start(
            &scratch,
            &self.programs,
            &self.pki,
            Some(&self.collector),
            &settings,
        )
        .unwrap();
        let mut spec = ContainerSpec::script("app", &steady_workload(self.friend.port()));
        let pod = format!("{}-7c5ddbdf54-x2l9z", self.owner);
        spec.annotations = [
            ("io.kubernetes.cri.container-type", "container"),
            ("io.kubernetes.cri.container-name", "app"),
            ("io.kubernetes.cri.sandbox-name", pod.as_str()),
            ("io.kubernetes.cri.sandbox-namespace", "shop"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .to_vec();
        let container = Container::start(&scratch, &spec).unwrap();
        Node {
            workload: self.workload(),
            container,
            agent,
            scratch,
        }
    }

    fn workload(&self) -> String {
        format!("shop/Deployment/{}/app", self.owner)
    }

    /// What the collector has on its disk of the workload.
    fn known(&self) -> Option<Known> {
        let all = read_all(&self.scratch.join("collector-state/baselines")).unwrap();
        all.into_iter()
            .find(|known| *known.subject.workload == self.workload())
    }
}

impl Node {
    /// Waits for a state of the workload's baseline.
    fn baseline(&self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        wait_until(what, LIMIT, || {
            let status = self.agent.status()?;
            let mut baselines = status["baselines"].as_array().into_iter().flatten().cloned();
            Ok(baselines.find(|baseline| baseline["workload"] == self.workload.as_str() && is_it(baseline)))
        })
        .unwrap()
    }

    fn learned_and_shared(&self) -> Value {
        self.baseline("a baseline that is complete and told", |baseline| {
            baseline["ready"] == true && baseline["shared"] == true
        })
    }
}

/// What was counted, without the moment until which it was.
fn counted(total: &Total) -> ([u64; 2], u64, u64) {
    (total.units, total.starts, total.replicas)
}

#[test]
fn a_new_replica_on_a_new_node_is_judged_at_once() {
    if !skip::unless_root("a_new_replica_on_a_new_node_is_judged_at_once") {
        return;
    }
    let fleet = Fleet::start("web");
    let mut first = fleet.node("node-a", Duration::from_secs(4));
    first.learned_and_shared();
    // The first node is lost, and with it all that lay on its disk.
    first.agent.kill().unwrap();
    drop(first);

    // Alone, it would learn for an hour.
    let second = fleet.node("node-b", Duration::from_secs(3600));
    let ready = second.baseline("a baseline that is complete", |baseline| {
        baseline["ready"] == true
    });
    assert!(ready["facts"].as_u64().unwrap() > 3, "{ready:#}");
    assert_eq!(second.container.order_and_wait("id -u", LIMIT).unwrap(), 0);
    let alert = fleet
        .collector
        .audit()
        .wait_for("the alert on node-b", LIMIT, |event| {
            event["kind"] == "exec"
                && text(event, "/process/exe") == "/usr/bin/id"
                && text(event, "/id/node") == "node-b"
                && text(event, "/verdict/kind") == "novel"
        })
        .unwrap();
    assert_eq!(text(&alert, "/container/id"), second.container.id());
    let reasons = alert["verdict"]["reasons"].to_string();
    assert!(
        reasons.contains("/usr/bin/cat"),
        "what was normal on node-a: {reasons}"
    );
    let events = fleet.collector.audit().events().unwrap();
    let false_alert = events.iter().find(|event| {
        text(event, "/id/node") == "node-b"
            && text(event, "/container/id") == second.container.id()
            && text(event, "/verdict/kind") == "novel"
            && ["/usr/bin/cat", "/etc/hostname", "/etc/app.conf"]
                .iter()
                .any(|known| {
                    text(event, "/process/exe") == *known && event["kind"] == "exec"
                        || text(event, "/open/path") == *known
                })
    });
    assert!(false_alert.is_none(), "{false_alert:#?}");
}

#[test]
fn no_fault_loses_evidence_or_counts_it_twice() {
    if !skip::unless_root("no_fault_loses_evidence_or_counts_it_twice") {
        return;
    }
    let mut fleet = Fleet::start("shop");
    // Nobody takes evidence while it is learned.
    fleet.collector.kill().unwrap();
    let mut node = fleet.node("node-a", Duration::from_secs(3));
    node.baseline("a baseline that is complete", |baseline| {
        assert_eq!(baseline["shared"], false, "there is nobody to share it with");
        baseline["ready"] == true
    });
    assert!(fleet.known().is_none());
    node.agent.kill().unwrap();
    node.agent.run(&node.scratch).unwrap();
    fleet.collector.run(&fleet.scratch).unwrap();
    let told = node.learned_and_shared();
    let known = fleet.known().unwrap();
    let facts = told["facts"].as_u64().unwrap();
    let all: Vec<_> = known.evidence.tallies().collect();
    assert_eq!(all.len() as u64, facts, "{told:#}");
    let total = known.evidence.total();
    assert_eq!((known.evidence.sources().count(), total.replicas), (1, 1));
    assert!(all.iter().all(|(_, _, tally)| tally.replicas == 1), "{all:#?}");

    for _ in 0..2 {
        fleet.collector.kill().unwrap();
        node.agent.kill().unwrap();
        fleet.collector.run(&fleet.scratch).unwrap();
        node.agent.run(&node.scratch).unwrap();
        node.learned_and_shared();
    }
    // A collector that has lost everything is told everything again.
    fleet.collector.stop().unwrap();
    std::fs::remove_dir_all(fleet.scratch.join("collector-state/baselines")).unwrap();
    fleet.collector.run(&fleet.scratch).unwrap();
    let again = wait_until("all evidence at the new collector", LIMIT, || {
        Ok(fleet
            .known()
            .filter(|known| known.evidence.facts().count() >= all.len()))
    })
    .unwrap();
    assert_eq!(again.evidence.sources().count(), 1);
    assert_eq!(counted(&again.evidence.total()), counted(&total));
    for (_, fact, tally) in &all {
        let now = again.evidence.tally_of(fact).unwrap();
        assert_eq!(
            (now.replicas, now.first_seen),
            (tally.replicas, tally.first_seen),
            "{fact}"
        );
    }
}
