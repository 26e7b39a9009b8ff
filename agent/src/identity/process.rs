//! Processes and their lineage.

use super::cgroups::Hierarchy;
use crate::observation::{Act, Actor, BootTime, CgroupId, Observation, ProcessKey};
use foldhash::{HashMap, HashMapExt as _};
use norma_wire::text::printable;
use std::sync::Arc;
use std::time::Duration;

/// Longest lineage that is kept; what is further away is cut.
const ANCESTORS_MAX: usize = 16;
/// Stands for an executable that lies at the root of a mount which is attached nowhere.
const DETACHED: &str = "<detached>";
/// How long a process is remembered after its end, for observations that arrive late.
const KEEP_DEAD: Duration = Duration::from_secs(30);
/// /proc gives start times in clock ticks of 10 ms; the kernel side gives nanoseconds.
pub(super) const TICK_NS: u64 = 10_000_000;

/// A process as last seen.
#[derive(Clone, Debug)]
pub struct Process {
    /// Which one.
    pub key: ProcessKey,
    /// Its executable; empty where it could not be learned.
    pub exe: Arc<str>,
    /// Its arguments.
    pub argv: Arc<[String]>,
    /// Parent first.
    pub ancestors: Arc<[Ancestor]>,
    /// Taken from /proc: it was there before the agent, or its start was not seen.
    pub from_proc: bool,
    origin: Origin,
}

/// Where a process was when it executed its program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Origin {
    /// Mount namespace, 0 where unknown.
    mnt_ns: u32,
    /// Control group, 0 where unknown.
    cgroup: CgroupId,
}

/// The program that a process ran before an exec.
#[derive(Clone, Debug)]
pub struct Before {
    /// Its executable.
    pub exe: Arc<str>,
    /// It was not the container's own: executed on the host, it came into the container afterwards.
    pub outside: bool,
}

/// A process that started another.
#[derive(Clone, Debug)]
pub struct Ancestor {
    /// Which one.
    pub key: ProcessKey,
    /// The executable that it ran when it did so.
    pub exe: Arc<str>,
    /// Where it ran.
    pub cgroup: CgroupId,
    /// Its program came from outside the container, see [`Before::outside`].
    pub outside: bool,
    origin: Origin,
}

struct Entry {
    process: Arc<Process>,
    cgroup: CgroupId,
    ended: Option<BootTime>,
}

/// A process that /proc lists.
struct Found {
    stat: procfs::process::Stat,
    cgroup: CgroupId,
}

/// Every process of the node.
pub(super) struct Processes {
    by_pid: HashMap<u32, Entry>,
    host_mnt_ns: u32,
    host_pid_ns: u32,
    last_expiry: BootTime,
}

impl Processes {
    /// Takes the processes that exist from /proc.
    pub fn scan(hierarchy: &Hierarchy) -> Self {
        let mut this = Self {
            by_pid: HashMap::new(),
            host_mnt_ns: namespace(1, "mnt"),
            host_pid_ns: namespace(1, "pid"),
            last_expiry: BootTime(0),
        };
        let Ok(all) = procfs::process::all_processes() else {
            return this;
        };
        let members = hierarchy.members();
        let found: HashMap<u32, Found> = all
            .flatten()
            .filter_map(|process| process.stat().ok())
            .filter_map(|stat| {
                let pid = u32::try_from(stat.pid).ok()?;
                let cgroup = members.get(&pid).copied().unwrap_or_default();
                Some((pid, Found { stat, cgroup }))
            })
            .collect();
        for pid in found.keys() {
            this.adopt(*pid, &found, 0);
        }
        this
    }

    /// Executable of a process, where it is known.
    pub fn exe(&self, key: ProcessKey) -> Option<Arc<str>> {
        let entry = self.by_pid.get(&key.pid)?;
        (entry.process.key == key).then(|| Arc::clone(&entry.process.exe))
    }

    /// Takes one process of the scan and, before it, its parents, so that lineage is complete.
    fn adopt(&mut self, pid: u32, found: &HashMap<u32, Found>, depth: usize) {
        let Some(Found { stat, cgroup }) = found.get(&pid) else {
            return;
        };
        if self.by_pid.contains_key(&pid) || depth > 256 {
            return;
        }
        let parent = u32::try_from(stat.ppid).unwrap_or(0);
        if parent != 0 {
            self.adopt(parent, found, depth + 1);
        }
        let key = ProcessKey {
            pid,
            start: BootTime(stat.starttime * TICK_NS),
        };
        let ancestors = self
            .by_pid
            .get(&parent)
            .map_or_else(|| Arc::from([]), |entry| lineage_below(entry, false));
        self.insert(read_proc(key, *cgroup, ancestors), *cgroup);
    }

