//! podman: no daemon, and a service only where one is asked for.

use super::{Run, archive};
use crate::cgroup;
use crate::daemon::Daemon;
use crate::helpers;
use crate::ledger::note_container;
use crate::program::output;
use crate::scratch::Scratch;
use anyhow::{Context as _, Result};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

const START_LIMIT: Duration = Duration::from_secs(120);
const CLIENT: &str = "/usr/bin/podman";
/// podman raises these limits beyond what it has itself, for which root may lack the capability.
const LIMITS: [&str; 4] = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"];

/// podman's storage and its containers. Dropping it ends them.
#[derive(Debug)]
pub struct Podman {
    service: Option<Daemon>,
    folder: PathBuf,
    scratch: PathBuf,
    made: Vec<String>,
}

impl Podman {
    /// Whether it is installed; says what is missing where not.
    pub fn available(test: &str) -> bool {
        super::available(test, &[CLIENT, "/usr/bin/conmon", "/usr/sbin/runc"])
    }

    /// One with nothing in it, and no service.
    pub fn new(scratch: &Scratch) -> Result<Self> {
        Ok(Self {
            service: None,
            folder: scratch.folder("podman")?,
            scratch: scratch.path().to_owned(),
            made: Vec::new(),
        })
    }

    /// Starts its service and waits until it answers.
    pub fn serve(&mut self, scratch: &Scratch) -> Result<()> {
        let socket = self.socket();
        let address = format!("unix://{}", socket.display());
        let mut command = self.client(&["system", "service", "--time", "0", &address]);
        let mut service = Daemon::start(scratch, "podman-service", &mut command)?;
        service.wait_for("listens", START_LIMIT, |_| {
            Ok(std::os::unix::net::UnixStream::connect(&socket).ok())
        })?;
        self.service = Some(service);
        Ok(())
    }

    /// SIGKILL; containers do not notice.
    pub fn kill(&mut self) -> Result<()> {
        self.service
            .take()
            .context("podman's service is not running")?
            .kill()
    }

    /// Where its service listens.
    pub fn socket(&self) -> PathBuf {
        self.folder.join("p.sock")
    }

    /// Where it keeps its containers.
    pub fn root(&self) -> PathBuf {
        self.folder.join("root")
    }

    /// Makes an image of the rig's usual files; gives the digest of its manifest.
    pub fn image(&self, scratch: &Scratch, name: &str) -> Result<String> {
        let archive = archive(scratch)?.display().to_string();
        let change = format!("LABEL org.opencontainers.image.title={name}");
        self.ask(&["import", "--change", &change, &archive, name])?;
        let digest = self.ask(&["image", "inspect", "--format", "{{.Digest}}", name])?;
        Ok(digest.trim().to_owned())
    }

    /// Starts a container; gives its id.
    pub fn run(&mut self, run: &Run<'_>) -> Result<String> {
        let mut arguments = vec!["run", "--detach", "--name", run.name];
        arguments.extend(LIMITS);
        arguments.extend(run.options);
        arguments.extend([run.image, "/bin/bash", "-c", run.script]);
        let id = self.ask(&arguments)?.trim().to_owned();
        note_container(&self.scratch, &id)?;
        self.made.push(id.clone());
        helpers::note(&self.scratch, &self.folder)?;
        Ok(id)
    }

    /// Runs podman; gives what it prints.
    pub fn ask(&self, arguments: &[&str]) -> Result<String> {
        output(&mut self.client(arguments))
    }

    fn client(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(CLIENT);
        for (option, name) in [("--root", "root"), ("--runroot", "run"), ("--tmpdir", "tmp")] {
            command.arg(option).arg(self.folder.join(name));
        }
        command
            .args(["--runtime", "runc", "--cgroup-manager", "cgroupfs"])
            .args(["--storage-driver", "overlay", "--events-backend", "file"])
            .args(arguments);
        command
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        for id in &self.made {
            self.ask(&["rm", "--force", "--time", "0", id]).ok();
        }
        drop(self.service.take());
        helpers::kill(&self.folder);
        for id in &self.made {
            cgroup::remove(&format!("/libpod_parent/libpod-{id}"));
        }
        cgroup::remove("/libpod_parent");
    }
}
