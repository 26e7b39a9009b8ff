//! Numbers of system calls in which a security check can find itself.
//!
//! They are those of the native interface. A security check that runs for a system call of the 32-bit interface,
//! or for another call with the same number, finds at worst that it is not one of these.

use crate::kernel::regs::Regs;

#[cfg(bpf_target_arch = "x86_64")]
mod native {
    pub const OPEN: &[u32] = &[2, 85, 257, 437];
    pub const MMAP: u32 = 9;
    pub const TRUNCATE: u32 = 76;
    pub const FTRUNCATE: u32 = 77;
}

#[cfg(not(bpf_target_arch = "x86_64"))]
mod native {
    pub const OPEN: &[u32] = &[56, 437];
    pub const MMAP: u32 = 222;
    pub const TRUNCATE: u32 = 45;
    pub const FTRUNCATE: u32 = 46;
}

/// The current thread is in open(2) or one of its kin.
#[inline(always)]
pub fn opens() -> bool {
    let number = Regs::current().number();
    native::OPEN.iter().any(|open| *open == number)
}

/// The length that mmap(2) was given, where the current thread is in that.
#[inline(always)]
pub fn mapped_length() -> Option<u64> {
    let regs = Regs::current();
    (regs.number() == native::MMAP).then(|| regs.arg1())
}

/// The length that truncate(2) or ftruncate(2) was given, where the current thread is in one.
#[inline(always)]
pub fn truncated_length() -> Option<u64> {
    let regs = Regs::current();
    let number = regs.number();
    (number == native::TRUNCATE || number == native::FTRUNCATE).then(|| regs.arg1())
}