    /// Notes what the observation says of its actor; gives the actor after the act and, for an exec, the
    /// program before it.
    ///
    /// `is_host` tells whether a control group belongs to the host.
    pub fn update(
        &mut self,
        observation: &Observation,
        is_host: impl Fn(CgroupId) -> bool,
    ) -> (Arc<Process>, Option<Before>) {
        let actor = &observation.actor;
        let process = self.actor(actor);
        match &observation.act {
            Act::Exec(exec) => {
                let before = Before {
                    exe: Arc::clone(&process.exe),
                    outside: self.started_outside(&process, is_host),
                };
                let after = Process {
                    exe: if exec.program.path.bytes.is_empty() {
                        Arc::from(DETACHED)
                    } else {
                        Arc::from(printable(&exec.program.path.bytes))
                    },
                    argv: exec.argv.iter().map(|argument| printable(argument)).collect(),
                    origin: Origin {
                        mnt_ns: actor.namespaces.mnt,
                        cgroup: actor.cgroup,
                    },
                    from_proc: false,
                    ..Process::clone(&process)
                };
                (self.insert(after, actor.cgroup), Some(before))
            }
            Act::Fork(child) => {
                let outside = self.started_outside(&process, is_host);
                let ancestors = self.by_pid.get(&actor.process.pid).map_or_else(
                    || Arc::clone(&process.ancestors),
                    |entry| lineage_below(entry, outside),
                );
                self.insert(
                    Process {
                        key: *child,
                        ancestors,
                        from_proc: false,
                        ..Process::clone(&process)
                    },
                    actor.cgroup,
                );
                (process, None)
            }
            Act::Exit(_) => {
                if let Some(entry) = self.by_pid.get_mut(&actor.process.pid) {
                    entry.ended = Some(observation.at);
                }
                (process, None)
            }
            _ => (process, None),
        }
    }

    /// The process lives in other mount and pid namespaces than the host's.
    pub fn is_namespaced(&self, actor: &Actor) -> bool {
        let differs = |own: u32, host: u32| own != 0 && host != 0 && own != host;
        differs(actor.namespaces.mnt, self.host_mnt_ns) && differs(actor.namespaces.pid, self.host_pid_ns)
    }

    /// The process runs a program that was executed outside of any container and came in afterwards, as
    /// runtimes do: executed in a control group of the host, or in the mount namespace of the host or of
    /// the nearest ancestor on the host. No process of a container can bring this about.
    pub fn started_outside(&self, process: &Process, is_host: impl Fn(CgroupId) -> bool) -> bool {
        let origin = process.origin;
        if origin.cgroup != CgroupId(0) && is_host(origin.cgroup) {
            return true;
        }
        let from_host = process.ancestors.iter().find(|ancestor| is_host(ancestor.cgroup));
        origin.mnt_ns != 0
            && (origin.mnt_ns == self.host_mnt_ns
                || from_host.is_some_and(|ancestor| ancestor.origin.mnt_ns == origin.mnt_ns))
    }

    /// Forgets what ended a while ago.
    pub fn expire(&mut self, now: BootTime) {
        let keep = KEEP_DEAD.as_nanos() as u64;
        if now.0 < self.last_expiry.0 + keep / 4 {
            return;
        }
        self.last_expiry = now;
        self.by_pid
            .retain(|_, entry| entry.ended.is_none_or(|at| now.0 < at.0 + keep));
    }

