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
        Mount::of_vfsmount(read(self.0, offset!(file_mnt)))
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

/// `struct path`: a name and the mount through which it is reached.
#[derive(Clone, Copy)]
pub struct Place(pub u64);

impl Place {
    /// The name.
    #[inline(always)]
    pub fn dentry(self) -> Dentry {
        Dentry(read(self.0, offset!(path_dentry)))
    }

    /// The mount.
    #[inline(always)]
    pub fn mount(self) -> Mount {
        Mount::of_vfsmount(read(self.0, offset!(path_mnt)))
    }
}

/// An inode; 0 for none.
#[derive(Clone, Copy)]
pub struct Inode(pub u64);

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

    /// Its directory as [`Self::parent`], and address and length of its name.
    ///
    /// A walk asks all of each dentry. They lie side by side (`d_parent`, hash and length of `d_name`, its
    /// pointer), so one read gives them; where they do not, three reads do.
    #[inline(always)]
    pub fn parent_and_name(self) -> (Self, u64, u64) {
        if offset!(dentry_name) == offset!(dentry_parent).wrapping_add(16)
            && offset!(dentry_name_len) == offset!(dentry_parent).wrapping_add(12)
        {
            let [parent, hash_len, name]: [u64; 3] = read(self.0, offset!(dentry_parent));
            // The length is the second half of the word in memory.
            let len = u64::from(u32::from_ne_bytes(second_half(hash_len)));
            return (Self(parent), name, len);
        }
        let len: u32 = read(self.0, offset!(dentry_name_len));
        (self.parent(), read(self.0, offset!(dentry_name)), u64::from(len))
    }

    /// What it names; 0 where it names nothing (yet).
    #[inline(always)]
    pub fn inode(self) -> Inode {
        Inode(read(self.0, offset!(dentry_inode)))
    }

    /// It can no longer be found in its directory.
    #[inline(always)]
    pub fn is_unhashed(self) -> bool {
        read::<u64>(self.0, offset!(dentry_hash)) == 0
    }
}

/// The last four bytes of a word in memory order.
#[inline(always)]
fn second_half(word: u64) -> [u8; 4] {
    let [_, _, _, _, a, b, c, d] = word.to_ne_bytes();
    [a, b, c, d]
}

/// A mount (`struct mount`, which contains the `struct vfsmount` that paths point at).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Mount(pub u64);

impl Mount {
    /// That which a `struct vfsmount` is part of.
    #[inline(always)]
    pub fn of_vfsmount(vfsmount: u64) -> Self {
        Self(vfsmount.wrapping_sub(u64::from(offset!(mount_vfsmount))))
    }

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
