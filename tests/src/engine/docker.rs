//! Docker: dockerd with a containerd of its own.

use super::{Run, archive};
use crate::cgroup;
use crate::daemon::Daemon;
use crate::helpers;
use crate::program::output;
use crate::scratch::Scratch;
use anyhow::{Context as _, Result};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const START_LIMIT: Duration = Duration::from_secs(120);
const CLIENT: &str = "/usr/bin/docker";
const DAEMON: &str = "/usr/sbin/dockerd";

/// A running dockerd. Dropping it ends it and its containers.
#[derive(Debug)]
pub struct Docker {
    daemon: Option<Daemon>,
    folder: PathBuf,
    scratch: PathBuf,
    made: Vec<String>,
}

impl Docker {
    /// Whether it is installed; says what is missing where not.
    pub fn available(test: &str) -> bool {
        super::available(test, &[CLIENT, DAEMON, "/usr/sbin/runc"])
    }

    /// Starts one that touches nothing of the machine's network.
    pub fn start(scratch: &Scratch) -> Result<Self> {
        let folder = scratch.folder("docker")?;
        let place = |name: &str| folder.join(name).display().to_string();
        let config = json!({
            "data-root": place("root"), "exec-root": place("exec"), "pidfile": place("pid"),
            "hosts": [format!("unix://{}", place("d.sock"))],
            "bridge": "none", "iptables": false, "ip6tables": false, "ip-forward": false, "ip-masq": false,
            // Containers go on without the daemon.
            "live-restore": true,
        });
        scratch.file("docker/daemon.json", &config.to_string())?;
        let mut this = Self {
            daemon: None,
            folder,
            scratch: scratch.path().to_owned(),
            made: Vec::new(),
        };
        this.serve(scratch)?;
        Ok(this)
    }

    /// Starts the daemon, again or for the first time, and waits until it answers.
    pub fn serve(&mut self, scratch: &Scratch) -> Result<()> {
        let mut command = Command::new(DAEMON);
        command.arg("--config-file").arg(self.folder.join("daemon.json"));
        let mut daemon = Daemon::start(scratch, "dockerd", &mut command)?;
        daemon.wait_for("answers", START_LIMIT, |_| {
            Ok(self.ask(&["version"]).is_ok().then_some(()))
        })?;
        self.daemon = Some(daemon);
        helpers::note(&self.scratch, &self.folder)
    }

    /// SIGKILL; its containers go on.
    pub fn kill(&mut self) -> Result<()> {
        self.daemon.take().context("dockerd is not running")?.kill()
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.folder.join("d.sock")
    }

    /// Where it keeps its containers.
    pub fn root(&self) -> PathBuf {
        self.folder.join("root")
    }

    /// Where runc keeps its state for it.
    pub fn runtime_root(&self) -> PathBuf {
        self.folder.join("exec/runtime-runc/moby")
    }

    /// Makes an image of the rig's usual files; gives its id.
    pub fn image(&self, scratch: &Scratch, name: &str) -> Result<String> {
        let archive = archive(scratch)?.display().to_string();
        // An image of its own, whose id is not that of another with the same files.
        let change = format!("LABEL org.opencontainers.image.title={name}");
        Ok(self
            .ask(&["import", "--change", &change, &archive, name])?
            .trim()
            .to_owned())
    }

    /// Starts a container; gives its id.
    pub fn run(&mut self, run: &Run<'_>) -> Result<String> {
        let mut arguments = vec!["run", "--detach", "--name", run.name];
        arguments.extend(run.options);
        arguments.extend([run.image, "/bin/bash", "-c", run.script]);
        let id = self.ask(&arguments)?.trim().to_owned();
        self.made.push(id.clone());
        helpers::note(&self.scratch, &self.folder)?;
        Ok(id)
    }

    /// Runs the client; gives what it prints.
    pub fn ask(&self, arguments: &[&str]) -> Result<String> {
        output(&mut self.client(arguments))
    }

    /// Has a script run in a container for as long as that is there.
    pub fn exec_along(&self, scratch: &Scratch, container: &str, script: &str) -> Result<Daemon> {
        let mut client = self.client(&["exec", container, "/bin/bash", "-c", script]);
        Daemon::start(scratch, "docker-exec", &mut client)
    }

    fn client(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(CLIENT);
        command
            .arg("--host")
            .arg(format!("unix://{}", self.socket().display()))
            // Not what the user of the machine has configured.
            .arg("--config")
            .arg(self.folder.join("client"))
            .args(arguments);
        command
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        for id in &self.made {
            self.ask(&["rm", "--force", "--volumes", id]).ok();
        }
        if let Some(mut daemon) = self.daemon.take() {
            daemon.stop().ok();
        }
        helpers::kill(&self.folder);
        for id in &self.made {
            // What is left where the daemon was not there to remove it.
            end(&self.runtime_root(), id);
            cgroup::remove(&format!("/docker/{id}"));
        }
        cgroup::remove("/docker");
    }
}

fn end(root: &Path, id: &str) {
    if root.join(id).exists() {
        let mut runc = Command::new("runc");
        runc.arg("--root").arg(root).args(["delete", "--force", id]);
        output(&mut runc).ok();
    }
}
