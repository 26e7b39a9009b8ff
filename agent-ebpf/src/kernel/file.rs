//! `struct file`, `dentry`, `inode`, `mount`.

use super::view::View;
use super::{field, offset, read};
use crate::settings;

/// Bit of `f_mode`: opened without access to its content (O_PATH).
pub const FMODE_PATH: u32 = 1 << 14;
/// Bit of `f_mode`: opened by the kernel on behalf of another open, as a layer of an overlay is.
const FMODE_NOACCOUNT: u32 = 1 << 29;
/// Bit of `f_flags` for a file that the kernel opened to execute it; no program can set it.
const FMODE_EXEC: u32 = 1 << 5;

/// From 6.13 the bit above the nanoseconds of a ctime says whether somebody has asked for it.
pub const NANOSECONDS: u32 = 0x3fff_ffff;
/// `s_magic` of overlays.
pub const OVERLAYFS_MAGIC: u64 = 0x794c_7630;

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

impl File {
    /// The kernel opened it to execute it.
    #[inline(always)]
    pub fn is_for_exec(self) -> bool {
        self.flags() & FMODE_EXEC != 0
    }

    /// What it stands for besides a file; 0 for nothing.
    #[inline(always)]
    pub fn private(self) -> u64 {
        read(self.0, offset!(file_private))
    }

    /// CLONE_NEW* of the namespace that it stands for; 0 for any other file.
    #[inline(always)]
    pub fn namespace_type(self) -> u64 {
        const NSFS_MAGIC: u64 = 0x6e73_6673;
        let inode = self.inode().0;
        let superblock: u64 = read(inode, offset!(inode_sb));
        if read::<u64>(superblock, offset!(super_magic)) != NSFS_MAGIC {
            return 0;
        }
        let namespace: u64 = read(inode, offset!(inode_private));
        if offset!(ns_common_type) != crate::kernel::ABSENT {
            return u64::from(read::<u32>(namespace, offset!(ns_common_type)));
        }
        let operations: u64 = read(namespace, offset!(ns_common_ops));
        u64::from(read::<u32>(operations, offset!(ns_operations_type)))
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

    /// What it names; 0 where it names nothing (yet).
    #[inline(always)]
    pub fn inode(self) -> Inode {
        Inode(read(self.0, offset!(dentry_inode)))
    }
}

/// A mount (`struct mount`, which contains the `struct vfsmount` that paths point at).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Mount(pub u64);

impl Mount {
    /// That which a `struct vfsmount` is part of.
    #[inline(always)]
    pub fn of_vfsmount(vfsmount: u64) -> Self {
        Self(vfsmount.wrapping_sub(offset!(mount_vfsmount)))
    }

    /// Root of what is mounted.
    #[inline(always)]
    pub fn root(self) -> Dentry {
        let offset = offset!(mount_vfsmount).wrapping_add(offset!(vfsmount_root));
        Dentry(read(self.0, offset))
    }

    /// It belongs to a mount namespace. Kernel-internal mounts hold an error value there.
    #[inline(always)]
    pub fn is_in_namespace(self) -> bool {
        let ns = self.namespace();
        ns != 0 && ns < 0xffff_ffff_ffff_f000
    }

    /// The mount namespace, for comparison.
    #[inline(always)]
    pub fn namespace(self) -> u64 {
        read(self.0, offset!(mount_ns))
    }
}

/// What a walk needs of a dentry, from one look at it.
#[derive(Clone, Copy)]
pub struct DentryLook {
    /// As [`Dentry::parent`].
    pub parent: Dentry,
    /// Address of its name.
    pub name: u64,
    /// Length of its name in bytes.
    pub name_len: u32,
    /// It can no longer be found in its directory.
    pub is_unhashed: bool,
}

/// What a walk needs of a mount, from one look at it.
#[derive(Clone, Copy)]
pub struct MountLook {
    /// The mount that it is mounted on; itself at the top.
    pub parent: Mount,
    /// Where on its parent it is mounted.
    pub mountpoint: Dentry,
    /// As [`Mount::root`].
    pub root: Dentry,
}

impl Dentry {
    /// Looks at it; `None` where it cannot be read.
    #[inline(always)]
    pub fn look(self, view: &mut View) -> Option<DentryLook> {
        view.fill(self.0)?;
        Some(DentryLook {
            parent: Self(view.word(self.0, offset!(dentry_parent))),
            name: view.word(self.0, offset!(dentry_name)),
            name_len: view.half(self.0, offset!(dentry_name_len)),
            is_unhashed: view.word(self.0, offset!(dentry_hash)) == 0,
        })
    }

