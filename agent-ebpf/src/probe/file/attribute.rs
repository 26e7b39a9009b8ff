//! Extended attributes and access control lists.

use super::{HERE, args, by_descriptor, by_name};
use crate::act;
use crate::kernel::file::Dentry;
use crate::kernel::mounts::Filesystem;
use crate::kernel::regs::Regs;
use crate::kernel::task::Task;
use crate::probe::security::{Check, checks};
use crate::settings;
use aya_ebpf::macros::tracepoint;
use aya_ebpf::programs::TracePointContext;
use norma_abi::{KIND_FILE, OP_REMOVEXATTR, OP_SETXATTR};

checks! {
    lsm_inode_setxattr, fexit_inode_setxattr => inode_setxattr;
    lsm_inode_removexattr, fexit_inode_removexattr => inode_removexattr;
    lsm_inode_set_acl, fexit_inode_set_acl => inode_set_acl;
    lsm_inode_remove_acl, fexit_inode_remove_acl => inode_remove_acl;
}

/// Before 5.12: `int inode_setxattr(struct dentry *dentry, const char *name, const void *value, size_t size,
/// int flags)`; since then with the idmapping of the mount as first argument.
#[inline(always)]
fn inode_setxattr(check: &impl Check) {
    let first = first();
    let flags = args(u64::from(check.raw(first + 4) as u32), 0);
    changed(check, OP_SETXATTR, first, flags, 5);
}

/// Before 5.12: `int inode_removexattr(struct dentry *dentry, const char *name)`; since then as above.
#[inline(always)]
fn inode_removexattr(check: &impl Check) {
    changed(check, OP_REMOVEXATTR, first(), [0; 4], 2);
}

/// Since 6.2: `int inode_set_acl(struct mnt_idmap *idmap, struct dentry *dentry, const char *acl_name,
/// struct posix_acl *kacl)`
#[inline(always)]
fn inode_set_acl(check: &impl Check) {
    changed(check, OP_SETXATTR, 1, [0; 4], 3);
}

/// Since 6.2: `int inode_remove_acl(struct mnt_idmap *idmap, struct dentry *dentry, const char *acl_name)`
#[inline(always)]
fn inode_remove_acl(check: &impl Check) {
    changed(check, OP_REMOVEXATTR, 1, [0; 4], 2);
}

/// The argument that is the name of the file.
#[inline(always)]
fn first() -> usize {
    usize::from(settings::attribute_idmap())
}

/// The check is told the name of the file but not the mount. One is looked for by which the program can reach
/// it; the path by a mount of somebody else is marked as disconnected.
#[inline(always)]
fn changed(check: &impl Check, op: u32, first: usize, with: [u64; 4], arguments: usize) {
    act::report(KIND_FILE, |act| {
        act.op_checked(op, check.outcome_after(first + arguments));
        act.args(with);
        let dentry = Dentry(check.raw(first));
        act.inode(dentry.inode());
        let (mount, is_own) = Filesystem::of(dentry).mount_for(dentry, Task::current());
        act.walk(dentry, mount)?;
        if !is_own {
            act.is_disconnected();
        }
        act.text(check.raw(first + 1))
    });
}

/// `syscalls/sys_exit_setxattr` and `_lsetxattr`: `const char *pathname, const char *name, const void *value,
/// size_t size, int flags`
#[tracepoint]
pub fn exit_setxattr(ctx: TracePointContext) -> u32 {
    let regs = Regs::current();
    let (name, flags) = (regs.arg1(), regs.arg4());
    by_name(&ctx, OP_SETXATTR, HERE, regs.arg0(), |act| {
        act.args(args(u64::from(flags as u32), 0));
        act.user_text(name)
    })
}

/// `syscalls/sys_exit_fsetxattr`: `int fd, const char *name, const void *value, size_t size, int flags`
#[tracepoint]
pub fn exit_fsetxattr(ctx: TracePointContext) -> u32 {
    let regs = Regs::current();
    let (name, flags) = (regs.arg1(), regs.arg4());
    by_descriptor(&ctx, OP_SETXATTR, regs.arg0(), |act| {
        act.args(args(u64::from(flags as u32), 0));
        act.user_text(name)
    })
}

/// `syscalls/sys_exit_setxattrat`: `int dfd, const char *pathname, unsigned int at_flags, const char *name,
/// const struct xattr_args *uargs, size_t usize`
#[tracepoint]
pub fn exit_setxattrat(ctx: TracePointContext) -> u32 {
    named(&ctx, OP_SETXATTR)
}

/// `syscalls/sys_exit_removexattr` and `_lremovexattr`: `const char *pathname, const char *name`
#[tracepoint]
pub fn exit_removexattr(ctx: TracePointContext) -> u32 {
    let regs = Regs::current();
    let name = regs.arg1();
    by_name(&ctx, OP_REMOVEXATTR, HERE, regs.arg0(), |act| act.user_text(name))
}

/// `syscalls/sys_exit_fremovexattr`: `int fd, const char *name`
#[tracepoint]
pub fn exit_fremovexattr(ctx: TracePointContext) -> u32 {
    let regs = Regs::current();
    let name = regs.arg1();
    by_descriptor(&ctx, OP_REMOVEXATTR, regs.arg0(), |act| act.user_text(name))
}

/// `syscalls/sys_exit_removexattrat`: `int dfd, const char *pathname, unsigned int at_flags, const char *name`
#[tracepoint]
pub fn exit_removexattrat(ctx: TracePointContext) -> u32 {
    named(&ctx, OP_REMOVEXATTR)
}

#[inline(always)]
fn named(ctx: &TracePointContext, op: u32) -> u32 {
    let regs = Regs::current();
    let name = regs.arg3();
    by_name(ctx, op, regs.arg0(), regs.arg1(), |act| act.user_text(name))
}
