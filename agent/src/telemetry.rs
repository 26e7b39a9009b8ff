//! What the agent tells of itself: a status file, rewritten every second.
//!
//! A file needs no port and no privilege; `norma-agent status` reads it, and a liveness probe asks that.

use crate::identity::cri::Teller;
use crate::judge::baseline::Summary;
use crate::pipeline::KindTotals;
use crate::respond::KnownUse;
use crate::sensor::RingFill;
use crate::ship::{SharedStatus, ShipStatus};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Name of the file below the state directory.
pub const STATUS_FILE: &str = "status.json";
/// An agent whose file is older than this is not working.
pub const STALE_AFTER: Duration = Duration::from_secs(15);

/// What the pipeline contributes.
#[derive(Debug, Serialize)]
pub struct Snapshot {
    /// Records that came out of the ring.
    pub delivered: u64,
    /// Alerts raised.
    pub alerts: u64,
    /// Counters of the kernel side.
    pub kernel: BTreeMap<&'static str, KindTotals>,
    /// How full the rings of the kernel side were found since the file was last written.
    pub rings: Vec<RingFill>,
    /// The outbox, where there is one.
    pub outbox: Option<OutboxSnapshot>,
    /// The container runtime, where one has ever answered.
    pub runtime: Option<RuntimeSnapshot>,
    /// Containers that are known.
    pub containers: Vec<String>,
    /// Baselines and how far they are.
    pub baselines: Vec<Summary>,
    /// What the kernel side recognises.
    pub known: KnownUse,
}

/// The newest snapshot, for who is asked.
pub type SharedSnapshot = Arc<Mutex<Option<Snapshot>>>;

/// Who tells what containers are.
#[derive(Debug, Serialize)]
pub struct RuntimeSnapshot {
    /// Its name.
    pub name: String,
    /// It answers; otherwise what it said last is still used.
    pub answers: bool,
    /// Containers and pod sandboxes that it told of.
    pub told: usize,
    /// Engines beside it.
    pub engines: Vec<Teller>,
}

/// State of the outbox.
#[derive(Debug, Serialize)]
pub struct OutboxSnapshot {
    /// Epoch.
    pub epoch: u64,
    /// Sequence that the next event gets.
    pub next_sequence: u64,
    /// Highest acknowledged sequence.
    pub acknowledged: u64,
    /// Age in seconds of the oldest event that is not acknowledged; 0 where all are.
    pub oldest_seconds: f64,
    /// Bytes on disk.
    pub bytes: u64,
    /// Events refused and not reported yet.
    pub refused: u64,
}

#[derive(Serialize)]
struct Document<'a> {
    node: &'a str,
    version: &'static str,
    pid: u32,
    updated_unix_ms: u64,
    #[serde(flatten)]
    snapshot: &'a Snapshot,
    collector: Option<ShipStatus>,
}

/// How long ago the agent gave a sign of life; `None` where the file cannot be looked at.
pub fn age(path: &Path) -> Option<Duration> {
    let touched = std::fs::metadata(path).ok()?.modified().ok()?;
    Some(
        SystemTime::now()
            .duration_since(touched)
            .unwrap_or(Duration::ZERO),
    )
}

/// Writes the file.
pub struct StatusFile {
    path: PathBuf,
    node: String,
    shipping: Option<SharedStatus>,
    shared: Option<SharedSnapshot>,
}

impl StatusFile {
    /// A status file in the state directory.
    pub fn new(state_dir: &Path, node: &str, shipping: Option<SharedStatus>) -> Self {
        Self {
            path: state_dir.join(STATUS_FILE),
            node: node.to_owned(),
            shipping,
            shared: None,
        }
    }

    /// Each snapshot that is written is put there, too.
    #[must_use]
    pub fn shared_with(self, shared: SharedSnapshot) -> Self {
        Self {
            shared: Some(shared),
            ..self
        }
    }

    /// Replaces the file. Where it cannot be written (a full disk) it is at least touched: that needs no
    /// space, and tells that the agent works.
    pub fn write(&self, snapshot: Snapshot) {
        let document = Document {
            node: &self.node,
            version: env!("CARGO_PKG_VERSION"),
            pid: std::process::id(),
            updated_unix_ms: unix_ms(),
            snapshot: &snapshot,
            collector: self
                .shipping
                .as_ref()
                .map(|status| status.lock().unwrap_or_else(PoisonError::into_inner).clone()),
        };
        let temporary = self.path.with_extension("tmp");
        let written = serde_json::to_vec_pretty(&document)
            .map_err(std::io::Error::other)
            .and_then(|bytes| std::fs::write(&temporary, bytes))
            .and_then(|()| std::fs::rename(&temporary, &self.path));
        if let Err(error) = written {
            tracing::debug!(%error, "cannot write the status file");
            let touched = File::options()
                .write(true)
                .open(&self.path)
                .and_then(|file| file.set_modified(SystemTime::now()));
            if let Err(error) = touched {
                tracing::debug!(%error, "cannot touch the status file");
            }
        }
        if let Some(shared) = &self.shared {
            *shared.lock().unwrap_or_else(PoisonError::into_inner) = Some(snapshot);
        }
    }
}

/// Milliseconds since 1970 UTC.
pub fn unix_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64)
}
