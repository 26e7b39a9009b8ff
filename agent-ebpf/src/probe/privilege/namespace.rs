//! Namespaces that a process leaves and enters.

use crate::act;
use crate::kernel::file::File;
use crate::kernel::regs::Regs;
use crate::kernel::task::Task;
use crate::probe::syscall;
use aya_ebpf::macros::tracepoint;
use aya_ebpf::programs::TracePointContext;
use norma_abi::{KIND_PRIVILEGE, OP_SETNS, OP_UNSHARE};

/// CLONE_NEW*: TIME, NS, CGROUP, UTS, IPC, USER, PID, NET.
const NAMESPACES: u64 = 0x7e02_0080;

/// `syscalls/sys_exit_unshare`: `unsigned long flags`
#[tracepoint]
pub fn exit_unshare(ctx: TracePointContext) -> u32 {
    let flags = Regs::current().arg0() & NAMESPACES;
    if flags != 0 {
        report(OP_UNSHARE, syscall::result(&ctx), flags);
    }
    0
}

/// `syscalls/sys_exit_setns`: `int fd, int nstype`, where the type may be left to the descriptor
#[tracepoint]
pub fn exit_setns(ctx: TracePointContext) -> u32 {
    let regs = Regs::current();
    let entered = Task::current()
        .file(regs.arg0() as u32)
        .map_or(0, File::namespace_type);
    let flags = if entered != 0 { entered } else { regs.arg1() };
    report(OP_SETNS, syscall::result(&ctx), flags & NAMESPACES);
    0
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
