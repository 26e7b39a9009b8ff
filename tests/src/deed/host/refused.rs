//! Attempts to change the kernel and the machine that fail.

use super::{ADJ_SETOFFSET, BPF_PROG_TYPE_SOCKET_FILTER, TOO_MANY_SEGMENTS};
use crate::deed::area::Area;
use crate::deed::sys::{self, Errno, From, Layout, Sys};
use crate::deed::technique::COMPAT;
use crate::deed::truth::Truth;
use crate::deed::{Deed, deed};
use anyhow::{Context as _, Result, ensure};

/// Nobody in particular.
const USER: u32 = 54_321;
const BPF_PROG_LOAD: i32 = 5;
/// More than the kernel takes, so that it refuses before it asks a security module.
const TOO_LONG: usize = 2 << 12;
/// In 2023.
const SECONDS: u32 = 1_700_000_000;
const NANOSECONDS: u64 = 1_700_000_000_000_000_000;

pub const ALL: &[Deed] = &[
    deed(
        "refused-bpf-load",
        "host.bpf-load",
        "",
        "bpf(BPF_PROG_LOAD) with attributes that are too long",
        |_| not_loaded(|attributes| sys::host::bpf(BPF_PROG_LOAD, attributes)),
    ),
    deed(
        "refused-bpf-load-compat",
        "host.bpf-load",
        COMPAT,
        "bpf(BPF_PROG_LOAD) with attributes that are too long, by the 32-bit interface",
        |_| {
            sys::compat::usable().context("the 32-bit interface of this kernel")?;
            not_loaded(|attributes| sys::compat::bpf(BPF_PROG_LOAD, attributes))
        },
    ),
    clock("refused-clock-set", "", "clock_settime(2)", |_| {
        set(|| sys::host::clock_settime(libc::CLOCK_REALTIME, From(&long())))
    }),
    clock(
        "refused-clock-set-compat",
        COMPAT,
        "clock_settime(2) of the 32-bit interface",
        |_| set(|| sys::compat::clock_settime(libc::CLOCK_REALTIME, &short())),
    ),
    clock(
        "refused-clock-set-compat-64",
        COMPAT,
        "clock_settime64(2) of the 32-bit interface",
        |_| set(|| sys::compat::clock_settime64(libc::CLOCK_REALTIME, &long())),
    ),
    clock("refused-clock-set-legacy", "", "settimeofday(2)", |_| {
        set(|| sys::host::settimeofday(From(&long()), sys::Null))
    }),
    clock(
        "refused-clock-set-legacy-compat",
        COMPAT,
        "settimeofday(2) of the 32-bit interface",
        |_| set(|| sys::compat::settimeofday(&short())),
    ),
    clock(
        "refused-clock-stime-compat",
        COMPAT,
        "stime(2) of the 32-bit interface",
        |_| set(|| sys::compat::stime(SECONDS)),
    ),
    clock("refused-clock-adjust", "", "adjtimex(2)", |_| {
        let mut change = Layout::default().u32(ADJ_SETOFFSET).up_to(208).end();
        not_set(|| sys::host::adjtimex(sys::Into(&mut change)))
    }),
    clock(
        "refused-clock-adjust-compat",
        COMPAT,
        "adjtimex(2) of the 32-bit interface",
        |_| not_set(|| sys::compat::adjtimex(&Layout::default().u32(ADJ_SETOFFSET).up_to(128).end())),
    ),
    deed(
        "clock-adjust-compat",
        "host.clock-set",
        COMPAT,
        "adjtimex(2) by nothing, by the 32-bit interface",
        |_| {
            sys::compat::adjtimex(&Layout::default().u32(ADJ_SETOFFSET).up_to(128).end())
                .context("the 32-bit interface of this kernel")?;
            Ok(Truth::here().fact("clock", libc::CLOCK_REALTIME))
        },
    ),
    deed(
        "kexec-compat",
        "host.kexec",
        COMPAT,
        "kexec_load(2) with more segments than there may be, by the 32-bit interface",
        |_| {
            sys::compat::usable().context("the 32-bit interface of this kernel")?;
            let result = sys::compat::kexec_load(0, u32::try_from(TOO_MANY_SEGMENTS)?);
            match result {
                Err(Errno::EINVAL | Errno::EADDRNOTAVAIL) => Ok(Truth::here().result(&result)),
                Err(errno) => Err(errno.into()),
                Ok(()) => anyhow::bail!("the kernel took it"),
            }
        },
    ),
];

const fn clock(
    name: &'static str,
    technique: &'static str,
    what: &'static str,
    act: fn(&Area) -> Result<Truth>,
) -> Deed {
    deed(name, "host.clock-set", technique, what, act)
}

/// An attempt to change the time by a process that may not.
fn not_set(attempt: impl FnOnce() -> Sys<()>) -> Result<Truth> {
    sys::process::setresuid(USER, USER, USER)?;
    let result = attempt();
    match result {
        Err(Errno::EPERM) => Ok(Truth::here().fact("clock", libc::CLOCK_REALTIME).result(&result)),
        Err(Errno::ENOSYS) => Err(Errno::ENOSYS).context("the 32-bit interface of this kernel"),
        _ => anyhow::bail!("it gave {result:?}"),
    }
}

/// The same, with the time that was to be.
fn set(attempt: impl FnOnce() -> Sys<()>) -> Result<Truth> {
    Ok(not_set(attempt)?.fact("time", NANOSECONDS))
}

fn short() -> Vec<u8> {
    Layout::default().u32(SECONDS).u32(0).end()
}

fn long() -> Vec<u8> {
    Layout::default().u64(SECONDS.into()).u64(0).end()
}

fn not_loaded(attempt: impl FnOnce(&[u8]) -> Sys<()>) -> Result<Truth> {
    let attributes = Layout::default()
        .u32(BPF_PROG_TYPE_SOCKET_FILTER)
        .up_to(48)
        .bytes(b"deed_refused")
        .up_to(TOO_LONG)
        .end();
    let result = attempt(&attributes);
    ensure!(result == Err(Errno::E2BIG), "bpf gave {result:?}");
    Ok(Truth::here()
        .fact("type", BPF_PROG_TYPE_SOCKET_FILTER)
        .fact("text", "deed_refused")
        .result(&result))
}
