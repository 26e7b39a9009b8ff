//! Other names for files.

use super::{HERE, args, by_names};
use crate::act;
use crate::kernel::file::{Dentry, Place};
use crate::kernel::regs::Regs;
use crate::probe::security::{Check, checks};
use crate::settings;
use aya_ebpf::macros::{fexit, lsm, tracepoint};
use aya_ebpf::programs::{FExitContext, LsmContext, TracePointContext};
use norma_abi::{ARG_UNKNOWN, KIND_FILE, OP_LINK, OP_RENAME};

checks! {
    lsm_path_link, fexit_path_link => path_link;
}

/// Before 5.19: `int path_rename(const struct path *old_dir, struct dentry *old_dentry, const struct path *new_dir,
/// struct dentry *new_dentry)`, which an exchange calls a second time with the two changed over.
/// Since then with `unsigned int flags` at the end.
#[lsm]
pub fn lsm_path_rename(ctx: LsmContext) -> i32 {
    let flags = if settings::rename_flags() {
        ctx.raw(4)
    } else {
        ARG_UNKNOWN
    };
    renamed(&ctx, flags);
    0
}

/// `int security_path_rename(const struct path *old_dir, struct dentry *old_dentry, const struct path *new_dir,
/// struct dentry *new_dentry, unsigned int flags)`
#[fexit]
pub fn fexit_path_rename(ctx: FExitContext) -> i32 {
    renamed(&ctx, ctx.raw(4));
    0
}

#[inline(always)]
fn renamed(check: &impl Check, flags: u64) {
    act::report(KIND_FILE, |act| {
        act.op_checked(OP_RENAME, check.outcome(5));
        act.args(args(flags as u32 as u64, 0));
        if flags == ARG_UNKNOWN {
            act.args(args(ARG_UNKNOWN, 0));
        }
        let dentry = Dentry(check.arg(1));
        act.inode(dentry.inode());
        act.walk(dentry, Place(check.arg(0)).mount())?;
        act.walk_other_new(Dentry(check.arg(3)), Place(check.arg(2)).mount())
    });
}

/// `int path_link(struct dentry *old_dentry, const struct path *new_dir, struct dentry *new_dentry)`
///
/// Both names are on one mount, or the kernel refuses before it asks.
#[inline(always)]
fn path_link(check: &impl Check) {
    act::report(KIND_FILE, |act| {
        act.op_checked(OP_LINK, check.outcome(3));
        let (dentry, mount) = (Dentry(check.arg(0)), Place(check.arg(1)).mount());
        act.inode(dentry.inode());
        act.walk(dentry, mount)?;
        act.walk_other_new(Dentry(check.arg(2)), mount)
    });
}

/// `syscalls/sys_exit_renameat2`: `int olddfd, const char *oldname, int newdfd, const char *newname,
/// unsigned int flags`
#[tracepoint]
pub fn exit_renameat2(ctx: TracePointContext) -> u32 {
    let regs = Regs::current();
    let flags = args(regs.arg4() as u32 as u64, 0);
    by_names(
        &ctx,
        OP_RENAME,
        (regs.arg0(), regs.arg1()),
        (regs.arg2(), regs.arg3()),
        flags,
    )
}

/// `syscalls/sys_exit_renameat`: `int olddfd, const char *oldname, int newdfd, const char *newname`
#[tracepoint]
pub fn exit_renameat(ctx: TracePointContext) -> u32 {
    let regs = Regs::current();
    by_names(
        &ctx,
        OP_RENAME,
        (regs.arg0(), regs.arg1()),
        (regs.arg2(), regs.arg3()),
        [0; 4],
    )
}

/// `syscalls/sys_exit_rename`: `const char *oldname, const char *newname`
#[tracepoint]
pub fn exit_rename(ctx: TracePointContext) -> u32 {
    let regs = Regs::current();
    by_names(&ctx, OP_RENAME, (HERE, regs.arg0()), (HERE, regs.arg1()), [0; 4])
}

/// `syscalls/sys_exit_linkat`: `int olddfd, const char *oldname, int newdfd, const char *newname, int flags`
#[tracepoint]
pub fn exit_linkat(ctx: TracePointContext) -> u32 {
    let regs = Regs::current();
    by_names(
        &ctx,
        OP_LINK,
        (regs.arg0(), regs.arg1()),
        (regs.arg2(), regs.arg3()),
        [0; 4],
    )
}

/// `syscalls/sys_exit_link`: `const char *oldname, const char *newname`
#[tracepoint]
pub fn exit_link(ctx: TracePointContext) -> u32 {
    let regs = Regs::current();
    by_names(&ctx, OP_LINK, (HERE, regs.arg0()), (HERE, regs.arg1()), [0; 4])
}
