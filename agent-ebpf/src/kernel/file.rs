//! `struct file`, `dentry`, `inode`, `mount`.

use super::{offset, read};

/// An open file.
#[derive(Clone, Copy)]
pub struct File(pub u64);

impl File {
    /// Its name in a directory.
    #[inline(always)]
    pub fn dentry(self) -> Dentry {
        Dentry(read(self.0, offset!(file_dentry)))
    }

    /// The mount through which it was opened.
    #[inline(always)]
    pub fn mount(self) -> Mount {
        let vfsmount: u64 = read(self.0, offset!(file_mnt));
        Mount(vfsmount.wrapping_sub(u64::from(offset!(mount_vfsmount))))
    }

    /// What it is.
    #[inline(always)]
    pub fn inode(self) -> Inode {
        Inode(read(self.0, offset!(file_inode)))
    }

    /// `f_flags`.
    #[inline(always)]
    pub fn flags(self) -> u32 {
        read(self.0, offset!(file_flags))
    }

    /// `f_mode`.
    #[inline(always)]
    pub fn mode(self) -> u32 {
        read(self.0, offset!(file_mode))
    }
}

/// An inode.
#[derive(Clone, Copy)]
pub struct Inode(u64);

impl Inode {
    /// Inode number.
    #[inline(always)]
    pub fn number(self) -> u64 {
        read(self.0, offset!(inode_number))
    }

    /// Type and permissions.
    #[inline(always)]
    pub fn mode(self) -> u32 {
        u32::from(read::<u16>(self.0, offset!(inode_mode)))
    }

    /// Device, major << 20 | minor.
    #[inline(always)]
    pub fn device(self) -> u32 {
        let sb: u64 = read(self.0, offset!(inode_sb));
        read(sb, offset!(super_dev))
    }
}

/// An entry of a directory.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Dentry(pub u64);

impl Dentry {
    /// The directory that it is in; itself at the root of a filesystem, and where it is in none.
    #[inline(always)]
    pub fn parent(self) -> Self {
        Self(read(self.0, offset!(dentry_parent)))
    }

    /// Its directory as [`Self::parent`], and the address of its name, which ends with NUL.
    ///
    /// A walk asks both of each dentry. They lie side by side (`d_parent`, the hash and length of
    /// `d_name`, its pointer), so one read gives both; where they do not, two reads do.
    #[inline(always)]
    pub fn parent_and_name(self) -> (Self, u64) {
        if offset!(dentry_name) == offset!(dentry_parent).wrapping_add(16) {
            let [parent, _, name]: [u64; 3] = read(self.0, offset!(dentry_parent));
            return (Self(parent), name);
        }
        (self.parent(), read(self.0, offset!(dentry_name)))
    }

    /// It can no longer be found in its directory.
    #[inline(always)]
    pub fn is_unhashed(self) -> bool {
        read::<u64>(self.0, offset!(dentry_hash)) == 0
    }
}

/// A mount (`struct mount`, which contains the `struct vfsmount` that paths point at).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Mount(pub u64);

impl Mount {
    /// Root of what is mounted.
    #[inline(always)]
    pub fn root(self) -> Dentry {
        let offset = offset!(mount_vfsmount).wrapping_add(offset!(vfsmount_root));
        Dentry(read(self.0, offset))
    }

    /// The mount that it is mounted on; itself at the top.
    #[inline(always)]
    pub fn parent(self) -> Self {
        Self(read(self.0, offset!(mount_parent)))
    }

    /// Where on its parent it is mounted.
    #[inline(always)]
    pub fn mountpoint(self) -> Dentry {
        Dentry(read(self.0, offset!(mount_mountpoint)))
    }

    /// It belongs to a mount namespace. Kernel-internal mounts hold an error value there.
    #[inline(always)]
    pub fn is_in_namespace(self) -> bool {
        let ns: u64 = read(self.0, offset!(mount_ns));
        ns != 0 && ns < 0xffff_ffff_ffff_f000
    }
}
