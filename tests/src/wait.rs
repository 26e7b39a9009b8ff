//! Waiting for a condition instead of for a time.

use crate::guest::patience;
use anyhow::{Result, bail};
use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(20);

/// Waits until `condition` gives a value; fails with `what` once `limit` has passed, and when this
/// process is asked to stop.
pub fn wait_until<T>(
    what: &str,
    limit: Duration,
    mut condition: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let started = Instant::now();
    let limit = patience(limit);
    loop {
        crate::interrupt::check()?;
        if let Some(value) = condition()? {
            return Ok(value);
        }
        if started.elapsed() >= limit {
            bail!("waited {limit:?} in vain for {what}");
        }
        std::thread::sleep(POLL);
    }
}