    /// Where a short name lies within the dentry itself, as it does for most: how far into the view.
    #[inline(always)]
    pub fn inline_name(self, name: u64) -> Option<u64> {
        let at = offset!(dentry_inline_name);
        (at <= View::BYTES - View::INLINE_NAME && name == self.0.wrapping_add(at)).then_some(at)
    }
}

impl Mount {
    /// Looks at it; `None` where it cannot be read.
    #[inline(always)]
    pub fn look(self, view: &mut View) -> Option<MountLook> {
        view.fill(self.0)?;
        let root = offset!(mount_vfsmount).wrapping_add(offset!(vfsmount_root));
        Some(MountLook {
            parent: Self(view.word(self.0, offset!(mount_parent))),
            mountpoint: Dentry(view.word(self.0, offset!(mount_mountpoint))),
            root: Dentry(view.word(self.0, root)),
        })
    }
}

/// What a record needs of an open file, from one look at it.
#[derive(Clone, Copy)]
pub struct FileLook {
    /// As [`File::dentry`].
    pub dentry: Dentry,
    /// As [`File::mount`].
    pub mount: Mount,
    /// As [`File::inode`].
    pub inode: Inode,
    /// As [`File::flags`].
    pub flags: u32,
    /// As [`File::mode`].
    pub mode: u32,
}

impl FileLook {
    /// A program opened it, and not the kernel for an exec or as a layer of an overlay.
    #[inline(always)]
    pub fn is_for_program(&self) -> bool {
        self.flags & FMODE_EXEC == 0 && self.mode & FMODE_NOACCOUNT == 0
    }
}

impl File {
    /// Looks at one that the verifier knows by its type.
    #[inline(always)]
    pub fn look_typed(self) -> (FileLook, InodeLook) {
        let inode: u64 = field::<true, _>(self.0, offset!(file_inode));
        let superblock: u64 = field::<true, _>(inode, offset!(inode_sb));
        let file = FileLook {
            dentry: Dentry(field::<true, _>(self.0, offset!(file_dentry))),
            mount: Mount::of_vfsmount(field::<true, _>(self.0, offset!(file_mnt))),
            inode: Inode(inode),
            flags: field::<true, _>(self.0, offset!(file_flags)),
            mode: field::<true, _>(self.0, offset!(file_mode)),
        };
        let inode = InodeLook {
            number: field::<true, _>(inode, offset!(inode_number)),
            mode: u32::from(field::<true, u16>(inode, offset!(inode_mode))),
            device: field::<true, _>(superblock, offset!(super_dev)),
        };
        (file, inode)
    }

    /// Its name, its mount and what it is, of one that the verifier knows by its type.
    #[inline(always)]
    pub fn named_typed(self) -> (Dentry, Mount, Inode) {
        (
            Dentry(field::<true, _>(self.0, offset!(file_dentry))),
            Mount::of_vfsmount(field::<true, _>(self.0, offset!(file_mnt))),
            Inode(field::<true, _>(self.0, offset!(file_inode))),
        )
    }

    /// Looks at it; `None` where it cannot be read.
    #[inline(always)]
    pub fn look(self, view: &mut View) -> Option<FileLook> {
        view.fill(self.0)?;
        Some(FileLook {
            dentry: Dentry(view.word(self.0, offset!(file_dentry))),
            mount: Mount::of_vfsmount(view.word(self.0, offset!(file_mnt))),
            inode: Inode(view.word(self.0, offset!(file_inode))),
            flags: view.half(self.0, offset!(file_flags)),
            mode: view.half(self.0, offset!(file_mode)),
        })
    }
}

/// The typed reads of a walk: of what the verifier knows by its type, field by field.
impl Dentry {
    /// As [`Self::parent`].
    #[inline(always)]
    pub fn parent_typed(self) -> Self {
        Self(field::<true, _>(self.0, offset!(dentry_parent)))
    }

    /// Address and length of its name.
    #[inline(always)]
    pub fn name_typed(self) -> (u64, u32) {
        (
            field::<true, _>(self.0, offset!(dentry_name)),
            field::<true, _>(self.0, offset!(dentry_name_len)),
        )
    }

    /// As [`DentryLook::is_unhashed`].
    #[inline(always)]
    pub fn is_unhashed_typed(self) -> bool {
        field::<true, u64>(self.0, offset!(dentry_hash)) == 0
    }
}

impl Mount {
    /// As [`Self::root`], of the mount of a file that the verifier knows by its type.
    #[inline(always)]
    pub fn root_typed(self) -> Dentry {
        let offset = offset!(mount_vfsmount).wrapping_add(offset!(vfsmount_root));
        Dentry(field::<true, _>(self.0, offset))
    }
}

/// What a record needs of an inode, from one look at it.
#[derive(Clone, Copy)]
pub struct InodeLook {
    /// As [`Inode::number`].
    pub number: u64,
    /// As [`Inode::mode`].
    pub mode: u32,
    /// As [`Inode::device`].
    pub device: u32,
}

impl Inode {
    /// Looks at it; all zeros where it cannot be read.
    #[inline(always)]
    pub fn look(self, view: &mut View) -> InodeLook {
        if view.fill(self.0).is_none() {
            return InodeLook {
                number: 0,
                mode: 0,
                device: 0,
            };
        }
        let superblock = view.word(self.0, offset!(inode_sb));
        InodeLook {
            number: view.word(self.0, offset!(inode_number)),
            mode: u32::from(view.half(self.0, offset!(inode_mode)) as u16),
            device: read(superblock, offset!(super_dev)),
        }
    }
}

/// What an identity needs, see [`crate::known`].
impl Dentry {
    /// How often the kernel changed what it is called, where it lies or what it names; odd while it does.
    #[inline(always)]
    pub fn changes_typed(self) -> u32 {
        field::<true, _>(self.0, offset!(dentry_seq))
    }

