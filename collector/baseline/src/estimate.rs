//! How much of what a workload normally does was not seen yet.
//!
//! Learning ends by evidence, not by the clock: a field is ready when the number of new facts that are to be
//! expected in the next day is under a budget. That number is the rate of false findings to come, and it is
//! shown at all times with its uncertainty. [`Incidence`] has the statistics, this module what follows from
//! them for a field: [`Survey::of`] takes evidence and gives, per field, an [`Estimate`] with its [`State`].

mod richness;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

pub use richness::{Incidence, Interval};

use crate::evidence::{Evidence, Phase, SIZES, Sampling, Tally, Total};
use crate::fact::{FactId, Field};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// Seconds of a day.
const DAY: f64 = 86_400.0;

/// When a field is ready.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Criteria {
    /// New facts per day that are put up with, per field.
    pub budget: f64,
    /// By what factor the estimates of the two unit sizes may differ.
    pub disagreement: f64,
    /// Large units without which nothing is said.
    pub large_units: u64,
    /// Witnessed starts without which nothing is said of start-up.
    pub starts: u64,
    /// Time that observation has to span. What comes once a week cannot be foreseen in less; an operator who
    /// knows of such a calendar says so here.
    pub observed: Duration,
}

impl Default for Criteria {
    /// Half a new fact per day; estimates within a factor of two; three large units, two starts; no calendar.
    fn default() -> Self {
        Self {
            budget: 0.5,
            disagreement: 2.0,
            large_units: 3,
            starts: 2,
            observed: Duration::ZERO,
        }
    }
}

/// Small units after which a field can be called open.
const OPEN_UNITS: u64 = 24;
/// It has to be this many times over the budget.
const OPEN_FACTOR: f64 = 4.0;
/// New facts in the last third of the observation without which the rate there is chance.
const OPEN_RECENT: u64 = 5;
/// New facts of the last third for one of the first third. Where rates of behaviours are spread evenly over
/// many orders of magnitude (the worst closed set), the last third brings ln 1.5 for ln (T/3τ) of the first,
/// which is under 0.2 once three days were seen. Where the number of facts grows as a power of time, as that
/// of an open set does (Heaps' law), it is (1 - (2/3)^β) / (1/3)^β: over 1/3 from β = 0.55 on.
const OPEN_RATIO: f64 = 1.0 / 3.0;

/// Why a field is not ready yet.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Waiting {
    /// Too few units for any estimate.
    Units {
        /// Complete large units.
        have: u64,
        /// How many it takes.
        need: u64,
    },
    /// The observation spans too little time.
    Observation {
        /// Seconds that are missing.
        missing: u64,
    },
    /// More new facts are expected than the budget allows.
    Budget {
        /// In which phase.
        phase: Phase,
        /// New facts in the next day.
        expected: f64,
        /// The budget.
        budget: f64,
    },
    /// The two unit sizes lead to different estimates: behaviour comes in bursts, and neither is to be trusted.
    Disagreement {
        /// By small units, new facts in the next day.
        small: f64,
        /// By large units.
        large: f64,
    },
}

impl fmt::Display for Waiting {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Units { have, need } => write!(out, "{have} of {need} long sampling units are complete"),
            Self::Observation { missing } => {
                write!(
                    out,
                    "observed for {} hours less than asked for",
                    missing.div_ceil(3_600)
                )
            }
            Self::Budget {
                phase,
                expected,
                budget,
            } => {
                let phase = match phase {
                    Phase::Startup => " at start-up",
                    Phase::Steady => "",
                };
                write!(
                    out,
                    "{expected:.2} new behaviours a day are expected{phase}, over the budget of {budget}"
                )
            }
            Self::Disagreement { small, large } => write!(
                out,
                "estimates disagree: {small:.2} new behaviours a day by short units, {large:.2} by long ones"
            ),
        }
    }
}

/// How far a field is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Novelty says nothing yet.
    Learning(Waiting),
    /// Novelty is a finding.
    Ready {
        /// What was first seen later is novel, however often it was seen since, until a person approves it.
        since: Timestamp,
    },
    /// New facts keep coming at an undiminished rate: an open set. Not judged by membership, only by rules
    /// and rates.
    Open {
        /// New facts of the last third of the observation for one of the first third.
        ratio: f64,
    },
}

impl State {
    /// Since when novelty is a finding.
    #[must_use]
    pub const fn ready_since(&self) -> Option<Timestamp> {
        match self {
            Self::Ready { since } => Some(*since),
            Self::Learning(_) | Self::Open { .. } => None,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Learning(waiting) => write!(out, "learning: {waiting}"),
            Self::Ready { since } => write!(out, "ready since {since}"),
            Self::Open { ratio } => write!(
                out,
                "open: new behaviours come {:.0} % as fast as in the beginning",
                ratio * 100.0
            ),
        }
    }
}

