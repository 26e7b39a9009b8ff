//! Namespaces that a process leaves and enters.

use crate::act;
use crate::kernel::file::File;
use crate::kernel::task::Task;
use crate::probe::syscall::{Return, returns};
use norma_abi::{KIND_PRIVILEGE, OP_SETNS, OP_UNSHARE};

/// CLONE_NEW*: TIME, NS, CGROUP, UTS, IPC, USER, PID, NET.
const NAMESPACES: u64 = 0x7e02_0080;

returns! {
    unshare => exit exit_unshare, native native_unshare, compat compat_unshare;
    setns => exit exit_setns, native native_setns, compat compat_setns;
}

/// `unshare`: `unsigned long flags`
#[inline(always)]
fn unshare(call: &impl Return) {
    let flags = call.arg0() & NAMESPACES;
    if flags != 0 {
        report(OP_UNSHARE, call.result(), flags);
    }
}

/// `setns`: `int fd, int nstype`, where the type may be left to the descriptor
#[inline(always)]
fn setns(call: &impl Return) {
    let entered = Task::current()
        .file(call.arg0() as u32)
        .map_or(0, File::namespace_type);
    let flags = if entered != 0 { entered } else { call.arg1() };
    report(OP_SETNS, call.result(), flags & NAMESPACES);
}

#[inline(always)]
fn report(op: u32, result: i64, flags: u64) {
    act::report(KIND_PRIVILEGE, |act| {
        act.op(op, 0);
        act.result(result);
        act.args([flags, 0, 0, 0]);
        Some(())
    });
}
