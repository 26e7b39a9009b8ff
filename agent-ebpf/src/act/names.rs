//! Paths and texts of operations on files, beyond a walk.

use super::Act;
use crate::kernel::file::{Dentry, Mount};
use crate::verifier::store;
use aya_ebpf::helpers::generated::{bpf_probe_read_kernel_str, bpf_probe_read_user_str};
use norma_abi::{
    ACT_OTHER_CLAIMED, ACT_PATH_CLAIMED, ACT_TEXT_MAX, ACT_TEXT_TRUNCATED, FLAG_FILE_DELETED,
    FLAG_PATH_DISCONNECTED, PATH_MAX,
};

/// Longest first word of a text in two words, with its NUL.
const WORD_MAX: usize = 64;

/// Where a string lies.
#[derive(Clone, Copy)]
pub enum Text {
    /// In the kernel.
    Kernel(u64),
    /// In the memory of the program.
    User(u64),
}

impl Text {
    /// Copies it with a NUL; how many bytes without the NUL, 0 where it cannot be read.
    #[inline(always)]
    fn copy(self, to: *mut u8, max: usize) -> u64 {
        // SAFETY: callers leave room for `max` bytes; the helpers check the address.
        let taken = unsafe {
            match self {
                Self::Kernel(at) => bpf_probe_read_kernel_str(to.cast(), max as u32, at as *const _),
                Self::User(at) => bpf_probe_read_user_str(to.cast(), max as u32, at as *const _),
            }
        };
        if taken <= 0 || taken > max as i64 {
            0
        } else {
            taken as u64 - 1
        }
    }
}

impl Act {
    /// The path of something that is about to be made: it has a name, and nothing behind it yet.
    #[inline(always)]
    pub fn walk_new(&mut self, dentry: Dentry, mount: Mount) -> Option<()> {
        self.walk(dentry, mount)?;
        self.header.flags &= !FLAG_FILE_DELETED;
        Some(())
    }

    /// The other path, as [`Self::walk_new`].
    #[inline(always)]
    pub fn walk_other_new(&mut self, dentry: Dentry, mount: Mount) -> Option<()> {
        self.walk_other(dentry, mount)?;
        self.body.other_flags &= !FLAG_FILE_DELETED;
        Some(())
    }

    /// The path as the program gave it, from the kernel's copy.
    #[inline(always)]
    pub fn claim_copied(&mut self, kernel: u64) -> Option<()> {
        let at = self.end(PATH_MAX)?;
        let len = Text::Kernel(kernel).copy(at, PATH_MAX);
        self.grow(len);
        self.body.path_len = len as u32;
        self.body.flags |= ACT_PATH_CLAIMED;
        Some(())
    }

    /// The other path as the program gave it, from the kernel's copy.
    #[inline(always)]
    pub fn claim_other_copied(&mut self, kernel: u64) -> Option<()> {
        let at = self.end(PATH_MAX)?;
        let len = Text::Kernel(kernel).copy(at, PATH_MAX);
        self.grow(len);
        self.body.other_len = len as u32;
        self.body.flags |= ACT_OTHER_CLAIMED;
        Some(())
    }

    /// The path is not one by which the program reached the file.
    #[inline(always)]
    pub fn is_disconnected(&mut self) {
        self.header.flags |= FLAG_PATH_DISCONNECTED;
    }

    /// The text, as a helper writes it to so many bytes; it gives the length without NUL, or an error.
    #[inline(always)]
    pub fn text_by(&mut self, write: impl FnOnce(*mut u8, usize) -> i64) -> Option<()> {
        let at = self.end(ACT_TEXT_MAX)?;
        let len = write(at, ACT_TEXT_MAX);
        if len <= 0 || len >= ACT_TEXT_MAX as i64 {
            return None;
        }
        self.body.text_len = len as u32;
        self.grow(len as u64);
        Some(())
    }

    /// The text, as a word and what it is about: `ext4 /dev/sda1`.
    #[inline(always)]
    pub fn text_of_two(&mut self, word: Text, rest: Text) -> Option<()> {
        let at = self.end(ACT_TEXT_MAX)?;
        let word = word.copy(at, WORD_MAX);
        if word >= WORD_MAX as u64 {
            return None;
        }
        // SAFETY: `word` leaves room for a space and for the rest within the text.
        let (space, at) = unsafe { (at.add(word as usize), at.add(word as usize + 1)) };
        let max = ACT_TEXT_MAX - WORD_MAX;
        let rest = rest.copy(at, max);
        if rest == max as u64 - 1 {
            self.body.flags |= ACT_TEXT_TRUNCATED;
        }
        let mut len = word;
        if rest != 0 {
            store(space, b' ');
            len += 1 + rest;
        }
        self.body.text_len = len as u32;
        self.grow(len);
        Some(())
    }
}
