use super::*;
use crate::evidence::{Exposure, Recorder, Sighting, SourceId, Start, Tuning};
use crate::never::Circumstances;
use crate::testing::{evidence_of, read_of};
use proptest::prelude::*;

fn survey(reads: impl IntoIterator<Item = (String, [u32; 2])>) -> Survey {
    let evidence = evidence_of("n", 1, reads);
    Survey::of(&evidence, |_| false, &Settled::default(), 1, &Criteria::default())
}

fn often(count: usize) -> impl Iterator<Item = (String, [u32; 2])> {
    (0..count).map(|number| (format!("/often/{number}"), [90, 25]))
}

#[test]
fn what_is_seen_all_the_time_is_ready() {
    let survey = survey(often(30));
    let file = survey.field(Field::File);
    assert!(matches!(file.state, State::Ready { .. }), "{}", file.state);
    assert!(
        file.per_day.point < 0.01 && file.per_day.high > 0.0,
        "{:?}",
        file.per_day
    );
    assert!(survey.is_ready(), "fields without facts are ready as well");
}

#[test]
fn novelty_over_the_budget_is_waited_for() {
    let once = (0..10).map(|number| (format!("/once/{number}"), [1, 1]));
    let twice = (0..4).map(|number| (format!("/twice/{number}"), [2, 2]));
    let survey = survey(often(30).chain(once).chain(twice));
    let file = survey.field(Field::File);
    assert!(
        matches!(file.state, State::Learning(Waiting::Budget { .. })),
        "{}",
        file.state
    );
    assert!(file.per_day.low < file.per_day.point && file.per_day.point < file.per_day.high);
}

#[test]
fn bursts_are_not_trusted() {
    // By hours all was seen twice, by four hours once: the second time was the hour after the first.
    let bursts = (0..9).map(|number| (format!("/burst/{number}"), [2, 1]));
    let one = [("/once".to_owned(), [1, 1]), ("/once more".to_owned(), [1, 1])];
    let survey = survey(often(30).chain(bursts).chain(one));
    let State::Learning(waiting) = survey.field(Field::File).state else {
        panic!("{}", survey.field(Field::File).state)
    };
    assert!(
        matches!(waiting, Waiting::Disagreement { .. } | Waiting::Budget { .. }),
        "{waiting}"
    );
}

#[test]
fn start_up_is_a_phase_of_its_own() {
    let started = |starts: u32, units: u32, number: u32| {
        let sighting = Sighting {
            units: [units, units],
            starts,
            replicas: 1,
            first_seen: Timestamp::from_unix(1_000_000),
            last_seen: Timestamp::from_unix(1_000_000),
        };
        (read_of(&format!("/{starts}/{units}/{number}")), sighting)
    };
    let exposure = Exposure {
        units: [100, 25],
        starts: 10,
        replicas: 10,
        refused: 0,
        from: Timestamp::from_unix(1_000_000),
        until: Timestamp::from_unix(1_360_000),
    };
    let source = SourceId {
        node: "n".into(),
        generation: 1,
    };
    let survey = |each: u32| {
        // What one start showed and the steady state as well is no novelty of either.
        let known = (0..20).map(|number| started(1, 1, number));
        let once = (0..each).map(|number| started(1, 0, number));
        let twice = (0..each / 2).map(|number| started(2, 0, number));
        let evidence = Evidence::of_account(
            source.clone(),
            Sampling::default(),
            exposure,
            known.chain(once).chain(twice),
        );
        Survey::of(&evidence, |_| false, &Settled::default(), 1, &Criteria::default())
    };
    let file = *survey(10).field(Field::File);
    assert_eq!(file.steady[0].point, 0.0);
    assert!(
        matches!(
            file.state,
            State::Learning(Waiting::Budget {
                phase: Phase::Startup,
                ..
            })
        ),
        "{}",
        file.state
    );
    assert!(matches!(survey(0).field(Field::File).state, State::Ready { .. }));
}

