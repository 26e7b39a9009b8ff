//! What outlives a recorder.

use super::super::unit::{Bits, Unit};
use super::super::{Evidence, SIZES, SourceId};
use super::Start;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Running {
    pub(super) start: Start,
    /// Seconds of start-up that are left, and what was seen in them.
    pub(super) startup: Option<Unit>,
    pub(super) units: [Unit; SIZES],
    /// What was seen in it at all.
    pub(super) seen: Bits,
}

/// What a recorder has to find again after a restart.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct Saved {
    pub(super) source: SourceId,
    pub(super) evidence: Evidence,
    pub(super) running: BTreeMap<Arc<str>, Running>,
    pub(super) left: [Unit; SIZES],
}

#[derive(Deserialize)]
struct Unchecked {
    source: SourceId,
    evidence: Evidence,
    running: BTreeMap<Arc<str>, Running>,
    left: [Unit; SIZES],
}

/// A unit in progress refers to a fact that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a sampling unit refers to fact {0}, which is not there")]
pub struct UnknownFact(usize);

impl TryFrom<Unchecked> for Saved {
    type Error = UnknownFact;

    fn try_from(read: Unchecked) -> Result<Self, UnknownFact> {
        let facts = read.evidence.dictionary.len();
        let of_running = read.running.values().flat_map(|running| {
            running
                .units
                .iter()
                .map(|unit| &unit.seen)
                .chain(running.startup.iter().map(|unit| &unit.seen))
                .chain([&running.seen])
        });
        for seen in of_running.chain(read.left.iter().map(|unit| &unit.seen)) {
            if let Some(id) = seen.last().filter(|id| id.index() >= facts) {
                return Err(UnknownFact(id.index()));
            }
        }
        Ok(Self {
            source: read.source,
            evidence: read.evidence,
            running: read.running,
            left: read.left,
        })
    }
}

impl Saved {
    /// What was known.
    #[must_use]
    pub const fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    pub(super) fn new(source: SourceId) -> Self {
        Self {
            source,
            evidence: Evidence::new(),
            running: BTreeMap::new(),
            left: Default::default(),
        }
    }
}
