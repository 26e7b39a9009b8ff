//! Other programs that watch, for comparison on the same machine in the same run.

use super::cost::Watcher;
use super::stage::Stage;
use crate::run::find_program;
use anyhow::{Context as _, Result};
use norma_rig::Daemon;
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);

/// A program that can be compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Peer {
    /// `opensnoop.bt` of bpftrace's package: each open as a line.
    Bpftrace,
}

impl Peer {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Bpftrace => "bpftrace opensnoop.bt",
        }
    }
}

/// A peer, running or not.
pub struct PeerWatcher {
    peer: Peer,
    daemon: Option<Daemon>,
}

impl PeerWatcher {
    /// Fails where it is not installed.
    pub fn new(peer: Peer) -> Result<Self> {
        match peer {
            Peer::Bpftrace => {
                find_program("bpftrace").context("bpftrace is not installed: apt-get install bpftrace")?;
            }
        }
        Ok(Self { peer, daemon: None })
    }
}

impl Watcher for PeerWatcher {
    fn start(&mut self, stage: &mut Stage<'_>) -> Result<()> {
        let (mut command, ready) = match self.peer {
            Peer::Bpftrace => {
                let mut command = Command::new("bpftrace");
                command.arg("/usr/sbin/opensnoop.bt");
                (command, "Tracing open syscalls")
            }
        };
        let mut daemon = Daemon::start(stage.scratch(), "peer", &mut command)?;
        daemon.wait_for_line(ready, LIMIT)?;
        self.daemon = Some(daemon);
        Ok(())
    }

    fn stop(&mut self, _: &mut Stage<'_>) -> Result<()> {
        match self.daemon.take() {
            Some(mut daemon) => daemon.stop().map(drop),
            None => Ok(()),
        }
    }

    fn pid(&self, _: &mut Stage<'_>) -> Result<u32> {
        Ok(self.daemon.as_ref().context("the peer is not running")?.pid())
    }
}
