//! What was taken in since the start, for metrics.

use norma_metrics::Histogram;
use norma_wire::pb::RejectionReason;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Reasons for which events are rejected, with their names in metrics.
const REASONS: [(RejectionReason, &str); 6] = [
    (RejectionReason::Unspecified, "unspecified"),
    (RejectionReason::Malformed, "malformed"),
    (RejectionReason::ForeignNode, "foreign-node"),
    (RejectionReason::ForeignEpoch, "foreign-epoch"),
    (RejectionReason::Oversized, "oversized"),
    (RejectionReason::Future, "future"),
];

/// The counts; any task adds to them.
#[derive(Debug, Default)]
pub struct Counts {
    /// Events that were stored or rejected, in order.
    pub events: AtomicU64,
    /// Their bytes.
    pub bytes: AtomicU64,
    /// Events that came again.
    pub duplicates: AtomicU64,
    /// Batches that had to wait, because nothing could be stored.
    pub busy: AtomicU64,
    /// Streams that are open.
    pub streams: AtomicU64,
    /// Clients that were refused.
    pub refused: AtomicU64,
    /// From the arrival of events to their acknowledgement.
    pub stored: Histogram,
    rejected: [AtomicU64; REASONS.len()],
}

/// A stream is open as long as this is there.
#[derive(Debug)]
pub struct Open(Arc<Counts>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Counts {
    /// A stream begins.
    pub fn open(self: &Arc<Self>) -> Open {
        self.streams.fetch_add(1, Ordering::Relaxed);
        Open(Arc::clone(self))
    }

    /// An event was rejected.
    pub fn reject(&self, reason: RejectionReason) {
        let index = REASONS.iter().position(|(of, _)| *of == reason).unwrap_or(0);
        add(&self.rejected[index], 1);
    }

    /// Rejected events by reason.
    pub fn rejected(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.rejected.iter().map(get);
        REASONS.iter().map(|(_, name)| *name).zip(counts)
    }
}

/// Adds to a count.
pub fn add(count: &AtomicU64, more: u64) {
    count.fetch_add(more, Ordering::Relaxed);
}

/// A count.
pub fn get(count: &AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}
