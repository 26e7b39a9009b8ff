//! What the container runtime tells of pods and containers over its CRI socket.
//!
//! Asking waits, so it is done on tokio: [`watch`] follows the runtime and publishes a [`Snapshot`] whenever it
//! has something new, and the pipeline's thread reads the latest one without waiting for anything. Whatever the
//! runtime says was written by somebody who may make pods: every text is bounded and printable by the time that
//! it is in a snapshot, and an answer that makes no sense leaves a gap, never an error.

mod client;
mod describe;
mod info;
#[cfg(test)]
mod tests;
mod watch;

pub use client::CriError;
pub(super) use describe::{COMMAND_MAX, LIST_MAX, labels, text};
pub use describe::{Described, HostNamespaces, Kind, Mount, Pod, Privileges};
pub(super) use info::{DEFAULT_CAPABILITIES, of_spec};
pub use watch::{Options, start};

use foldhash::HashMap;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// The part of CRI v1 that is spoken, generated from `proto/cri.proto`.
#[expect(
    missing_docs,
    clippy::all,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::clone_on_ref_ptr,
    reason = "generated; documented by the interface's authors"
)]
pub mod api {
    tonic::include_proto!("runtime.v1");
}

/// Sockets that are looked for where the configuration names none, in this order.
pub const SOCKETS: [&str; 4] = [
    "/run/containerd/containerd.sock",
    "/run/crio/crio.sock",
    "/run/k3s/containerd/containerd.sock",
    "/run/cri-dockerd.sock",
];

/// Name and version of the runtime that answers there.
pub async fn greet(socket: &Path) -> Result<String, CriError> {
    let version = client::Client::connect(socket).await?.version().await?;
    let told = format!("{} {}", version.runtime_name, version.runtime_version);
    Ok(text(&told))
}

/// What the runtime told last.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Snapshot {
    /// Its name, such as `containerd`.
    pub runtime: String,
    /// It answers; otherwise this is the last that it said.
    pub live: bool,
    /// It was asked, with or without success.
    pub asked: bool,
    /// Containers and pod sandboxes by id.
    pub containers: HashMap<String, Arc<Described>>,
    /// Engines beside the runtime of pods that told of some of them. Traces from before there were any have none.
    #[serde(default)]
    pub engines: Vec<Teller>,
}

/// Somebody who tells of containers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Teller {
    /// Its name, such as `docker`.
    pub name: String,
    /// It answers; otherwise what it said last stands.
    pub live: bool,
    /// How many it told of.
    pub containers: usize,
}

impl Snapshot {
    /// Whether somebody who ever answered can tell of a container of this runtime, and whether they answer now.
    pub fn teller(&self, runtime: &str, is_in_pod: bool) -> Option<bool> {
        if is_in_pod && !self.runtime.is_empty() {
            return Some(self.live);
        }
        let engine = self.engines.iter().find(|engine| engine.name == runtime)?;
        Some(engine.live)
    }
}

/// The pipeline's end: reads snapshots and asks for new ones.
#[derive(Clone, Debug)]
pub struct View {
    snapshots: tokio::sync::watch::Receiver<Arc<Snapshot>>,
    poke: Arc<Notify>,
}

impl View {
    /// Of what is sent there; who sends it is asked by `poke`.
    pub(super) fn new(snapshots: tokio::sync::watch::Receiver<Arc<Snapshot>>, poke: Arc<Notify>) -> Self {
        Self { snapshots, poke }
    }

    /// The latest snapshot, where there is one that was not read before.
    pub fn news(&mut self) -> Option<Arc<Snapshot>> {
        self.snapshots
            .has_changed()
            .unwrap_or(false)
            .then(|| Arc::clone(&self.snapshots.borrow_and_update()))
    }

    /// Has the runtime asked at once: something appeared that it must know of.
    pub fn poke(&self) {
        self.poke.notify_one();
    }

    /// Waits until the runtime was asked for the first time, but not longer than `patience`.
    pub async fn asked(&mut self, patience: Duration) {
        let first = self.snapshots.wait_for(|snapshot| snapshot.asked);
        if tokio::time::timeout(patience, first).await.is_err() {
            tracing::debug!("the container runtime did not answer in time");
        }
        // What was waited for is still news.
        self.snapshots.mark_changed();
    }
}
