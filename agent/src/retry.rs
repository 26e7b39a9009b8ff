//! Delays before something that failed is tried again.

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use std::time::Duration;

/// Ever longer ones, from `first` to `last`, with jitter, and without end.
pub fn delays(first: Duration, last: Duration) -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_min_delay(first)
        .with_max_delay(last)
        .with_jitter()
        .without_max_times()
        .build()
}
