use super::*;
use crate::estimate::{Criteria, Settled};
use crate::evidence::{Evidence, Exposure, Sampling, Sighting, SourceId};
use crate::fact::{Access, ArgumentShape, Field};
use crate::overlay::{Decision, Item, Overlay, Verb};
use crate::pattern::Unprotected;
use crate::signature::Signer;
use crate::testing::read_of;
use proptest::prelude::*;
use std::time::Duration;

const DAY: u64 = 86_400;
const START: u64 = 1_000_000;

fn at(day: u64) -> Timestamp {
    Timestamp::from_unix(START + day * DAY)
}

fn subject(revision: &str) -> Subject {
    Subject {
        workload: "shop/deployment/web/app".into(),
        revision: revision.into(),
    }
}

/// A fact with the day on which it was first seen, its hours, and its replicas.
type Seen = (Fact, u64, u32, u32);

/// Ten days of three replicas.
fn evidence(seen: &[Seen]) -> Evidence {
    let exposure = Exposure {
        units: [720, 180],
        starts: 3,
        replicas: 3,
        refused: 0,
        from: at(0),
        until: at(10),
    };
    let source = SourceId {
        node: "n".into(),
        generation: 1,
    };
    let sightings = seen.iter().map(|(fact, first, hours, replicas)| {
        (
            fact.clone(),
            Sighting {
                units: [*hours, (*hours).div_ceil(4)],
                starts: 0,
                replicas: *replicas,
                first_seen: at(*first),
                last_seen: at(9),
            },
        )
    });
    Evidence::of_account(source, Sampling::default(), exposure, sightings)
}

fn exec(parent: &str, exe: &str, arguments: &str) -> Fact {
    Fact::Exec {
        parent: parent.into(),
        exe: exe.into(),
        script: None,
        arguments: ArgumentShape::of([arguments]),
    }
}

fn common() -> Vec<Seen> {
    let files = (0..40).map(|number| (read_of(&format!("/srv/data/{number}")), 0, 600, 3));
    files
        .chain([
            (exec("/bin/x", "/bin/gzip", "-c"), 0, 300, 3),
            (exec("/bin/x", "/bin/date", ""), 0, 300, 3),
        ])
        .collect()
}

struct Case {
    seen: Vec<Seen>,
    predecessor: Option<Norm>,
    decisions: Vec<Decision>,
    settled: Settled,
    facts_max: usize,
}

impl Default for Case {
    fn default() -> Self {
        Self {
            seen: common(),
            predecessor: None,
            decisions: Vec::new(),
            settled: Settled::default(),
            facts_max: 10_000,
        }
    }
}

impl Case {
    fn norm(&self) -> Norm {
        let revision = if self.predecessor.is_some() { "2" } else { "1" };
        self.norm_of(&evidence(&self.seen), revision)
    }

    fn norm_of(&self, evidence: &Evidence, revision: &str) -> Norm {
        self.norm_after(None, evidence, revision)
    }

    fn norm_after(&self, replaced: Option<&Norm>, evidence: &Evidence, revision: &str) -> Norm {
        self.compile(evidence, revision, |inputs| match replaced {
            Some(replaced) => inputs.compile_in_place_of(replaced, 3),
            None => inputs.compile(),
        })
    }

