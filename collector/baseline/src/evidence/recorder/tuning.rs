//! How is recorded, and how much of it is kept.

use super::super::Sampling;
use std::time::Duration;

/// How much of one workload is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Facts.
    pub facts: usize,
    /// Bytes of texts and rows.
    pub bytes: usize,
    /// Accounts; where evidence is merged.
    pub sources: usize,
}

impl Default for Limits {
    /// 10,000 facts of 2 MiB; for one source.
    fn default() -> Self {
        Self {
            facts: 10_000,
            bytes: 2 << 20,
            sources: 1,
        }
    }
}

impl Limits {
    /// Where evidence is merged: four times as much, by 10,000 sources. Sources that are full of different facts
    /// are taken together until then, and the norm leaves out what was seen least.
    #[must_use]
    pub fn merged() -> Self {
        let one = Self::default();
        Self {
            facts: 4 * one.facts,
            bytes: 4 * one.bytes,
            sources: 10_000,
        }
    }
}

/// How is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuning {
    /// What a unit is.
    pub sampling: Sampling,
    /// How long the start of a container takes. Jobs have no start-up: a run is a unit as a whole.
    pub startup: Duration,
    /// Longest step of time that is credited at once; after a longer one, nobody was looking.
    pub absence: Duration,
    /// How much is kept.
    pub limits: Limits,
}

impl Default for Tuning {
    /// Three minutes of start-up, as readiness probes and caches want them; steps of up to a minute.
    fn default() -> Self {
        Self {
            sampling: Sampling::default(),
            startup: Duration::from_secs(180),
            absence: Duration::from_secs(60),
            limits: Limits::default(),
        }
    }
}
