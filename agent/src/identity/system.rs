//! What identity asks of the running system, beside the records of the ring.
//!
//! [`Running`] asks it: /proc, the tree of control groups, the state of OCI runtimes, the container runtime. A
//! trace has what was asked and answered, so that a replay of it needs no such system ([`crate::trace`]).

use super::cgroups::Hierarchy;
use super::cri::Snapshot;
use super::engine::Places;
use super::oci::Roots;
use super::tellers::Tellers;
use super::{process, sockets};
use crate::clock::boot_now;
use crate::observation::{BootTime, CgroupId, Observation};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

pub use super::oci::RuntimeState;

/// The system of a node. Nothing here fails: what cannot be told is left out.
pub trait System: Send + Sync {
    /// What time it is.
    fn now(&self) -> BootTime;

    /// The processes that there are.
    fn processes(&self) -> Vec<Listed>;

    /// A process, as far as it is there.
    fn process(&self, pid: u32) -> Seen;

    /// What the processes in doubt run; `None` where that cannot be told now.
    fn programs(&self, of: &Doubted) -> Option<Programs>;

    /// The control groups that there are, with their paths from the root of the hierarchy.
    fn cgroups(&self) -> Vec<(CgroupId, Vec<u8>)>;

    /// All control groups, to tell which are gone; `None` where that cannot be told now.
    fn tree(&self) -> Option<Tree>;

    /// What OCI runtimes say of the container with this id.
    fn container(&self, id: &str) -> Option<RuntimeState>;

    /// What they say of the container whose control group has this path.
    fn container_at(&self, path: &str) -> Option<RuntimeState>;

    /// The sockets that there are, as if they were observed now.
    fn sockets(&self) -> Vec<Observation>;

    /// What the container runtime tells, where that was not given before.
    fn news(&self) -> Option<Arc<Snapshot>>;

    /// Has the container runtime asked at once.
    fn poke(&self);
}

/// Processes of which it is not certain what they run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doubted {
    /// Those in these control groups; in all, where `CgroupId(0)` is among them.
    pub groups: Vec<CgroupId>,
    /// And these.
    pub pids: Vec<u32>,
}

/// What processes run, as it was read between two moments. Those that were gone by then are not in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Programs {
    /// When the reading began.
    pub from: BootTime,
    /// When it was over.
    pub until: BootTime,
    /// By process.
    pub all: Vec<Program>,
}

/// What one process runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Its id.
    pub pid: u32,
    /// When it started, in clock ticks since the boot.
    pub start_ticks: u64,
    /// Its control group, 0 where it is in none that was asked for.
    pub cgroup: CgroupId,
    /// It was read after this.
    pub at: BootTime,
    /// What /proc tells.
    pub seen: Seen,
}

/// All control groups of a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    /// What was there before and is not in it is gone.
    pub at: BootTime,
    /// Ids and paths from the root of the hierarchy, parents before children.
    pub groups: Vec<(CgroupId, Vec<u8>)>,
}

/// A process of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Its id.
    pub pid: u32,
    /// Its parent's.
    pub parent: u32,
    /// When it started, in clock ticks since the boot.
    pub start_ticks: u64,
    /// Its control group.
    pub cgroup: CgroupId,
}

/// What /proc tells of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Its executable, empty where that cannot be read.
    pub exe: String,
    /// Its arguments.
    pub argv: Vec<String>,
    /// Inode number of its mount namespace, 0 where it cannot be read.
    pub mnt_ns: u32,
    /// Of its pid namespace.
    pub pid_ns: u32,
}

/// The system that this program runs on.
pub struct Running {
    hierarchy: Hierarchy,
    roots: Roots,
    tellers: Mutex<Tellers>,
}

impl Running {
    /// With its control groups there, further directories of state of OCI runtimes, and engines in those places.
    pub fn new(hierarchy: Hierarchy, runtime_roots: &[PathBuf], places: &Places, tellers: Tellers) -> Self {
        Self {
            hierarchy,
            roots: Roots::new(runtime_roots, places),
            tellers: Mutex::new(tellers),
        }
    }
}

impl Running {
    /// The control groups that can be read, and whether these are all.
    fn groups(&self) -> (Vec<(CgroupId, Vec<u8>)>, io::Result<()>) {
        let mut all = Vec::new();
        let read = self.hierarchy.visit(&mut |directory, id| {
            let path = directory.strip_prefix(&self.hierarchy.0).unwrap_or(directory);
            all.push((id, path.as_os_str().as_bytes().to_vec()));
        });
        (all, read)
    }
}

impl System for Running {
    fn now(&self) -> BootTime {
        boot_now()
    }

    fn processes(&self) -> Vec<Listed> {
        let Ok(all) = procfs::process::all_processes() else {
            return Vec::new();
        };
        let members = self.hierarchy.members();
        all.flatten()
            .filter_map(|process| process.stat().ok())
            .filter_map(|stat| {
                let pid = u32::try_from(stat.pid).ok()?;
                Some(Listed {
                    pid,
                    parent: u32::try_from(stat.ppid).unwrap_or(0),
                    start_ticks: stat.starttime,
                    cgroup: members.get(&pid).copied().unwrap_or_default(),
                })
            })
            .collect()
    }

    fn process(&self, pid: u32) -> Seen {
        process::proc::read(pid)
    }

    fn programs(&self, of: &Doubted) -> Option<Programs> {
        let from = boot_now();
        let is_asked = |group: &CgroupId| of.groups.contains(group) || of.groups.contains(&CgroupId(0));
        let mut pids: BTreeMap<u32, CgroupId> = of.pids.iter().map(|pid| (*pid, CgroupId(0))).collect();
        pids.extend(
            self.hierarchy
                .members()
                .into_iter()
                .filter(|(_, group)| is_asked(group)),
        );
        let all = pids
            .into_iter()
            .filter_map(|(pid, cgroup)| {
                let at = boot_now();
                let (start_ticks, seen) = process::proc::read_whole(pid)?;
                Some(Program {
                    pid,
                    start_ticks,
                    cgroup,
                    at,
                    seen,
                })
            })
            .collect();
        let until = boot_now();
        Some(Programs { from, until, all })
    }

    fn cgroups(&self) -> Vec<(CgroupId, Vec<u8>)> {
        self.groups().0
    }

    fn tree(&self) -> Option<Tree> {
        let at = boot_now();
        let (groups, read) = self.groups();
        match read {
            Ok(()) => Some(Tree { at, groups }),
            Err(error) => {
                tracing::warn!(%error, "the control groups cannot be read; which are gone is looked for again later");
                None
            }
        }
    }

    fn container(&self, id: &str) -> Option<RuntimeState> {
        self.roots.by_id(id)
    }

    fn container_at(&self, path: &str) -> Option<RuntimeState> {
        self.roots.by_cgroup_path(path)
    }

    fn sockets(&self) -> Vec<Observation> {
        sockets::take(&self.hierarchy)
    }

    fn news(&self) -> Option<Arc<Snapshot>> {
        self.tellers.lock().unwrap_or_else(PoisonError::into_inner).news()
    }

    fn poke(&self) {
        self.tellers.lock().unwrap_or_else(PoisonError::into_inner).poke();
    }
}
