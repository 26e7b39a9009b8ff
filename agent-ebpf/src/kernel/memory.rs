//! `struct vm_area_struct`: a range of memory with one protection.

use super::file::File;
use super::{offset, read};

/// PROT_WRITE, and the bit of a mapping for it.
pub const WRITE: u64 = 2;
/// PROT_EXEC, and the bit of a mapping for it.
pub const EXEC: u64 = 4;
/// Bits that mean the same in PROT_* and in the flags of a mapping: read, write, execute.
const PROTECTION: u64 = 7;
const SHARED: u64 = 8;

/// A mapping.
#[derive(Clone, Copy)]
pub struct Mapping(pub u64);

impl Mapping {
    /// Where it starts, and its length in bytes.
    #[inline(always)]
    pub fn range(self) -> (u64, u64) {
        let start: u64 = read(self.0, offset!(vma_start));
        let end: u64 = read(self.0, offset!(vma_end));
        (start, end.wrapping_sub(start))
    }

    /// As it is: its protection in terms of PROT_*, and whether it is shared.
    #[inline(always)]
    pub fn protection(self) -> (u64, bool) {
        let flags: u64 = read(self.0, offset!(vma_flags));
        (flags & PROTECTION, flags & SHARED != 0)
    }

    /// What it shows.
    #[inline(always)]
    pub fn file(self) -> Option<File> {
        let file: u64 = read(self.0, offset!(vma_file));
        (file != 0).then_some(File(file))
    }

    /// It has pages of its own, which no longer are those of the file.
    #[inline(always)]
    pub fn was_written(self) -> bool {
        read::<u64>(self.0, offset!(vma_written)) != 0
    }
}
