use crate::fleet::{Told, link};
use crate::identity::Container;
use crate::judge::baseline::tests::{SECOND, container, see, settings};
use crate::judge::baseline::{Baselines, Learning, Membership};
use crate::observation::BootTime;
use norma_baseline::evidence::{Evidence, Pool, Version};
use norma_baseline::file;
use norma_baseline::overlay::Subject;
use norma_wire::pb::{self, to_agent, to_collector};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// A node's baselines, with a test in the place of the stream.
struct Node {
    baselines: Baselines,
    told: mpsc::Sender<Told>,
    tell: mpsc::Receiver<to_collector::Message>,
    now: u64,
}

impl Node {
    fn open(directory: &Path, window: u64) -> Self {
        let learning = Learning::Window(Duration::from_secs(window));
        let mut baselines = Baselines::open(directory, settings(learning)).unwrap();
        let (told, hear) = mpsc::channel(16);
        let (say, tell) = mpsc::channel(4);
        baselines.join_fleet(crate::fleet::Link {
            told: hear,
            tell: say,
        });
        Self {
            baselines,
            told,
            tell,
            now: 0,
        }
    }

    fn hear(&mut self, told: Told) {
        self.told.try_send(told).unwrap();
        self.exchange();
    }

    fn exchange(&mut self) -> super::Exchanged {
        self.now += SECOND;
        self.baselines.exchange(BootTime(self.now))
    }

    fn tick(&mut self, running: &[Arc<Container>]) {
        self.now += SECOND;
        self.baselines.tick(running, BootTime(self.now));
    }

    fn said(&mut self) -> Option<to_collector::Message> {
        self.exchange();
        self.tell.try_recv().ok()
    }

    fn interest(&mut self) -> pb::Interest {
        match self.said() {
            Some(to_collector::Message::Interest(interest)) => interest,
            other => panic!("{other:?}"),
        }
    }

    fn delta(&mut self) -> (pb::EvidenceDelta, Evidence) {
        match self.said() {
            Some(to_collector::Message::Evidence(delta)) => {
                let evidence = file::from_bytes(&delta.evidence).unwrap();
                (delta, evidence)
            }
            other => panic!("{other:?}"),
        }
    }
}

fn held(delta: &pb::EvidenceDelta) -> Told {
    Told::Held {
        subject: subject(),
        run: delta.run,
        version: Version::of_number(delta.version),
    }
}

fn subject() -> Subject {
    Subject {
        workload: "w".into(),
        revision: "".into(),
    }
}

/// What the collector tells of a workload that another node saw like this.
fn state(evidence: &Evidence, ready_since: &[u32]) -> Told {
    let others = Pool::of(evidence).without(|_| false);
    let state = pb::FleetState {
        workload: "w".into(),
        replicas: 2,
        replicas_then: 1,
        ready_since: ready_since.to_vec(),
        evidence: file::to_bytes(&others).unwrap(),
        ..pb::FleetState::default()
    };
    Told::of(to_agent::Message::Fleet(state)).unwrap().unwrap()
}

#[test]
fn what_is_told_is_on_the_disk_and_what_is_held_is_not_told_again() {
    let dir = tempfile::tempdir().unwrap();
    let running = [container("w", "c", "")];
    let mut node = Node::open(dir.path(), 3600);
    see(&mut node.baselines, &running[0], "/a");
    assert!(node.said().is_none(), "there is no stream yet");
    node.hear(Told::Joined);
    let interest = node.interest();
    assert_eq!((interest.running.len(), interest.running[0].replicas), (1, 1));
    assert!(node.said().is_none(), "the collector has not said what it holds");
    node.hear(state(&Evidence::new(), &[0; 8]));
    let (first, evidence) = node.delta();
    assert_eq!(evidence.facts().count(), 1);
    let stored = Baselines::open(dir.path(), settings(Learning::default())).unwrap();
    assert_eq!(stored.summaries().len(), 1, "it was saved before it was told");
    assert!(node.said().is_none(), "told once");
    node.hear(held(&first));
    assert_eq!(node.baselines.summaries()[0].shared, Some(true));

    see(&mut node.baselines, &running[0], "/b");
    for _ in 0..12 {
        node.tick(&running);
    }
    let (_, evidence) = node.delta();
    assert_eq!(evidence.facts().count(), 1, "only what is new");
    // The stream breaks before it is known to have arrived.
    node.hear(Told::Joined);
    node.interest();
    node.hear(held(&first));
    node.hear(state(&Evidence::new(), &[0; 8]));
    let (again, evidence) = node.delta();
    assert_eq!((again.run, evidence.facts().count()), (first.run, 1));
    // A collector that has lost all does not say what it holds.
    node.hear(Told::Joined);
    node.interest();
    node.hear(state(&Evidence::new(), &[0; 8]));
    let (_, evidence) = node.delta();
    assert_eq!(evidence.facts().count(), 2);
}