    /// The actor as known; one whose start was not seen is taken from /proc as far as it is still there.
    fn actor(&mut self, actor: &Actor) -> Arc<Process> {
        if actor.process.pid == 0 {
            return Arc::new(nobody(actor.process));
        }
        if let Some(entry) = self.by_pid.get_mut(&actor.process.pid)
            && same_process(entry.process.as_ref(), actor.process)
        {
            entry.cgroup = actor.cgroup;
            if entry.process.key != actor.process && !is_of_proc(actor.process) {
                entry.process = Arc::new(Process {
                    key: actor.process,
                    ..Process::clone(&entry.process)
                });
            }
            return Arc::clone(&entry.process);
        }
        let ancestors = match self.by_pid.get(&actor.parent.pid) {
            Some(parent) if same_process(&parent.process, actor.parent) => lineage_below(parent, false),
            _ if actor.parent.pid != 0 => {
                let exe = read_exe(actor.parent.pid).unwrap_or_default();
                Arc::from([Ancestor {
                    outside: false,
                    key: actor.parent,
                    exe,
                    cgroup: CgroupId(0),
                    origin: Origin::default(),
                }])
            }
            _ => Arc::from([]),
        };
        self.insert(read_proc(actor.process, actor.cgroup, ancestors), actor.cgroup)
    }

    fn insert(&mut self, process: Process, cgroup: CgroupId) -> Arc<Process> {
        let process = Arc::new(process);
        let entry = Entry {
            process: Arc::clone(&process),
            cgroup,
            ended: None,
        };
        self.by_pid.insert(process.key.pid, entry);
        process
    }
}

/// Stands for the process of what only a socket and its control group are known of.
fn nobody(key: ProcessKey) -> Process {
    Process {
        key,
        exe: Arc::from(""),
        argv: Arc::from([]),
        ancestors: Arc::from([]),
        from_proc: false,
        origin: Origin::default(),
    }
}

/// The ancestors of a child of this process.
fn lineage_below(parent: &Entry, outside: bool) -> Arc<[Ancestor]> {
    let own = Ancestor {
        key: parent.process.key,
        exe: Arc::clone(&parent.process.exe),
        cgroup: parent.cgroup,
        outside,
        origin: parent.process.origin,
    };
    std::iter::once(own)
        .chain(parent.process.ancestors.iter().cloned())
        .take(ANCESTORS_MAX)
        .collect()
}

/// Whether the entry is this process: exactly, or as exactly as /proc can tell.
fn same_process(known: &Process, key: ProcessKey) -> bool {
    known.key == key
        || ((known.from_proc || is_of_proc(key)) && known.key.start.0 / TICK_NS == key.start.0 / TICK_NS)
}

/// The start time is as exact as /proc tells it. The kernel side's has nanoseconds.
fn is_of_proc(key: ProcessKey) -> bool {
    key.start.0.is_multiple_of(TICK_NS)
}

/// A process as /proc tells it. What it cannot tell is taken to be as it is now: its program was executed
/// where the process is.
fn read_proc(key: ProcessKey, cgroup: CgroupId, ancestors: Arc<[Ancestor]>) -> Process {
    let argv = i32::try_from(key.pid)
        .ok()
        .and_then(|pid| procfs::process::Process::new(pid).ok())
        .and_then(|process| process.cmdline().ok())
        .unwrap_or_default();
    Process {
        key,
        exe: read_exe(key.pid).unwrap_or_default(),
        argv: argv
            .iter()
            .map(|argument| printable(argument.as_bytes()))
            .collect(),
        ancestors,
        from_proc: true,
        origin: Origin {
            mnt_ns: namespace(key.pid, "mnt"),
            cgroup,
        },
    }
}

fn read_exe(pid: u32) -> Option<Arc<str>> {
    use std::os::unix::ffi::OsStrExt as _;
    let path = std::fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    let bytes = path.as_os_str().as_bytes();
    Some(Arc::from(printable(
        bytes.strip_suffix(b" (deleted)").unwrap_or(bytes),
    )))
}

/// Inode number of a namespace of a process; 0 where it cannot be read.
pub(super) fn namespace(pid: u32, name: &str) -> u32 {
    std::fs::read_link(format!("/proc/{pid}/ns/{name}"))
        .ok()
        .and_then(|link| namespace_number(&link))
        .unwrap_or(0)
}

