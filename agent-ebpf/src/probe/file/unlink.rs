//! Removal of names.

use super::{HERE, by_name, no_more};
use crate::act;
use crate::kernel::file::{Dentry, Place};
use crate::kernel::regs::Regs;
use crate::probe::security::{Check, checks};
use aya_ebpf::macros::tracepoint;
use aya_ebpf::programs::TracePointContext;
use norma_abi::{KIND_FILE, OP_RMDIR, OP_UNLINK};

const AT_REMOVEDIR: u64 = 0x200;

checks! {
    lsm_path_unlink, fexit_path_unlink => path_unlink;
    lsm_path_rmdir, fexit_path_rmdir => path_rmdir;
}

/// `int path_unlink(const struct path *dir, struct dentry *dentry)`
#[inline(always)]
fn path_unlink(check: &impl Check) {
    removed(check, OP_UNLINK);
}

/// `int path_rmdir(const struct path *dir, struct dentry *dentry)`
#[inline(always)]
fn path_rmdir(check: &impl Check) {
    removed(check, OP_RMDIR);
}

#[inline(always)]
fn removed(check: &impl Check, op: u32) {
    act::report(KIND_FILE, |act| {
        act.op_checked(op, check.outcome(2));
        let dentry = Dentry(check.arg(1));
        act.inode(dentry.inode());
        act.walk(dentry, Place(check.arg(0)).mount())
    });
}

/// `syscalls/sys_exit_unlinkat`: `int dfd, const char *pathname, int flag`
#[tracepoint]
pub fn exit_unlinkat(ctx: TracePointContext) -> u32 {
    let regs = Regs::current();
    let op = if regs.arg2() & AT_REMOVEDIR == 0 {
        OP_UNLINK
    } else {
        OP_RMDIR
    };
    by_name(&ctx, op, regs.arg0(), regs.arg1(), no_more)
}

/// `syscalls/sys_exit_unlink`: `const char *pathname`
#[tracepoint]
pub fn exit_unlink(ctx: TracePointContext) -> u32 {
    by_name(&ctx, OP_UNLINK, HERE, Regs::current().arg0(), no_more)
}

/// `syscalls/sys_exit_rmdir`: `const char *pathname`
#[tracepoint]
pub fn exit_rmdir(ctx: TracePointContext) -> u32 {
    by_name(&ctx, OP_RMDIR, HERE, Regs::current().arg0(), no_more)
}