/// What is to be expected of one field.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// Distinct facts, without those that patterns stand for.
    pub distinct: u64,
    /// Part of the behaviour, by incidence, that is known: 0 to 1.
    pub coverage: f64,
    /// Facts that were never seen (Chao2), by small units.
    pub unseen: Interval,
    /// New facts in the next day, by small units; start-ups included.
    pub per_day: Interval,
    /// New facts in the next day outside start-ups, by small and by large units.
    pub steady: [Interval; SIZES],
    /// New facts in the next day's start-ups; `None` where start-up is no phase of its own.
    pub startup: Option<Interval>,
    /// Small units since the last new fact. With 95 % confidence, each further unit has less than `3 / quiet`.
    pub quiet: f64,
    /// What follows.
    pub state: State,
    /// Units in which events of the field were lost, small and large ones, which do not count.
    #[serde(default)]
    pub lossy: [u64; SIZES],
}

impl Estimate {
    /// There are whole units of this field, among so many in all, from which something can be told.
    #[must_use]
    pub fn is_told(&self, units: [u64; SIZES]) -> bool {
        units.iter().zip(self.lossy).all(|(units, lossy)| *units > lossy)
    }
}

/// How fast sampling units pass.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pace {
    /// Small units per day.
    pub units: f64,
    /// Starts per day.
    pub starts: f64,
}

impl Pace {
    /// With this many replicas of a service running; of jobs, as often as they ran.
    #[must_use]
    pub fn of(sampling: Sampling, total: &Total, replicas: u32) -> Self {
        // Less than a day does not show a rate per day: as if the rest of the day brought none.
        let days = (total.span().as_secs_f64() / DAY).max(1.0);
        match sampling {
            Sampling::Hours { small, .. } => Self {
                units: DAY / f64::from(small.max(1)) * f64::from(replicas.max(1)),
                starts: total.starts as f64 / days,
            },
            Sampling::Runs { .. } => Self {
                units: (total.units[0] as f64 / days).max(1.0),
                starts: 0.0,
            },
        }
    }
}

/// The estimates of all fields of a workload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Survey {
    /// In the order of [`Field::ALL`].
    pub fields: [Estimate; 8],
    /// What was observed.
    pub units: [u64; SIZES],
    /// Starts that were observed.
    pub starts: u64,
    /// Replicas that were observed.
    pub replicas: u64,
    /// How fast units pass.
    pub pace: Pace,
    /// What a unit is.
    pub sampling: Sampling,
    /// There was no room for all that was seen.
    pub overflowed: bool,
}

/// Since when each field is ready, in the order of [`Field::ALL`]. Whoever surveys keeps this from one survey
/// to the next: a field that became ready stays it.
pub type Settled = [Option<Timestamp>; 8];

#[derive(Clone, Copy, Default)]
struct Gathered {
    steady: [Incidence; SIZES],
    /// The same without what was seen in units with losses alone.
    whole: [Incidence; SIZES],
    startup: Incidence,
    distinct: u64,
    first_third: u64,
    last_third: u64,
    last_new: Timestamp,
}

impl Survey {
    /// Surveys evidence.
    ///
    /// `covered` says which facts a pattern stands for; a pattern was seen often enough to be none of the
    /// unknown. `settled` is what the last survey came to; `replicas` is how many run now.
    pub fn of(
        evidence: &Evidence,
        covered: impl Fn(FactId) -> bool,
        settled: &Settled,
        replicas: u32,
        criteria: &Criteria,
    ) -> Self {
        let sampling = evidence.sampling();
        let sampled = evidence.sampled(sampling);
        let total = sampled.total();
        let pace = Pace::of(sampling, &total, replicas);
        let mut gathered = [Gathered::default(); 8];
        // Where nobody looked at a field, nothing is to be expected of it either.
        let totals = Field::ALL.map(|field| sampled.complete(field));
        let lossy = Field::ALL.map(|field| sampled.lossy(field));
        for (id, fact, tally) in sampled.tallies() {
            if !covered(id) {
                let index = fact.field().index();
                gathered[index].add(&tally, &totals[index], lossy[index].is_some());
            }
        }
        let mut fields = Field::ALL.map(|field| {
            let index = field.index();
            gathered[index].estimate(sampling, &totals[index], &pace, criteria)
        });
        for (estimate, lossy) in fields.iter_mut().zip(&lossy) {
            estimate.lossy = lossy.map_or([0; SIZES], |lossy| lossy.units);
        }
        for (estimate, since) in fields.iter_mut().zip(settled) {
            if let Some(since) = since {
                estimate.state = State::Ready { since: *since };
            }
        }
        Self {
            fields,
            units: total.units,
            starts: total.starts,
            replicas: total.replicas,
            pace,
            sampling,
            overflowed: total.refused > 0,
        }
    }

    /// Of one field.
    #[must_use]
    pub const fn field(&self, field: Field) -> &Estimate {
        &self.fields[field.index()]
    }

    /// To be handed to the next survey.
    #[must_use]
    pub fn settled(&self) -> Settled {
        self.fields.map(|estimate| estimate.state.ready_since())
    }

    /// All fields are judged, or open.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.still_learned().next().is_none()
    }

    /// The fields that are neither judged nor open.
    pub fn still_learned(&self) -> impl Iterator<Item = Field> {
        Field::ALL
            .into_iter()
            .filter(|field| matches!(self.field(*field).state, State::Learning(_)))
    }
}

