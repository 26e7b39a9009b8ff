//! The kernel and the machine.

use super::{From, Into, Layout, Null, Sys, calls};
use std::ffi::CStr;
use std::os::fd::{AsRawFd as _, OwnedFd};

calls! {
    init_module = SYS_init_module(image: &[u8], parameters: &CStr) -> ();
    finit_module = SYS_finit_module(image: &OwnedFd, parameters: &CStr, flags: i32) -> ();
    bpf_descriptor = SYS_bpf(command: i32, attributes: &[u8]) -> OwnedFd;
    bpf = SYS_bpf(command: i32, attributes: &[u8]) -> ();
    add_key = SYS_add_key(kind: &CStr, description: &CStr, payload: &[u8], ring: i32) -> usize;
    keyring = SYS_keyctl(operation: i32, ring: i32, create: i32) -> usize;
    perf_event_open = SYS_perf_event_open(attributes: From<'_>, pid: i32, cpu: i32, group: i32,
        flags: u64) -> OwnedFd;
    userfaultfd = SYS_userfaultfd(flags: i32) -> OwnedFd;
    io_uring_setup = SYS_io_uring_setup(entries: u32, parameters: Into<'_>) -> OwnedFd;
    kexec_load = SYS_kexec_load(entry: u64, count: u64, segments: Null, flags: u64) -> ();
    clock_settime = SYS_clock_settime(clock: i32, time: From<'_>) -> ();
    settimeofday = SYS_settimeofday(time: From<'_>, zone: Null) -> ();
    adjtimex = SYS_adjtimex(change: Into<'_>) -> ();
}

const PROG_LOAD: i32 = 5;
const PROG_ATTACH: i32 = 8;
const PROG_DETACH: i32 = 9;

/// Loads a program of this type that only gives `answer`.
pub fn load(kind: u32, name: &str, answer: u32) -> Sys<OwnedFd> {
    // mov r0, answer; exit
    let code = Layout::default()
        .u32(0x0000_00b7)
        .u32(answer)
        .u32(0x0000_0095)
        .u32(0)
        .end();
    let licence = b"GPL\0";
    let attributes = Layout::default()
        .u32(kind)
        .u32(2)
        .address(&code)
        .address(licence)
        .up_to(48)
        .bytes(name.as_bytes())
        .up_to(72)
        .end();
    bpf_descriptor(PROG_LOAD, &attributes)
}

fn attachment(target: &OwnedFd, program: &OwnedFd, kind: u32) -> Vec<u8> {
    Layout::default()
        .u32(target.as_raw_fd().cast_unsigned())
        .u32(program.as_raw_fd().cast_unsigned())
        .u32(kind)
        .u32(0)
        .end()
}

/// Attaches a program to a control group.
pub fn attach(group: &OwnedFd, program: &OwnedFd, kind: u32) -> Sys<()> {
    bpf(PROG_ATTACH, &attachment(group, program, kind))
}

/// Takes it off again.
pub fn detach(group: &OwnedFd, program: &OwnedFd, kind: u32) -> Sys<()> {
    bpf(PROG_DETACH, &attachment(group, program, kind))
}
