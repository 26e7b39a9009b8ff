//! What Docker and podman tell of their containers.
//!
//! Both speak Docker's Engine API on a socket: [`watch`] follows one of them and publishes what it tells, in the
//! form that [`super::cri`] uses for pods, and never asks for a change. What they write to disk, which is all that
//! there is of podman where nobody runs its service, is read by [`disk`]. [`describe`] makes the same of either, so
//! that a workload or a revision does not depend on which of the two was there first.

mod api;
mod client;
mod describe;
pub(super) mod disk;
mod watch;

pub use client::EngineError;
pub use watch::{Options, start};

use std::fmt;
use std::path::{Path, PathBuf};

/// A container engine beside Kubernetes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// Docker (moby).
    Docker,
    /// podman.
    Podman,
}

/// Both.
pub const ENGINES: [Engine; 2] = [Engine::Docker, Engine::Podman];

impl Engine {
    /// Its name in events and in names of workloads.
    pub fn name(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
        }
    }

    /// Where its socket is if nothing else is configured.
    pub fn socket(self) -> PathBuf {
        match self {
            Self::Docker => PathBuf::from("/run/docker.sock"),
            Self::Podman => PathBuf::from("/run/podman/podman.sock"),
        }
    }

    /// Where it keeps its containers if nothing else is configured.
    pub fn root(self) -> PathBuf {
        match self {
            Self::Docker => PathBuf::from("/var/lib/docker"),
            Self::Podman => PathBuf::from("/var/lib/containers/storage"),
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// Name and version of the engine that answers there.
pub async fn greet(socket: &Path) -> Result<String, EngineError> {
    let (engine, version) = client::Client::new(socket).version().await?;
    Ok(format!("{engine} {version}"))
}

/// Where the engines of a node are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// Socket of Docker.
    pub docker_socket: PathBuf,
    /// Docker's `data-root`.
    pub docker_root: PathBuf,
    /// Socket of podman.
    pub podman_socket: PathBuf,
    /// podman's `graphroot`.
    pub podman_root: PathBuf,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            docker_socket: Engine::Docker.socket(),
            docker_root: Engine::Docker.root(),
            podman_socket: Engine::Podman.socket(),
            podman_root: Engine::Podman.root(),
        }
    }
}

impl Places {
    /// The socket of an engine.
    pub fn socket(&self, engine: Engine) -> &PathBuf {
        match engine {
            Engine::Docker => &self.docker_socket,
            Engine::Podman => &self.podman_socket,
        }
    }

    /// The files of an engine.
    pub fn root(&self, engine: Engine) -> &PathBuf {
        match engine {
            Engine::Docker => &self.docker_root,
            Engine::Podman => &self.podman_root,
        }
    }
}