    fn compile(&self, evidence: &Evidence, revision: &str, how: impl Fn(&Inputs<'_>) -> Norm) -> Norm {
        let signer = Signer::of_seed(&[1; 32]).unwrap();
        let decisions = self.decisions.iter().cloned();
        let overlay = Overlay::from(
            decisions
                .map(|decision| decision.sign(&signer).unwrap())
                .collect::<Vec<_>>(),
        );
        let (subject, criteria) = (subject(revision), Criteria::default());
        how(&Inputs {
            subject: &subject,
            evidence,
            predecessor: self.predecessor.as_ref(),
            overlay: &overlay,
            settled: &self.settled,
            replicas: 3,
            criteria: &criteria,
            protection: &Unprotected,
            facts_max: self.facts_max,
        })
    }
}

fn decide(verb: Verb, item: Item, day: u64) -> Decision {
    Decision {
        workload: "shop/deployment/web/app".into(),
        revision: None,
        item,
        verb,
        who: "ada".into(),
        at: at(day),
        why: String::new().into(),
    }
}

fn judge(norm: &Norm, fact: &Fact) -> Membership {
    norm.judge(fact, &Unprotected)
}

fn is_novel(norm: &Norm, fact: &Fact) -> bool {
    matches!(judge(norm, fact), Membership::Novel(_))
}

#[test]
fn what_is_not_known_is_novel_once_its_field_is_ready() {
    let norm = Case::default().norm();
    assert!(norm.survey().is_ready());
    assert_eq!(
        judge(&norm, &read_of("/srv/data/7")),
        Membership::Expected(Expected::Learned)
    );
    assert!(is_novel(&norm, &read_of("/etc/shadow")));
    assert!(is_novel(&norm, &exec("/bin/gzip", "/bin/sh", "-c")));
    let empty = Case {
        seen: vec![(read_of("/x"), 0, 1, 1)],
        ..Case::default()
    };
    let young = Evidence::new();
    assert_eq!(
        judge(&empty.norm_of(&young, "1"), &read_of("/x")),
        Membership::NotReady
    );
}

#[test]
fn what_comes_after_readiness_is_pending_until_a_person_decides() {
    let late = read_of("/srv/late");
    let mut case = Case::default();
    case.seen.push((late.clone(), 6, 90, 3));
    case.settled[Field::File.index()] = Some(at(5));
    let Membership::Novel(novelty) = judge(&case.norm(), &late) else {
        panic!()
    };
    assert_eq!(
        novelty.pending,
        Some((
            Standing::Pending,
            Pending {
                first_seen: at(6),
                replicas: 3
            }
        ))
    );
    case.decisions = vec![decide(Verb::Approve, Item::Fact(late.clone()), 7)];
    assert_eq!(
        judge(&case.norm(), &late),
        Membership::Expected(Expected::Approved)
    );
    case.decisions
        .push(decide(Verb::Reject, Item::Fact(late.clone()), 8));
    case.decisions.push(decide(Verb::Approve, Item::Whole, 9));
    assert_eq!(judge(&case.norm(), &late), Membership::Rejected);
    case.decisions = vec![decide(Verb::Unlock, Item::Whole, 9)];
    assert_eq!(
        judge(&case.norm(), &late),
        Membership::Expected(Expected::Learned)
    );
}

#[test]
fn locking_ends_learning_whatever_the_estimate() {
    let rare: Vec<Seen> = (0..50)
        .map(|number| {
            (
                read_of(&format!("/srv/{}", "ab".repeat(number + 1))),
                number as u64 / 10,
                1,
                3,
            )
        })
        .collect();
    let mut case = Case {
        seen: rare,
        ..Case::default()
    };
    assert_eq!(judge(&case.norm(), &read_of("/new")), Membership::NotReady);
    case.decisions = vec![decide(Verb::Lock, Item::Whole, 2)];
    let norm = case.norm();
    assert!(is_novel(&norm, &read_of("/new")));
    assert!(is_novel(&norm, &case.seen[40].0), "seen on day four");
    assert!(!is_novel(&norm, &case.seen[3].0));
}

#[test]
fn a_lone_replica_is_not_believed_in_the_first_hours() {
    let lone = exec("/bin/x", "/tmp/miner", "");
    let mut case = Case::default();
    case.seen.push((lone.clone(), 0, 400, 1));
    assert!(is_novel(&case.norm(), &lone));
    case.seen.pop();
    case.seen.push((lone.clone(), 0, 400, 2));
    assert!(!is_novel(&case.norm(), &lone));
    case.seen.pop();
    case.seen.push((lone.clone(), 1, 400, 1));
    assert!(!is_novel(&case.norm(), &lone), "a leader's work, later");
}

#[test]
fn what_is_forgotten_has_to_be_learned_again() {
    let fact = read_of("/srv/data/7");
    let case = Case {
        decisions: vec![decide(Verb::Forget, Item::Fact(fact.clone()), 9)],
        ..Case::default()
    };
    assert!(is_novel(&case.norm(), &fact));
    assert!(!is_novel(&case.norm(), &read_of("/srv/data/8")));
    let all = Case {
        decisions: vec![decide(Verb::Forget, Item::Whole, 9)],
        ..Case::default()
    };
    assert_eq!(all.norm().expected().count(), 0);
    // Not by the time that was observed before either: an empty baseline is not ready.
    assert!(!all.norm().survey().is_ready());
    assert_eq!(all.norm().survey().units, [0, 0]);
}

#[test]
fn a_revision_inherits_what_was_expected_and_nothing_else() {
    let pending = read_of("/srv/late");
    let mut first = Case::default();
    first.seen.push((pending.clone(), 6, 90, 3));
    first.settled = first.norm().survey().settled().map(|_| Some(at(5)));
    let predecessor = first.norm();

    let new = exec("/bin/x", "/bin/zstd", "");
    let second = Case {
        seen: vec![(read_of("/srv/data/7"), 0, 5, 3), (new.clone(), 0, 5, 3)],
        predecessor: Some(predecessor),
        ..Case::default()
    };
    let norm = second.norm();
    assert_eq!(
        judge(&norm, &read_of("/srv/data/7")),
        Membership::Expected(Expected::Inherited)
    );
    assert_eq!(
        judge(&norm, &read_of("/srv/data/8")),
        Membership::Expected(Expected::Inherited)
    );
    assert!(is_novel(&norm, &pending), "was not expected before either");
    let Membership::Novel(novelty) = judge(&norm, &new) else {
        panic!("no blind period")
    };
    assert!(novelty.of_release);
    let approved = Case {
        decisions: vec![decide(Verb::Approve, Item::Whole, 1)],
        ..second
    };
    assert_eq!(
        judge(&approved.norm(), &new),
        Membership::Expected(Expected::Approved)
    );
}

#[test]
fn what_was_rejected_stays_rejected_in_later_revisions() {
    let fact = read_of("/srv/data/7");
    let unseen = read_of("/srv/unseen");
    let decisions = [&fact, &unseen].map(|fact| Decision {
        revision: Some("1".into()),
        ..decide(Verb::Reject, Item::Fact(fact.clone()), 5)
    });
    let first = Case {
        decisions: decisions.to_vec(),
        ..Case::default()
    };
    let mut second = Case {
        predecessor: Some(first.norm()),
        decisions: vec![decide(Verb::Approve, Item::Whole, 9)],
        ..Case::default()
    };
    assert_eq!(judge(&second.norm(), &fact), Membership::Rejected);
    assert_eq!(judge(&second.norm(), &unseen), Membership::Rejected);
    second
        .decisions
        .push(decide(Verb::Approve, Item::Fact(fact.clone()), 9));
    assert_eq!(
        judge(&second.norm(), &fact),
        Membership::Expected(Expected::Approved)
    );
}

#[test]
fn a_pattern_by_which_a_field_became_ready_stays() {
    let body = |number: u32| read_of(&format!("/srv/body/{number:010}"));
    // How often the last one is seen decides whether they look like the names of a counter.
    let seen = |last: u32| -> Vec<Seen> {
        let hours = |number| match number {
            16 => last,
            9.. => 1,
            _ => 3,
        };
        let bodies = (1..=16).map(|number| (body(number), 0, hours(number), 3));
        common().into_iter().chain(bodies).collect()
    };
    let case = |last, settled| Case {
        seen: seen(last),
        settled,
        ..Case::default()
    };
    let is_expected = |norm: &Norm| matches!(judge(norm, &body(17)), Membership::Expected(_));
    let before = case(1, Settled::default()).norm();
    let Membership::Expected(Expected::Pattern(pattern)) = judge(&before, &body(17)) else {
        panic!("{:?}", judge(&before, &body(17)));
    };
    let settled = before.survey().settled();
    assert!(settled[Field::File.index()].is_some(), "{:?}", before.survey());

    let mut later = case(2, settled);
    assert!(!is_expected(&later.norm()), "by themselves they are a closed set");
    let after = |case: &Case| case.norm_after(Some(&before), &evidence(&case.seen), "1");
    assert!(is_expected(&after(&later)));
    assert!(
        !is_expected(&after(&case(2, Settled::default()))),
        "what is learned still is learned by what is seen"
    );

    // Who has evidence alone goes by what was recorded in the place of a name.
    fn of_others(inputs: &Inputs<'_>) -> Norm {
        inputs.compile_of_others()
    }
    let others = |case: &Case| case.compile(&evidence(&case.seen), "1", of_others);
    assert!(!is_expected(&others(&later)), "no name came");
    later.seen.push((pattern.clone(), 9, 2, 1));
    assert!(is_expected(&others(&later)));

    for verb in [Verb::Reject, Verb::Forget] {
        later.decisions = vec![decide(verb, Item::Fact(pattern.clone()), 11)];
        assert!(!is_expected(&after(&later)), "{verb:?}");
        assert!(!is_expected(&others(&later)), "{verb:?}");
    }
    later.decisions = vec![decide(Verb::Forget, Item::Whole, 11)];
    assert!(!is_expected(&after(&later)));
    assert!(!is_expected(&others(&later)));
}

#[test]
fn patterns_stand_for_names_to_come_but_not_for_rejected_ones() {
    let path = |number: u64| {
        format!(
            "/tmp/sess-{:016x}",
            (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        )
    };
    let mut case = Case::default();
    case.seen
        .extend((0..30).map(|number| (read_of(&path(number)), 1, 1, 1)));
    let norm = case.norm();
    assert!(
        norm.survey().field(Field::File).per_day.point < 0.1,
        "patterns are no novelty to come"
    );
    let Membership::Expected(Expected::Pattern(pattern)) = judge(&norm, &read_of(&path(77))) else {
        panic!()
    };
    assert_eq!(pattern.target(), "/tmp/sess-<hex:16>");
    assert!(is_novel(&norm, &read_of("/tmp/sess-shadow")));
    // As it is recorded from then on.
    let mut later = Case {
        settled: norm.survey().settled().map(|_| Some(at(2))),
        ..Case::default()
    };
    later.seen.clone_from(&case.seen);
    later.seen.push((pattern.clone(), 5, 100, 3));
    assert_eq!(later.norm().pending(&pattern), None);
    assert_eq!(later.norm().expected().filter(|fact| *fact == pattern).count(), 1);
    case.decisions = vec![decide(Verb::Reject, Item::Fact(read_of(&path(77))), 9)];
    assert_eq!(judge(&case.norm(), &read_of(&path(77))), Membership::Rejected);
    case.decisions = vec![decide(Verb::Reject, Item::Fact(pattern), 9)];
    assert!(!matches!(
        judge(&case.norm(), &read_of(&path(78))),
        Membership::Expected(_)
    ));
}

#[test]
fn what_has_no_room_is_left_out_visibly() {
    let case = Case {
        facts_max: 20,
        ..Case::default()
    };
    let norm = case.norm();
    assert_eq!(norm.expected().count(), 20);
    assert!(norm.survey().overflowed);
    let score = norm.score(&read_of("/x"), &Setting::default());
    assert!(score.terms[0].value <= 0.0, "{score:?}");
}

#[test]
fn the_score_shows_its_terms() {
    let norm = Case::default().norm();
    let fact = exec("/bin/x", "/tmp/miner", "");
    let quiet = norm.score(&fact, &Setting::default());
    let setting = Setting {
        workloads: 99,
        workloads_with: 0,
        replicas: 9,
        replicas_with: 1,
        origin: crate::never::Origin::Memory,
        ..Setting::default()
    };
    let loud = norm.score(&fact, &setting);
    assert!(loud.total() > quiet.total() + 4.0, "{loud:?}");
    assert_eq!(loud.reasons()[0].why, "0 of 99 workloads do it");
    assert_eq!(loud.terms[2].why, "1 of 9 replicas do it");
    assert!(loud.points() <= 100);
    // All replicas at once, known in the fleet, known edge: as a release is.
    let release = Setting {
        workloads: 99,
        workloads_with: 99,
        replicas: 9,
        replicas_with: 9,
        ..Setting::default()
    };
    let usual = norm.score(&exec("/bin/x", "/bin/gzip", "-d"), &release);
    assert!(usual.points() < 10, "{usual:?}");
}

#[test]
fn the_expectation_names_what_is_near() {
    let norm = Case::default().norm();
    let near = norm.expectation(&read_of("/srv/data/777"));
    assert_eq!(near.usual_count, 40);
    assert_eq!(near.usual[0], "/srv/data/7");
    assert_eq!(near.usual.len(), 5);
    assert!(near.actor_known && !near.target_known);
    assert_eq!(near.learned_for, Duration::from_secs(720 * 3_600));

    let other = norm.expectation(&Fact::File {
        exe: "/bin/y",
        path: "/srv/data/7",
        access: Access::Read,
    });
    assert!(!other.actor_known && other.target_known);
    let edge = norm.expectation(&exec("/bin/x", "/bin/gzip", "-d"));
    assert!(edge.edge_known && edge.target_known);
    assert!(norm.expectation(&exec("/bin/gzip", "/bin/x", "")).actor_known);
}

#[test]
fn it_is_read_as_it_is_written() {
    let mut case = Case::default();
    case.seen.push((read_of("/srv/late"), 6, 90, 3));
    case.settled[Field::File.index()] = Some(at(5));
    let norm = case.norm();
    let read: Norm = rmp_serde::from_slice(&rmp_serde::to_vec(&norm).unwrap()).unwrap();
    for fact in [read_of("/srv/late"), read_of("/srv/data/7"), read_of("/x")] {
        assert_eq!(judge(&read, &fact), judge(&norm, &fact));
        assert_eq!(read.expectation(&fact), norm.expectation(&fact));
    }
}

proptest! {
    /// Who merged in which order does not show in the norm.
    #[test]
    fn the_same_evidence_leads_to_the_same_norm(
        left in crate::testing::any_evidence(),
        right in crate::testing::any_evidence(),
    ) {
        let case = Case::default();
        let merged = |mut left: Evidence, right: &Evidence| {
            left.merge(right);
            left
        };
        let one = case.norm_of(&merged(left.clone(), &right), "1");
        let other = case.norm_of(&merged(right, &left), "1");
        let standings = |norm: &Norm| {
            norm.standings()
                .map(|(fact, standing)| (fact.owned(), standing))
                .collect::<std::collections::BTreeMap<_, _>>()
        };
        prop_assert_eq!(standings(&one), standings(&other));
        prop_assert_eq!(one.survey(), other.survey());
        prop_assert_eq!(one.patterns().facts().collect::<Vec<_>>(), other.patterns().facts().collect::<Vec<_>>());
    }
}

fn capability(name: &str) -> Fact {
    Fact::Capability {
        exe: "/bin/x".into(),
        capability: name.into(),
    }
}

/// Capabilities were looked at from this day on, for so many hours.
fn watched(day: u64, hours: u32) -> Seen {
    (Fact::watch(Field::Capability).unwrap().owned(), day, hours, 3)
}

fn judged(norm: &Norm, fact: &Fact) -> Membership {
    norm.judge(fact, &Unprotected)
}

#[test]
fn what_nobody_looked_at_is_not_judged_whatever_it_was_held_for() {
    let mut case = Case {
        settled: [Some(at(5)); Field::ALL.len()],
        ..Case::default()
    };
    // As an agent left it that did not see capabilities, and as the next one begins with it.
    for seen in [None, Some(watched(8, 6))] {
        case.seen = common().into_iter().chain(seen).collect();
        let norm = case.norm();
        assert_eq!(judged(&norm, &capability("CAP_KILL")), Membership::NotReady);
        let other = judged(&norm, &read_of("/etc/shadow"));
        assert!(matches!(other, Membership::Novel(_)), "{other:?}");
    }
    let state = case.norm().survey().field(Field::Capability).state;
    assert!(matches!(state, State::Learning(_)), "{state}");
}

#[test]
fn that_none_was_used_is_a_norm_where_somebody_looked() {
    let mut case = Case::default();
    case.seen.push(watched(0, 700));
    case.seen.push((capability("CAP_CHOWN"), 0, 300, 3));
    let norm = case.norm();
    assert!(matches!(
        judged(&norm, &capability("CAP_CHOWN")),
        Membership::Expected(_)
    ));
    assert!(matches!(
        judged(&norm, &capability("CAP_KILL")),
        Membership::Novel(_)
    ));
    // Who looked is no behaviour.
    assert!(norm.standings().all(|(fact, _)| !fact.is_of_sensor()));
    assert!(norm.expected().all(|fact| !fact.is_of_sensor()));
    assert_eq!(norm.survey().field(Field::Capability).distinct, 1);

    // The next revision is judged from its first second.
    let next = Case {
        seen: common().into_iter().chain([watched(9, 1)]).collect(),
        predecessor: Some(norm),
        ..Case::default()
    };
    let Membership::Novel(novelty) = judged(&next.norm(), &capability("CAP_KILL")) else {
        panic!("{:?}", next.norm().survey().field(Field::Capability).state);
    };
    assert!(novelty.of_release);
}