/// The number in a link such as `net:[4026531840]`.
pub(super) fn namespace_number(link: &std::path::Path) -> Option<u32> {
    link.to_str()?
        .split_once('[')?
        .1
        .trim_end_matches(']')
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observation::{Exec, Executable, Exit, KernelPath, Namespaces};

    const HOST: CgroupId = CgroupId(1);
    const CONTAINER: CgroupId = CgroupId(7);

    fn table() -> Processes {
        Processes {
            by_pid: HashMap::new(),
            host_mnt_ns: 1,
            host_pid_ns: 2,
            last_expiry: BootTime(0),
        }
    }

    fn update(table: &mut Processes, observation: &Observation) -> (Arc<Process>, Option<Before>) {
        table.update(observation, |cgroup| cgroup == HOST)
    }

    fn key(pid: u32, start: u64) -> ProcessKey {
        ProcessKey {
            pid,
            start: BootTime(start),
        }
    }

    fn observe(process: ProcessKey, parent: ProcessKey, cgroup: CgroupId, mnt: u32, act: Act) -> Observation {
        Observation {
            cpu: 0,
            seq: 1,
            at: BootTime(1_000_000_000),
            actor: Actor {
                process,
                parent,
                tid: process.pid,
                uid: 0,
                gid: 0,
                euid: 0,
                cgroup,
                namespaces: Namespaces {
                    mnt,
                    pid: 9,
                    net: 0,
                    user: 0,
                },
                comm: b"x".iter().copied().collect(),
            },
            act,
        }
    }

    fn exec(path: &str) -> Act {
        Act::Exec(Exec {
            program: Executable {
                path: KernelPath {
                    bytes: path.into(),
                    ..KernelPath::default()
                },
                ..Executable::default()
            },
            argv: vec![path.into()],
            ..Exec::default()
        })
    }

    // Pids far above any pid_max, so that /proc says nothing about them.
    const A: u32 = 4_000_000_001;
    const B: u32 = 4_000_000_002;

    #[test]
    fn a_forked_child_inherits_and_an_exec_names_what_ran_before() {
        let mut table = table();
        let nobody = key(0, 0);
        update(
            &mut table,
            &observe(key(A, 5), nobody, CONTAINER, 3, exec("/bin/bash")),
        );
        update(
            &mut table,
            &observe(key(A, 5), nobody, CONTAINER, 3, Act::Fork(key(B, 6))),
        );
        let (process, before) = update(
            &mut table,
            &observe(key(B, 6), key(A, 5), CONTAINER, 3, exec("/bin/cat")),
        );
        assert_eq!(before.as_ref().map(|before| &*before.exe), Some("/bin/bash"));
        assert_eq!(&*process.exe, "/bin/cat");
        assert_eq!(
            process.ancestors.iter().map(|a| &*a.exe).collect::<Vec<_>>(),
            ["/bin/bash"]
        );
    }

    #[test]
    fn a_reused_pid_is_another_process() {
        let mut table = table();
        update(
            &mut table,
            &observe(key(A, 5), key(0, 0), CONTAINER, 3, exec("/bin/bash")),
        );
        let later = observe(
            key(A, 900_000_000),
            key(0, 0),
            CONTAINER,
            3,
            Act::Exit(Exit::default()),
        );
        assert_eq!(&*update(&mut table, &later).0.exe, "");
    }

    #[test]
    fn a_program_executed_on_the_host_is_from_outside_until_it_executes_another() {
        for (cgroup, mnt) in [(HOST, 5), (CONTAINER, 1)] {
            let mut table = table();
            let (runtime, _) = update(
                &mut table,
                &observe(key(A, 5), key(0, 0), cgroup, mnt, exec("/usr/sbin/runc")),
            );
            assert!(table.started_outside(&runtime, |cgroup| cgroup == HOST));
            let (program, _) = update(
                &mut table,
                &observe(key(A, 5), key(0, 0), CONTAINER, 3, exec("/bin/bash")),
            );
            assert!(!table.started_outside(&program, |cgroup| cgroup == HOST));
        }
    }

    #[test]
    fn a_runtime_in_a_namespace_of_its_own_is_told_by_its_ancestor_on_the_host() {
        let mut table = table();
        let is_host = |cgroup| cgroup == HOST;
        update(
            &mut table,
            &observe(key(A, 5), key(0, 0), HOST, 9, exec("/usr/sbin/runc")),
        );
        update(
            &mut table,
            &observe(key(A, 5), key(0, 0), HOST, 9, Act::Fork(key(B, 6))),
        );
        let (again, _) = update(
            &mut table,
            &observe(key(B, 6), key(A, 5), CONTAINER, 9, exec("/runc")),
        );
        assert!(table.started_outside(&again, is_host));
        let (unshared, _) = update(
            &mut table,
            &observe(key(B, 6), key(A, 5), CONTAINER, 4, exec("/bin/sh")),
        );
        assert!(
            !table.started_outside(&unshared, is_host),
            "a namespace that a container made is its own"
        );
    }
}
