//! Loads and attaches what the table lists.

use super::btf::Kernel;
use super::coverage::{Tier, chain};
use super::facts::Facts;
use super::passed::Watched;
use super::table::{self, At, Capability, Hook, Turn, Way};
use super::tiers::Tiers;
use super::wanted::Wanted;
use aya::Ebpf;
use aya::programs::{CgroupAttachMode, CgroupSkbAttachType, Program, ProgramError};
use std::collections::HashMap;
use std::fs::File;

/// What came of one capability.
pub struct Outcome {
    /// Which one.
    pub capability: &'static Capability,
    /// Somebody needs it.
    pub wanted: bool,
    /// The way that works.
    pub way: Option<&'static Way>,
    /// What is missing of that way.
    pub missing: Vec<String>,
    /// Better ways, each with what went wrong.
    pub passed_over: Vec<(Tier, String)>,
}

/// What holds a program where it is attached; dropping it detaches it.
pub type Link = Box<dyn Send>;

/// What came of all.
pub struct Attached {
    /// Of each capability.
    pub outcomes: Vec<Outcome>,
    /// Of all that is attached.
    pub links: Vec<Link>,
    /// Programs that the kernel's verifier refused, with the end of what it said.
    pub refused: Vec<String>,
    /// Programs that the kernel may pass over.
    pub watched: Vec<Watched>,
}

/// Tries the ways of each wanted capability, best first, until one works.
pub fn attach_all(ebpf: &mut Ebpf, kernel: &Kernel, facts: &Facts, wanted: &Wanted) -> Attached {
    let tiers = Tiers::try_out(ebpf, kernel, facts);
    let mut attacher = Attacher {
        ebpf,
        kernel,
        facts,
        tiers,
        loaded: HashMap::new(),
        attached: HashMap::new(),
        links: Vec::new(),
        refused: Vec::new(),
        watched: HashMap::new(),
    };
    let outcomes = table::capabilities()
        .map(|capability| {
            let mut outcome = Outcome {
                capability,
                wanted: wanted.includes(capability.name),
                way: None,
                missing: Vec::new(),
                passed_over: Vec::new(),
            };
            if outcome.wanted {
                for way in capability.ways {
                    match attacher.take(way) {
                        Ok(missing) => {
                            attacher.watch(way, capability.kinds);
                            outcome.way = Some(way);
                            outcome.missing = missing;
                            break;
                        }
                        Err(why) => outcome.passed_over.push((way.tier, why)),
                    }
                }
            }
            outcome
        })
        .collect();
    Attached {
        outcomes,
        links: attacher.links,
        refused: attacher.refused,
        watched: attacher.watched.into_values().collect(),
    }
}

/// Most threads that detach.
const DETACHING_MAX: usize = 64;

/// Detaches everything. For each link the kernel waits until no processor runs the program any more, some 50 ms, in which
/// the others can be waited for as well; only classic tracepoints are waited for one after the other, under a lock of the
/// kernel. For as long as it takes, nobody watches.
pub fn detach(mut links: Vec<Link>) {
    let each = links.len().div_ceil(DETACHING_MAX).max(1);
    std::thread::scope(|scope| {
        while !links.is_empty() {
            let some = links.split_off(links.len().saturating_sub(each));
            let thread = std::thread::Builder::new().name("detach".to_owned());
            if let Err(error) = thread.spawn_scoped(scope, move || drop(some)) {
                tracing::debug!(%error, "no thread to detach with; one after the other");
            }
        }
    });
}

/// Programs and hooks serve several capabilities, so what was done once is remembered.
struct Attacher<'a> {
    ebpf: &'a mut Ebpf,
    kernel: &'a Kernel,
    facts: &'a Facts,
    tiers: Tiers,
    loaded: HashMap<&'static str, Result<(), String>>,
    attached: HashMap<(&'static str, At), Result<(), String>>,
    links: Vec<Link>,
    refused: Vec<String>,
    watched: HashMap<&'static str, Watched>,
}

/// Attaches a program and takes the link out of it.
macro_rules! linked {
    ($program:ident.$attach:ident($($argument:expr),*)) => {
        $program
            .$attach($($argument),*)
            .and_then(|id| $program.take_link(id))
            .map(|link| Box::new(link) as Link)
    };
}

