use super::super::system::{Doubted, Listed, Programs, RuntimeState, Seen, System, Tree};
use super::super::{Naming, Place};
use super::*;
use crate::identity::cri::Snapshot;
use crate::observation::{Act, Actor, Exit, Observation, ProcessKey};
use std::sync::{Mutex, PoisonError};

const FIRST: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const SECOND: &str = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210";
const ID: CgroupId = CgroupId(7);

/// A system that has these control groups.
#[derive(Default)]
struct Fake(Mutex<State>);

#[derive(Default)]
struct State {
    now: u64,
    groups: Vec<(u64, String)>,
    unreadable: bool,
}

impl Fake {
    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl System for Fake {
    fn now(&self) -> BootTime {
        BootTime(self.with(|state| state.now))
    }
    fn processes(&self) -> Vec<Listed> {
        Vec::new()
    }
    fn process(&self, _: u32) -> Seen {
        Seen::default()
    }
    fn cgroups(&self) -> Vec<(CgroupId, Vec<u8>)> {
        self.with(|state| {
            let groups = state.groups.iter();
            groups
                .map(|(id, path)| (CgroupId(*id), path.clone().into_bytes()))
                .collect()
        })
    }
    fn programs(&self, _: &Doubted) -> Option<Programs> {
        None
    }
    fn tree(&self) -> Option<Tree> {
        let (at, groups) = (self.now(), self.cgroups());
        (!self.with(|state| state.unreadable)).then_some(Tree { at, groups })
    }
    fn container(&self, _: &str) -> Option<RuntimeState> {
        None
    }
    fn container_at(&self, _: &str) -> Option<RuntimeState> {
        None
    }
    fn sockets(&self) -> Vec<Observation> {
        Vec::new()
    }
    fn news(&self) -> Option<Arc<Snapshot>> {
        None
    }
    fn poke(&self) {}
}

/// A node on which time passes in rounds of 10 ms.
struct Node {
    system: Arc<Fake>,
    identity: Identity,
}

fn path(id: &str) -> String {
    format!("docker/{id}")
}

impl Node {
    /// One on which this container runs.
    fn with(id: &str) -> Self {
        let system = Arc::new(Fake::default());
        system.with(|state| {
            state.now = 1_000_000_000;
            state.groups = vec![(1, String::new()), (ID.0, path(id))];
        });
        let identity = Identity::of(Arc::clone(&system) as _, Naming::default());
        let mut node = Self { system, identity };
        node.rounds(1);
        assert_eq!(node.ids(), [id]);
        node.identity.take_placed();
        node
    }

    fn rounds(&mut self, count: u64) -> Vec<Identified> {
        let mut out = Vec::new();
        for _ in 0..count {
            let now = self.system.with(|state| {
                state.now += 10_000_000;
                state.now
            });
            self.identity.tick(BootTime(now), &mut out);
        }
        out
    }

    fn seconds(&mut self, seconds: u64) -> Vec<Identified> {
        self.rounds(seconds * 100)
    }

    fn groups(&self, groups: &[(u64, String)]) {
        self.system.with(|state| state.groups = groups.to_vec());
    }

    fn take(&mut self, cgroup: CgroupId, act: Act) -> Vec<Identified> {
        let at = self.system.now();
        let observation = Observation {
            cpu: 0,
            seq: 0,
            at,
            actor: Actor {
                process: ProcessKey {
                    pid: 5,
                    start: BootTime(5),
                },
                parent: ProcessKey {
                    pid: 0,
                    start: BootTime(0),
                },
                tid: 5,
                uid: 0,
                gid: 0,
                euid: 0,
                cgroup,
                namespaces: crate::observation::Namespaces {
                    mnt: 0,
                    pid: 0,
                    net: 0,
                    user: 0,
                },
                comm: b"x".iter().copied().collect(),
            },
            act,
        };
        let mut out = Vec::new();
        self.identity.identify(observation, &mut out);
        out
    }

    fn group(&mut self, id: &str, removed: bool) {
        let change = CgroupChange {
            id: ID,
            removed,
            path: format!("/{}", path(id)).into_bytes(),
        };
        self.take(CgroupId(1), Act::Cgroup(change));
    }

    fn ids(&self) -> Vec<String> {
        let containers = self.identity.containers();
        containers
            .iter()
            .map(|container| container.id.0.clone())
            .collect()
    }

    fn gone(&mut self) -> usize {
        let placed = self.identity.take_placed();
        placed
            .iter()
            .filter(|placed| matches!(placed, Placed::Gone(_)))
            .count()
    }

