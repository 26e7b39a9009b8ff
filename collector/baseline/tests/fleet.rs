//! A fleet from recorders to norms: five nodes, two collectors, and a network between them that loses, repeats
//! and reorders; agents restart, and a node loses its store.

use norma_baseline::Timestamp;
use norma_baseline::estimate::{Criteria, Settled};
use norma_baseline::evidence::{
    Evidence, Limits, Observed, Recorder, Sampling, Saved, SourceId, Start, Tuning, Version,
};
use norma_baseline::fact::{Access, Fact, Field, Protocol};
use norma_baseline::file;
use norma_baseline::never::{Circumstances, Origin};
use norma_baseline::norm::{Expected, Inputs, Membership, Norm};
use norma_baseline::overlay::{Overlay, Subject};
use norma_baseline::pattern::Protection;
use std::time::Duration;

const NODES: usize = 5;
/// An hour of the fleet is a minute here.
const HOUR: u64 = 60;
const HOURS: u64 = 24 * 8;

struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

struct Secrets;

impl Protection for Secrets {
    fn is_sensitive(&self, path: &str) -> bool {
        path.starts_with("/run/secrets/")
    }

    fn is_shipped(&self, _: &str) -> bool {
        false
    }
}

struct Node {
    recorder: Recorder,
    acknowledged: [Version; 2],
    generation: u64,
}

fn source(node: usize, generation: u64) -> SourceId {
    SourceId {
        node: format!("node-{node}").into(),
        generation,
    }
}

fn tuning() -> Tuning {
    Tuning {
        sampling: Sampling::Hours {
            small: HOUR as u32,
            large: 4 * HOUR as u32,
        },
        startup: Duration::from_secs(3),
        absence: Duration::from_secs(HOUR),
        ..Tuning::default()
    }
}

fn at(second: u64) -> Timestamp {
    Timestamp::from_unix(1_800_000_000 + second)
}

fn file_fact(path: &str, access: Access) -> Fact {
    Fact::File {
        exe: "/usr/sbin/service".into(),
        path: path.into(),
        access,
    }
}

fn session(chance: &mut Chance) -> Fact {
    let name = format!(
        "/tmp/sess-{:08x}{:08x}",
        chance.below(1 << 32),
        chance.below(1 << 32)
    );
    file_fact(&name, Access::Create)
}

/// What a service does in an hour: most of it always, some of it now and then, and sessions by random names.
fn hour(chance: &mut Chance, starting: bool) -> Vec<Fact> {
    let mut facts: Vec<Fact> = (0..40)
        .filter(|number| number % 8 != 0 || chance.below(4) == 0)
        .map(|number| {
            file_fact(
                &format!("/srv/data/part-{}", "x".repeat(number + 1)),
                Access::Read,
            )
        })
        .collect();
    facts.push(Fact::Listen {
        exe: "/usr/sbin/service".into(),
        protocol: Protocol::Tcp,
        port: 8080,
    });
    facts.push(session(chance));
    if starting {
        facts.push(file_fact("/etc/service.conf", Access::Read));
    }
    facts
}

fn norm(evidence: &Evidence) -> Norm {
    Inputs {
        subject: &Subject {
            workload: "shop/deployment/web/app".into(),
            revision: "sha256:1".into(),
        },
        evidence,
        predecessor: None,
        overlay: &Overlay::new(),
        settled: &Settled::default(),
        replicas: NODES as u32,
        criteria: &Criteria {
            // Where an hour is a minute, so is the day that is looked ahead.
            budget: 0.5 * 60.0,
            ..Criteria::default()
        },
        protection: &Secrets,
        facts_max: 20_000,
    }
    .compile()
}

/// An agent that starts again, with its store or, as a new generation, without.
fn restart(node: &mut Node, number: usize, saved: Option<Saved>, now: Timestamp) {
    node.generation += 1;
    node.recorder = Recorder::open(saved, source(number, node.generation), tuning(), now);
    node.recorder
        .container_started(&format!("replica-{number}"), Start::Found);
    node.acknowledged = [Version::START; 2];
}

