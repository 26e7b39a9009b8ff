use super::fleet::DELTA_MAX;
use super::*;
use norma_baseline::Timestamp;
use norma_baseline::evidence::{Evidence, Recorder, SourceId, Start, Tuning, Version};
use norma_baseline::fact::{Access, Fact};
use norma_baseline::file;
use norma_baseline::never::Circumstances;
use norma_baseline::overlay::{Decision, Item, Subject, Verb};
use norma_baseline::signature::Signer;
use std::time::Duration;

const NOW: Timestamp = Timestamp::from_unix(1_800_000_000);

fn saw(node: &str, generation: u64, paths: &[&str]) -> Evidence {
    let source = SourceId {
        node: node.into(),
        generation,
    };
    let mut recorder = Recorder::open(None, source, Tuning::default(), NOW);
    recorder.container_started("c", Start::Witnessed);
    for path in paths {
        let fact = Fact::File {
            exe: "/bin/app",
            path: *path,
            access: Access::Read,
        };
        recorder.observe(&fact, "c", Circumstances::default().learnable().unwrap(), NOW);
    }
    recorder.delta(Version::START).0
}

fn delta(workload: &str, revision: &str, evidence: &Evidence) -> pb::EvidenceDelta {
    pb::EvidenceDelta {
        workload: workload.into(),
        revision: revision.into(),
        evidence: file::to_bytes(evidence).unwrap(),
        run: 7,
        version: 1,
        ready_since: vec![0; 8],
        release_reported: false,
        replicas_then: 0,
    }
}

fn runs(all: &[(&str, &str, u64)]) -> pb::Interest {
    pb::Interest {
        running: all
            .iter()
            .map(|(workload, revision, generation)| pb::Running {
                workload: (*workload).into(),
                revision: (*revision).into(),
                replicas: 1,
                generations: vec![*generation],
            })
            .collect(),
    }
}

fn subject(workload: &str, revision: &str) -> Subject {
    Subject {
        workload: workload.into(),
        revision: revision.into(),
    }
}

fn facts(state: &pb::FleetState) -> usize {
    let evidence: Evidence = file::from_bytes(&state.evidence).unwrap();
    evidence.facts().count()
}

fn told(fleet: &Fleet, node: &str, subject: &Subject) -> pb::FleetState {
    let states = fleet.states(subject, &[node.to_owned()], &Overlay::new());
    states.into_iter().next().unwrap().1
}

#[test]
fn a_node_is_told_what_others_saw_and_not_what_it_saw_itself() {
    let mut fleet = Fleet::default();
    fleet
        .take("a", &delta("w", "1", &saw("a", 1, &["/a", "/b"])))
        .unwrap();
    fleet
        .take("b", &delta("w", "1", &saw("b", 2, &["/b", "/c"])))
        .unwrap();
    let w = subject("w", "1");
    for (node, generation, expected) in [("a", 1, 2), ("b", 2, 2), ("c", 3, 3), ("a", 9, 3)] {
        let (new, _) = fleet.interest(node, &runs(&[]));
        assert!(new.is_empty());
        let (new, changed) = fleet.interest(node, &runs(&[("w", "1", generation)]));
        assert_eq!((new.len(), changed.len()), (1, 1));
        assert_eq!(facts(&told(&fleet, node, &w)), expected, "{node} {generation}");
    }
    assert_eq!(told(&fleet, "c", &w).replicas, 3);
    fleet.left("b");
    assert_eq!(told(&fleet, "c", &w).replicas, 2);
    assert_eq!(facts(&told(&fleet, "c", &w)), 3, "what a lost node saw stays");
}

#[test]
fn what_comes_again_counts_once_and_is_no_news() {
    let mut fleet = Fleet::default();
    let first = delta("w", "1", &saw("a", 1, &["/a"]));
    assert_eq!(fleet.take("a", &first).unwrap().1, Change::News);
    let known = fleet.known(&subject("w", "1")).unwrap().clone();
    assert_eq!(fleet.take("a", &first).unwrap().1, Change::Numbers);
    assert_eq!(*fleet.known(&subject("w", "1")).unwrap(), known);
    let ready = pb::EvidenceDelta {
        ready_since: vec![5; 8],
        ..first
    };
    assert_eq!(fleet.take("a", &ready).unwrap().1, Change::News);
    assert_eq!(told(&fleet, "b", &subject("w", "1")).ready_since, [5; 8]);
    assert_eq!(told(&fleet, "a", &subject("w", "1")).ready_since, [0; 8]);
}

