//! Container engines beside Kubernetes: Docker and podman, each with folders and sockets of its own.
//!
//! Called by full path, because what else is named `docker` on a machine is somebody's wrapper.

mod docker;
mod podman;

pub use docker::Docker;
pub use podman::Podman;

use crate::ledger::note_process;
use crate::program::output;
use crate::scratch::Scratch;
use anyhow::Result;
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

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
        output(
            Command::new("tar")
                .arg("-C")
                .arg(&root)
                .args(["--owner=0", "--group=0", "-cf"])
                .arg(&archive)
                .arg("."),
        )?;
    }
    Ok(archive)
}

/// The processes that an engine has started beside its containers: their arguments name its folder.
fn helpers(folder: &Path) -> Vec<u32> {
    let folder = folder.display().to_string();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid: &u32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line);
            let program = line.split('\0').next().unwrap_or_default();
            ["containerd", "containerd-shim", "conmon", "dockerd"]
                .iter()
                .any(|helper| program.rsplit('/').next().unwrap_or_default().starts_with(helper))
                && line.contains(&folder)
        })
        .collect()
}

fn note_helpers(scratch: &Path, folder: &Path) -> Result<()> {
    helpers(folder)
        .into_iter()
        .try_for_each(|pid| note_process(scratch, pid))
}

fn kill(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        kill_process(pid, Signal::KILL).ok();
    }
}
