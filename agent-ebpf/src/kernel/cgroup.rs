//! `struct cgroup`.

use super::{offset, read};

/// A control group.
#[derive(Clone, Copy)]
pub struct Cgroup(pub u64);

impl Cgroup {
    /// Its id, which is the inode number of its directory.
    #[inline(always)]
    pub fn id(self) -> u64 {
        let node: u64 = read(self.0, offset!(cgroup_kn));
        read(node, offset!(kernfs_id))
    }

    /// It belongs to the v2 hierarchy, which is the first that the kernel makes and has the id 0.
    #[inline(always)]
    pub fn is_v2(self) -> bool {
        let root: u64 = read(self.0, offset!(cgroup_root));
        root != 0 && read::<u32>(root, offset!(cgroup_root_hierarchy)) == 0
    }
}
