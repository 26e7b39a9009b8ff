//! Processes and their lineage.

pub(super) mod proc;
#[cfg(test)]
mod tests;

use super::doubt::Corrected;
use super::system::{Listed, Program, Programs, System};
use crate::observation::{self, Act, Actor, BootTime, CgroupId, Observation, ProcessKey};
use foldhash::{HashMap, HashMapExt as _, HashSet};
use norma_wire::text::printable;
use std::sync::Arc;
use std::time::Duration;

/// Longest lineage that is kept; what is further away is cut.
const ANCESTORS_MAX: usize = 16;
/// Stands for an executable that lies at the root of a mount which is attached nowhere.
const DETACHED: &str = "<detached>";
/// How long a process is remembered after its end, for observations that arrive late.
const KEEP_DEAD: Duration = Duration::from_secs(30);
/// Of a program whose start was not seen.
const NOT_SEEN: observation::Origin = observation::Origin::Unknown("its start was not seen");
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
    /// Whose doing it is.
    pub session: Session,
    /// Where its program comes from, in a container.
    pub program: observation::Origin,
    origin: Origin,
}

impl Process {
    /// One of which no more is known.
    #[cfg(test)]
    pub(crate) fn for_tests(key: ProcessKey, exe: &str, session: Session) -> Self {
        Self {
            exe: Arc::from(exe),
            session,
            ..nobody(key)
        }
    }

    /// The same process as another's doing.
    pub(super) fn in_session(&self, session: Session) -> Self {
        Self {
            session,
            ..self.clone()
        }
    }
}

/// Whose doing a process of a container is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Session {
    /// The container's own: its first process, or something that this started.
    #[default]
    Own,
    /// It, or what it descends from, was started by the runtime in the container when that ran already, as for
    /// `kubectl exec`.
    Exec,
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

impl Ancestor {
    /// One of which no more is known.
    #[cfg(test)]
    pub(crate) fn for_tests(key: ProcessKey, exe: &str) -> Self {
        Self {
            key,
            exe: Arc::from(exe),
            cgroup: CgroupId(0),
            outside: false,
            origin: Origin::default(),
        }
    }
}

struct Entry {
    process: Arc<Process>,
    cgroup: CgroupId,
    /// When it was last told which program it runs.
    told: BootTime,
    ended: Option<BootTime>,
}

/// Every process of the node.
pub(super) struct Processes {
    system: Arc<dyn System>,
    by_pid: HashMap<u32, Entry>,
    /// First process of a control group that came into it from outside.
    inits: HashMap<CgroupId, ProcessKey>,
    host_mnt_ns: u32,
    host_pid_ns: u32,
    last_expiry: BootTime,
}

