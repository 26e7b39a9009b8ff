//! The 32-bit system call interface of x86_64.

use super::{Errno, Sys, memory, process};
use std::ffi::CStr;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;

const GETPID: i64 = 20;
const OPEN: i64 = 5;

/// open(2) by `int 0x80`; ENOSYS where the kernel does not have that.
pub fn open(path: &CStr, flags: i32, mode: u32) -> Sys<OwnedFd> {
    // A kernel without it answers with a signal, which is for a child to find out.
    let probe = process::fork(|| {
        let pid = i64::from(std::process::id());
        i32::from(call(GETPID, 0, 0, 0) != pid)
    })?;
    let status = probe.wait()?;
    if status.signal().is_some() || status.code() != Some(0) {
        return Err(Errno::ENOSYS);
    }
    // Addresses have 32 bits there.
    let mut low = low(path.to_bytes_with_nul().len())?;
    low.fill(path.to_bytes_with_nul());
    let answer = call(
        OPEN,
        low.address(),
        u64::from(flags.cast_unsigned()),
        u64::from(mode),
    );
    match i32::try_from(answer) {
        Ok(descriptor) if descriptor >= 0 => Ok(super::Answer::from_word(descriptor.into())),
        Ok(errno) => Err(Errno::from_raw(-errno)),
        Err(_) => Err(Errno::EOVERFLOW),
    }
}

#[cfg(target_arch = "x86_64")]
fn low(length: usize) -> Sys<memory::Mapping> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT;
    memory::map(length, libc::PROT_READ | libc::PROT_WRITE, flags, None)
}

#[cfg(target_arch = "x86_64")]
fn call(number: i64, first: u64, second: u64, third: u64) -> i64 {
    let answer: i64;
    // SAFETY: The calls of this module take integers and an address below 4 GiB that is mapped; rbx, which the
    // compiler keeps for itself, is put back.
    unsafe {
        std::arch::asm!(
            "xchg rbx, {first}",
            "int 0x80",
            "xchg rbx, {first}",
            first = inout(reg) first => _,
            inout("rax") number => answer,
            in("rcx") second,
            in("rdx") third,
            lateout("r8") _,
            lateout("r9") _,
            lateout("r10") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    // The answer has 32 bits with a sign.
    i64::from(answer as i32)
}

#[cfg(not(target_arch = "x86_64"))]
fn low(_: usize) -> Sys<memory::Mapping> {
    Err(Errno::ENOSYS)
}

#[cfg(not(target_arch = "x86_64"))]
fn call(_: i64, _: u64, _: u64, _: u64) -> i64 {
    -1
}
