//! Control groups of the v2 hierarchy: id ↔ path.

use super::system::{System, Tree};
use crate::observation::{BootTime, CgroupId};
use foldhash::{HashMap, HashMapExt as _};
use norma_wire::text::printable;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Deepest level of control groups that is read.
const DEPTH_MAX: usize = 32;
/// Paths of records are certain up to this many bytes: longer ones are cut, by the kernel's own buffer of
/// `CGROUP_PATH_MAX` at the latest.
const PATH_CERTAIN: usize = 1000;
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
        let _partial = self.visit(&mut |directory, id| {
            let processes = std::fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
            members.extend(
                processes
                    .lines()
                    .filter_map(|line| Some((line.parse().ok()?, id))),
            );
        });
        members
    }

    /// Gives each control group to `found`: its directory and its id, parents before children.
    ///
    /// # Errors
    /// Something of the tree cannot be read, though it is there; what can be was given.
    pub(super) fn visit(&self, found: &mut dyn FnMut(&Path, CgroupId)) -> io::Result<()> {
        visit_below(&self.0, 0, found)
    }
}

fn visit_below(directory: &Path, depth: usize, found: &mut dyn FnMut(&Path, CgroupId)) -> io::Result<()> {
    let Some(metadata) = unless_gone(std::fs::metadata(directory))? else {
        return Ok(());
    };
    found(directory, CgroupId(metadata.ino()));
    if depth >= DEPTH_MAX {
        return Ok(());
    }
    let Some(entries) = unless_gone(std::fs::read_dir(directory))? else {
        return Ok(());
    };
    let mut result = Ok(());
    for entry in entries {
        let Some(entry) = unless_gone(entry)? else {
            continue;
        };
        if unless_gone(entry.file_type())?.is_some_and(|kind| kind.is_dir()) {
            result = result.and(visit_below(&entry.path(), depth + 1, found));
        }
    }
    result
}

/// `None` for what was removed while it was looked at.
fn unless_gone<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error)
            if error.kind() == io::ErrorKind::NotFound
                || error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error()) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
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
    groups: HashMap<CgroupId, Group>,
    last_scan: Option<BootTime>,
}

struct Group {
    path: String,
    /// When it was heard of.
    since: BootTime,
}

impl Cgroups {
    /// Reads the tree.
    pub fn scan(system: Arc<dyn System>) -> Self {
        let mut this = Self {
            groups: HashMap::new(),
            system,
            last_scan: None,
        };
        this.rescan();
        this
    }

    /// Gives the groups of which nothing was known.
    fn rescan(&mut self) -> Vec<CgroupId> {
        let (groups, now) = (self.system.cgroups(), self.system.now());
        self.last_scan = Some(now);
        let mut unknown = Vec::new();
        for (id, path) in groups {
            if !self.knows(id) {
                self.insert(id, &path, now);
                unknown.push(id);
            }
        }
        unknown
    }

    /// Notes a control group that was heard of at that time; `path` is relative to the root of the hierarchy.
    pub fn insert(&mut self, id: CgroupId, path: &[u8], since: BootTime) {
        let path = from_root(path);
        self.groups.insert(id, Group { path, since });
    }

    /// Forgets a control group.
    pub fn remove(&mut self, id: CgroupId) {
        self.groups.remove(&id);
    }

    /// Whether the path of this control group is known.
    pub fn knows(&self, id: CgroupId) -> bool {
        self.groups.contains_key(&id)
    }

    /// Whether a group is known under this id that is not the one at `path`, since groups do not move: one that is
    /// gone, and whose id was given again.
    pub fn knows_another(&self, id: CgroupId, path: &[u8]) -> bool {
        let path = from_root(path);
        self.path(id)
            .is_some_and(|known| known != path && known.len().max(path.len()) < PATH_CERTAIN)
    }

    /// Those that were heard of before the tree was read and are not in it.
    pub fn missing_in(&self, tree: &Tree) -> Vec<CgroupId> {
        let there: HashMap<CgroupId, &[u8]> = tree
            .groups
            .iter()
            .map(|(id, path)| (*id, path.as_slice()))
            .collect();
        self.groups
            .iter()
            // What lies deeper is not read.
            .filter(|(_, group)| group.since < tree.at && group.path.matches('/').count() < DEPTH_MAX)
            .filter(|(id, _)| there.get(id).is_none_or(|path| self.knows_another(**id, path)))
            .map(|(id, _)| *id)
            .collect()
    }

    /// Path from the root of the hierarchy, beginning with `/`.
    pub fn path(&self, id: CgroupId) -> Option<&str> {
        self.groups.get(&id).map(|group| group.path.as_str())
    }

    /// Every control group, parents before children.
    pub fn all(&self) -> Vec<(CgroupId, String)> {
        let mut all: Vec<_> = self
            .groups
            .iter()
            .map(|(id, group)| (*id, group.path.clone()))
            .collect();
        all.sort_by(|left, right| left.1.cmp(&right.1));
        all
    }

    /// Learns the path of a control group that was made unseen, by reading the tree again; not more often
    /// than now and then, since an id may also be of a group that is gone. Gives all that were made unseen.
    pub fn learn(&mut self, id: CgroupId) -> Vec<CgroupId> {
        let now = self.system.now();
        let due = self
            .last_scan
            .is_none_or(|last| now.0 >= last.0 + RESCAN.as_nanos() as u64);
        if due && !self.knows(id) {
            return self.rescan();
        }
        Vec::new()
    }
}

fn from_root(path: &[u8]) -> String {
    format!("/{}", printable(path.strip_prefix(b"/").unwrap_or(path)))
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