impl Processes {
    /// Takes the processes that exist.
    pub fn scan(system: Arc<dyn System>) -> Self {
        let first = system.process(1);
        let found: HashMap<u32, Listed> = system
            .processes()
            .into_iter()
            .map(|listed| (listed.pid, listed))
            .collect();
        let mut this = Self {
            system,
            by_pid: HashMap::new(),
            inits: HashMap::new(),
            host_mnt_ns: first.mnt_ns,
            host_pid_ns: first.pid_ns,
            last_expiry: BootTime(0),
        };
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
    fn adopt(&mut self, pid: u32, found: &HashMap<u32, Listed>, depth: usize) {
        let Some(listed) = found.get(&pid) else {
            return;
        };
        if self.by_pid.contains_key(&pid) || depth > 256 {
            return;
        }
        let parent = listed.parent;
        if parent != 0 {
            self.adopt(parent, found, depth + 1);
        }
        let key = ProcessKey {
            pid,
            start: BootTime(listed.start_ticks.saturating_mul(TICK_NS)),
        };
        let ancestors = self
            .by_pid
            .get(&parent)
            .map_or_else(|| Arc::from([]), |entry| lineage_below(entry, false));
        let told = self.system.now();
        let process = self.as_proc_tells(key, listed.cgroup, ancestors);
        self.insert(process, listed.cgroup, told);
    }

    /// Notes what the observation says of its actor; gives the actor after the act and, for an exec, the
    /// program before it.
    ///
    /// `is_host` tells whether a control group belongs to the host, `init_of` which process is the first of the
    /// container of a control group, where a runtime has told.
    pub fn update(
        &mut self,
        observation: &Observation,
        is_host: impl Fn(CgroupId) -> bool,
        init_of: impl Fn(CgroupId) -> Option<u32>,
    ) -> (Arc<Process>, Option<Before>) {
        let actor = &observation.actor;
        let process = self.actor(actor);
        match &observation.act {
            Act::Exec(exec) => {
                let before = Before {
                    exe: Arc::clone(&process.exe),
                    outside: self.started_outside(&process, &is_host),
                };
                let mut after = Process {
                    exe: if exec.program.path.bytes.is_empty() {
                        Arc::from(DETACHED)
                    } else {
                        Arc::from(printable(&exec.program.path.bytes))
                    },
                    argv: exec.argv.iter().map(|argument| printable(argument)).collect(),
                    program: exec.origin(),
                    origin: Origin {
                        mnt_ns: actor.namespaces.mnt,
                        cgroup: actor.cgroup,
                    },
                    from_proc: false,
                    ..Process::clone(&process)
                };
                if before.outside && !is_host(actor.cgroup) && !self.started_outside(&after, &is_host) {
                    after.session = self.arrival(actor.cgroup, after.key, init_of(actor.cgroup));
                }
                (self.insert(after, actor.cgroup, observation.at), Some(before))
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
                    observation.at,
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

    /// What comes into a container from outside is its first process or, when it has one, somebody's session.
    fn arrival(&mut self, cgroup: CgroupId, key: ProcessKey, init: Option<u32>) -> Session {
        let first = *self.inits.entry(cgroup).or_insert(key);
        if init.unwrap_or(first.pid) == key.pid {
            Session::Own
        } else {
            Session::Exec
        }
    }

    /// Tells sessions from what containers started themselves among the processes that were there before the
    /// agent, as far as /proc can tell: what came in from outside is the first process of its control group or
    /// was sent in later.
    ///
    /// A process whose parent ended is given to the first process of its pid namespace, so that only what came in
    /// is a child of the host. Where a container shares the host's, that is not so, and nothing is said.
    pub fn find_sessions(&mut self, is_host: impl Fn(CgroupId) -> bool) {
        let mut roots: HashMap<u32, ProcessKey> = HashMap::new();
        for entry in self.by_pid.values() {
            if entry.cgroup == CgroupId(0) || is_host(entry.cgroup) {
                continue;
            }
            let ancestors = &entry.process.ancestors;
            let inside = ancestors
                .iter()
                .take_while(|ancestor| !is_host(ancestor.cgroup))
                .count();
            // Of a chain that was cut the beginning is not known.
            if inside < ancestors.len() {
                let root = inside
                    .checked_sub(1)
                    .and_then(|last| ancestors.get(last))
                    .map_or(entry.process.key, |ancestor| ancestor.key);
                roots.insert(entry.process.key.pid, root);
            }
        }
        for root in roots.values() {
            let Some(cgroup) = self.by_pid.get(&root.pid).map(|entry| entry.cgroup) else {
                continue;
            };
            let first = self.inits.entry(cgroup).or_insert(*root);
            if (root.start, root.pid) < (first.start, first.pid) {
                *first = *root;
            }
        }
        let sent_in = |root: &ProcessKey| {
            let cgroup = self.by_pid.get(&root.pid).map(|entry| entry.cgroup);
            cgroup
                .and_then(|cgroup| self.inits.get(&cgroup))
                .is_some_and(|first| first != root)
                && !matches!(self.system.process(root.pid).pid_ns, 0)
                && self.system.process(root.pid).pid_ns != self.host_pid_ns
        };
        let sessions: Vec<u32> = roots
            .iter()
            .filter(|(_, root)| sent_in(root))
            .map(|(pid, _)| *pid)
            .collect();
        for pid in sessions {
            self.set_session(pid, Session::Exec);
        }
    }

    /// The runtime told which process is the first of a control group. Where another was taken for it (a hook
    /// that the runtime ran there before), what descends from the true one is the container's own.
    pub fn confirm_init(&mut self, cgroup: CgroupId, pid: u32) {
        let Some(first) = self.inits.get(&cgroup) else {
            return;
        };
        if pid == 0 || first.pid == pid {
            return;
        }
        if let Some(key) = self.by_pid.get(&pid).map(|entry| entry.process.key) {
            self.inits.insert(cgroup, key);
        }
        let own: Vec<u32> = self
            .by_pid
            .values()
            .filter(|entry| entry.process.session == Session::Exec && descends_from(&entry.process, pid))
            .map(|entry| entry.process.key.pid)
            .collect();
        for pid in own {
            self.set_session(pid, Session::Own);
        }
    }

    /// Forgets the first process of a control group that is gone.
    pub fn forget_cgroup(&mut self, cgroup: CgroupId) {
        self.inits.remove(&cgroup);
    }

    fn set_session(&mut self, pid: u32, session: Session) {
        if let Some(entry) = self.by_pid.get_mut(&pid) {
            entry.process = Arc::new(entry.process.in_session(session));
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

    /// Processes that are in these control groups, as far as is known; in any, where `CgroupId(0)` is among them.
    pub fn living_in(&self, groups: &[CgroupId]) -> Vec<u32> {
        let everybody = groups.contains(&CgroupId(0));
        let living = self.by_pid.iter().filter(|(_, entry)| entry.ended.is_none());
        living
            .filter(|(_, entry)| everybody || groups.contains(&entry.cgroup))
            .map(|(pid, _)| *pid)
            .collect()
    }

    /// Those of `asked` that were not there any more have ended, unless they began since.
    pub fn missed(&mut self, asked: &[u32], programs: &Programs) {
        let there: HashSet<u32> = programs.all.iter().map(|program| program.pid).collect();
        for pid in asked.iter().filter(|pid| !there.contains(pid)) {
            if let Some(entry) = self.by_pid.get_mut(pid)
                && entry.told < programs.from
            {
                entry.ended.get_or_insert(programs.until);
            }
        }
    }

    /// Takes over which program a process runs, where that is another than was told before it was read.
    pub fn correct(&mut self, program: &Program) -> Option<Corrected> {
        let seen = &program.seen;
        let entry = self.by_pid.get_mut(&program.pid)?;
        let known = &entry.process;
        let is_it = entry.ended.is_none() && known.key.start.0 / TICK_NS == program.start_ticks;
        // Of a process that is ending, and of one of the kernel's own, /proc tells none.
        if !is_it || entry.told >= program.at || seen.exe.is_empty() {
            return None;
        }
        let runs_another = is_comparable(&known.exe) && *known.exe != *seen.exe;
        // Programs write what they like over their arguments, so these alone say that it may be another.
        if !runs_another && (seen.argv.is_empty() || seen.argv.starts_with(&known.argv)) {
            return None;
        }
        let mut process = Process {
            argv: Arc::from(seen.argv.as_slice()),
            from_proc: true,
            ..Process::clone(known)
        };
        if runs_another {
            process.exe = Arc::from(seen.exe.as_str());
            process.program = NOT_SEEN;
            process.origin = Origin {
                mnt_ns: seen.mnt_ns,
                cgroup: if program.cgroup == CgroupId(0) {
                    entry.cgroup
                } else {
                    program.cgroup
                },
            };
        }
        let corrected = Corrected {
            process: Arc::new(process),
            told: entry.told,
            cgroup: entry.cgroup,
        };
        entry.process = Arc::clone(&corrected.process);
        entry.told = program.at;
        Some(corrected)
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
        let mut session = Session::Own;
        let ancestors = match self.by_pid.get(&actor.parent.pid) {
            Some(parent) if same_process(&parent.process, actor.parent) => {
                session = parent.process.session;
                lineage_below(parent, false)
            }
            _ if actor.parent.pid != 0 => {
                let exe = Arc::from(self.system.process(actor.parent.pid).exe);
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
        let told = self.system.now();
        let process = Process {
            session,
            ..self.as_proc_tells(actor.process, actor.cgroup, ancestors)
        };
        self.insert(process, actor.cgroup, told)
    }

    /// A process as /proc tells it. What it cannot tell is taken to be as it is now: its program was executed
    /// where the process is.
    fn as_proc_tells(&self, key: ProcessKey, cgroup: CgroupId, ancestors: Arc<[Ancestor]>) -> Process {
        let seen = self.system.process(key.pid);
        Process {
            key,
            exe: Arc::from(seen.exe),
            argv: Arc::from(seen.argv),
            ancestors,
            from_proc: true,
            session: Session::Own,
            program: NOT_SEEN,
            origin: Origin {
                mnt_ns: seen.mnt_ns,
                cgroup,
            },
        }
    }

    fn insert(&mut self, process: Process, cgroup: CgroupId, told: BootTime) -> Arc<Process> {
        let process = Arc::new(process);
        let entry = Entry {
            process: Arc::clone(&process),
            cgroup,
            told,
            ended: None,
        };
        self.by_pid.insert(process.key.pid, entry);
        process
    }
}

/// What lies in no directory is called otherwise by /proc.
fn is_comparable(exe: &str) -> bool {
    exe.is_empty() || exe.starts_with('/')
}

/// Stands for the process of what only a socket and its control group are known of.
fn nobody(key: ProcessKey) -> Process {
    Process {
        key,
        exe: Arc::from(""),
        argv: Arc::from([]),
        ancestors: Arc::from([]),
        from_proc: false,
        session: Session::Own,
        program: NOT_SEEN,
        origin: Origin::default(),
    }
}

/// The process with this id, or one that it started.
pub(super) fn descends_from(process: &Process, pid: u32) -> bool {
    process.key.pid == pid || process.ancestors.iter().any(|ancestor| ancestor.key.pid == pid)
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
