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
        Self::with(owner, &CollectorSettings::default())
    }

    fn with(owner: &'static str, settings: &CollectorSettings) -> Self {
        let scratch = Scratch::new("fleet").unwrap();
        let programs = Programs::find().unwrap();
        let pki = Pki::create(&programs, &scratch.folder("pki").unwrap()).unwrap();
        let collector = Collector::start(&scratch, &programs, &pki, None, settings).unwrap();
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
        self.node_with(&AgentSettings {
            node: name.to_owned(),
            learning,
            ..AgentSettings::default()
        })
    }

    fn node_with(&self, settings: &AgentSettings) -> Node {
        let scratch = Scratch::new(&settings.node).unwrap();
        let agent = Agent::start(
            &scratch,
            &self.programs,
            &self.pki,
            Some(&self.collector),
            settings,
        )
        .unwrap();
        let container = self.replica(&scratch, 1);
        Node {
            workload: self.workload(),
            container,
            agent,
            scratch,
        }
    }

    /// A container of the workload, of the image with this number.
    fn replica(&self, scratch: &Scratch, image: u8) -> Container {
        let mut spec = ContainerSpec::script(&format!("app-{image}"), &steady_workload(self.friend.port()));
        let pod = format!("{}-7c5ddbdf54-x2l9z", self.owner);
        let image = format!("local.test/{}@sha256:{image:064x}", self.owner);
        spec.annotations = [
            ("io.kubernetes.cri.container-type", "container"),
            ("io.kubernetes.cri.container-name", "app"),
            ("io.kubernetes.cri.sandbox-name", pod.as_str()),
            ("io.kubernetes.cri.sandbox-namespace", "shop"),
            ("io.kubernetes.cri.image-name", image.as_str()),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .to_vec();
        Container::start(scratch, &spec).unwrap()
    }

    /// Waits for an event of a node about a program that a container started.
    fn exec(&self, node: &str, container: &Container, exe: &str, verdict: &str) -> Value {
        let what = format!("{exe} is {verdict} on {node}");
        let is_it = |event: &Value| {
            event["kind"] == "exec"
                && text(event, "/process/exe") == exe
                && text(event, "/id/node") == node
                && text(event, "/container/id") == container.id()
                && text(event, "/verdict/kind") == verdict
        };
        self.collector.audit().wait_for(&what, LIMIT, is_it).unwrap()
    }

    /// `norma-collector baseline …`.
    fn command(&self, words: &[&str]) -> String {
        let mut command = self.programs.collector();
        command.arg("baseline").args(words);
        if words[0] != "keygen" {
            command.arg("--state-dir").arg(self.collector.state());
        }
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
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

#[test]
fn a_decision_at_the_collector_changes_the_verdicts_of_a_node() {
    if !skip::unless_root("a_decision_at_the_collector_changes_the_verdicts_of_a_node") {
        return;
    }
    let keys = tempfile::tempdir().unwrap();
    let key = keys.path().join("alice").display().to_string();
    let trusted = format!("baselines:\n  trusted_keys: [{key}.pub]\n");
    let mut make = Programs::find().unwrap().collector();
    make.args(["baseline", "keygen", "--as", "alice", "--out", &key]);
    assert!(make.output().unwrap().status.success());
    let fleet = Fleet::with(
        "decided",
        &CollectorSettings {
            extra: trusted.clone(),
            ..CollectorSettings::default()
        },
    );
    let node = fleet.node_with(&AgentSettings {
        node: "node-a".to_owned(),
        learning: Duration::from_secs(4),
        extra: trusted,
        ..AgentSettings::default()
    });
    node.learned_and_shared();
    assert_eq!(node.container.order_and_wait("id -u", LIMIT).unwrap(), 0);
    let finding = fleet.exec("node-a", &node.container, "/usr/bin/id", "novel");
    let workload = fleet.workload();
    let decide = |verb: &str, behaviour: &str| {
        let words = [
            verb, &workload, behaviour, "--why", "CHG-9", "--key", &key, "--yes",
        ];
        assert!(fleet.command(&words).starts_with("In force"));
    };
    let told = |verb: &str| {
        let what = format!("node-a to take the decision to {verb}");
        let is_it = |event: &Value| {
            event["kind"] == "baseline_decision"
                && text(event, "/id/node") == "node-a"
                && text(event, "/baseline_decision/verb") == verb
                && text(event, "/baseline_decision/refused").is_empty()
        };
        fleet.collector.audit().wait_for(&what, LIMIT, is_it).unwrap();
    };
    // By its JSON, as a finding has it: so what no node has told yet can be decided as well.
    decide("approve", text(&finding, "/verdict/behaviour"));
    told("approve");
    // It is in force with the next norm, a second later at most.
    wait_until("the approved program to be expected", LIMIT, || {
        node.container.order_and_wait("id -u", LIMIT)?;
        let events = fleet.collector.audit().events()?;
        let is_it = |event: &&Value| {
            event["kind"] == "exec"
                && text(event, "/process/exe") == "/usr/bin/id"
                && text(event, "/container/id") == node.container.id()
                && text(event, "/verdict/kind") == "expected"
        };
        Ok(events.iter().find(is_it).map(drop))
    })
    .unwrap();

    let known = fleet.command(&["show", &workload, "--output", "json"]);
    let known: Value = serde_json::from_str(&known).unwrap();
    let mut behaviours = known["behaviours"].as_array().into_iter().flatten();
    let reads = behaviours
        .find(|behaviour| {
            let words = text(behaviour, "/text");
            words.contains("/usr/bin/cat") && words.contains("/etc/app.conf")
        })
        .unwrap_or_else(|| panic!("{known:#}"));
    decide("reject", text(reads, "/id"));
    told("reject");
    let is_it = |event: &Value| {
        text(event, "/open/path") == "/etc/app.conf"
            && text(event, "/container/id") == node.container.id()
            && text(event, "/verdict/kind") == "novel"
    };
    let audit = fleet.collector.audit();
    audit.wait_for("the rejected read", LIMIT, is_it).unwrap();
}

#[test]
fn what_one_of_two_replicas_does_alone_is_not_learned_as_normal() {
    if !skip::unless_root("what_one_of_two_replicas_does_alone_is_not_learned_as_normal") {
        return;
    }
    let fleet = Fleet::start("pair");
    let second = Scratch::new("pair-second").unwrap();
    let node = fleet.node("node-a", Duration::from_secs(15));
    let other = fleet.replica(&second, 1);
    assert_eq!(node.container.order_and_wait("ls /", LIMIT).unwrap(), 0);
    assert_eq!(other.order_and_wait("ls /", LIMIT).unwrap(), 0);
    assert_eq!(node.container.order_and_wait("id -u", LIMIT).unwrap(), 0);
    fleet.exec("node-a", &node.container, "/usr/bin/id", "learning");
    node.learned_and_shared();
    for container in [&node.container, &other] {
        assert_eq!(container.order_and_wait("ls /; id -u", LIMIT).unwrap(), 0);
        fleet.exec("node-a", container, "/usr/bin/ls", "expected");
        let alert = fleet.exec("node-a", container, "/usr/bin/id", "novel");
        let terms = alert["verdict"]["terms"].to_string();
        assert!(terms.contains("replicas"), "{terms}");
    }
}

#[test]
fn what_a_new_image_does_differently_is_one_release_delta() {
    if !skip::unless_root("what_a_new_image_does_differently_is_one_release_delta") {
        return;
    }
    let fleet = Fleet::start("released");
    let mut node = fleet.node_with(&AgentSettings {
        node: "node-a".to_owned(),
        // What the rig would say of learning is said here.
        by_evidence: true,
        extra: "learning:\n  window: 4s\n  release_after: 6s\n".to_owned(),
        ..AgentSettings::default()
    });
    node.learned_and_shared();
    node.container = fleet.replica(&node.scratch, 2);
    assert_eq!(node.container.order_and_wait("id -u", LIMIT).unwrap(), 0);
    let is_delta = |event: &Value| {
        event["kind"] == "release_delta" && text(event, "/release_delta/workload") == fleet.workload()
    };
    let audit = fleet.collector.audit();
    let delta = audit.wait_for("the release delta", LIMIT, is_delta).unwrap();
    let of = |pointer: &str| text(&delta, pointer).to_owned();
    assert!(of("/release_delta/revision").ends_with('2'), "{delta:#}");
    assert!(of("/release_delta/from").ends_with('1'), "{delta:#}");
    assert!(of("/release_delta/text").contains("/usr/bin/id"), "{delta:#}");
    // Once, also when the agent is started anew.
    node.agent.stop().unwrap();
    node.agent.run(&node.scratch).unwrap();
    assert_eq!(node.container.order_and_wait("stat /", LIMIT).unwrap(), 0);
    fleet.exec("node-a", &node.container, "/usr/bin/stat", "novel");
    let deltas = audit
        .events()
        .unwrap()
        .iter()
        .filter(|event| is_delta(event))
        .count();
    assert_eq!(deltas, 1);
}
