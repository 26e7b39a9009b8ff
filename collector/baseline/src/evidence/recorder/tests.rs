use super::*;
use crate::never::Circumstances;
use crate::testing::{any_fact, read_of};
use proptest::prelude::*;
use std::time::Duration;

fn source(generation: u64) -> SourceId {
    SourceId {
        node: "n".into(),
        generation,
    }
}

/// Units of 10 and 40 seconds, 5 seconds of start-up.
fn tuning() -> Tuning {
    Tuning {
        sampling: Sampling::Hours { small: 10, large: 40 },
        startup: Duration::from_secs(5),
        absence: Duration::from_secs(10),
        limits: Limits {
            facts: 50,
            ..Limits::default()
        },
    }
}

fn at(second: u64) -> Timestamp {
    Timestamp::from_unix(1_000_000 + second)
}

fn recorder() -> Recorder {
    Recorder::open(None, source(1), tuning(), at(0))
}

fn leave() -> Learnable {
    Circumstances::default().learnable().unwrap()
}

#[test]
fn a_fact_counts_once_in_a_unit_and_a_replica() {
    let mut recorder = recorder();
    recorder.container_started("a", Start::Witnessed);
    recorder.container_started("b", Start::Found);
    for second in 0..=45 {
        recorder.advance(at(second));
        for replica in ["a", "b"] {
            recorder.observe(&read_of("/x"), replica, leave(), at(second));
            recorder.observe(&read_of("/x"), replica, leave(), at(second));
        }
    }
    let total = recorder.evidence().total();
    assert_eq!((total.units, total.starts, total.replicas), ([8, 2], 1, 2));
    let tally = recorder.evidence().tally_of(&read_of("/x")).unwrap();
    assert_eq!((tally.units, tally.starts, tally.replicas), ([8, 2], 1, 2));
}

#[test]
fn time_in_which_nobody_looked_is_not_credited() {
    let mut recorder = recorder();
    recorder.container_started("a", Start::Found);
    recorder.advance(at(100_000));
    assert_eq!(recorder.evidence().total().units, [1, 0]);
}

#[test]
fn what_is_adopted_counts_here_and_is_not_told_on() {
    let mut other = Recorder::open(
        None,
        SourceId {
            node: "other".into(),
            generation: 9,
        },
        tuning(),
        at(0),
    );
    other.container_started("a", Start::Found);
    other.observe(&read_of("/theirs"), "a", leave(), at(1));
    let mut recorder = recorder();
    recorder.container_started("b", Start::Found);
    recorder.observe(&read_of("/ours"), "b", leave(), at(1));
    let before = recorder.delta(Version::START).0;
    recorder.adopt(other.evidence()).unwrap();
    assert!(recorder.evidence().tally_of(&read_of("/theirs")).is_some());
    assert_eq!(recorder.delta(Version::START).0, before);
    // What comes after has a number that fits.
    assert_eq!(
        recorder.observe(&read_of("/more"), "b", leave(), at(2)),
        Observed::New
    );
    let own = recorder.evidence().clone();
    recorder.adopt(&own).unwrap();
    assert_eq!(recorder.evidence(), &own);
}

#[test]
fn short_lives_add_up_to_units() {
    let mut recorder = recorder();
    for life in 0..10_u64 {
        let replica = format!("r{life}");
        recorder.container_started(&replica, Start::Found);
        recorder.observe(&read_of(&format!("/{}", life / 2)), &replica, leave(), at(life));
        recorder.advance(at(5 * (life + 1)));
        recorder.container_ended(&replica);
    }
    assert_eq!(recorder.evidence().total().units, [5, 1]);
    let tally = recorder.evidence().tally_of(&read_of("/1")).unwrap();
    assert_eq!((tally.units, tally.replicas), ([1, 1], 2));
}

