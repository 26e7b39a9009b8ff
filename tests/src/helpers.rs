//! Processes that runtimes start beside their containers, and that outlive them.

use crate::ledger::note_process;
use anyhow::Result;
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::path::Path;

/// Names with which such programs begin.
const PROGRAMS: [&str; 4] = ["containerd", "containerd-shim", "conmon", "dockerd"];

/// Those whose arguments name something below `folder`.
pub fn of(folder: &Path) -> Vec<u32> {
    let folder = folder.display().to_string();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid: &u32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line);
            let program = line.split('\0').next().unwrap_or_default();
            let name = program.rsplit('/').next().unwrap_or_default();
            PROGRAMS.iter().any(|helper| name.starts_with(helper)) && line.contains(&folder)
        })
        .collect()
}

/// Has them ended with the scratch folder, whatever becomes of whoever started them.
pub fn note(scratch: &Path, folder: &Path) -> Result<()> {
    of(folder)
        .into_iter()
        .try_for_each(|pid| note_process(scratch, pid))
}

/// Kills them.
pub fn kill(folder: &Path) {
    for pid in of(folder) {
        if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
            kill_process(pid, Signal::KILL).ok();
        }
    }
}
