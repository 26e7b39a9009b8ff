//! Permissions and owners.

use super::{HERE, args, by_descriptor, by_name};
use crate::act;
use crate::kernel::file::Place;
use crate::kernel::regs::Regs;
use crate::probe::security::{Check, checks};
use aya_ebpf::macros::{fexit, tracepoint};
use aya_ebpf::programs::{FExitContext, TracePointContext};
use norma_abi::{KIND_FILE, OP_CHMOD, OP_CHOWN};

const PERMISSIONS: u64 = 0o7777;

checks! {
    lsm_path_chmod, fexit_path_chmod => path_chmod;
    lsm_path_chown, fexit_path_chown => path_chown;
}

/// `int path_chmod(const struct path *path, umode_t mode)`
#[inline(always)]
fn path_chmod(check: &impl Check) {
    act::report(KIND_FILE, |act| {
        act.op_checked(OP_CHMOD, check.outcome(2));
        act.args(args(check.arg(1) & PERMISSIONS, 0));
        act.walk_place(Place(check.arg(0)))
    });
}

/// `int path_chown(const struct path *path, kuid_t uid, kgid_t gid)`
///
/// Kernels before 6.1 have no programs on functions that take structures, and an id is one.
#[inline(always)]
fn path_chown(check: &impl Check) {
    act::report(KIND_FILE, |act| {
        act.op_checked(OP_CHOWN, check.outcome(3));
        act.args(args(id(check.raw(1)), id(check.raw(2))));
        act.walk_place(Place(check.arg(0)))
    });
}

/// `int chown_common(const struct path *path, uid_t user, gid_t group)`: what all calls that change an owner
/// come to, and what came of it
#[fexit]
pub fn fexit_chown_common(ctx: FExitContext) -> i32 {
    let result = i64::from(ctx.arg::<u64>(3) as i32);
    let owner = args(id(ctx.arg(1)), id(ctx.arg(2)));
    act::report(KIND_FILE, |act| {
        act.op(OP_CHOWN, 0);
        act.result(result);
        act.args(owner);
        act.walk_place(Place(ctx.arg::<*const u8>(0) as u64))
    });
    0
}

/// Ids have 32 bits.
#[inline(always)]
fn id(argument: u64) -> u64 {
    u64::from(argument as u32)
}

/// `syscalls/sys_exit_fchmodat` and `_fchmodat2`: `int dfd, const char *filename, umode_t mode`
#[tracepoint]
pub fn exit_fchmodat(ctx: TracePointContext) -> u32 {
    let regs = Regs::current();
    let mode = regs.arg2();
    by_name(&ctx, OP_CHMOD, regs.arg0(), regs.arg1(), |act| {
        act.args(args(mode & PERMISSIONS, 0));
        Some(())
    })
}

/// `syscalls/sys_exit_chmod`: `const char *filename, umode_t mode`
#[tracepoint]
pub fn exit_chmod(ctx: TracePointContext) -> u32 {
    let regs = Regs::current();
    let mode = regs.arg1();
    by_name(&ctx, OP_CHMOD, HERE, regs.arg0(), |act| {
        act.args(args(mode & PERMISSIONS, 0));
        Some(())
    })
}

/// `syscalls/sys_exit_fchmod`: `unsigned int fd, umode_t mode`
#[tracepoint]
pub fn exit_fchmod(ctx: TracePointContext) -> u32 {
    let regs = Regs::current();
    let mode = regs.arg1();
    by_descriptor(&ctx, OP_CHMOD, regs.arg0(), |act| {
        act.args(args(mode & PERMISSIONS, 0));
        Some(())
    })
}

/// `syscalls/sys_exit_fchownat`: `int dfd, const char *filename, uid_t user, gid_t group, int flag`
#[tracepoint]
pub fn exit_fchownat(ctx: TracePointContext) -> u32 {
    let regs = Regs::current();
    let owner = args(id(regs.arg2()), id(regs.arg3()));
    by_name(&ctx, OP_CHOWN, regs.arg0(), regs.arg1(), |act| {
        act.args(owner);
        Some(())
    })
}

/// `syscalls/sys_exit_chown` and `_lchown`: `const char *filename, uid_t user, gid_t group`
#[tracepoint]
pub fn exit_chown(ctx: TracePointContext) -> u32 {
    let regs = Regs::current();
    let owner = args(id(regs.arg1()), id(regs.arg2()));
    by_name(&ctx, OP_CHOWN, HERE, regs.arg0(), |act| {
        act.args(owner);
        Some(())
    })
}

/// `syscalls/sys_exit_fchown`: `unsigned int fd, uid_t user, gid_t group`
#[tracepoint]
pub fn exit_fchown(ctx: TracePointContext) -> u32 {
    let regs = Regs::current();
    let owner = args(id(regs.arg1()), id(regs.arg2()));
    by_descriptor(&ctx, OP_CHOWN, regs.arg0(), |act| {
        act.args(owner);
        Some(())
    })
}
