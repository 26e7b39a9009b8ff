//! Counters of the kernel side, summed over processors.

use crate::observation::CgroupId;
use norma_abi::{
    Counters, KIND_CGROUP, KIND_CONNECT, KIND_DNS, KIND_EXEC, KIND_EXIT, KIND_FILE, KIND_FORK, KIND_HOST,
    KIND_LISTEN, KIND_OPEN, KIND_PRIVILEGE, KIND_SOCKET, KINDS,
};
use std::collections::BTreeMap;

/// Records that found no room since the sensor started, by control group (0: all beyond what can be told
/// apart) and `KIND_*`.
pub type Losses = BTreeMap<(CgroupId, usize), u64>;

/// Totals since the sensor started, indexed by `KIND_*`.
///
/// What was delivered is `seen` less `lost`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Records that the kernel side tried to emit.
    pub seen: [u64; KINDS],
    /// Records for which the ring had no room.
    pub lost: [u64; KINDS],
    /// Acts that could not be described.
    pub failed: [u64; KINDS],
    /// Acts that were recognised, and for which no record was made.
    pub recognised: [u64; KINDS],
    /// Times that the kernel passed over a program that reports this kind: the most that there can have been of it
    /// unseen.
    pub passed_over: [u64; KINDS],
}

impl Totals {
    /// Adds the counters of processors up.
    pub fn sum(processors: impl IntoIterator<Item = Counters>) -> Self {
        let mut totals = Self::default();
        for counters in processors {
            for kind in 0..KINDS {
                totals.seen[kind] += counters.seen[kind];
                totals.lost[kind] += counters.lost[kind];
                totals.failed[kind] += counters.failed[kind];
                totals.recognised[kind] += counters.recognised[kind];
            }
        }
        totals
    }

    /// Records of all kinds for which the ring had no room.
    pub fn all_lost(&self) -> u64 {
        self.lost.iter().sum()
    }
}

/// What a counter of each `KIND_*` has grown by, where it has.
pub fn growth(now: &[u64; KINDS], before: &[u64; KINDS]) -> BTreeMap<usize, u64> {
    (0..KINDS)
        .map(|kind| (kind, now[kind].saturating_sub(before[kind])))
        .filter(|(_, count)| *count > 0)
        .collect()
}

/// Name of a `KIND_*`, `None` where there is no such kind.
pub fn kind_name(kind: usize) -> Option<&'static str> {
    const NAMES: [(u16, &str); KINDS - 1] = [
        (KIND_EXEC, "exec"),
        (KIND_FORK, "fork"),
        (KIND_EXIT, "exit"),
        (KIND_OPEN, "open"),
        (KIND_CONNECT, "connect"),
        (KIND_LISTEN, "listen"),
        (KIND_CGROUP, "cgroup"),
        (KIND_FILE, "file"),
        (KIND_PRIVILEGE, "privilege"),
        (KIND_HOST, "host"),
        (KIND_SOCKET, "socket"),
        (KIND_DNS, "dns"),
    ];
    NAMES
        .iter()
        .find(|(number, _)| usize::from(*number) == kind)
        .map(|(_, name)| *name)
}