impl Gathered {
    /// `lossy`: there are units that are not whole, in which alone it may have been seen.
    fn add(&mut self, tally: &Tally, total: &Total, lossy: bool) {
        self.distinct += 1;
        // A fact is new once. So the rate of new facts in one phase is told by those facts of which all that
        // is known are one or two units of that phase.
        if tally.starts == 0 {
            for (size, incidence) in self.steady.iter_mut().enumerate() {
                incidence.add(tally.units[size].max(u64::from(lossy)));
            }
            for (size, incidence) in self.whole.iter_mut().enumerate() {
                incidence.add(tally.units[size]);
            }
        } else {
            for incidences in [&mut self.steady, &mut self.whole] {
                for (size, incidence) in incidences.iter_mut().enumerate() {
                    incidence.add_known(tally.units[size]);
                }
            }
        }
        if tally.units[0] == 0 {
            self.startup.add(tally.starts);
        } else {
            self.startup.add_known(tally.starts);
        }
        let third = total.span() / 3;
        if tally.first_seen < total.from.plus(third) {
            self.first_third += 1;
        } else if tally.first_seen >= total.from.plus(third * 2) {
            self.last_third += 1;
        }
        self.last_new = self.last_new.max(tally.first_seen);
    }

    fn estimate(mut self, sampling: Sampling, total: &Total, pace: &Pace, criteria: &Criteria) -> Estimate {
        for incidences in [&mut self.steady, &mut self.whole] {
            for (incidence, units) in incidences.iter_mut().zip(total.units) {
                incidence.units = units;
            }
        }
        self.startup.units = total.starts;
        let expected = |incidences: &[Incidence; SIZES]| {
            [
                incidences[0].expected_new(pace.units),
                incidences[1].expected_new(pace.units / sampling.ratio()),
            ]
        };
        let steady = expected(&self.steady);
        // What both sizes have in common brings them closer, and is no reason to trust them more.
        let [small, large] = expected(&self.whole).map(|interval| interval.point);
        let startup = (matches!(sampling, Sampling::Hours { .. }) && total.starts > 0)
            .then(|| self.startup.expected_new(pace.starts));
        let per_day = startup.map_or(steady[0], |startup| steady[0].plus(&startup));
        let span = total.span().as_secs_f64();
        let quiet = if self.distinct == 0 || span <= 0.0 {
            total.units[0] as f64
        } else {
            let quiet = total.until.since(self.last_new).as_secs_f64();
            total.units[0] as f64 * (quiet / span)
        };
        Estimate {
            distinct: self.distinct,
            coverage: self.steady[0].coverage(),
            unseen: self.steady[0].unseen(),
            per_day,
            steady,
            startup,
            quiet,
            state: self.state(total, &steady, [small, large], startup.as_ref(), criteria),
            lossy: [0; SIZES],
        }
    }

    fn state(
        &self,
        total: &Total,
        steady: &[Interval; SIZES],
        whole: [f64; SIZES],
        startup: Option<&Interval>,
        criteria: &Criteria,
    ) -> State {
        let [small, large] = [steady[0].point, steady[1].point];
        if total.units[1] < criteria.large_units {
            return State::Learning(Waiting::Units {
                have: total.units[1],
                need: criteria.large_units,
            });
        }
        if let Some(missing) = criteria
            .observed
            .checked_sub(total.span())
            .filter(|missing| !missing.is_zero())
        {
            return State::Learning(Waiting::Observation {
                missing: missing.as_secs(),
            });
        }
        let over = |expected: f64, phase| {
            (expected >= criteria.budget).then_some(State::Learning(Waiting::Budget {
                phase,
                expected,
                budget: criteria.budget,
            }))
        };
        if let Some(learning) = over(small.max(large), Phase::Steady) {
            return self.open(total, small, criteria).unwrap_or(learning);
        }
        let [small, large] = whole;
        // Below a fifth of the budget, one fact more or less decides over the factor.
        let floor = criteria.budget / 5.0;
        let (lesser, greater) = (small.min(large) + floor, small.max(large) + floor);
        if greater > lesser * criteria.disagreement {
            return State::Learning(Waiting::Disagreement { small, large });
        }
        // One start says nothing of the next; but as long as there is none, it does no harm either.
        if let Some(startup) = startup.filter(|_| total.starts >= criteria.starts)
            && let Some(learning) = over(startup.point, Phase::Startup)
        {
            return learning;
        }
        State::Ready { since: total.until }
    }

    fn open(&self, total: &Total, expected: f64, criteria: &Criteria) -> Option<State> {
        let ratio = self.last_third as f64 / self.first_third.max(1) as f64;
        let is_open = total.units[0] >= OPEN_UNITS
            && expected >= OPEN_FACTOR * criteria.budget
            && self.last_third >= OPEN_RECENT
            && ratio >= OPEN_RATIO;
        is_open.then_some(State::Open { ratio })
    }
}
