//! Predictions held against what came, on synthetic workloads: 120 behaviours with rates spread evenly on a
//! logarithmic scale from 60 an hour to one in 30 days, 4 jobs that run once a day and 2 once a week.

use super::*;
use crate::evidence::{Exposure, Sighting, SourceId};
use crate::testing::read_of;

const BEHAVIOURS: usize = 120;
const DAILY: usize = 4;
const WEEKLY: usize = 2;
const HOUR: u64 = 3_600;
const SEEDS: u64 = 30;

/// xorshift64*: numbers that are the same on every machine.
struct Chance(u64);

impl Chance {
    fn new(seed: u64) -> Self {
        let mut chance = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        for _ in 0..8 {
            chance.next();
        }
        chance
    }

    /// 0 to 1.
    fn next(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

struct World {
    chance: Chance,
    replicas: usize,
    /// Of each behaviour, that an hour of one replica shows it.
    probability: Vec<f64>,
    /// Of each job, its hour and its period in hours.
    jobs: Vec<(u64, u64)>,
    hour: u64,
    seen: Vec<Sighting>,
    /// In which large unit of which replica each fact was seen last.
    last_large: Vec<Vec<Option<u64>>>,
}

impl World {
    fn new(seed: u64, replicas: usize) -> Self {
        let mut chance = Chance::new(seed);
        let (highest, lowest) = (60.0_f64.ln(), (1.0 / 720.0_f64).ln());
        let probability = (0..BEHAVIOURS)
            .map(|_| 1.0 - (-(lowest + (highest - lowest) * chance.next()).exp()).exp())
            .collect();
        let jobs = (0..DAILY + WEEKLY)
            .map(|job| {
                let period = if job < DAILY { 24 } else { 168 };
                ((chance.next() * period as f64) as u64, period)
            })
            .collect();
        let facts = BEHAVIOURS + DAILY + WEEKLY;
        Self {
            chance,
            replicas,
            probability,
            jobs,
            hour: 0,
            seen: vec![Sighting::ABSENT; facts],
            last_large: vec![vec![None; facts]; replicas],
        }
    }

    /// Lets an hour pass; how many behaviours were new in it.
    fn pass(&mut self) -> usize {
        let mut new = 0;
        for replica in 0..self.replicas {
            for fact in 0..self.seen.len() {
                let happens = match fact.checked_sub(BEHAVIOURS) {
                    None => self.chance.next() < self.probability[fact],
                    Some(job) => {
                        let (hour, period) = self.jobs[job];
                        replica == 0 && self.hour % period == hour
                    }
                };
                if !happens {
                    continue;
                }
                let sighting = &mut self.seen[fact];
                new += usize::from(sighting.units[0] == 0);
                sighting.units[0] += 1;
                let large = Some(self.hour / 4);
                if self.last_large[replica][fact] != large {
                    self.last_large[replica][fact] = large;
                    sighting.units[1] += 1;
                }
                sighting.replicas = 1;
                let now = Timestamp::from_unix(self.hour * HOUR);
                sighting.first_seen = sighting.first_seen.min(now);
                sighting.last_seen = now;
            }
        }
        self.hour += 1;
        new
    }

    fn pass_days(&mut self, days: u64) -> usize {
        (0..days * 24).map(|_| self.pass()).sum()
    }

    fn survey(&self) -> Survey {
        let replicas = self.replicas as u32;
        let hours = self.hour as u32;
        let exposure = Exposure {
            units: [hours * replicas, hours / 4 * replicas],
            starts: 0,
            replicas,
            refused: 0,
            from: Timestamp::from_unix(0),
            until: Timestamp::from_unix(self.hour * HOUR),
        };
        let source = SourceId {
            node: "n".into(),
            generation: 1,
        };
        let seen = self
            .seen
            .iter()
            .enumerate()
            .filter(|(_, sighting)| sighting.is_seen())
            .map(|(fact, sighting)| (read_of(&format!("/{fact}")), *sighting));
        let evidence = Evidence::of_account(source, Sampling::default(), exposure, seen);
        Survey::of(
            &evidence,
            |_| false,
            &Settled::default(),
            replicas,
            &Criteria::default(),
        )
    }

    fn predicted(&self) -> f64 {
        self.survey().field(Field::File).per_day.point
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[test]
fn predictions_come_true_and_decline() {
    for replicas in [1, 5] {
        let days = [1, 3, 7, 14];
        let mut predicted = [const { Vec::new() }; 4];
        let mut actual = [const { Vec::new() }; 4];
        let mut covered = 0;
        for seed in 1..=SEEDS {
            let mut world = World::new(seed, replicas);
            for (at, day) in days.into_iter().enumerate() {
                world.pass_days(day - world.hour / 24);
                let estimate = world.survey().field(Field::File).per_day;
                let came = world.pass_days(1) as f64;
                predicted[at].push(estimate.point);
                actual[at].push(came);
                covered += usize::from(estimate.low - 1.0 <= came && came <= estimate.high + 1.0);
            }
        }
        let [predicted, actual] = [predicted, actual].map(|days| days.map(|values| mean(&values)));
        println!(
            "{replicas} replicas, days {days:?}: predicted {predicted:.2?}, actual {actual:.2?}, within interval ±1: {covered} of {}",
            SEEDS * 4
        );
        assert!(
            predicted.is_sorted_by(|left, right| left > right),
            "{predicted:?}"
        );
        for (predicted, actual) in predicted.into_iter().zip(actual) {
            // Where next to nothing comes any more, a factor is chance.
            let (predicted, actual) = (predicted + 0.1, actual + 0.1);
            assert!(
                predicted < 2.0 * actual && actual < 2.0 * predicted,
                "{replicas} replicas: {predicted:.2} predicted, {actual:.2} came"
            );
        }
        assert!(covered as u64 >= SEEDS * 4 * 8 / 10);
    }
}

#[test]
fn the_budget_is_kept_after_learning() {
    for (replicas, budget) in [(1, 0.75), (5, 0.5)] {
        let mut learned = Vec::new();
        let mut rates = Vec::new();
        for seed in 1..=10 {
            let mut world = World::new(seed, replicas);
            world.pass_days(1);
            while !matches!(world.survey().field(Field::File).state, State::Ready { .. }) {
                for _ in 0..4 {
                    world.pass();
                }
                assert!(world.hour < 60 * 24, "never ready");
            }
            learned.push(world.hour as f64);
            rates.push(world.pass_days(14) as f64 / 14.0);
        }
        println!(
            "{replicas} replicas: ready after {:.0} h, then {:.2} new behaviours a day",
            mean(&learned),
            mean(&rates)
        );
        assert!(mean(&rates) < budget, "{rates:?}");
    }
}

#[test]
fn a_closed_set_is_never_called_open() {
    for replicas in [1, 5] {
        for seed in 1..=10 {
            let mut world = World::new(seed, replicas);
            for hour in 1..=10 * 24 {
                world.pass();
                if hour % 6 == 0 {
                    let state = world.survey().field(Field::File).state;
                    assert!(
                        !matches!(state, State::Open { .. }),
                        "seed {seed}, hour {hour}: {state}"
                    );
                }
            }
        }
    }
}

/// Each hour brings three names that nobody sees again, besides what is always there.
#[test]
fn what_never_settles_is_open_and_what_settles_slowly_is_not() {
    let mut world = World::new(1, 1);
    world.pass_days(3);
    let state = world.survey().field(Field::File).state;
    assert!(
        matches!(state, State::Learning(Waiting::Budget { .. })),
        "{state}"
    );

    let once = |hour: u64| Sighting {
        units: [1, 1],
        starts: 0,
        replicas: 1,
        first_seen: Timestamp::from_unix(hour * HOUR),
        last_seen: Timestamp::from_unix(hour * HOUR),
    };
    world.seen.extend((0..72).flat_map(|hour| [once(hour); 3]));
    let state = world.survey().field(Field::File).state;
    assert!(matches!(state, State::Open { .. }), "{state}");
    assert!(world.predicted() > 50.0);
}