#[test]
fn what_is_wrong_is_refused_with_the_reason_and_changes_nothing() {
    let mut fleet = Fleet::default();
    let good = delta("w", "1", &saw("a", 1, &["/a"]));
    fleet.take("a", &good).unwrap();
    let known = fleet.known(&subject("w", "1")).unwrap().clone();
    let with = |change: &dyn Fn(&mut pb::EvidenceDelta)| {
        let mut changed = good.clone();
        change(&mut changed);
        changed
    };
    let cases = [
        (
            with(&|delta| delta.evidence = b"garbage".to_vec()),
            "not a baseline file",
        ),
        (
            with(&|delta| delta.evidence[8] = 9),
            "version 9 of the file format is not known",
        ),
        (with(&|delta| *delta.evidence.last_mut().unwrap() ^= 1), "damaged"),
        (
            with(&|delta| delta.evidence = vec![0; DELTA_MAX + 1]),
            "are more than the",
        ),
        (
            with(&|delta| delta.ready_since = vec![1]),
            "1 times where there is one",
        ),
        (with(&|delta| delta.workload.clear()), "a workload's name has"),
        (
            with(&|delta| delta.revision = "x".repeat(2_000)),
            "a workload's name has",
        ),
        (delta("w", "1", &saw("b", 1, &["/x"])), "evidence of node `b`"),
        (delta("v", "1", &saw("", 0, &["/x"])), "evidence of node ``"),
    ];
    for (bad, expected) in cases {
        let message = fleet.take("a", &bad).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
    assert_eq!(*fleet.known(&subject("w", "1")).unwrap(), known);
    assert!(fleet.known(&subject("v", "1")).is_none());
}

#[test]
fn names_that_a_node_makes_up_push_out_its_own_only() {
    let bounds = Bounds {
        of_one_node: 3,
        ..Bounds::default()
    };
    let mut fleet = Fleet::new(Vec::new(), bounds);
    fleet
        .take("a", &delta("real", "1", &saw("a", 1, &["/a"])))
        .unwrap();
    fleet.interest("a", &runs(&[("real", "1", 1)]));
    fleet
        .take("b", &delta("other", "1", &saw("b", 1, &["/a"])))
        .unwrap();
    for number in 0..10 {
        let made_up = delta(&format!("w{number}"), "1", &saw("a", 1, &["/a"]));
        let (_, _, forgotten) = fleet.take("a", &made_up).unwrap();
        assert_eq!(forgotten.len(), usize::from(number >= 2));
    }
    assert!(fleet.known(&subject("real", "1")).is_some());
    assert!(fleet.known(&subject("other", "1")).is_some());
    let all = [("real", "1", 1), ("w8", "1", 1), ("w9", "1", 1)];
    fleet.interest("a", &runs(&all));
    let error = fleet
        .take("a", &delta("w10", "1", &saw("a", 1, &["/a"])))
        .unwrap_err();
    assert!(matches!(error, Refusal::TooMany(3)), "{error}");
}

#[test]
fn a_new_revision_is_told_with_those_that_it_takes_over_from() {
    let mut fleet = Fleet::default();
    fleet.take("a", &delta("w", "1", &saw("a", 1, &["/a"]))).unwrap();
    fleet.take("a", &delta("w", "2", &saw("a", 1, &["/b"]))).unwrap();
    let three = subject("w", "3");
    fleet.interest("b", &runs(&[("w", "3", 2)]));
    assert_eq!(fleet.lineage(&three), [subject("w", "1"), subject("w", "2")]);
    let state = told(&fleet, "b", &three);
    assert_eq!((state.predecessor.as_str(), facts(&state)), ("2", 0));
    assert_eq!(fleet.interested(&subject("w", "1")), ["b"]);
    assert!(fleet.interested(&subject("v", "1")).is_empty());
}

#[test]
fn one_node_reports_a_release_and_another_if_it_is_lost() {
    let mut fleet = Fleet::default();
    fleet.take("b", &delta("w", "2", &saw("b", 1, &["/a"]))).unwrap();
    for node in ["a", "b", "c"] {
        fleet.interest(node, &runs(&[("w", "2", 1)]));
    }
    let w = subject("w", "2");
    let reports = |fleet: &Fleet| -> Vec<&str> {
        ["a", "b", "c"]
            .into_iter()
            .filter(|node| told(fleet, node, &w).report_release)
            .collect()
    };
    assert_eq!(reports(&fleet), ["a"]);
    fleet.left("a");
    assert_eq!(reports(&fleet), ["b"]);
    let reported = pb::EvidenceDelta {
        release_reported: true,
        ..delta("w", "2", &saw("b", 1, &[]))
    };
    assert_eq!(fleet.take("b", &reported).unwrap().1, Change::News);
    assert!(reports(&fleet).is_empty());
    let bytes = fleet.known(&w).unwrap().to_bytes().unwrap();
    let dir = tempfile::tempdir().unwrap();
    known::write(dir.path(), &w, &bytes).unwrap();
    let again = Fleet::new(read_all(dir.path()).unwrap(), Bounds::default());
    assert!(again.known(&w).unwrap().release_reported);
}

#[test]
fn what_is_stored_is_read_again_and_damage_is_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let mut fleet = Fleet::default();
    let ready = pb::EvidenceDelta {
        ready_since: vec![0, 3, 0, 0, 0, 0, 0, 0],
        ..delta("w", "1", &saw("a", 1, &["/a"]))
    };
    fleet.take("a", &ready).unwrap();
    let known = fleet.known(&subject("w", "1")).unwrap();
    let bytes = known.to_bytes().unwrap();
    known::write(dir.path(), &known.subject, &bytes).unwrap();
    assert_eq!(read_all(dir.path()).unwrap(), std::slice::from_ref(known));
    std::fs::write(dir.path().join("copy.fleet"), &bytes).unwrap();
    std::fs::write(dir.path().join("garbage.fleet"), b"\xc1").unwrap();
    std::fs::write(dir.path().join("short.fleet"), &bytes[..bytes.len() / 2]).unwrap();
    assert_eq!(read_all(dir.path()).unwrap(), std::slice::from_ref(known));
    for aside in ["copy.damaged", "garbage.damaged", "short.damaged"] {
        assert!(dir.path().join(aside).exists(), "{aside}");
    }
}

