//! What a rig has started, on disk, so that a later one can end it.

use crate::cgroup;
use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

const OWNER: &str = "owner";
const PROCESSES: &str = "processes";
const CONTAINERS: &str = "containers";
const MOUNTS: &str = "mounts";

/// A process that cannot be confused with a later one of the same pid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessMark {
    pid: i32,
    start: u64,
}

impl ProcessMark {
    /// The mark of a process that is there now.
    pub fn of(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // proc(5): the name may hold spaces and parentheses; the start time is field 22.
        let fields = stat.rsplit_once(')')?.1;
        let start = fields.split_whitespace().nth(19)?.parse().ok()?;
        Some(Self {
            pid: i32::try_from(pid).ok()?,
            start,
        })
    }

    fn parse(line: &str) -> Option<Self> {
        let (pid, start) = line.split_once(' ')?;
        Some(Self {
            pid: pid.parse().ok()?,
            start: start.parse().ok()?,
        })
    }

    fn is_alive(&self) -> bool {
        u32::try_from(self.pid).ok().and_then(Self::of).as_ref() == Some(self)
    }

    fn kill(&self) {
        if self.is_alive()
            && let Some(pid) = Pid::from_raw(self.pid)
            && let Err(error) = kill_process(pid, Signal::KILL)
        {
            eprintln!("cannot kill process {}: {error}", self.pid);
        }
    }
}

/// Notes who owns the folder.
pub fn own(folder: &Path) -> Result<()> {
    let mark = ProcessMark::of(std::process::id()).context("cannot read /proc/self/stat")?;
    append(folder, OWNER, &format!("{} {}", mark.pid, mark.start))
}

/// Whether the folder was made by a rig that is gone.
pub fn is_orphan(folder: &Path) -> bool {
    let owners = lines(folder, OWNER);
    !owners.is_empty()
        && owners
            .iter()
            .filter_map(|line| ProcessMark::parse(line))
            .all(|owner| !owner.is_alive())
}

/// Notes a process that this rig started.
pub fn note_process(folder: &Path, pid: u32) -> Result<()> {
    match ProcessMark::of(pid) {
        Some(mark) => append(folder, PROCESSES, &format!("{} {}", mark.pid, mark.start)),
        None => Ok(()),
    }
}

/// Notes a container before it is made.
pub fn note_container(folder: &Path, id: &str) -> Result<()> {
    append(folder, CONTAINERS, id)
}

/// Notes a mount before it is made.
pub fn note_mount(folder: &Path, path: &Path) -> Result<()> {
    append(folder, MOUNTS, &path.to_string_lossy())
}

/// Ends everything that the folder lists. Works on a list of which parts are gone already.
pub fn end_all(folder: &Path) {
    for process in lines(folder, PROCESSES)
        .iter()
        .filter_map(|line| ProcessMark::parse(line))
    {
        process.kill();
    }
    for id in lines(folder, CONTAINERS) {
        delete_container(&id);
    }
    for path in lines(folder, MOUNTS).iter().rev() {
        unmount(path);
    }
    // What container runtimes have mounted in it.
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let below = format!("{}/", folder.display());
    let mounts = mounts.lines().filter_map(|line| line.split(' ').nth(1));
    for path in mounts.filter(|path| path.starts_with(&below)).rev() {
        unmount(path);
    }
}

fn unmount(path: &str) {
    let mounted = fs::read_to_string("/proc/self/mounts")
        .is_ok_and(|mounts| mounts.lines().any(|line| line.split(' ').nth(1) == Some(path)));
    if mounted && let Err(error) = rustix::mount::unmount(path, rustix::mount::UnmountFlags::DETACH) {
        eprintln!("cannot unmount {path}: {error}");
    }
}

/// Ends a container and removes its control groups; quiet where there is none.
pub fn delete_container(id: &str) {
    let runc = Command::new("runc")
        .args(["delete", "--force", id])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if let Err(error) = runc {
        eprintln!("cannot start runc: {error}");
    }
    cgroup::remove(&cgroup::path_of(id));
}

fn append(folder: &Path, file: &str, line: &str) -> Result<()> {
    let path = folder.join(file);
    let mut file = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .with_context(|| path.display().to_string())?;
    file.write_all(format!("{line}\n").as_bytes())
        .with_context(|| path.display().to_string())
}

fn lines(folder: &Path, file: &str) -> Vec<String> {
    fs::read_to_string(folder.join(file))
        .unwrap_or_default()
        .lines()
        .map(str::to_owned)
        .collect()
}
