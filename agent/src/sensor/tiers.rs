//! Which tiers this kernel offers at all, found out by trying.
//!
//! A hook can load, attach and never run: a BPF-LSM program does so where `bpf` is not among the active
//! security modules (seen on Debian's 5.10). So a trial program is attached, a file is opened, and the tier
//! counts only where the program has noticed.

use super::btf::Kernel;
use super::coverage::{Tier, chain};
use super::facts::Facts;
use super::shared::Shared;
use aya::Ebpf;
use aya::maps::Array;
use aya::programs::Program;
use std::fs::File;

/// What the trials said.
pub struct Tiers {
    lsm: Result<(), String>,
    fentry: Result<(), String>,
}

impl Tiers {
    /// Tries them.
    pub fn try_out(ebpf: &mut Ebpf, kernel: &Kernel, facts: &Facts) -> Self {
        let lsm = trial(ebpf, "trial_lsm", 0, |program| match program {
            Program::Lsm(program) => {
                program
                    .load("file_open", &kernel.loader)
                    .map_err(|error| chain(&error))?;
                program.attach().map(drop).map_err(|error| chain(&error))
            }
            _ => Err("not an LSM program".to_owned()),
        })
        .map_err(|why| format!("{why} (active security modules: {})", facts.security_modules()));
        let fentry = trial(ebpf, "trial_fexit", 1, |program| match program {
            Program::FExit(program) => {
                program
                    .load("security_file_open", &kernel.loader)
                    .map_err(|error| chain(&error))?;
                program.attach().map(drop).map_err(|error| chain(&error))
            }
            _ => Err("not an fexit program".to_owned()),
        });
        Self { lsm, fentry }
    }

    /// Why this tier is not to be had, if it is not.
    pub fn refusal(&self, tier: Tier) -> Option<&str> {
        match tier {
            Tier::Lsm => self.lsm.as_ref().err().map(String::as_str),
            Tier::Fentry => self.fentry.as_ref().err().map(String::as_str),
            Tier::Cgroup | Tier::BtfTracepoint | Tier::SyscallTracepoint => None,
        }
    }
}

fn trial(
    ebpf: &mut Ebpf,
    name: &str,
    index: u32,
    attach: impl FnOnce(&mut Program) -> Result<(), String>,
) -> Result<(), String> {
    let program = ebpf
        .program_mut(name)
        .ok_or_else(|| format!("the built object has no program {name}"))?;
    attach(program)?;
    let outcome = File::open("/proc/self/stat")
        .map_err(|error| format!("the trial could not open a file: {error}"))
        .and_then(|_| hits(ebpf, index));
    // The trial program is of no further use, and an attached one would cost every open.
    if let Some(program) = ebpf.program_mut(name) {
        let unloaded = match program {
            Program::Lsm(program) => program.unload(),
            Program::FExit(program) => program.unload(),
            _ => Ok(()),
        };
        if let Err(error) = unloaded {
            tracing::debug!(name, %error, "the trial program stays loaded");
        }
    }
    match outcome {
        Ok(0) => Err("such programs load and attach, but never run".to_owned()),
        Ok(_) => Ok(()),
        Err(why) => Err(why),
    }
}

fn hits(ebpf: &Ebpf, index: u32) -> Result<u64, String> {
    let map = ebpf.map("TRIALS").ok_or("the built object has no map TRIALS")?;
    let map: Array<_, Shared<u64>> = Array::try_from(map).map_err(|error| error.to_string())?;
    map.get(&index, 0)
        .map(|hits| hits.0)
        .map_err(|error| error.to_string())
}