/// What a node hears until there is something that it looks for.
async fn hear<T>(
    heard: &mut mpsc::Receiver<Result<ToAgent, Status>>,
    find: impl Fn(to_agent::Message) -> Option<T>,
) -> T {
    let looked = async {
        loop {
            let message = heard.recv().await.unwrap().unwrap().message.unwrap();
            if let Some(found) = find(message) {
                return found;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), looked)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_hear_of_each_other_and_of_decisions_and_a_restart_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let signer = Signer::of_seed(&[5; 32]).unwrap();
    let keys: TrustedKeys = [signer.key()].into_iter().collect();
    let stop = CancellationToken::new();
    let (baselines, task) = start(dir.path(), keys.clone(), stop.clone()).unwrap();
    let (answers_a, mut heard_a) = mpsc::channel(64);
    let (answers_b, mut heard_b) = mpsc::channel(64);
    let a = baselines.joined("a", answers_a).await;
    let b = baselines.joined("b", answers_b).await;
    b.interest(runs(&[("w", "1", 2)])).await;
    a.evidence(delta("w", "1", &saw("a", 1, &["/a", "/b"])));
    let held = hear(&mut heard_a, |message| match message {
        to_agent::Message::EvidenceHeld(held) => Some(held),
        _ => None,
    })
    .await;
    assert_eq!((held.run, held.version), (7, 1));
    assert_eq!(
        read_all(dir.path()).unwrap().len(),
        1,
        "it is durable before it is said to be"
    );
    let state_with = |count: usize| {
        move |message| match message {
            to_agent::Message::Fleet(state) if facts(&state) == count => Some(state),
            _ => None,
        }
    };
    hear(&mut heard_b, state_with(2)).await;
    a.evidence(delta("w", "1", &saw("b", 1, &["/c"])));
    let refused = hear(&mut heard_a, |message| match message {
        to_agent::Message::EvidenceRefused(refused) => Some(refused),
        _ => None,
    })
    .await;
    assert!(
        !refused.later && refused.reason.contains("node `b`"),
        "{refused:?}"
    );

    let decision = Decision {
        workload: "w".into(),
        revision: None,
        item: Item::Whole,
        verb: Verb::Lock,
        who: "alice".into(),
        at: NOW,
        why: "a test".into(),
    };
    let signed: Overlay = vec![decision.sign(&signer).unwrap()].into();
    assert_eq!(baselines.decide(signed.clone()).await.unwrap().new.len(), 1);
    let decided = |message| match message {
        to_agent::Message::Decisions(decisions) => {
            Some(file::from_bytes::<Overlay>(&decisions.overlay).unwrap())
        }
        _ => None,
    };
    assert_eq!(hear(&mut heard_b, decided).await, signed);
    stop.cancel();
    task.await.unwrap();

    let stop = CancellationToken::new();
    let (baselines, task) = start(dir.path(), keys, stop.clone()).unwrap();
    let (answers, mut heard) = mpsc::channel(64);
    let c = baselines.joined("c", answers).await;
    c.interest(runs(&[("w", "1", 3)])).await;
    assert_eq!(hear(&mut heard, decided).await, signed);
    hear(&mut heard, state_with(2)).await;
    let (answers, mut heard) = mpsc::channel(64);
    let a = baselines.joined("a", answers).await;
    a.interest(runs(&[("w", "1", 1)])).await;
    let held = hear(&mut heard, |message| match message {
        to_agent::Message::EvidenceHeld(held) => Some(held),
        _ => None,
    })
    .await;
    assert_eq!((held.run, held.version), (7, 1));
    a.left().await;
    stop.cancel();
    task.await.unwrap();
}