    fn found(&mut self) -> Vec<(bool, String)> {
        let found = self.identity.take_found();
        found
            .iter()
            .map(|found| match found {
                Found::Begun(container) => (true, container.id.0.clone()),
                Found::Ended(container) => (false, container.id.0.clone()),
            })
            .collect()
    }
}

fn exit() -> Act {
    Act::Exit(Exit::default())
}

fn id_of(identified: &Identified) -> &str {
    match &identified.place {
        Place::Host => "host",
        Place::Workload(container) | Place::Runtime(container) => &container.id.0,
    }
}

#[test]
fn a_container_whose_end_was_not_told_ends_when_that_is_looked_for() {
    let mut node = Node::with(FIRST);
    node.groups(&[(1, String::new())]);
    node.seconds(5);
    assert_eq!(node.ids(), [FIRST], "nobody has reason to look");
    node.identity.doubt_groups();
    node.seconds(1);
    assert!(node.ids().is_empty());
    assert_eq!(node.gone(), 1);
    assert_eq!(node.found(), [(false, FIRST.to_owned())]);
    // Nor is it told again when its record was only late.
    node.group(FIRST, true);
    assert_eq!((node.gone(), node.found().len()), (0, 0));
}

#[test]
fn it_ends_without_any_loss_too_but_not_by_a_tree_that_cannot_be_read() {
    let mut node = Node::with(FIRST);
    node.groups(&[(1, String::new())]);
    node.system.with(|state| state.unreadable = true);
    node.seconds(130);
    assert_eq!(node.ids(), [FIRST]);
    node.system.with(|state| state.unreadable = false);
    node.seconds(61);
    assert!(node.ids().is_empty());
}

#[test]
fn what_was_done_before_the_tree_was_read_is_the_containers() {
    let mut node = Node::with(FIRST);
    node.groups(&[(1, String::new())]);
    node.seconds(2);
    node.identity.doubt_groups();
    node.rounds(1);
    // Still in the rings when the tree was read; the record of the removal too.
    let late = node.take(ID, exit());
    assert_eq!(late.iter().map(id_of).collect::<Vec<_>>(), [FIRST]);
    node.group(FIRST, true);
    node.seconds(1);
    assert_eq!(node.gone(), 1);
    assert!(node.found().is_empty(), "its record came");
}

#[test]
fn a_container_that_was_made_unseen_is_found_and_its_start_was_not_seen() {
    let mut node = Node::with(FIRST);
    node.groups(&[(1, String::new()), (ID.0, path(FIRST)), (8, path(SECOND))]);
    node.seconds(2);
    node.identity.doubt_groups();
    node.seconds(4);
    assert_eq!(node.ids(), [FIRST, SECOND]);
    assert_eq!(node.found(), [(true, SECOND.to_owned())]);
    let second = node.identity.container_of(CgroupId(8)).unwrap();
    assert!(!second.start_seen);
    node.identity.doubt_groups();
    node.seconds(4);
    assert!(node.found().is_empty(), "once");
}

#[test]
fn an_id_that_was_given_again_is_never_taken_for_the_container_before() {
    // By the record of the second one's creation.
    let mut node = Node::with(FIRST);
    node.group(SECOND, false);
    assert_eq!(node.found(), [(false, FIRST.to_owned())]);
    // The record of the first one's end is late.
    node.group(FIRST, true);
    let done = node.take(ID, exit());
    assert!(done.iter().all(|done| id_of(done) != FIRST));
    let done = node.seconds(3);
    assert_eq!(done.iter().map(id_of).collect::<Vec<_>>(), [SECOND]);

    // By the tree alone.
    let mut node = Node::with(FIRST);
    node.groups(&[(1, String::new()), (ID.0, path(SECOND))]);
    node.seconds(2);
    node.identity.doubt_groups();
    node.seconds(6);
    assert_eq!(node.ids(), [SECOND]);
    assert_eq!(
        node.found(),
        [(false, FIRST.to_owned()), (true, SECOND.to_owned())]
    );
}

#[test]
fn what_waits_of_a_group_that_is_removed_is_not_put_down_to_the_host() {
    let mut node = Node::with(FIRST);
    let change = |removed| {
        Act::Cgroup(CgroupChange {
            id: CgroupId(8),
            removed,
            path: format!("/{}", path(SECOND)).into_bytes(),
        })
    };
    node.take(CgroupId(1), change(false));
    assert!(node.take(CgroupId(8), exit()).is_empty(), "it waits");
    let done = node.take(CgroupId(1), change(true));
    assert_eq!(done.iter().map(id_of).collect::<Vec<_>>(), [SECOND]);
    assert!(node.seconds(3).is_empty());
    assert_eq!(node.ids(), [FIRST]);
}

#[test]
fn a_group_that_is_in_the_tree_before_its_record_was_taken_was_seen_to_begin() {
    let mut node = Node::with(FIRST);
    node.seconds(2);
    node.groups(&[(1, String::new()), (ID.0, path(FIRST)), (8, path(SECOND))]);
    node.identity.doubt_groups();
    node.rounds(2);
    let made = CgroupChange {
        id: CgroupId(8),
        removed: false,
        path: format!("/{}", path(SECOND)).into_bytes(),
    };
    node.take(CgroupId(1), Act::Cgroup(made));
    node.take(CgroupId(8), exit());
    node.seconds(4);
    assert_eq!(node.ids(), [FIRST, SECOND]);
    assert!(node.found().is_empty());
    assert!(node.identity.container_of(CgroupId(8)).unwrap().start_seen);
}
