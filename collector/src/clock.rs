//! The collector's clock: what time it is, how far that can be trusted, and that it was set (NIST 800-53 AU-8).

use crate::audit::{AuditLog, StorageError};
use norma_clock::{Steps, is_news, offset_ns};
use norma_wire::audit::record::Body;
use norma_wire::pb::{ClockState, ClockStep};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How often it is looked whether the clock was set or is kept in step otherwise.
const LOOK: Duration = Duration::from_secs(1);

/// Wall time, nanoseconds since 1970-01-01 UTC; 0 for a clock that is set before.
pub fn wall_ns() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos() as u64)
}

/// Records how far the clock can be trusted, now and whenever that changes, and each step of it, until told to stop.
pub fn watch(log: AuditLog, stop: CancellationToken) -> JoinHandle<()> {
    let mut told: Option<ClockState> = None;
    let mut steps = Steps::from_offset(offset_ns());
    tokio::spawn(async move {
        let mut looks = tokio::time::interval(LOOK);
        loop {
            tokio::select! {
                _ = looks.tick() => {}
                () = stop.cancelled() => return,
            }
            if let Some(step_ns) = steps.observe(offset_ns()) {
                tracing::warn!(seconds = step_ns as f64 / 1e9, "the wall clock was set");
                if note(&log, Body::ClockStep(ClockStep { step_ns }), &stop)
                    .await
                    .is_err()
                {
                    return;
                }
            }
            let state = norma_clock::state();
            if told.as_ref().is_none_or(|told| is_news(told, &state)) {
                tracing::info!("{}", norma_wire::describe::clock_state("the collector", &state));
                told = Some(state.clone());
                if note(&log, Body::ClockState(state), &stop).await.is_err() {
                    return;
                }
            }
        }
    })
}

/// Brings a record into the log, however long that takes. It fails only where the collector stops.
pub(crate) async fn note(log: &AuditLog, body: Body, stop: &CancellationToken) -> Result<(), StorageError> {
    loop {
        match log.note(body.clone()).await {
            Ok(()) => return Ok(()),
            Err(StorageError::Closed) => return Err(StorageError::Closed),
            Err(error) => tracing::error!(%error, "trying again"),
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = stop.cancelled() => return Err(StorageError::Closed),
        }
    }
}
