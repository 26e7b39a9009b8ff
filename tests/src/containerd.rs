//! A container runtime of its own: containerd with its CRI plugin, on a private socket.
//!
//! Pods are made and asked for over the socket by whoever uses it; here is what has to be there before, and the
//! end of everything after.

mod image;

use crate::cgroup;
use crate::daemon::Daemon;
use crate::helpers;
use crate::program::output;
use crate::scratch::Scratch;
use anyhow::{Context as _, Result};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

pub use image::Image;

const START_LIMIT: Duration = Duration::from_secs(120);
/// Where containerd's CRI plugin keeps what it makes.
const NAMESPACE: &str = "k8s.io";
/// Where containers are that no pod has.
const PLAIN: &str = "plain";
/// The image of pods' sandboxes.
const PAUSE: &str = "local.test/pause:v1";

/// A running containerd. Dropping it kills it and the containers that it made.
#[derive(Debug)]
pub struct Containerd {
    daemon: Option<Daemon>,
    folder: PathBuf,
    scratch: PathBuf,
}

impl Containerd {
    /// Whether the programs are there; says what is missing where not.
    pub fn available(test: &str) -> bool {
        let missing = ["containerd", "ctr", "runc"].into_iter().find(|name| {
            let found = Command::new("sh")
                .args(["-c", "command -v \"$0\" >/dev/null", name])
                .status();
            !found.is_ok_and(|status| status.success())
        });
        if let Some(name) = missing {
            crate::skip::skipped(test, &format!("{name} is not installed"));
        }
        missing.is_none()
    }

    /// Starts one, with an image for its sandboxes.
    pub fn start(scratch: &Scratch) -> Result<Self> {
        let folder = scratch.folder("containerd")?;
        let place = |name: &str| folder.join(name).display().to_string();
        let config = format!(
            "version = 2\nroot = \"{}\"\nstate = \"{}\"\n[grpc]\naddress = \"{}\"\n\
             [plugins.\"io.containerd.grpc.v1.cri\"]\nsandbox_image = \"{PAUSE}\"\nrestrict_oom_score_adj = true\n\
             [plugins.\"io.containerd.grpc.v1.cri\".cni]\nbin_dir = \"/usr/lib/cni\"\nconf_dir = \"{}\"\n\
             [plugins.\"io.containerd.grpc.v1.cri\".containerd]\nsnapshotter = \"overlayfs\"\n",
            place("root"),
            place("state"),
            place("c.sock"),
            place("cni"),
        );
        scratch.file("containerd/config.toml", &config)?;
        let mut this = Self {
            daemon: None,
            folder,
            scratch: scratch.path().to_owned(),
        };
        this.run(scratch)?;
        let pause = Image::build(scratch, PAUSE, &["/usr/bin/sleep", "infinity"])?;
        this.import(&pause)?;
        Ok(this)
    }

    /// Starts it, again or for the first time, and waits until it answers.
    pub fn run(&mut self, scratch: &Scratch) -> Result<()> {
        let mut command = Command::new("containerd");
        command.arg("-c").arg(self.folder.join("config.toml"));
        let mut daemon = Daemon::start(scratch, "containerd", &mut command)?;
        daemon.wait_for("answers", START_LIMIT, |_| {
            Ok(self.ctr(&["version"]).is_ok().then_some(()))
        })?;
        self.daemon = Some(daemon);
        Ok(())
    }

    /// SIGKILL; its containers go on.
    pub fn kill(&mut self) -> Result<()> {
        self.daemon.take().context("containerd is not running")?.kill()
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.folder.join("c.sock")
    }

    /// Makes an image known to it, by its name and by its digest.
    pub fn import(&self, image: &Image) -> Result<()> {
        let archive = image.archive().display().to_string();
        self.ctr(&["images", "import", &archive])?;
        self.ctr(&["images", "tag", "--force", image.name(), &image.digested()])?;
        Ok(())
    }

    /// Runs a container outside of any pod, as `ctr run` and what is built on containerd does.
    pub fn run_plain(&self, image: &Image, id: &str, script: &str) -> Result<()> {
        let archive = image.archive().display().to_string();
        self.ctr_in(PLAIN, &["images", "import", &archive])?;
        let run = ["run", "--detach", image.name(), id, "/bin/bash", "-c", script];
        self.ctr_in(PLAIN, &run)?;
        self.note_shims()
    }

    /// Runs another program in such a container and waits for its end.
    pub fn exec_plain(&self, id: &str, script: &str) -> Result<String> {
        let exec = [
            "tasks",
            "exec",
            "--exec-id",
            "session",
            id,
            "/bin/bash",
            "-c",
            script,
        ];
        self.ctr_in(PLAIN, &exec)
    }

    /// Notes the processes that containers hang on, which outlive it.
    pub fn note_shims(&self) -> Result<()> {
        helpers::note(&self.scratch, &self.folder)
    }

    fn ctr(&self, arguments: &[&str]) -> Result<String> {
        self.ctr_in(NAMESPACE, arguments)
    }

    fn ctr_in(&self, namespace: &str, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new("ctr");
        command
            .arg("--address")
            .arg(self.socket())
            .args(["--namespace", namespace])
            .args(arguments);
        output(&mut command)
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        // What a test that failed has left.
        for namespace in [NAMESPACE, PLAIN] {
            let tasks = self.ctr_in(namespace, &["tasks", "list", "--quiet"]);
            for task in tasks.unwrap_or_default().lines() {
                self.ctr_in(namespace, &["tasks", "delete", "--force", task]).ok();
                cgroup::remove(&format!("/{namespace}/{task}"));
            }
            cgroup::remove(&format!("/{namespace}"));
        }
        drop(self.daemon.take());
        helpers::kill(&self.folder);
    }
}
