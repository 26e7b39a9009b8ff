//! The collector's clock.

use std::time::{SystemTime, UNIX_EPOCH};

/// Wall time, nanoseconds since 1970-01-01 UTC; 0 for a clock that is set before.
pub fn wall_ns() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos() as u64)
}
