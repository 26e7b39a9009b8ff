//! Control groups of the v2 hierarchy: id ↔ path.

use crate::observation::CgroupId;
use norma_wire::text::printable;
use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Deepest level of control groups that is read.
const DEPTH_MAX: usize = 32;

/// Where the v2 hierarchy is mounted.
#[derive(Clone, Debug)]
pub struct Hierarchy(pub PathBuf);

impl Hierarchy {
    /// Finds it among the mounts of this process: the whole of a pure v2 system, or the `unified` part of
    /// a hybrid one.
    pub fn find() -> Option<Self> {
        let mounts = procfs::process::Process::myself().ok()?.mountinfo().ok()?;
        mounts
            .into_iter()
            .filter(|mount| mount.fs_type == "cgroup2" && mount.root == "/")
            .map(|mount| Self(mount.mount_point))
            .next_back()
    }

    /// Control group of a process, with its path from the root of the hierarchy.
    pub fn of_process(&self, pid: u32) -> Option<(CgroupId, String)> {
        let process = procfs::process::Process::new(i32::try_from(pid).ok()?).ok()?;
        let v2 = process
            .cgroups()
            .ok()?
            .into_iter()
            .find(|group| group.hierarchy == 0)?;
        let directory = self.0.join(v2.pathname.trim_start_matches('/'));
        Some((CgroupId(std::fs::metadata(directory).ok()?.ino()), v2.pathname))
    }
}

/// Every control group that is known.
pub(super) struct Cgroups {
    hierarchy: Hierarchy,
    paths: HashMap<CgroupId, String>,
}

impl Cgroups {
    /// Reads the tree.
    pub fn scan(hierarchy: Hierarchy) -> Self {
        let mut this = Self {
            paths: HashMap::new(),
            hierarchy,
        };
        let root = this.hierarchy.0.clone();
        this.scan_below(&root, 0);
        this
    }

    fn scan_below(&mut self, directory: &Path, depth: usize) {
        let Ok(metadata) = std::fs::metadata(directory) else {
            return;
        };
        let path = directory.strip_prefix(&self.hierarchy.0).unwrap_or(directory);
        self.insert(CgroupId(metadata.ino()), path.as_os_str().as_bytes());
        let Ok(entries) = std::fs::read_dir(directory) else {
            return;
        };
        if depth < DEPTH_MAX {
            for entry in entries
                .flatten()
                .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            {
                self.scan_below(&entry.path(), depth + 1);
            }
        }
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

    /// Learns the path of a control group that was made unseen, from a process in it.
    pub fn learn_from_process(&mut self, id: CgroupId, pid: u32) {
        if let Some((own, path)) = self.hierarchy.of_process(pid)
            && own == id
        {
            self.insert(id, path.as_bytes());
        }
    }
}
