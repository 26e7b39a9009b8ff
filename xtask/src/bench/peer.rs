//! Others that watch, for comparison on the same machine in the same run.

use super::cost::Watcher;
use super::stage::Stage;
use crate::run::find_program;
use anyhow::{Context as _, Result};
use norma_rig::Daemon;
use std::fs;
use std::process::{self, Command};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);
/// Switches the tracepoint of a system call that the load does not make. Nobody reads what it would record.
const TRACEPOINT: &str = "/sys/kernel/tracing/events/syscalls/sys_exit_setdomainname/enable";

/// What can be compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Peer {
    /// `opensnoop.bt` of bpftrace's package: each open as a line.
    Bpftrace,
    /// One tracepoint of a system call that is not made: what the kernel itself takes on every system call as
    /// soon as anybody watches any. Nothing that sees system calls by tracepoints costs less.
    Tracepoint,
}

impl Peer {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Bpftrace => "bpftrace opensnoop.bt",
            Self::Tracepoint => "one idle system call tracepoint",
        }
    }
}

/// A peer, running or not.
pub struct PeerWatcher {
    peer: Peer,
    running: Option<Running>,
}

enum Running {
    Program(Daemon),
    Tracepoint(Enabled),
}

/// A tracepoint that is on as long as this lives.
struct Enabled;

impl Enabled {
    fn new() -> Result<Self> {
        fs::write(TRACEPOINT, "1")
            .with_context(|| format!("cannot write {TRACEPOINT}: is tracefs mounted?"))?;
        Ok(Self)
    }
}

impl Drop for Enabled {
    fn drop(&mut self) {
        if let Err(error) = fs::write(TRACEPOINT, "0") {
            eprintln!("cannot switch a tracepoint off again: {TRACEPOINT}: {error}");
        }
    }
}

impl PeerWatcher {
    /// Fails where it is not to be had.
    pub fn new(peer: Peer) -> Result<Self> {
        match peer {
            Peer::Bpftrace => {
                find_program("bpftrace").context("bpftrace is not installed: apt-get install bpftrace")?;
            }
            Peer::Tracepoint => drop(Enabled::new()?),
        }
        Ok(Self { peer, running: None })
    }
}

impl Watcher for PeerWatcher {
    fn start(&mut self, stage: &mut Stage<'_>) -> Result<()> {
        self.running = Some(match self.peer {
            Peer::Bpftrace => {
                let mut command = Command::new("bpftrace");
                command.arg("/usr/sbin/opensnoop.bt");
                let mut daemon = Daemon::start(stage.scratch(), "peer", &mut command)?;
                daemon.wait_for_line("Tracing open syscalls", LIMIT)?;
                Running::Program(daemon)
            }
            Peer::Tracepoint => Running::Tracepoint(Enabled::new()?),
        });
        Ok(())
    }

    fn stop(&mut self, _: &mut Stage<'_>) -> Result<()> {
        match self.running.take() {
            Some(Running::Program(mut daemon)) => daemon.stop().map(drop),
            Some(Running::Tracepoint(enabled)) => {
                drop(enabled);
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn pid(&self, _: &mut Stage<'_>) -> Result<u32> {
        match self.running.as_ref().context("the peer is not running")? {
            Running::Program(daemon) => Ok(daemon.pid()),
            Running::Tracepoint(_) => Ok(process::id()),
        }
    }
}