#[test]
fn jobs_count_runs_and_only_whole_ones() {
    let tuning = Tuning {
        sampling: Sampling::Runs { large: 3 },
        ..tuning()
    };
    let mut recorder = Recorder::open(None, source(1), tuning, at(0));
    for run in 0..7_u64 {
        let start = if run == 0 { Start::Found } else { Start::Witnessed };
        recorder.container_started("job", start);
        assert_eq!(recorder.phase("job"), Some(Phase::Steady));
        recorder.observe(&read_of("/x"), "job", leave(), at(run));
        recorder.advance(at(run * 100));
        recorder.container_ended("job");
    }
    let total = recorder.evidence().total();
    assert_eq!((total.units, total.starts, total.replicas), ([6, 2], 0, 7));
    assert_eq!(
        recorder.evidence().tally_of(&read_of("/x")).unwrap().units,
        [6, 2]
    );
}

#[test]
fn a_restart_goes_on_where_it_was() {
    let whole = |restart: bool| {
        let mut recorder = recorder();
        recorder.container_started("a", Start::Witnessed);
        for second in 0..60 {
            if restart && second == 33 {
                let written = rmp_serde::to_vec(recorder.saved()).unwrap();
                let saved = rmp_serde::from_slice(&written).unwrap();
                recorder = Recorder::open(Some(saved), source(2), tuning(), at(second - 1));
                recorder.container_started("a", Start::Found);
            }
            recorder.advance(at(second));
            recorder.observe(&read_of(&format!("/{}", second / 7)), "a", leave(), at(second));
        }
        recorder.evidence().clone()
    };
    assert_eq!(whole(true), whole(false));
}

#[test]
fn units_of_another_size_begin_another_account() {
    let mut recorder = recorder();
    recorder.container_started("a", Start::Found);
    recorder.observe(&read_of("/x"), "a", leave(), at(0));
    let other = Tuning {
        sampling: Sampling::default(),
        ..tuning()
    };
    let recorder = Recorder::open(Some(recorder.saved().clone()), source(2), other, at(1));
    assert_eq!(recorder.source(), &source(2));
    assert_eq!(recorder.evidence().sources().count(), 2);
    assert!(recorder.evidence().tally_of(&read_of("/x")).is_some());
}

#[test]
fn what_finds_no_room_is_visible() {
    let mut recorder = recorder();
    recorder.container_started("a", Start::Found);
    for number in 0..60 {
        let observed = recorder.observe(&read_of(&format!("/{number}")), "a", leave(), at(0));
        assert_eq!(observed == Observed::Refused, number >= 50);
    }
    assert_eq!(recorder.evidence().total().refused, 10);
    assert_eq!(recorder.evidence().facts().count(), 50);
}

#[test]
fn a_settled_workload_has_nothing_to_tell() {
    let mut recorder = recorder();
    recorder.container_started("a", Start::Found);
    let mut since = Version::START;
    let mut told = Vec::new();
    for unit in 0..200_u64 {
        recorder.observe(&read_of("/x"), "a", leave(), at(unit * 10));
        recorder.advance(at((unit + 1) * 10));
        let (delta, upto) = recorder.delta(since);
        since = upto;
        told.push(delta.facts().count());
    }
    assert!(told[100..].iter().sum::<usize>() <= 3, "{told:?}");
}

/// What can happen to a recorder and to what it sends.
#[derive(Clone, Debug)]
enum Step {
    Start(u8, bool),
    End(u8),
    See(u8, Fact),
    Pass(u8),
    Send { lost: bool, again: bool },
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => (0..3_u8, any::<bool>()).prop_map(|(replica, found)| Step::Start(replica, found)),
        1 => (0..3_u8).prop_map(Step::End),
        6 => (0..3_u8, any_fact()).prop_map(|(replica, fact)| Step::See(replica, fact)),
        3 => (0..15_u8).prop_map(Step::Pass),
        2 => any::<(bool, bool)>().prop_map(|(lost, again)| Step::Send { lost, again }),
        1 => Just(Step::Restart),
    ]
}

