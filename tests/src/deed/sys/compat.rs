//! The 32-bit system call interface of x86_64.

use super::{Errno, Sys, memory, process};
use std::ffi::CStr;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;

// Numbers of that interface.
const OPEN: i64 = 5;
const GETPID: i64 = 20;
const PRCTL: i64 = 172;
const KEYCTL: i64 = 288;
const UNSHARE: i64 = 310;

/// open(2) by `int 0x80`; ENOSYS where the kernel does not have that.
pub fn open(path: &CStr, flags: i32, mode: u32) -> Sys<OwnedFd> {
    usable()?;
    // Addresses have 32 bits there.
    let mut low = low(path.to_bytes_with_nul().len())?;
    low.fill(path.to_bytes_with_nul());
    let descriptor = answer(call(
        OPEN,
        low.address(),
        u64::from(flags.cast_unsigned()),
        u64::from(mode),
    ))?;
    Ok(super::Answer::from_word(descriptor.into()))
}

/// unshare(2) by `int 0x80`.
pub fn unshare(flags: i32) -> Sys<()> {
    usable()?;
    answer(call(UNSHARE, u64::from(flags.cast_unsigned()), 0, 0)).map(drop)
}

/// prctl(2) of two arguments by `int 0x80`.
pub fn prctl(option: i32, value: u32) -> Sys<()> {
    usable()?;
    answer(call(PRCTL, u64::from(option.cast_unsigned()), value.into(), 0)).map(drop)
}

/// keyctl(2) on a keyring by `int 0x80`.
pub fn keyring(operation: i32, ring: i32, third: i32) -> Sys<i32> {
    usable()?;
    let word = |value: i32| u64::from(value.cast_unsigned());
    answer(call(KEYCTL, word(operation), word(ring), word(third)))
}

/// A kernel without it answers with a signal, which is for a child to find out.
fn usable() -> Sys<()> {
    let probe = process::fork(|| {
        let pid = i64::from(std::process::id());
        i32::from(call(GETPID, 0, 0, 0) != pid)
    })?;
    let status = probe.wait()?;
    if status.signal().is_some() || status.code() != Some(0) {
        return Err(Errno::ENOSYS);
    }
    Ok(())
}

fn answer(answer: i64) -> Sys<i32> {
    match i32::try_from(answer) {
        Ok(value) if value >= 0 => Ok(value),
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
            // Some calls look at the arguments that they do not have.
            in("rsi") 0_u64,
            in("rdi") 0_u64,
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