#[test]
fn two_collectors_come_to_the_norm_of_what_all_nodes_saw() {
    let mut chance = Chance(0x2545_f491_4f6c_dd1d);
    let leave = Circumstances::default().learnable().unwrap();
    let mut nodes: Vec<Node> = (0..NODES)
        .map(|number| {
            let mut recorder = Recorder::open(None, source(number, 0), tuning(), at(0));
            recorder.container_started(&format!("replica-{number}"), Start::Witnessed);
            Node {
                recorder,
                acknowledged: [Version::START; 2],
                generation: 0,
            }
        })
        .collect();
    let mut collectors = [Evidence::new(), Evidence::new()];
    let mut on_the_way: Vec<(usize, Evidence)> = Vec::new();
    let mut lost_stores: Vec<Evidence> = Vec::new();
    for passed in 0..HOURS {
        for (number, node) in nodes.iter_mut().enumerate() {
            let replica = format!("replica-{number}");
            for fact in hour(&mut chance, passed == 0) {
                let observed = node.recorder.observe(&fact, &replica, leave, at(passed * HOUR));
                assert!(matches!(observed, Observed::New | Observed::Known));
            }
            node.recorder.advance(at(passed * HOUR + HOUR));
            for (which, collector) in collectors.iter_mut().enumerate() {
                let (delta, upto) = node.recorder.delta(node.acknowledged[which]);
                match chance.below(10) {
                    // Lost, or the collector is away.
                    0..=2 => {}
                    // Delivered, and the acknowledgement lost.
                    3 => collector.merge(&delta),
                    4 => on_the_way.push((which, delta)),
                    _ => {
                        collector.merge_within(&delta, &Limits::merged()).unwrap();
                        node.acknowledged[which] = upto;
                    }
                }
            }
            if chance.below(40) == 0 {
                let with_store = chance.below(2) == 0;
                let saved = with_store.then(|| {
                    let bytes = file::to_bytes(node.recorder.saved()).unwrap();
                    file::from_bytes(&bytes).unwrap()
                });
                if !with_store {
                    lost_stores.push(node.recorder.evidence().clone());
                }
                restart(node, number, saved, at((passed + 1) * HOUR));
            }
        }
    }
    // What was under way arrives in the end, in any order; and the last deltas.
    on_the_way.reverse();
    for (which, delta) in on_the_way {
        collectors[which].merge(&delta);
    }
    for node in &mut nodes {
        for (which, collector) in collectors.iter_mut().enumerate() {
            let (delta, _) = node.recorder.delta(node.acknowledged[which]);
            collector.merge(&delta);
        }
    }
    assert!(
        !lost_stores.is_empty(),
        "no store was lost: the test shows less than it says"
    );

    // Not more than was seen, by all generations; and less by no more than lost stores had not sent.
    let mut truth = Evidence::new();
    for seen in nodes
        .iter()
        .map(|node| node.recorder.evidence())
        .chain(&lost_stores)
    {
        truth.merge(seen);
    }
    let exact = truth.total().units[0];
    assert!(
        exact <= HOURS * NODES as u64 && exact > HOURS * NODES as u64 * 9 / 10,
        "{exact}"
    );
    for collector in &collectors {
        let units = collector.total().units[0];
        assert!(
            units <= exact && units + 4 * lost_stores.len() as u64 >= exact,
            "{units} of {exact}"
        );
    }

    // Having told one another what they know, both come to the same norm.
    let [mut first, mut second] = collectors;
    first.merge(&second);
    second.merge(&first);
    assert_eq!(first, second);
    let (ours, theirs) = (norm(&first), norm(&second));
    assert!(ours.expected().eq(theirs.expected()));

    let file = ours.survey().field(Field::File);
    println!("file: {} ({:.3?} new a day)", file.state, file.per_day);
    let new_session = session(&mut chance);
    assert!(matches!(
        ours.judge(&new_session, &Secrets),
        Membership::Expected(Expected::Pattern(_))
    ));
    let known = file_fact("/etc/service.conf", Access::Read);
    assert_eq!(
        ours.judge(&known, &Secrets),
        Membership::Expected(Expected::Learned)
    );
    for novel in [
        file_fact("/run/secrets/token", Access::Read),
        file_fact("/tmp/miner", Access::Create),
    ] {
        assert!(
            matches!(ours.judge(&novel, &Secrets), Membership::Novel(_)),
            "{novel}"
        );
    }

    // A node takes the norm over and keeps its texts once.
    let sent: Norm = file::from_bytes(&file::to_bytes(&ours).unwrap()).unwrap();
    let recorder = &mut nodes[0].recorder;
    let before = recorder.evidence().clone();
    assert!(recorder.share(sent.dictionary()));
    assert_eq!(recorder.evidence(), &before);
    assert_eq!(
        sent.judge(&new_session, &Secrets),
        ours.judge(&new_session, &Secrets)
    );

    // And what is foreign to the image has no leave to be learned at all.
    let foreign = Circumstances {
        origin: Origin::UpperLayer,
        ..Circumstances::default()
    };
    assert!(foreign.learnable().is_err());
}
