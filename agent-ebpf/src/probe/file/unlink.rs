//! Removal of names.

use crate::act;
use crate::kernel::file::{Dentry, Place};
use crate::kernel::regs::Regs;
use crate::probe::security::{Check, checks};
use crate::probe::syscall;
use aya_ebpf::macros::tracepoint;
use aya_ebpf::programs::TracePointContext;
use norma_abi::{ACT_AT_DESCRIPTOR, KIND_FILE, OP_RMDIR, OP_UNLINK};

const AT_FDCWD: i32 = -100;
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
    claimed(&ctx, op, regs.arg1(), regs.arg0() as i32)
}

/// `syscalls/sys_exit_unlink`: `const char *pathname`
#[tracepoint]
pub fn exit_unlink(ctx: TracePointContext) -> u32 {
    claimed(&ctx, OP_UNLINK, Regs::current().arg0(), AT_FDCWD)
}

/// `syscalls/sys_exit_rmdir`: `const char *pathname`
#[tracepoint]
pub fn exit_rmdir(ctx: TracePointContext) -> u32 {
    claimed(&ctx, OP_RMDIR, Regs::current().arg0(), AT_FDCWD)
}

#[inline(always)]
fn claimed(ctx: &TracePointContext, op: u32, path: u64, directory: i32) -> u32 {
    let result = syscall::result(ctx);
    act::report(KIND_FILE, |act| {
        act.op(
            op,
            if directory == AT_FDCWD {
                0
            } else {
                ACT_AT_DESCRIPTOR
            },
        );
        act.result(result);
        act.claim(path)
    });
    0
}
