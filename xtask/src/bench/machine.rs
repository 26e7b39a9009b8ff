//! The machine: what it is, and which processor does what.

use anyhow::{Context as _, Result};
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde_json::{Value, json};
use std::fs;

/// What figures depend on.
#[derive(Debug)]
pub struct Machine {
    facts: Vec<(&'static str, String)>,
}

impl Machine {
    /// As it is now.
    pub fn look() -> Self {
        let system = rustix::system::uname();
        let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
        let first_word = |path: &str| Some(fs::read_to_string(path).ok()?.trim().to_owned());
        let facts = vec![
            (
                "kernel",
                format!("{} {}", text(system.release()), text(system.machine())),
            ),
            ("processors", processors().map_or(0, |all| all.len()).to_string()),
            ("model", model().unwrap_or_else(|| "unknown".to_owned())),
            (
                "governor",
                first_word("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
                    .unwrap_or_else(|| "not told".to_owned()),
            ),
            ("mitigations", mitigations()),
            ("load average", first_word("/proc/loadavg").unwrap_or_default()),
        ];
        Self { facts }
    }

    /// Prints it.
    pub fn print(&self) {
        for (name, value) in &self.facts {
            println!("{:<14}{value}", format!("{name}:"));
        }
    }

    /// For programs.
    pub fn json(&self) -> Value {
        self.facts
            .iter()
            .map(|(name, value)| ((*name).to_owned(), json!(value)))
            .collect::<serde_json::Map<_, _>>()
            .into()
    }
}

fn model() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// Those that make calls and returns dearer, which is what a hook consists of.
fn mitigations() -> String {
    let folder = "/sys/devices/system/cpu/vulnerabilities";
    let told = |name: &str| {
        let text = fs::read_to_string(format!("{folder}/{name}")).ok()?;
        (!text.starts_with("Not affected")).then(|| format!("{name}: {}", text.trim()))
    };
    [
        "meltdown",
        "retbleed",
        "spec_rstack_overflow",
        "indirect_target_selection",
        "spectre_v2",
    ]
    .into_iter()
    .filter_map(told)
    .collect::<Vec<_>>()
    .join("; ")
}

/// Processors that this process may use.
fn processors() -> Result<Vec<usize>> {
    let set = sched_getaffinity(None).context("cannot tell which processors there are")?;
    Ok((0..CpuSet::MAX_CPU)
        .filter(|number| set.is_set(*number))
        .collect())
}

/// Who runs where.
#[derive(Clone, Debug)]
pub struct Placement {
    all: Vec<usize>,
    pinned: bool,
}

impl Placement {
    /// The load on the last processor, since the first takes most interrupts; all else on the others. With
    /// one processor, or where it is not wanted, everything runs anywhere.
    pub fn new(pinned: bool) -> Result<Self> {
        let all = processors()?;
        Ok(Self {
            pinned: pinned && all.len() > 1,
            all,
        })
    }

    /// Gives a process and what it will start the load's processor.
    pub fn load(&self, pid: u32) -> Result<()> {
        self.set(
            Some(pid),
            if self.pinned {
                &self.all[self.all.len() - 1..]
            } else {
                &self.all
            },
        )
    }

    /// Gives this process and what it will start (the agent, the collector) the other processors.
    pub fn rest(&self) -> Result<()> {
        self.set(
            None,
            if self.pinned {
                &self.all[..self.all.len() - 1]
            } else {
                &self.all
            },
        )
    }

    /// Gives a process every processor, or this one.
    pub fn anywhere(&self, pid: Option<u32>) -> Result<()> {
        self.set(pid, &self.all)
    }

    fn set(&self, pid: Option<u32>, processors: &[usize]) -> Result<()> {
        let mut set = CpuSet::new();
        for number in processors {
            set.set(*number);
        }
        let pid = pid
            .map(|pid| {
                i32::try_from(pid)
                    .ok()
                    .and_then(Pid::from_raw)
                    .context("not a pid")
            })
            .transpose()?;
        sched_setaffinity(pid, &set).context("cannot choose processors")
    }

    /// In words.
    pub fn words(&self) -> String {
        match self.all.split_last() {
            Some((load, rest)) if self.pinned => {
                format!("load on processor {load}, agent and collector on {rest:?}")
            }
            _ => "not pinned".to_owned(),
        }
    }
}
