//! Numbers and states in words that fit in a column.

use norma_baseline::estimate::{Estimate, Interval, State, Survey, Waiting};
use norma_baseline::evidence::Sampling;
use norma_baseline::fact::Field;
use norma_wire::pb;
use serde::Serialize;

/// How far a field is, for programs and people alike.
#[derive(Clone, Debug, Serialize)]
pub struct FieldState {
    /// Which.
    pub field: &'static str,
    /// `ready`, `learning`, `open`, or `refused` where the estimates contradict each other.
    pub state: &'static str,
    /// Why, in words.
    pub why: String,
    /// Distinct behaviours, without those that patterns stand for.
    pub known: u64,
    /// Part of the behaviour, by incidence, that is known: 0 to 1.
    pub coverage: f64,
    /// New behaviours in the next day with the bounds of the 95 % interval; nothing where there is too little
    /// evidence for an estimate.
    pub expected_per_day: Option<Bounds>,
    /// The same outside start-ups, by small and by large sampling units.
    pub by_units: Option<[Bounds; 2]>,
    /// The same of the next day's start-ups, where start-up is a phase of its own.
    pub at_startup: Option<Bounds>,
    /// Behaviours that exist and were never seen.
    pub unseen: Option<Bounds>,
    /// Small sampling units since the last new one.
    pub quiet: f64,
    /// Small sampling units in which events were lost: they are not counted as evidence.
    pub units_with_losses: u64,
}

/// An estimate and the bounds of its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Bounds {
    low: f64,
    point: f64,
    high: f64,
}

impl From<Interval> for Bounds {
    fn from(interval: Interval) -> Self {
        Self {
            low: rounded(interval.low),
            point: rounded(interval.point),
            high: rounded(interval.high),
        }
    }
}

impl std::fmt::Display for Bounds {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{:.2} ({:.2} to {:.2})", self.point, self.low, self.high)
    }
}

impl FieldState {
    /// Of all fields.
    pub fn all(survey: &Survey) -> Vec<Self> {
        Field::ALL
            .into_iter()
            .map(|field| Self::of(survey, field, survey.field(field)))
            .collect()
    }

    fn of(survey: &Survey, field: Field, estimate: &Estimate) -> Self {
        // Of no complete unit nothing can be told.
        let is_estimated = estimate.is_told(survey.units);
        let bounds = |interval: Interval| is_estimated.then(|| Bounds::from(interval));
        Self {
            field: field.name(),
            state: state_name(&estimate.state),
            why: why(&estimate.state),
            known: estimate.distinct,
            coverage: rounded(estimate.coverage),
            expected_per_day: bounds(estimate.per_day),
            by_units: is_estimated.then(|| estimate.steady.map(Bounds::from)),
            at_startup: estimate.startup.and_then(bounds),
            unseen: bounds(estimate.unseen),
            quiet: rounded(estimate.quiet),
            units_with_losses: estimate.lossy[0],
        }
    }

    /// As it is sent.
    #[must_use]
    pub fn to_pb(&self) -> pb::BaselineField {
        pb::BaselineField {
            field: self.field.to_owned(),
            state: self.state.to_owned(),
            why: self.why.clone(),
            known: self.known,
            units_with_losses: self.units_with_losses,
            expected_per_day: self.expected_per_day.map(|bounds| pb::Estimate {
                low: bounds.low,
                point: bounds.point,
                high: bounds.high,
            }),
        }
    }

    /// In a line of a table.
    pub fn line(&self) -> String {
        let expected = self.expected_per_day.map_or_else(
            || "no estimate yet".to_owned(),
            |bounds| format!("{bounds} new a day"),
        );
        let mut line = format!(
            "{:<10} {:<8} {:>6} known  {expected}",
            self.field, self.state, self.known
        );
        if !self.why.is_empty() {
            line.push_str("; ");
            line.push_str(&self.why);
        }
        if self.units_with_losses > 0 {
            let units = self.units_with_losses;
            line.push_str(&format!("; {units} sampling units with losses do not count"));
        }
        line
    }
}

fn state_name(state: &State) -> &'static str {
    match state {
        State::Ready { .. } => "ready",
        State::Open { .. } => "open",
        State::Learning(Waiting::Disagreement { .. }) => "refused",
        State::Learning(_) => "learning",
    }
}

fn why(state: &State) -> String {
    match state {
        // Where the clock decides, no number of units is enough.
        State::Learning(Waiting::Units { need: u64::MAX, .. }) => {
            "learned for a fixed time that is not over".to_owned()
        }
        State::Learning(waiting) => waiting.to_string(),
        State::Ready { since } => format!("since {since}"),
        State::Open { .. } => {
            let text = state.to_string();
            text.strip_prefix("open: ").unwrap_or(&text).to_owned()
        }
    }
}

/// How long a sampling unit is, in words.
pub fn unit(sampling: Sampling, size: usize) -> String {
    match (sampling, size) {
        (Sampling::Hours { small, .. }, 0) => format!("{} of running", seconds(small)),
        (Sampling::Hours { large, .. }, _) => format!("{} of running", seconds(large)),
        (Sampling::Runs { .. }, 0) => "a run".to_owned(),
        (Sampling::Runs { large }, _) => format!("{large} runs"),
    }
}

fn seconds(seconds: u32) -> String {
    match seconds {
        _ if seconds.is_multiple_of(3_600) => format!("{} h", seconds / 3_600),
        _ if seconds.is_multiple_of(60) => format!("{} min", seconds / 60),
        _ => format!("{seconds} s"),
    }
}

fn rounded(value: f64) -> f64 {
    if value.is_finite() {
        (value * 1e4).round() / 1e4
    } else {
        value
    }
}