    /// The kernel's hash of its name and directory, and the length of the name.
    #[inline(always)]
    pub fn name_hash_typed(self) -> u64 {
        let hash: u32 = field::<true, _>(self.0, offset!(dentry_name_hash));
        let len: u32 = field::<true, _>(self.0, offset!(dentry_name_len));
        u64::from(len) << 32 | u64::from(hash)
    }

    /// Both from one look at it, with where it is; `None` where it cannot be read.
    #[inline(always)]
    pub fn look_at_name(self, view: &mut View) -> Option<NameLook> {
        view.fill(self.0)?;
        let (hash, len) = (offset!(dentry_name_hash), offset!(dentry_name_len));
        let name_hash = if cfg!(target_endian = "little") && len == hash + 4 {
            view.word(self.0, hash)
        } else {
            u64::from(view.half(self.0, len)) << 32 | u64::from(view.half(self.0, hash))
        };
        Some(NameLook {
            changes: view.half(self.0, offset!(dentry_seq)),
            is_unhashed: view.word(self.0, offset!(dentry_hash)) == 0,
            parent: Self(view.word(self.0, offset!(dentry_parent))),
            name_hash,
        })
    }
}

/// What an identity needs of a dentry, from one look at it.
#[derive(Clone, Copy)]
pub struct NameLook {
    /// As [`Dentry::changes_typed`].
    pub changes: u32,
    /// As [`DentryLook::is_unhashed`].
    pub is_unhashed: bool,
    /// As [`Dentry::parent`].
    pub parent: Dentry,
    /// As [`Dentry::name_hash_typed`].
    pub name_hash: u64,
}

/// What tells a file from all others, besides its name.
#[derive(Clone, Copy)]
pub struct FileIdentity {
    /// As [`Inode::number`].
    pub number: u64,
    /// As [`Inode::device`].
    pub device: u32,
    /// Hard links.
    pub links: u32,
    /// Address of the upper layer's name for a file of an overlay; 0 for one that was not copied up, and of other
    /// filesystems.
    pub upper: u64,
}

impl Inode {
    /// Looks at it; `None` where it cannot be read.
    #[inline(always)]
    pub fn identity(self, view: &mut View) -> Option<FileIdentity> {
        view.fill(self.0)?;
        let number = view.word(self.0, offset!(inode_number));
        let links = view.half(self.0, offset!(inode_nlink));
        let superblock = view.word(self.0, offset!(inode_sb));
        view.fill(superblock)?;
        let magic = view.word(superblock, offset!(super_magic));
        Some(FileIdentity {
            number,
            device: view.half(superblock, offset!(super_dev)),
            links,
            upper: self.upper(magic),
        })
    }

    /// The same of one that the verifier knows by its type, and that was looked at.
    #[inline(always)]
    pub fn identity_typed(self, look: &InodeLook) -> FileIdentity {
        let superblock: u64 = field::<true, _>(self.0, offset!(inode_sb));
        let magic: u64 = field::<true, _>(superblock, offset!(super_magic));
        FileIdentity {
            number: look.number,
            device: look.device,
            links: field::<true, _>(self.0, offset!(inode_nlink)),
            upper: self.upper(magic),
        }
    }

    /// As [`Self::number`].
    #[inline(always)]
    pub fn number_typed(self) -> u64 {
        field::<true, _>(self.0, offset!(inode_number))
    }

    /// Tells files apart that had the same number one after the other.
    #[inline(always)]
    pub fn generation(self) -> u32 {
        read(self.0, offset!(inode_generation))
    }

    /// As [`Self::generation`].
    #[inline(always)]
    pub fn generation_typed(self) -> u32 {
        field::<true, _>(self.0, offset!(inode_generation))
    }

    /// When it was changed last.
    #[inline(always)]
    pub fn changed_typed(self) -> u64 {
        let seconds: u64 = field::<true, _>(self.0, offset!(inode_ctime));
        let nanoseconds: u32 = field::<true, _>(self.0, offset!(inode_ctime_nsec));
        seconds << 30 | u64::from(nanoseconds & NANOSECONDS)
    }

    #[inline(always)]
    fn upper(self, magic: u64) -> u64 {
        if magic == OVERLAYFS_MAGIC {
            read(self.0, settings::overlay_upper())
        } else {
            0
        }
    }
}
