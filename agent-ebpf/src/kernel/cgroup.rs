//! `struct cgroup`.

use super::{field, offset, read};

/// Id of the root of the v2 hierarchy.
pub const ROOT: u64 = 1;

/// A control group.
#[derive(Clone, Copy)]
pub struct Cgroup<const TYPED: bool = false>(pub u64);

impl<const TYPED: bool> Cgroup<TYPED> {
    /// Its id, which is the inode number of its directory.
    #[inline(always)]
    pub fn id(self) -> u64 {
        let node: u64 = field::<TYPED, _>(self.0, offset!(cgroup_kn));
        field::<TYPED, _>(node, offset!(kernfs_id))
    }
}

impl Cgroup {
    /// It belongs to the v2 hierarchy, which is the first that the kernel makes and has the id 0.
    #[inline(always)]
    pub fn is_v2(self) -> bool {
        let root: u64 = read(self.0, offset!(cgroup_root));
        root != 0 && read::<u32>(root, offset!(cgroup_root_hierarchy)) == 0
    }
}
