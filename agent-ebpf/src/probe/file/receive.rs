//! Open files that come from another process.

use crate::act;
use crate::kernel::file::File;
use crate::kernel::task::Task;
use crate::probe::security::{Check, checks};
use crate::probe::syscall;
use aya_ebpf::macros::tracepoint;
use aya_ebpf::programs::TracePointContext;
use norma_abi::{KIND_FILE, OP_RECEIVE};

const S_IFMT: u32 = 0o170_000;
const S_IFREG: u32 = 0o100_000;
const S_IFBLK: u32 = 0o060_000;
const S_IFDIR: u32 = 0o040_000;
const S_IFCHR: u32 = 0o020_000;

checks! {
    lsm_file_receive, fexit_file_receive => file_receive;
}

/// `int file_receive(struct file *file)`
#[inline(always)]
fn file_receive(check: &impl Check) {
    received(File(check.arg(0)), check.outcome(1));
}

/// `syscalls/sys_exit_pidfd_getfd`: `int pidfd, int fd, unsigned int flags`; gives a descriptor
#[tracepoint]
pub fn exit_pidfd_getfd(ctx: TracePointContext) -> u32 {
    let result = syscall::result(&ctx);
    if result >= 0
        && let Some(file) = Task::current().file(result as u32)
    {
        received(file, (norma_abi::ACT_RESULT, 0));
    }
    0
}

/// Sockets, pipes and what is no file at all are the usual things to pass on, and open nothing.
#[inline(always)]
fn received(file: File, outcome: (u32, i64)) {
    let kind = file.inode().mode() & S_IFMT;
    if !matches!(kind, S_IFREG | S_IFBLK | S_IFDIR | S_IFCHR) {
        return;
    }
    act::report(KIND_FILE, |act| {
        act.op_checked(OP_RECEIVE, outcome);
        act.args([u64::from(file.flags()), 0, 0, 0]);
        act.walk_file(file)
    });
}
