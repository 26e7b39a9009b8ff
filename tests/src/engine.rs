//! Container engines beside Kubernetes: Docker and podman, each with folders and sockets of its own.
//!
//! Called by full path, because what else is named `docker` on a machine is somebody's wrapper.

mod docker;
mod podman;

pub use docker::Docker;
pub use podman::Podman;

use crate::scratch::Scratch;
use anyhow::Result;
use std::path::{Path, PathBuf};

/// What an engine is told to run.
#[derive(Clone, Debug, Default)]
pub struct Run<'a> {
    /// Name of the container.
    pub name: &'a str,
    /// Image that it is of.
    pub image: &'a str,
    /// Further options of `run`.
    pub options: &'a [&'a str],
    /// What its shell runs.
    pub script: &'a str,
}

/// Whether the programs are there; says what is missing where not.
fn available(test: &str, programs: &[&str]) -> bool {
    let missing = programs.iter().find(|program| !Path::new(program).exists());
    if let Some(program) = missing {
        crate::skip::skipped(test, &format!("{program} is not installed"));
    }
    missing.is_none()
}

/// The files of an image in an archive, as `import` takes them.
fn archive(scratch: &Scratch) -> Result<PathBuf> {
    let archive = scratch.join("engine-root.tar");
    if !archive.exists() {
        let root = scratch.folder("engine-root")?;
        crate::root::fill(&root, &[])?;
        crate::root::pack(&root, &archive)?;
    }
    Ok(archive)
}