proptest! {
    /// Deltas that are lost are asked for again from the last version that arrived.
    #[test]
    fn deltas_lead_to_what_the_recorder_knows(steps in proptest::collection::vec(step(), 0..120)) {
        let mut recorder = recorder();
        let mut collector = Evidence::new();
        let mut acknowledged = Version::START;
        let mut now = 0;
        for step in steps {
            match step {
                Step::Start(replica, found) => {
                    let start = if found { Start::Found } else { Start::Witnessed };
                    recorder.container_started(&replica.to_string(), start);
                }
                Step::End(replica) => recorder.container_ended(&replica.to_string()),
                Step::See(replica, fact) => {
                    recorder.observe(&fact, &replica.to_string(), leave(), at(now));
                }
                Step::Pass(seconds) => {
                    now += u64::from(seconds);
                    recorder.advance(at(now));
                }
                Step::Send { lost, again } => {
                    let (delta, upto) = recorder.delta(acknowledged);
                    if !lost {
                        collector.merge(&delta);
                        if again {
                            collector.merge(&delta);
                        }
                        acknowledged = upto;
                    }
                }
                Step::Restart => {
                    let written = rmp_serde::to_vec(recorder.saved()).unwrap();
                    let saved = rmp_serde::from_slice(&written).unwrap();
                    recorder = Recorder::open(Some(saved), source(9), tuning(), at(now));
                    acknowledged = Version::START;
                }
            }
        }
        let (delta, _) = recorder.delta(acknowledged);
        collector.merge(&delta);
        let (left, right) = (collector.total(), recorder.evidence().total());
        prop_assert_eq!(left.units, right.units);
        prop_assert_eq!((left.starts, left.replicas, left.refused), (right.starts, right.replicas, right.refused));
        prop_assert_eq!(collector.facts().count(), recorder.evidence().facts().count());
        for (_, fact, ours) in recorder.evidence().tallies() {
            let theirs = collector.tally_of(&fact).unwrap();
            for (told, exact) in [
                (theirs.units[0], ours.units[0]),
                (theirs.units[1], ours.units[1]),
                (theirs.starts, ours.starts),
                (theirs.replicas, ours.replicas),
            ] {
                prop_assert!(told == exact || told >= 4 && told <= exact && exact < 2 * told);
            }
            prop_assert_eq!(theirs.first_seen, ours.first_seen);
        }
        let (everything, _) = recorder.delta(Version::START);
        collector.merge(&everything);
        prop_assert_eq!(&collector, recorder.evidence());
    }
}

#[test]
fn a_unit_with_losses_counts_for_the_other_fields_only() {
    let mut recorder = recorder();
    recorder.container_started("a", Start::Found);
    let id = Fact::Dns {
        exe: "/bin/x",
        name: "example.org",
    };
    for second in 0..=85 {
        recorder.advance(at(second));
        recorder.observe(&id, "a", leave(), at(second));
        if second % 10 != 9 {
            recorder.observe(&read_of("/always"), "a", leave(), at(second));
        }
        // In the second small unit.
        if second == 15 {
            recorder.observe(&read_of("/then"), "a", leave(), at(second));
            recorder.lost(Field::File, "a", leave(), at(second));
        }
    }
    let evidence = recorder.evidence();
    assert_eq!(evidence.total().units, [8, 2]);
    assert_eq!(evidence.complete(Field::File).units, [7, 1]);
    assert_eq!(evidence.complete(Field::Dns).units, [8, 2]);
    let tally = |fact: &Fact<&str>| evidence.tally_of(fact).unwrap().units;
    assert_eq!(tally(&id), [8, 2]);
    assert_eq!(evidence.tally_of(&read_of("/always")).unwrap().units, [7, 1]);
    let then = evidence.tally_of(&read_of("/then")).unwrap();
    assert_eq!(
        (then.units, then.replicas),
        ([0, 0], 1),
        "it is known all the same"
    );
    assert_eq!(evidence.facts().count(), 3, "a loss is no behaviour");

    // A start as well, and what is left over of a unit when a container ends.
    recorder.container_started("b", Start::Witnessed);
    recorder.lost(Field::File, "b", leave(), at(86));
    for second in 86..=95 {
        recorder.advance(at(second));
    }
    assert_eq!(recorder.evidence().total().starts, 1);
    assert_eq!(recorder.evidence().complete(Field::File).starts, 0);
    assert_eq!(recorder.evidence().complete(Field::Exec).starts, 1);
}
