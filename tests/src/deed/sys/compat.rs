//! The 32-bit system call interface of x86_64.

use super::{Errno, Layout, Sys, memory, process};
use std::ffi::CStr;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::process::ExitStatusExt as _;

// Numbers of that interface.
const OPEN: i64 = 5;
const EXECVE: i64 = 11;
const GETPID: i64 = 20;
const SETUID16: i64 = 23;
const STIME: i64 = 25;
const PTRACE: i64 = 26;
const SETTIMEOFDAY: i64 = 79;
const SOCKETCALL: i64 = 102;
const ADJTIMEX: i64 = 124;
const PRCTL: i64 = 172;
const SETUID: i64 = 213;
const CLOCK_SETTIME: i64 = 264;
const KEXEC_LOAD: i64 = 283;
const KEYCTL: i64 = 288;
const UNSHARE: i64 = 310;
const BPF: i64 = 357;
const BIND: i64 = 361;
const CONNECT: i64 = 362;
const CLOCK_SETTIME64: i64 = 404;

// Calls that socketcall(2) stands for.
const SOCKETCALL_BIND: u64 = 2;
const SOCKETCALL_CONNECT: u64 = 3;

/// open(2) by `int 0x80`; ENOSYS where the kernel does not have that.
pub fn open(path: &CStr, flags: i32, mode: u32) -> Sys<OwnedFd> {
    usable()?;
    let low = given(path.to_bytes_with_nul())?;
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

/// execve(2) without arguments.
pub fn execve(path: &CStr) -> Sys<()> {
    usable()?;
    let path = given(path.to_bytes_with_nul())?;
    done(EXECVE, path.address(), 0, 0)
}

/// setuid(2).
pub fn setuid(id: u32) -> Sys<()> {
    usable()?;
    done(SETUID, id.into(), 0, 0)
}

/// setuid(2) as it was when ids had 16 bits.
pub fn setuid16(id: u16) -> Sys<()> {
    usable()?;
    done(SETUID16, id.into(), 0, 0)
}

/// ptrace(2) with a request that takes no more than a process.
pub fn ptrace(request: u32, pid: u32) -> Sys<()> {
    usable()?;
    done(PTRACE, request.into(), pid.into(), 0)
}

/// connect(2) as a call of its own.
pub fn connect(socket: &OwnedFd, address: &[u8]) -> Sys<()> {
    on_socket(CONNECT, socket, address)
}

/// bind(2) as a call of its own.
pub fn bind(socket: &OwnedFd, address: &[u8]) -> Sys<()> {
    on_socket(BIND, socket, address)
}

fn on_socket(number: i64, socket: &OwnedFd, address: &[u8]) -> Sys<()> {
    usable()?;
    let low = given(address)?;
    done(
        number,
        descriptor(socket).into(),
        low.address(),
        address.len() as u64,
    )
}

/// connect(2) by socketcall(2).
pub fn socketcall_connect(socket: &OwnedFd, address: &[u8]) -> Sys<()> {
    by_socketcall(SOCKETCALL_CONNECT, socket, address)
}

/// bind(2) by socketcall(2).
pub fn socketcall_bind(socket: &OwnedFd, address: &[u8]) -> Sys<()> {
    by_socketcall(SOCKETCALL_BIND, socket, address)
}

fn by_socketcall(call: u64, socket: &OwnedFd, address: &[u8]) -> Sys<()> {
    usable()?;
    let address_of = given(address)?;
    let word = |number: u64| u32::try_from(number).map_err(|_| Errno::EOVERFLOW);
    let arguments = Layout::default()
        .u32(descriptor(socket))
        .u32(word(address_of.address())?)
        .u32(word(address.len() as u64)?)
        .end();
    let arguments = given(&arguments)?;
    done(SOCKETCALL, call, arguments.address(), 0)
}

fn descriptor(of: &OwnedFd) -> u32 {
    of.as_raw_fd().cast_unsigned()
}

/// bpf(2).
pub fn bpf(command: i32, attributes: &[u8]) -> Sys<()> {
    usable()?;
    let low = given(attributes)?;
    let command = u64::from(command.cast_unsigned());
    done(BPF, command, low.address(), attributes.len() as u64)
}

/// clock_settime(2) with a time of two words of 32 bits.
pub fn clock_settime(clock: i32, time: &[u8]) -> Sys<()> {
    set_clock(CLOCK_SETTIME, clock, time)
}

/// clock_settime(2) with a time of two words of 64 bits.
pub fn clock_settime64(clock: i32, time: &[u8]) -> Sys<()> {
    set_clock(CLOCK_SETTIME64, clock, time)
}

fn set_clock(number: i64, clock: i32, time: &[u8]) -> Sys<()> {
    usable()?;
    let time = given(time)?;
    done(number, u64::from(clock.cast_unsigned()), time.address(), 0)
}

/// settimeofday(2) without a time zone.
pub fn settimeofday(time: &[u8]) -> Sys<()> {
    on_structure(SETTIMEOFDAY, time)
}

/// stime(2).
pub fn stime(seconds: u32) -> Sys<()> {
    on_structure(STIME, &seconds.to_ne_bytes())
}

/// adjtimex(2).
pub fn adjtimex(change: &[u8]) -> Sys<()> {
    on_structure(ADJTIMEX, change)
}

fn on_structure(number: i64, structure: &[u8]) -> Sys<()> {
    usable()?;
    let structure = given(structure)?;
    done(number, structure.address(), 0, 0)
}

/// kexec_load(2) without flags, and with no segments that could be read.
pub fn kexec_load(entry: u32, segments: u32) -> Sys<()> {
    usable()?;
    done(KEXEC_LOAD, entry.into(), segments.into(), 0)
}

fn done(number: i64, first: u64, second: u64, third: u64) -> Sys<()> {
    answer(call(number, first, second, third)).map(drop)
}

/// A copy of these bytes, for addresses have 32 bits there.
fn given(bytes: &[u8]) -> Sys<memory::Mapping> {
    let mut low = low(bytes.len())?;
    low.fill(bytes);
    Ok(low)
}

/// A kernel without it answers with a signal, which is for a child to find out.
pub fn usable() -> Sys<()> {
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
