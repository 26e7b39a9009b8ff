//! Directories, nodes and symbolic links that are made without opening them.

use super::numbers;
use super::{HERE, args, by_name};
use crate::act;
use crate::kernel::file::{Dentry, Place};
use crate::kernel::regs::Regs;
use crate::probe::security::{Check, checks};
use aya_ebpf::macros::tracepoint;
use aya_ebpf::programs::TracePointContext;
use norma_abi::{KIND_FILE, OP_MKDIR, OP_MKNOD, OP_SYMLINK};

const S_IFMT: u64 = 0o170_000;
const S_IFREG: u64 = 0o100_000;
const MINOR_BITS: u32 = 20;

checks! {
    lsm_path_mkdir, fexit_path_mkdir => path_mkdir;
    lsm_path_mknod, fexit_path_mknod => path_mknod;
    lsm_path_symlink, fexit_path_symlink => path_symlink;
}

/// `int path_mkdir(const struct path *dir, struct dentry *dentry, umode_t mode)`
#[inline(always)]
fn path_mkdir(check: &impl Check) {
    act::report(KIND_FILE, |act| {
        act.op_checked(OP_MKDIR, check.outcome(3));
        act.args(args(check.arg(2) & 0xffff, 0));
        act.walk_new(Dentry(check.arg(1)), Place(check.arg(0)).mount())
    });
}

/// `int path_mknod(const struct path *dir, struct dentry *dentry, umode_t mode, unsigned int dev)`
///
/// A file that an open creates passes this check too. Of that the open tells.
#[inline(always)]
fn path_mknod(check: &impl Check) {
    let mode = check.arg(2) & 0xffff;
    if mode & S_IFMT == S_IFREG && numbers::opens() {
        return;
    }
    act::report(KIND_FILE, |act| {
        act.op_checked(OP_MKNOD, check.outcome(4));
        act.args(args(mode, kernel_device(check.arg(3) as u32)));
        act.walk_new(Dentry(check.arg(1)), Place(check.arg(0)).mount())
    });
}

/// `int path_symlink(const struct path *dir, struct dentry *dentry, const char *old_name)`
#[inline(always)]
fn path_symlink(check: &impl Check) {
    act::report(KIND_FILE, |act| {
        act.op_checked(OP_SYMLINK, check.outcome(3));
        act.walk_new(Dentry(check.arg(1)), Place(check.arg(0)).mount())?;
        act.text(check.raw(2))
    });
}

/// A device as records have it, from the form of system calls, in which the checks take it too.
#[inline(always)]
fn kernel_device(device: u32) -> u64 {
    let (major, minor) = (device >> 8 & 0xfff, device & 0xff | device >> 12 & 0xfff00);
    u64::from(major << MINOR_BITS | minor)
}

/// `syscalls/sys_exit_mkdirat`: `int dfd, const char *pathname, umode_t mode`
#[tracepoint]
pub fn exit_mkdirat(ctx: TracePointContext) -> u32 {
    let regs = Regs::current();
    made(
        &ctx,
        OP_MKDIR,
        (regs.arg0(), regs.arg1()),
        args(regs.arg2() & 0xffff, 0),
    )
}

/// `syscalls/sys_exit_mkdir`: `const char *pathname, umode_t mode`
#[tracepoint]
pub fn exit_mkdir(ctx: TracePointContext) -> u32 {
    let regs = Regs::current();
    made(&ctx, OP_MKDIR, (HERE, regs.arg0()), args(regs.arg1() & 0xffff, 0))
}

/// `syscalls/sys_exit_mknodat`: `int dfd, const char *filename, umode_t mode, unsigned int dev`
#[tracepoint]
pub fn exit_mknodat(ctx: TracePointContext) -> u32 {
    let regs = Regs::current();
    let node = args(regs.arg2() & 0xffff, kernel_device(regs.arg3() as u32));
    made(&ctx, OP_MKNOD, (regs.arg0(), regs.arg1()), node)
}

/// `syscalls/sys_exit_mknod`: `const char *filename, umode_t mode, unsigned int dev`
#[tracepoint]
pub fn exit_mknod(ctx: TracePointContext) -> u32 {
    let regs = Regs::current();
    let node = args(regs.arg1() & 0xffff, kernel_device(regs.arg2() as u32));
    made(&ctx, OP_MKNOD, (HERE, regs.arg0()), node)
}

/// `syscalls/sys_exit_symlinkat`: `const char *oldname, int newdfd, const char *newname`
#[tracepoint]
pub fn exit_symlinkat(ctx: TracePointContext) -> u32 {
    let regs = Regs::current();
    let target = regs.arg0();
    by_name(&ctx, OP_SYMLINK, regs.arg1(), regs.arg2(), |act| {
        act.user_text(target)
    })
}

/// `syscalls/sys_exit_symlink`: `const char *oldname, const char *newname`
#[tracepoint]
pub fn exit_symlink(ctx: TracePointContext) -> u32 {
    let regs = Regs::current();
    let target = regs.arg0();
    by_name(&ctx, OP_SYMLINK, HERE, regs.arg1(), |act| act.user_text(target))
}

#[inline(always)]
fn made(ctx: &TracePointContext, op: u32, (directory, name): (u64, u64), with: [u64; 4]) -> u32 {
    by_name(ctx, op, directory, name, |act| {
        act.args(with);
        Some(())
    })
}
