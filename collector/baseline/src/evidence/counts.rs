//! What is counted of facts and of the time in which they were looked for, by one source and by all together.

use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The two sizes of unit.
pub(crate) const SIZES: usize = 2;

/// What a source saw of one fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sighting {
    /// Units in which it was seen after start-up, small ones and large ones.
    pub units: [u32; SIZES],
    /// Starts of a container in which it was seen.
    pub starts: u32,
    /// Replicas in which it was seen at all.
    pub replicas: u32,
    /// When first.
    pub first_seen: Timestamp,
    /// When last, to within a day.
    pub last_seen: Timestamp,
}

impl Sighting {
    pub(crate) const ABSENT: Self = Self {
        units: [0; SIZES],
        starts: 0,
        replicas: 0,
        first_seen: Timestamp::NEVER,
        last_seen: Timestamp::from_unix(0),
    };

    /// The source saw it.
    pub(crate) const fn is_seen(&self) -> bool {
        self.first_seen.as_unix() != Timestamp::NEVER.as_unix()
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.units[0] = self.units[0].max(other.units[0]);
        self.units[1] = self.units[1].max(other.units[1]);
        self.starts = self.starts.max(other.starts);
        self.replicas = self.replicas.max(other.replicas);
        self.first_seen = self.first_seen.min(other.first_seen);
        self.last_seen = self.last_seen.max(other.last_seen);
    }
}

/// How much a source observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exposure {
    /// Complete units, small ones and large ones.
    pub units: [u32; SIZES],
    /// Starts of a container that were seen from the beginning.
    pub starts: u32,
    /// Replicas: containers of the workload.
    pub replicas: u32,
    /// Observations that found no room; from the first one on, what is known is not all that was seen.
    pub refused: u32,
    /// When it began.
    pub from: Timestamp,
    /// Until when.
    pub until: Timestamp,
}

impl Exposure {
    pub(super) const NONE: Self = Self {
        units: [0; SIZES],
        starts: 0,
        replicas: 0,
        refused: 0,
        from: Timestamp::NEVER,
        until: Timestamp::from_unix(0),
    };

    pub(super) fn merge(&mut self, other: &Self) {
        self.units[0] = self.units[0].max(other.units[0]);
        self.units[1] = self.units[1].max(other.units[1]);
        self.starts = self.starts.max(other.starts);
        self.replicas = self.replicas.max(other.replicas);
        self.refused = self.refused.max(other.refused);
        self.from = self.from.min(other.from);
        self.until = self.until.max(other.until);
    }
}

/// What all sources together saw of one fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    /// Units in which it was seen after start-up, small ones and large ones.
    pub units: [u64; SIZES],
    /// Starts in which it was seen.
    pub starts: u64,
    /// Replicas in which it was seen.
    pub replicas: u64,
    /// When first.
    pub first_seen: Timestamp,
    /// When last, to within a day.
    pub last_seen: Timestamp,
}

impl Tally {
    /// Units and starts together: how often it was there when it could have been.
    #[must_use]
    pub const fn incidence(&self) -> u64 {
        let counted = self.units[0].saturating_add(self.starts);
        // Seen, in a unit that is not complete.
        if counted == 0 { 1 } else { counted }
    }
}

/// How much all sources together observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Total {
    /// Complete units, small ones and large ones.
    pub units: [u64; SIZES],
    /// Starts.
    pub starts: u64,
    /// Replicas.
    pub replicas: u64,
    /// Observations that found no room.
    pub refused: u64,
    /// When it began; the same as `until` where nothing was observed.
    pub from: Timestamp,
    /// Until when.
    pub until: Timestamp,
}

impl Total {
    /// Wall-clock time that the observation spans.
    #[must_use]
    pub const fn span(&self) -> Duration {
        self.until.since(self.from)
    }
}
