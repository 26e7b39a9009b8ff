//! Other programs on this machine that hold kernel programs: a test's agent, say. What they attach weighs on
//! every process, so that a phase beside one says nothing.

use anyhow::Result;
use norma_rig::{interrupt, wait_until};
use std::fs;
use std::time::Duration;

/// How long one is waited for in all, before measuring goes on beside it.
const PATIENCE: Duration = Duration::from_secs(180);
/// Service managers keep small programs for their services all the time.
const STEADY: &str = "systemd";

/// Names and pids of those that are there, other than `own`.
pub fn watching(own: &[u32]) -> Vec<String> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| !own.contains(pid) && holds_programs(*pid))
        .filter_map(|pid| {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
            (!name.starts_with(STEADY)).then(|| format!("{} ({pid})", name.trim()))
        })
        .collect()
}

/// Waits until there is none; false where that took too long.
pub fn wait(own: &[u32], tick: &mut dyn FnMut(&str)) -> Result<bool> {
    let outcome = wait_until("others that hold kernel programs to end", PATIENCE, || {
        let others = watching(own);
        if !others.is_empty() {
            tick(&format!("waiting for {}", others.join(", ")));
        }
        Ok(others.is_empty().then_some(()))
    });
    interrupt::check()?;
    Ok(outcome.is_ok())
}

/// The kernel describes each descriptor of a process; those of programs and of their links name their type.
fn holds_programs(pid: u32) -> bool {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fdinfo"))
        .into_iter()
        .flatten()
        .flatten();
    descriptors
        .filter_map(|entry| fs::read_to_string(entry.path()).ok())
        .any(|text| {
            text.lines()
                .any(|line| line.starts_with("link_type:") || line.starts_with("prog_type:"))
        })
}
