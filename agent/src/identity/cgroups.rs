//! Control groups of the v2 hierarchy: id ↔ path.

use super::system::System;
use crate::observation::{BootTime, CgroupId};
use foldhash::{HashMap, HashMapExt as _};
use norma_wire::text::printable;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Deepest level of control groups that is read.
const DEPTH_MAX: usize = 32;
/// Least time between two readings of the tree.
const RESCAN: Duration = Duration::from_secs(1);

/// Where the v2 hierarchy is mounted.
#[derive(Clone, Debug)]
pub struct Hierarchy(pub PathBuf);

/// Inode number of the root directory of every cgroup v2 hierarchy.
const ROOT_INODE: u64 = 1;

impl Hierarchy {
    /// Finds it among the mounts of this process: the whole of a pure v2 system, or the `unified` part of
    /// a hybrid one. It must be the host's root, also where the agent has a cgroup namespace of its own.
    pub fn find() -> Option<Self> {
        let mounts = procfs::process::Process::myself().ok()?.mountinfo().ok()?;
        mounts
            .into_iter()
            .filter(|mount| mount.fs_type == "cgroup2")
            .map(|mount| mount.mount_point)
            .rfind(|place| std::fs::metadata(place).is_ok_and(|root| root.ino() == ROOT_INODE))
            .map(Self)
    }

    /// Control group of each process.
    ///
    /// Read from the groups themselves: `/proc/PID/cgroup` is relative to the reader's cgroup namespace.
    pub fn members(&self) -> HashMap<u32, CgroupId> {
        let mut members = HashMap::new();
        self.visit(&mut |directory, id| {
            let processes = std::fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
            members.extend(
                processes
                    .lines()
                    .filter_map(|line| Some((line.parse().ok()?, id))),
            );
        });
        members
    }

    /// Gives each control group to `found`: its directory and its id.
    pub(super) fn visit(&self, found: &mut dyn FnMut(&Path, CgroupId)) {
        visit_below(&self.0, 0, found);
    }
}

fn visit_below(directory: &Path, depth: usize, found: &mut dyn FnMut(&Path, CgroupId)) {
    let Ok(metadata) = std::fs::metadata(directory) else {
        return;
    };
    found(directory, CgroupId(metadata.ino()));
    let Ok(entries) = std::fs::read_dir(directory) else {
        return;
    };
    if depth < DEPTH_MAX {
        for entry in entries
            .flatten()
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        {
            visit_below(&entry.path(), depth + 1, found);
        }
    }
}

/// The systemd unit of a control group: the innermost that its path names.
pub(super) fn unit(path: &str) -> Option<&str> {
    const TYPES: [&str; 5] = [".service", ".scope", ".socket", ".mount", ".swap"];
    path.rsplit('/')
        .find(|component| TYPES.iter().any(|kind| component.ends_with(kind)))
}

/// Every control group that is known.
pub(super) struct Cgroups {
    system: Arc<dyn System>,
    paths: HashMap<CgroupId, String>,
    last_scan: Option<BootTime>,
}

impl Cgroups {
    /// Reads the tree.
    pub fn scan(system: Arc<dyn System>) -> Self {
        let mut this = Self {
            paths: HashMap::new(),
            system,
            last_scan: None,
        };
        this.rescan();
        this
    }

    fn rescan(&mut self) {
        for (id, path) in self.system.cgroups() {
            self.insert(id, &path);
        }
        self.last_scan = Some(self.system.now());
    }

    /// Notes a control group; `path` is relative to the root of the hierarchy.
    pub fn insert(&mut self, id: CgroupId, path: &[u8]) {
        let path = printable(path.strip_prefix(b"/").unwrap_or(path));
        self.paths.insert(id, format!("/{path}"));
    }

    /// Forgets a control group.
    pub fn remove(&mut self, id: CgroupId) {
        self.paths.remove(&id);
    }

    /// Whether the path of this control group is known.
    pub fn knows(&self, id: CgroupId) -> bool {
        self.paths.contains_key(&id)
    }

    /// Path from the root of the hierarchy, beginning with `/`.
    pub fn path(&self, id: CgroupId) -> Option<&str> {
        self.paths.get(&id).map(String::as_str)
    }

    /// Every control group, parents before children.
    pub fn all(&self) -> Vec<(CgroupId, String)> {
        let mut all: Vec<_> = self.paths.iter().map(|(id, path)| (*id, path.clone())).collect();
        all.sort_by(|left, right| left.1.cmp(&right.1));
        all
    }

    /// Learns the path of a control group that was made unseen, by reading the tree again; not more often
    /// than now and then, since an id may also be of a group that is gone.
    pub fn learn(&mut self, id: CgroupId) {
        let now = self.system.now();
        let due = self
            .last_scan
            .is_none_or(|last| now.0 >= last.0 + RESCAN.as_nanos() as u64);
        if due && !self.knows(id) {
            self.rescan();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_unit_is_the_one() {
        for (path, expected) in [
            ("/system.slice/ssh.service", Some("ssh.service")),
            (
                "/user.slice/user-0.slice/user@0.service/app.slice/x.service/inner",
                Some("x.service"),
            ),
            (
                "/user.slice/user-0.slice/session-3.scope",
                Some("session-3.scope"),
            ),
            ("/system.slice", None),
            ("/", None),
        ] {
            assert_eq!(unit(path), expected, "{path}");
        }
    }
}
