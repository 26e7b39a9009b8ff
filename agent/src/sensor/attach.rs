//! Loads and attaches what the table lists.

use super::btf::Kernel;
use super::coverage::chain;
use super::facts::Facts;
use super::table::{At, CAPABILITIES, Hook, Way};
use aya::Ebpf;
use aya::programs::{CgroupAttachMode, Program};
use std::collections::HashMap;
use std::fs::File;

/// What came of one capability.
pub struct Outcome {
    /// Its name.
    pub capability: &'static str,
    /// The way that works.
    pub way: Option<&'static Way>,
    /// What went wrong on better ways and on parts of this one.
    pub troubles: Vec<String>,
}

/// Tries the ways of each capability, best first, until one works.
pub fn attach_all(ebpf: &mut Ebpf, kernel: &Kernel, facts: &Facts) -> Vec<Outcome> {
    let mut attacher = Attacher {
        ebpf,
        kernel,
        facts,
        loaded: HashMap::new(),
        attached: HashMap::new(),
    };
    CAPABILITIES
        .iter()
        .map(|capability| {
            let mut troubles = Vec::new();
            let way = capability
                .ways
                .iter()
                .find(|way| attacher.take(way, &mut troubles));
            Outcome {
                capability: capability.name,
                way,
                troubles,
            }
        })
        .collect()
}

/// Programs and hooks serve several capabilities, so what was done once is remembered.
struct Attacher<'a> {
    ebpf: &'a mut Ebpf,
    kernel: &'a Kernel,
    facts: &'a Facts,
    loaded: HashMap<&'static str, Result<(), String>>,
    attached: HashMap<(&'static str, At), Result<(), String>>,
}

impl Attacher<'_> {
    /// Whether the way works; what does not is added to `troubles`.
    fn take(&mut self, way: &'static Way, troubles: &mut Vec<String>) -> bool {
        if let Some(lacking) = self.kernel.offsets.lacking(way.needs) {
            troubles.push(lacking);
            return false;
        }
        for hook in way.hooks {
            if let Err(why) = self.hook(hook) {
                if !troubles.contains(&why) {
                    troubles.push(why);
                }
                if hook.essential {
                    return false;
                }
            }
        }
        true
    }

    fn hook(&mut self, hook: &Hook) -> Result<(), String> {
        if let Some(known) = self.attached.get(&(hook.program, hook.at)) {
            return known.clone();
        }
        let result = self.load(hook).and_then(|()| self.attach(hook));
        self.attached.insert((hook.program, hook.at), result.clone());
        result
    }

    fn load(&mut self, hook: &Hook) -> Result<(), String> {
        if let Some(known) = self.loaded.get(hook.program) {
            return known.clone();
        }
        let program = program(self.ebpf, hook.program)?;
        let result = match (program, hook.at) {
            (Program::BtfTracePoint(program), At::BtfTracepoint(name)) => {
                program.load(name, &self.kernel.loader)
            }
            (Program::TracePoint(program), At::SyscallExit(_)) => program.load(),
            (Program::CgroupSockAddr(program), At::RootCgroup) => program.load(),
            _ => return Err(mismatch(hook)),
        };
        let result = result.map_err(|error| {
            self.facts
                .explain(&format!("{} does not load: {}", hook.program, chain(&error)))
        });
        self.loaded.insert(hook.program, result.clone());
        result
    }

    fn attach(&mut self, hook: &Hook) -> Result<(), String> {
        let program = program(self.ebpf, hook.program)?;
        let (result, place) = match (program, hook.at) {
            (Program::BtfTracePoint(program), At::BtfTracepoint(name)) => {
                (program.attach().map(drop), name.to_owned())
            }
            (Program::TracePoint(program), At::SyscallExit(name)) => {
                self.facts.tracefs.clone()?;
                let name = format!("sys_exit_{name}");
                (program.attach("syscalls", &name).map(drop), name)
            }
            (Program::CgroupSockAddr(program), At::RootCgroup) => {
                let path = self.facts.root_cgroup.clone()?;
                let root = File::open(&path).map_err(|error| format!("{}: {error}", path.display()))?;
                (
                    program.attach(root, CgroupAttachMode::Single).map(drop),
                    path.display().to_string(),
                )
            }
            _ => return Err(mismatch(hook)),
        };
        result.map_err(|error| {
            self.facts
                .explain(&format!("{} at {place}: {}", hook.program, chain(&error)))
        })
    }
}

fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Program, String> {
    ebpf.program_mut(name)
        .ok_or_else(|| format!("the built object has no program {name}"))
}

fn mismatch(hook: &Hook) -> String {
    format!(
        "the program {} is not of the kind that {:?} takes",
        hook.program, hook.at
    )
}
