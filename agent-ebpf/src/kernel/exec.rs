//! `struct linux_binprm`: an exec, and the files that take part in it.

use super::ABSENT;
use super::file::{Dentry, File, FileLook, Mount, NANOSECONDS, OVERLAYFS_MAGIC};
use super::task::Task;
use super::view::View;
use super::{offset, read};
use crate::settings;
use norma_abi::{FileFacts, ORIGIN_ROOT_MOUNT, ORIGIN_UPPER};

/// Bit of `f_flags` that only the kernel sets: opened to be executed.
const FMODE_EXEC: u32 = 1 << 5;
/// Works that wait for the return to user space and are looked at: one for each file that the exec closed.
const WORKS_MAX: usize = 64;

/// An exec that has come so far that the new program is in place.
#[derive(Clone, Copy)]
pub struct Exec(pub u64);

impl Exec {
    /// The executable (for a script: its interpreter).
    #[inline(always)]
    pub fn file(self) -> File {
        File(read(self.0, offset!(bprm_file)))
    }

    /// Address of the name given to exec, as the kernel copied it.
    #[inline(always)]
    pub fn filename(self) -> u64 {
        read(self.0, offset!(bprm_filename))
    }

    /// What was given to exec was not run itself, but by an interpreter.
    #[inline(always)]
    pub fn is_script(self) -> bool {
        let interpreter: u64 = read(self.0, offset!(bprm_interp));
        interpreter != 0 && interpreter != self.filename()
    }

    /// The script, where [`Self::is_script`].
    ///
    /// The kernel has closed it by now, but a file that a thread closes is only let go on the thread's return
    /// to user space. Until then it waits in a list of the thread, the oldest last, and the script is the
    /// oldest that was opened for execution.
    #[inline(always)]
    pub fn script<const TYPED: bool>(self, task: Task<TYPED>, view: &mut View) -> Option<File> {
        let kept: u64 = read(self.0, offset!(bprm_executable));
        if kept != 0 {
            return Some(File(kept));
        }
        if offset!(file_work) == ABSENT || offset!(callback_next) == ABSENT {
            return None;
        }
        let mut work = task.works();
        let mut oldest = 0;
        for _ in 0..WORKS_MAX {
            if work == 0 {
                break;
            }
            let file = File(work.wrapping_sub(offset!(file_work)));
            // Other works are no files; their neighbourhood does not look like one either.
            if let Some(look) = file.look(view)
                && look.flags & FMODE_EXEC != 0
                && look.inode.0 != 0
                && look.dentry.inode().0 == look.inode.0
            {
                oldest = file.0;
            }
            work = read(work, offset!(callback_next));
        }
        // A list that was not seen to its end may hold an older one.
        (work == 0 && oldest != 0).then_some(File(oldest))
    }
}

/// A file of an exec.
#[derive(Clone, Copy)]
pub struct Origin {
    /// What the record has of it.
    pub facts: FileFacts,
    /// Its name.
    pub dentry: Dentry,
    /// The mount through which it was opened.
    pub mount: Mount,
}

impl Origin {
    /// Looks at a file, for a process with this root; `None` where it cannot be read.
    #[inline(always)]
    pub fn of(file: File, root: Mount, view: &mut View) -> Option<Self> {
        let FileLook {
            dentry, mount, inode, ..
        } = file.look(view)?;
        view.fill(inode.0)?;
        let superblock = view.word(inode.0, offset!(inode_sb));
        let mut facts = FileFacts {
            inode: view.word(inode.0, offset!(inode_number)),
            mtime_ns: nanoseconds(view, inode.0, offset!(inode_mtime), offset!(inode_mtime_nsec)),
            ctime_ns: nanoseconds(view, inode.0, offset!(inode_ctime), offset!(inode_ctime_nsec)),
            dev: 0,
            mode: view.half(inode.0, offset!(inode_mode)) & 0xffff,
            magic: 0,
            nlink: view.half(inode.0, offset!(inode_nlink)),
            origin: if mount == root { ORIGIN_ROOT_MOUNT } else { 0 },
            reserved: 0,
        };
        view.fill(superblock)?;
        facts.dev = view.half(superblock, offset!(super_dev));
        let magic = view.word(superblock, offset!(super_magic));
        facts.magic = magic as u32;
        if magic == OVERLAYFS_MAGIC && read::<u64>(inode.0, settings::overlay_upper()) != 0 {
            facts.origin |= ORIGIN_UPPER;
        }
        Some(Self { facts, dentry, mount })
    }
}

#[inline(always)]
fn nanoseconds(view: &View, inode: u64, seconds: u64, nanoseconds: u64) -> u64 {
    let nanoseconds = view.half(inode, nanoseconds) & NANOSECONDS;
    view.word(inode, seconds)
        .wrapping_mul(1_000_000_000)
        .wrapping_add(u64::from(nanoseconds))
}