#[test]
fn a_field_that_became_ready_stays_it() {
    let mut settled = Settled::default();
    settled[Field::File.index()] = Some(Timestamp::from_unix(5));
    let once = (0..10).map(|number| (format!("/once/{number}"), [1, 1]));
    let evidence = evidence_of("n", 1, once);
    let survey = Survey::of(&evidence, |_| false, &settled, 1, &Criteria::default());
    assert_eq!(
        survey.field(Field::File).state.ready_since(),
        Some(Timestamp::from_unix(5))
    );
}

#[test]
fn a_calendar_is_waited_for() {
    let evidence = evidence_of("n", 1, often(30));
    let criteria = Criteria {
        observed: Duration::from_secs(8 * 86_400),
        ..Criteria::default()
    };
    let survey = Survey::of(&evidence, |_| false, &Settled::default(), 1, &criteria);
    assert!(matches!(
        survey.field(Field::File).state,
        State::Learning(Waiting::Observation { .. })
    ));
}

/// What a workload read in its units of ten seconds, and in which of them something was lost.
fn recorded(units: &[(Vec<u8>, bool)]) -> Evidence {
    let source = SourceId {
        node: "n".into(),
        generation: 1,
    };
    let tuning = Tuning {
        sampling: Sampling::Hours { small: 10, large: 40 },
        ..Tuning::default()
    };
    let leave = || Circumstances::default().learnable().unwrap();
    let begin = 1_000_000;
    let mut recorder = Recorder::open(None, source, tuning, Timestamp::from_unix(begin));
    recorder.container_started("a", Start::Found);
    for (number, (paths, lost)) in (0..).zip(units) {
        let at = Timestamp::from_unix(begin + 10 * number + 5);
        for path in paths {
            recorder.observe(&read_of(&format!("/{path}")), "a", leave(), at);
        }
        if *lost {
            recorder.lost(Field::File, "a", leave(), at);
        }
        for second in 1..=10 {
            recorder.advance(Timestamp::from_unix(begin + 10 * number + second));
        }
    }
    recorder.evidence().clone()
}

proptest! {
    #[test]
    fn units_with_losses_never_lower_what_is_to_be_expected(
        whole in proptest::collection::vec(proptest::collection::vec(0..12_u8, 0..6), 8..24),
        lossy in proptest::collection::vec(proptest::collection::vec(0..16_u8, 0..6), 4),
        place in 0..6_usize,
    ) {
        let without: Vec<_> = whole.iter().map(|paths| (paths.clone(), false)).collect();
        let mut with = without.clone();
        // Between two large units, so that those without losses are the same.
        let place = (place * 4).min(whole.len() / 4 * 4);
        with.splice(place..place, lossy.iter().map(|paths| (paths.clone(), true)));
        let survey = |units: &[_]| {
            let evidence = recorded(units);
            let settled = Settled::default();
            *Survey::of(&evidence, |_| false, &settled, 1, &Criteria::default()).field(Field::File)
        };
        let (with, without) = (survey(&with), survey(&without));
        prop_assert_eq!(with.lossy, [4, 1]);
        for (with, without) in with.steady.iter().zip(&without.steady) {
            prop_assert!(with.point >= without.point - 1e-9, "{:?} {:?}", with, without);
        }
        let is_ready = |of: &Estimate| matches!(of.state, State::Ready { .. });
        prop_assert!(!is_ready(&with) || is_ready(&without));
    }
}

#[test]
fn units_with_losses_alone_make_nothing_ready() {
    let units = |lost: bool| vec![(vec![1, 2, 3], lost); 16];
    let of = |units: &[_]| {
        let evidence = recorded(units);
        Survey::of(&evidence, |_| false, &Settled::default(), 1, &Criteria::default())
    };
    let survey = of(&units(true));
    let file = survey.field(Field::File);
    assert!(
        matches!(file.state, State::Learning(Waiting::Units { have: 0, .. })),
        "{}",
        file.state
    );
    assert!(!file.is_told(survey.units));
    assert!(matches!(survey.field(Field::Exec).state, State::Ready { .. }));
    let survey = of(&units(false));
    assert!(matches!(survey.field(Field::File).state, State::Ready { .. }));
}