#[test]
fn what_others_know_is_judged_by_at_once_and_after_a_restart_without_them() {
    let theirs = tempfile::tempdir().unwrap();
    let mut other = Node::open(theirs.path(), 1);
    let seen = [container("w", "x", "")];
    for path in ["/known", "/not-yet-here"] {
        see(&mut other.baselines, &seen[0], path);
    }
    other.hear(Told::Joined);
    other.interest();
    other.hear(state(&Evidence::new(), &[0; 8]));
    let (early, mut evidence) = other.delta();
    assert_eq!(early.ready_since, [0; 8]);
    other.hear(held(&early));
    for _ in 0..3 {
        other.tick(&seen);
    }
    let (delta, more) = other.delta();
    evidence.merge(&more);
    assert!(delta.ready_since.iter().all(|since| *since > 0), "{delta:?}");

    let dir = tempfile::tempdir().unwrap();
    let mut node = Node::open(dir.path(), 3600);
    let running = [container("w", "c", "")];
    see(&mut node.baselines, &running[0], "/known");
    node.hear(Told::Joined);
    node.interest();
    node.told.try_send(state(&evidence, &delta.ready_since)).unwrap();
    let exchanged = node.exchange();
    assert_eq!(exchanged.completed.len(), 1);
    // The other one ran alone when it was learned.
    assert_eq!(
        see(&mut node.baselines, &running[0], "/not-yet-here"),
        Membership::Known
    );
    assert_eq!(node.baselines.reconsidered().len(), 1);
    assert_eq!(see(&mut node.baselines, &running[0], "/known"), Membership::Known);
    let strange = |baselines: &mut Baselines| match see(baselines, &running[0], "/strange") {
        Membership::Novel(expectation) => expectation.usual,
        other => panic!("{other:?}"),
    };
    assert_eq!(strange(&mut node.baselines), ["/known", "/not-yet-here"]);
    node.baselines.save();
    drop(node);
    let learning = Learning::Window(Duration::from_secs(3600));
    let mut alone = Baselines::open(dir.path(), settings(learning)).unwrap();
    assert_eq!(see(&mut alone, &running[0], "/known"), Membership::Known);
    assert_eq!(strange(&mut alone), ["/known", "/not-yet-here"]);
    alone.tick(&running, BootTime(SECOND));
    assert_eq!(strange(&mut alone), ["/known", "/not-yet-here"]);
}

#[test]
fn what_is_refused_for_now_is_told_again_and_the_others_are_not_held_up() {
    let dir = tempfile::tempdir().unwrap();
    let running = [container("w", "c", "")];
    let mut node = Node::open(dir.path(), 3600);
    see(&mut node.baselines, &running[0], "/a");
    node.hear(Told::Joined);
    node.interest();
    node.hear(state(&Evidence::new(), &[0; 8]));
    let (first, _) = node.delta();
    node.hear(Told::Refused {
        subject: subject(),
        reason: "busy".into(),
        later: true,
    });
    assert!(node.said().is_none());
    node.now += 20 * SECOND;
    let (again, _) = node.delta();
    assert_eq!(again.evidence, first.evidence);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_meant_for_a_stream_that_broke_is_not_sent_on_the_next() {
    let (mut link, mut shipping) = link();
    link.tell
        .try_send(to_collector::Message::Interest(pb::Interest::default()))
        .unwrap();
    shipping.join().await;
    assert!(matches!(link.told.try_recv(), Ok(Told::Joined)));
    link.tell
        .try_send(to_collector::Message::Evidence(pb::EvidenceDelta::default()))
        .unwrap();
    assert!(matches!(
        shipping.next().await,
        Some(to_collector::Message::Evidence(_))
    ));
    // What cannot be read is said and changes nothing.
    let garbage = pb::Decisions {
        overlay: b"garbage".to_vec(),
    };
    shipping.hear(to_agent::Message::Decisions(garbage)).await;
    assert!(link.told.try_recv().is_err());
}
