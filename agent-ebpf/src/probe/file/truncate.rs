//! Files that are cut to a length.

use super::numbers;
use super::{HERE, args, by_descriptor, by_name};
use crate::act;
use crate::kernel::file::{File, Place};
use crate::kernel::regs::Regs;
use crate::probe::security::{Check, checks};
use aya_ebpf::macros::tracepoint;
use aya_ebpf::programs::TracePointContext;
use norma_abi::{ARG_UNKNOWN, KIND_FILE, OP_TRUNCATE};

const O_TRUNC: u32 = 0o1000;

checks! {
    lsm_path_truncate, fexit_path_truncate => path_truncate;
    lsm_file_truncate, fexit_file_truncate => file_truncate;
}

/// `int path_truncate(const struct path *path)`
///
/// Before 6.2 this is also the check of ftruncate(2) and of an open with O_TRUNC.
#[inline(always)]
fn path_truncate(check: &impl Check) {
    act::report(KIND_FILE, |act| {
        act.op_checked(OP_TRUNCATE, check.outcome(1));
        act.args(args(length(), 0));
        act.walk_place(Place(check.arg(0)))
    });
}

/// Since 6.2: `int file_truncate(struct file *file)`
///
/// Also asked for an open with O_TRUNC, whose event has that flag.
#[inline(always)]
fn file_truncate(check: &impl Check) {
    let file = File(check.arg(0));
    if file.flags() & O_TRUNC != 0 {
        return;
    }
    act::report(KIND_FILE, |act| {
        act.op_checked(OP_TRUNCATE, check.outcome(1));
        act.args(args(length(), 0));
        act.walk_file(file)
    });
}

/// What the check itself is not told.
#[inline(always)]
fn length() -> u64 {
    numbers::truncated_length().unwrap_or(ARG_UNKNOWN)
}

/// `syscalls/sys_exit_truncate`: `const char *path, long length`
#[tracepoint]
pub fn exit_truncate(ctx: TracePointContext) -> u32 {
    let regs = Regs::current();
    let length = regs.arg1();
    by_name(&ctx, OP_TRUNCATE, HERE, regs.arg0(), |act| {
        act.args(args(length, 0));
        Some(())
    })
}

/// `syscalls/sys_exit_ftruncate`: `unsigned int fd, unsigned long length`
#[tracepoint]
pub fn exit_ftruncate(ctx: TracePointContext) -> u32 {
    let regs = Regs::current();
    let length = regs.arg1();
    by_descriptor(&ctx, OP_TRUNCATE, regs.arg0(), |act| {
        act.args(args(length, 0));
        Some(())
    })
}
