//! Filesystems, and where they are mounted.

use super::file::{Dentry, Mount};
use super::task::Task;
use super::{offset, read};
use crate::kernel::ABSENT;

/// Mounts of a filesystem that are looked at.
const MOUNTS_MAX: usize = 256;

/// `struct super_block`: a filesystem.
#[derive(Clone, Copy)]
pub struct Filesystem(pub u64);

impl Filesystem {
    /// The one that a name belongs to.
    #[inline(always)]
    pub fn of(dentry: Dentry) -> Self {
        Self(read(dentry.0, offset!(dentry_super)))
    }

    /// Its root.
    #[inline(always)]
    pub fn root(self) -> Dentry {
        Dentry(read(self.0, offset!(super_root)))
    }

    /// Address of the name of its type.
    #[inline(always)]
    pub fn type_name(self) -> u64 {
        let kind: u64 = read(self.0, offset!(super_type));
        read(kind, offset!(fs_type_name))
    }

    /// A mount of it through which the current thread could reach a name, and true: not always the one that it
    /// used, where there are several. Best is one of the whole filesystem, or of just this name or its
    /// directory. Where none is found, any mount and false.
    #[inline(always)]
    pub fn mount_for<const TYPED: bool>(self, dentry: Dentry, task: Task<TYPED>) -> (Mount, bool) {
        let namespace = task.namespaces().mount_namespace();
        let (root, directory) = (self.root(), dentry.parent());
        let head = self.0.wrapping_add(offset!(super_mounts));
        let mut cursor: u64 = read(head, 0);
        let mut own = 0;
        let mut any = 0;
        for _ in 0..MOUNTS_MAX {
            if cursor == 0 || cursor == head {
                break;
            }
            let mount = of_list(cursor);
            any = mount.0;
            if mount.namespace() == namespace {
                own = mount.0;
                let shown = mount.root();
                if shown == root || shown == dentry || shown == directory {
                    break;
                }
            }
            cursor = next(cursor);
        }
        (Mount(if own == 0 { any } else { own }), own != 0)
    }
}

/// The mount that an entry of the list of a filesystem's mounts stands for.
#[inline(always)]
fn of_list(entry: u64) -> Mount {
    Mount(match offset!(mount_instance) {
        ABSENT => entry,
        offset => entry.wrapping_sub(offset),
    })
}

/// The entry after it.
#[inline(always)]
fn next(entry: u64) -> u64 {
    match offset!(mount_instance) {
        ABSENT => read(entry, offset!(mount_next_of_super)),
        _ => read(entry, 0),
    }
}
