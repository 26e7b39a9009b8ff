//! What was done when, written beside the recording: by it is scored.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

/// A run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Truth {
    /// On which machine, in words.
    pub machine: String,
    /// How many times as fast as the clocks was judged.
    pub speed: u32,
    /// When the agent began, nanoseconds since 1970.
    pub begin: u64,
    /// While it was learned.
    pub learn: Span,
    /// While nothing but normal things was done, after that.
    pub normal: Span,
    /// Its workload, by id of the container.
    pub containers: BTreeMap<String, String>,
    /// What was done to workloads.
    pub acts: Vec<Act>,
    /// Records that were lost on the way from the kernel. A score of a run with losses is one of the machine as well.
    #[serde(default)]
    pub lost: u64,
}

impl Truth {
    /// Of one workload only.
    pub fn of(&self, workload: &str) -> Self {
        let mut part = self.clone();
        part.containers.retain(|_, of| of == workload);
        part.acts.retain(|act| act.workload == workload);
        part
    }
}

/// From a moment to a later one, in nanoseconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// The beginning.
    pub from: u64,
    /// The end.
    pub to: u64,
}

impl Span {
    /// Whether it lies within.
    pub fn has(self, at: u64) -> bool {
        (self.from..self.to).contains(&at)
    }

    /// In seconds.
    pub fn seconds(self) -> f64 {
        self.to.saturating_sub(self.from) as f64 / 1e9
    }
}

/// Something that was done to a workload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Act {
    /// What.
    pub name: String,
    /// Of which kind.
    pub kind: ActKind,
    /// To which.
    pub workload: String,
    /// MITRE ATT&CK technique of an attack.
    pub technique: String,
    /// What a finding of an attack has to say.
    pub finds: String,
    /// When.
    pub span: Span,
}

/// A kind of act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ActKind {
    /// Its container was replaced by one of the same image.
    Restart,
    /// By one of another image.
    Rollout,
    /// An administrator looked around in it.
    Session,
    /// A step of an attack.
    Attack,
}

/// Now, in nanoseconds since 1970.
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
