//! A program that runs in the background, with its output in a file.

use crate::ledger;
use crate::scratch::Scratch;
use crate::wait::wait_until;
use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// How long an orderly stop may take.
const STOP_LIMIT: Duration = Duration::from_secs(60);
/// Lines that a failure shows.
const TAIL_LINES: usize = 25;

/// A running program. Dropping it kills it.
#[derive(Debug)]
pub struct Daemon {
    name: String,
    child: Child,
    log: PathBuf,
    log_start: u64,
}

impl Daemon {
    /// Starts `command` with both outputs appended to `NAME.log` in the scratch folder.
    pub fn start(scratch: &Scratch, name: &str, command: &mut Command) -> Result<Self> {
        let log = scratch.join(format!("{name}.log"));
        let file = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .context("cannot open a log")?;
        let log_start = file.metadata().context("cannot read a log")?.len();
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().context("cannot share a log")?)
            .stderr(file)
            // Ctrl-C is for the rig, which then stops its programs in order.
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {name} ({})", command.get_program().display()))?;
        ledger::note_process(scratch.path(), child.id())?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log,
            log_start,
        })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The file with its output.
    pub fn log_file(&self) -> &Path {
        &self.log
    }

    /// What it has printed since this start.
    pub fn log(&self) -> String {
        let bytes = fs::read(&self.log).unwrap_or_default();
        let start = usize::try_from(self.log_start).unwrap_or(0).min(bytes.len());
        String::from_utf8_lossy(&bytes[start..]).into_owned()
    }

    /// The end of what it has printed.
    pub fn tail(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        let start = lines.len().saturating_sub(TAIL_LINES);
        format!(
            "--- end of {}'s log:\n{}\n---",
            self.name,
            lines[start..].join("\n")
        )
    }

    /// Its exit status, once it has ended.
    pub fn try_wait(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().context("cannot ask for an exit status")
    }

    /// Waits until it ends by itself.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let what = format!("{} to end", self.name);
        wait_until(&what, limit, || self.try_wait()).with_context(|| self.tail())
    }

    /// Waits for a condition; fails at once where the program ends before it holds.
    pub fn wait_for<T>(
        &mut self,
        what: &str,
        limit: Duration,
        mut condition: impl FnMut(&Self) -> Result<Option<T>>,
    ) -> Result<T> {
        let name = self.name.clone();
        wait_until(&format!("{name}: {what}"), limit, || {
            if let Some(value) = condition(self)? {
                return Ok(Some(value));
            }
            match self.try_wait()? {
                Some(status) => bail!("{name} ended ({status}) before {what}"),
                None => Ok(None),
            }
        })
        .with_context(|| self.tail())
    }

    /// Waits for a line that contains `text`.
    pub fn wait_for_line(&mut self, text: &str, limit: Duration) -> Result<String> {
        let what = format!("a line with `{text}`");
        self.wait_for(&what, limit, |daemon| {
            Ok(daemon
                .log()
                .lines()
                .find(|line| line.contains(text))
                .map(str::to_owned))
        })
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.pid())
            .ok()
            .and_then(Pid::from_raw)
            .context("not a pid")?;
        kill_process(pid, signal).with_context(|| format!("cannot signal {}", self.name))
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill().context("cannot kill")?;
        self.child.wait().context("cannot wait")?;
        Ok(())
    }

    /// SIGTERM, and waits for the orderly end.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        if let Some(status) = self.try_wait()? {
            return Ok(status);
        }
        self.signal(Signal::TERM)?;
        self.wait(STOP_LIMIT)
    }

    /// Resident memory in bytes.
    pub fn resident_bytes(&self) -> Result<u64> {
        let status =
            fs::read_to_string(format!("/proc/{}/status", self.pid())).context("cannot read its status")?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .context("no VmRSS")?;
        let kib: u64 = line
            .trim()
            .trim_end_matches(" kB")
            .trim()
            .parse()
            .context("VmRSS")?;
        Ok(kib * 1024)
    }

    /// Processor time used so far.
    pub fn cpu_time(&self) -> Result<Duration> {
        let folder = format!("/proc/{}/task", self.pid());
        let mut nanoseconds = 0;
        // schedstat counts in nanoseconds where stat counts in ticks of 10 ms.
        for task in fs::read_dir(&folder)
            .context("cannot list its threads")?
            .flatten()
        {
            let stat = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
            nanoseconds += stat
                .split(' ')
                .next()
                .and_then(|word| word.parse::<u64>().ok())
                .unwrap_or(0);
        }
        Ok(Duration::from_nanos(nanoseconds))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(Some(_)))
            && let Err(error) = self.kill()
        {
            eprintln!("cannot kill {}: {error:#}", self.name);
        }
    }
}
