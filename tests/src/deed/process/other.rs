//! What is done to other processes.

use crate::deed::area::{Area, Group};
use crate::deed::sys::process::{Child, fork, ptrace, read_memory, wait_forever, write_memory};
use crate::deed::sys::{self, From, Layout};
use crate::deed::technique::{INJECTION, SIGNAL_OUTSIDE};
use crate::deed::truth::Truth;
use crate::deed::{Deed, deed};
use anyhow::{Context as _, Result, ensure};
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::ExitStatusExt as _;

const PTRACE_TRACEME: u32 = 0;
const PTRACE_ATTACH: u32 = 16;
const PTRACE_DETACH: u32 = 17;
const PTRACE_SEIZE: u32 = 0x4206;
const PTRACE_INTERRUPT: u32 = 0x4207;

pub const ALL: &[Deed] = &[
    deed(
        "ptrace-attach",
        "process.ptrace",
        INJECTION,
        "PTRACE_ATTACH to another process",
        |_| {
            let mut child = fork(|| wait_forever())?;
            ptrace(PTRACE_ATTACH, child.pid(), 0, 0)?;
            traced(&mut child, PTRACE_ATTACH)
        },
    ),
    deed(
        "ptrace-seize",
        "process.ptrace",
        INJECTION,
        "PTRACE_SEIZE of another process",
        |_| {
            let mut child = fork(|| wait_forever())?;
            ptrace(PTRACE_SEIZE, child.pid(), 0, 0)?;
            ptrace(PTRACE_INTERRUPT, child.pid(), 0, 0)?;
            traced(&mut child, PTRACE_SEIZE)
        },
    ),
    deed(
        "ptrace-traceme",
        "process.ptrace",
        INJECTION,
        "PTRACE_TRACEME: the parent may trace",
        |_| {
            let child = fork(|| i32::from(ptrace(PTRACE_TRACEME, 0, 0, 0).is_err()))?;
            let truth = Truth::of(child.pid()).target(std::process::id());
            ensure!(child.wait()?.success(), "PTRACE_TRACEME failed");
            Ok(truth.fact("request", PTRACE_TRACEME))
        },
    ),
    deed(
        "vm-read",
        "process.vm-read",
        INJECTION,
        "process_vm_readv(2)",
        |_| {
            let secret = *b"remote memory";
            let child = fork(|| wait_forever())?;
            let mut copy = [0; 13];
            let bytes = read_memory(child.pid(), &secret, &mut copy)?;
            ensure!(copy == secret, "other bytes were read");
            Ok(Truth::here().target(child.pid()).fact("bytes", bytes))
        },
    ),
    deed(
        "vm-write",
        "process.vm-write",
        INJECTION,
        "process_vm_writev(2)",
        |_| {
            let place = *b"before";
            let child = fork(|| wait_forever())?;
            let bytes = write_memory(child.pid(), &place, b"beyond")?;
            reads(&child, &place, b"beyond")?;
            Ok(Truth::here().target(child.pid()).fact("bytes", bytes))
        },
    ),
    deed(
        "mem-write",
        "process.ptrace",
        INJECTION,
        "another process's memory is written through /proc/PID/mem",
        mem_write,
    ),
    signal("signal-kill", "kill(2) to another control group", |_| {
        signalled(|child| sys::process::kill(child, libc::SIGTERM))
    }),
    signal("signal-tgkill", "tgkill(2) to another control group", |_| {
        signalled(|child| sys::process::tgkill(child, child, libc::SIGTERM))
    }),
    signal(
        "signal-pidfd",
        "pidfd_send_signal(2) to another control group",
        |_| {
            signalled(|child| {
                let process = sys::process::pidfd_open(child, 0)?;
                sys::process::pidfd_send_signal(&process, libc::SIGTERM, sys::Null, 0)
            })
        },
    ),
    signal(
        "signal-queue",
        "rt_sigqueueinfo(2) to another control group",
        |_| {
            signalled(|child| {
                // si_code SI_QUEUE.
                let info = Layout::default()
                    .u32(libc::SIGTERM.unsigned_abs())
                    .u32(0)
                    .u32(u32::MAX)
                    .up_to(128)
                    .end();
                sys::process::queue_signal(child, libc::SIGTERM, From(&info))
            })
        },
    ),
];

/// Stops, is let go, and goes on.
fn traced(child: &mut Child, request: u32) -> Result<Truth> {
    child.wait_stopped().context("waiting for the stop")?;
    ptrace(PTRACE_DETACH, child.pid(), 0, 0).context("PTRACE_DETACH")?;
    Ok(Truth::here().target(child.pid()).fact("request", request))
}

fn reads(child: &Child, place: &[u8; 6], expected: &[u8; 6]) -> Result<()> {
    let mut now = [0; 6];
    read_memory(child.pid(), place, &mut now)?;
    ensure!(now == *expected, "the memory holds {now:?}");
    Ok(())
}

fn mem_write(_: &Area) -> Result<Truth> {
    let place = *b"before";
    let child = fork(|| wait_forever())?;
    let memory = OpenOptions::new()
        .write(true)
        .open(format!("/proc/{}/mem", child.pid()))?;
    memory.write_all_at(b"beyond", place.as_ptr() as u64)?;
    reads(&child, &place, b"beyond")?;
    Ok(Truth::here().target(child.pid()).fact("bytes", 6))
}

/// A child in another control group gets a signal that ends it.
fn signalled(send: fn(u32) -> sys::Sys<()>) -> Result<Truth> {
    let group = Group::make()?;
    let child = fork(|| wait_forever())?;
    group.take(child.pid())?;
    let pid = child.pid();
    send(pid)?;
    let status = child.wait()?;
    ensure!(status.signal() == Some(libc::SIGTERM), "ended by {status}");
    Ok(Truth::here().target(pid).fact("signal", libc::SIGTERM))
}

const fn signal(name: &'static str, what: &'static str, act: fn(&Area) -> Result<Truth>) -> Deed {
    deed(name, "process.signal", SIGNAL_OUTSIDE, what, act)
}