impl Attacher<'_> {
    /// Attaches a way; what it lacks that it can do without, or why it is no way here.
    fn take(&mut self, way: &'static Way) -> Result<Vec<String>, String> {
        if let Some(why) = self.tiers.refusal(way.tier) {
            return Err(why.to_owned());
        }
        if let Some(lacking) = self.kernel.offsets.lacking(way.needs) {
            return Err(lacking);
        }
        // All are loaded before any is attached, so that a way that fails leaves nothing behind.
        for hook in way.hooks.iter().filter(|hook| hook.essential) {
            self.load(hook)?;
        }
        let mut missing = Vec::new();
        for hook in way.hooks {
            if let Err(why) = self.hook(hook) {
                if hook.essential {
                    return Err(why);
                }
                if !missing.contains(&why) {
                    missing.push(why);
                }
            }
        }
        Ok(missing)
    }

    /// Notes what the programs of a way report, of those that the kernel may pass over.
    fn watch(&mut self, way: &'static Way, kinds: &[u16]) {
        for hook in way.hooks {
            if self.has_no_place(hook).is_some() || !self.may_be_passed_over(hook) {
                continue;
            }
            if !self.watched.contains_key(hook.program) {
                let watched = program(self.ebpf, hook.program)
                    .and_then(|program| program.fd().map_err(|error| chain(&error)))
                    .and_then(|program| Watched::new(program, hook.turn).map_err(|error| error.to_string()));
                match watched {
                    Ok(watched) => self.watched.insert(hook.program, watched),
                    Err(why) => {
                        tracing::debug!(
                            program = hook.program,
                            why,
                            "what is passed over of it is not counted"
                        );
                        continue;
                    }
                };
            }
            if let Some(watched) = self.watched.get_mut(hook.program) {
                watched.reports(kinds);
            }
        }
    }

    /// Programs of other kinds run with preemption off, or as often as they are wanted, and so do those of BPF-LSM since 6.2
    /// (which had the cast first). What a stand-in misses does not tell whether the first has done it.
    fn may_be_passed_over(&self, hook: &Hook) -> bool {
        let is_kind = match hook.at {
            At::Lsm(_) => self.kernel.cast().is_none(),
            At::Fentry(_) | At::Fexit(_) | At::BtfTracepoint(_) => true,
            _ => false,
        };
        is_kind
            && hook.turn != Turn::StandIn
            && matches!(self.attached.get(&(hook.program, hook.at)), Some(Ok(())))
    }

    fn hook(&mut self, hook: &Hook) -> Result<(), String> {
        if let Some(known) = self.attached.get(&(hook.program, hook.at)) {
            return known.clone();
        }
        let result = self.load(hook).and_then(|()| self.attach(hook));
        self.attached.insert((hook.program, hook.at), result.clone());
        result
    }

    /// Whether the kernel lacks a system call. Each that there is has its tracepoints.
    fn lacks(&self, syscall: &str) -> Result<(), String> {
        let tracefs = self.facts.tracefs.clone()?;
        if tracefs.join("events/syscalls/sys_exit_read").exists()
            && !tracefs
                .join(format!("events/syscalls/sys_exit_{syscall}"))
                .exists()
        {
            Ok(())
        } else {
            Err(format!("this kernel has the system call {syscall}"))
        }
    }

    /// Whether a hook is good as it is, where there is nothing for it to be attached to.
    fn has_no_place(&self, hook: &Hook) -> Option<Result<(), String>> {
        match hook.at {
            At::NoSyscall(name) => Some(self.lacks(name)),
            At::Fexit(function) if self.kernel.is_of_missing_interface(function) => Some(Ok(())),
            _ => None,
        }
    }

    fn load(&mut self, hook: &Hook) -> Result<(), String> {
        if let Some(result) = self.has_no_place(hook) {
            return result;
        }
        if let Some(known) = self.loaded.get(hook.program) {
            return known.clone();
        }
        // Ways of other tiers may have such hooks beside their own.
        if matches!(hook.at, At::Fentry(_) | At::Fexit(_))
            && let Some(why) = self.tiers.refusal(Tier::Fentry)
        {
            return Err(why.to_owned());
        }
        let program = program(self.ebpf, hook.program)?;
        let result = match (program, hook.at) {
            (Program::BtfTracePoint(program), At::BtfTracepoint(name)) => {
                program.load(name, &self.kernel.loader)
            }
            (Program::Lsm(program), At::Lsm(hook)) => program.load(hook, &self.kernel.loader),
            (Program::FEntry(program), At::Fentry(function)) => program.load(function, &self.kernel.loader),
            (Program::FExit(program), At::Fexit(function)) => program.load(function, &self.kernel.loader),
            (Program::TracePoint(program), At::SyscallExit(_)) => program.load(),
            (Program::CgroupSockAddr(program), At::RootCgroup) => program.load(),
            (Program::CgroupSock(program), At::RootCgroup) => program.load(),
            (Program::CgroupSysctl(program), At::RootCgroup) => program.load(),
            (Program::CgroupDevice(program), At::RootCgroup) => program.load(),
            (Program::SockOps(program), At::RootCgroup) => program.load(),
            (Program::CgroupSkb(program), At::RootCgroupIngress | At::RootCgroupEgress) => program.load(),
            _ => return Err(mismatch(hook)),
        };
        let result = result.map_err(|error| {
            // The report has the end of it alone.
            tracing::debug!(program = hook.program, "the kernel's answer to loading: {error}");
            let why = self
                .facts
                .explain(&format!("{} does not load: {}", hook.program, chain(&error)));
            // What is not permitted is not permitted in any form.
            if let ProgramError::LoadError { io_error, .. } = &error
                && io_error.raw_os_error() != Some(rustix::io::Errno::PERM.raw_os_error())
            {
                self.refused.push(why.clone());
            }
            why
        });
        self.loaded.insert(hook.program, result.clone());
        result
    }

    fn attach(&mut self, hook: &Hook) -> Result<(), String> {
        if let Some(result) = self.has_no_place(hook) {
            return result;
        }
        let program = program(self.ebpf, hook.program)?;
        let (result, place) = match (program, hook.at) {
            (Program::BtfTracePoint(program), At::BtfTracepoint(name)) => {
                (linked!(program.attach()), name.to_owned())
            }
            (Program::TracePoint(program), At::SyscallExit(name)) => {
                self.facts.tracefs.clone()?;
                let name = format!("sys_exit_{name}");
                (linked!(program.attach("syscalls", &name)), name)
            }
            (Program::Lsm(program), At::Lsm(name)) => (linked!(program.attach()), name.to_owned()),
            (Program::FEntry(program), At::Fentry(name)) => (linked!(program.attach()), name.to_owned()),
            (Program::FExit(program), At::Fexit(name)) => (linked!(program.attach()), name.to_owned()),
            (program, At::RootCgroup | At::RootCgroupIngress | At::RootCgroupEgress) => {
                let path = self.facts.root_cgroup.clone()?;
                let root = File::open(&path).map_err(|error| format!("{}: {error}", path.display()))?;
                // Links of this mode exist beside those of others.
                let mode = CgroupAttachMode::Single;
                let result = match (program, hook.at) {
                    (Program::CgroupSockAddr(program), At::RootCgroup) => {
                        linked!(program.attach(root, mode))
                    }
                    (Program::CgroupSock(program), At::RootCgroup) => linked!(program.attach(root, mode)),
                    (Program::CgroupSysctl(program), At::RootCgroup) => linked!(program.attach(root, mode)),
                    (Program::CgroupDevice(program), At::RootCgroup) => linked!(program.attach(root, mode)),
                    (Program::SockOps(program), At::RootCgroup) => linked!(program.attach(root, mode)),
                    (Program::CgroupSkb(program), At::RootCgroupIngress) => {
                        linked!(program.attach(root, CgroupSkbAttachType::Ingress, mode))
                    }
                    (Program::CgroupSkb(program), At::RootCgroupEgress) => {
                        linked!(program.attach(root, CgroupSkbAttachType::Egress, mode))
                    }
                    _ => return Err(mismatch(hook)),
                };
                (result, path.display().to_string())
            }
            _ => return Err(mismatch(hook)),
        };
        let link = result.map_err(|error| {
            self.facts
                .explain(&format!("{} at {place}: {}", hook.program, chain(&error)))
        })?;
        self.links.push(link);
        Ok(())
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
