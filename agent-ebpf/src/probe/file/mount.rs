//! Mounts.

use super::{HERE, args, by_name, by_names};
use crate::act::{self, Text};
use crate::kernel::file::{Mount, Place};
use crate::kernel::mounts::Filesystem;
use crate::kernel::regs::Regs;
use crate::kernel::task::Task;
use crate::probe::security::{Check, checks};
use crate::probe::syscall::{Return, returns};
use aya_ebpf::helpers::generated::bpf_probe_read_user;
use aya_ebpf::macros::tracepoint;
use aya_ebpf::programs::TracePointContext;
use core::mem::MaybeUninit;
use norma_abi::{
    ARG_UNKNOWN, KIND_FILE, OP_DETACHED_MOUNT, OP_MOUNT, OP_MOUNT_ATTRIBUTES, OP_MOVE_MOUNT, OP_PIVOT_ROOT,
    OP_UMOUNT,
};

const MS_BIND: u64 = 1 << 12;
const MS_MOVE: u64 = 1 << 13;
const MS_REMOUNT: u64 = 1 << 5;
/// MS_UNBINDABLE, MS_PRIVATE, MS_SLAVE, MS_SHARED.
const MS_PROPAGATION: u64 = 0xf << 17;
const OPEN_TREE_CLONE: u64 = 1;

/// What mount(2) does with these flags, which it looks at in this order.
#[inline(always)]
fn is_move(flags: u64) -> bool {
    flags & MS_MOVE != 0 && flags & (MS_REMOUNT | MS_BIND | MS_PROPAGATION) == 0
}

checks! {
    lsm_sb_mount, fexit_sb_mount => sb_mount;
    lsm_sb_umount, fexit_sb_umount => sb_umount;
    lsm_sb_pivotroot, fexit_sb_pivotroot => sb_pivotroot;
    lsm_move_mount, fexit_move_mount => move_mount;
}

/// `int sb_mount(const char *dev_name, const struct path *path, const char *type, unsigned long flags,
/// void *data)`; `dev_name` and `type` can be null
#[inline(always)]
fn sb_mount(check: &impl Check) {
    let (source, kind, flags) = (check.raw(0), check.raw(2), check.raw(3));
    let place = Place(check.arg(1));
    act::report(KIND_FILE, |act| {
        act.args(args(flags, 0));
        if is_move(flags) {
            act.op_checked(OP_MOVE_MOUNT, check.outcome(5));
            act.claim_copied(source)?;
            return act.walk_other(place.dentry(), place.mount());
        }
        act.op_checked(OP_MOUNT, check.outcome(5));
        act.walk_place(place)?;
        if flags & MS_BIND != 0 {
            act.claim_other_copied(source)
        } else {
            act.text_of_two(Text::Kernel(kind), Text::Kernel(source))
        }
    });
}

/// `int sb_umount(struct vfsmount *mnt, int flags)`
#[inline(always)]
fn sb_umount(check: &impl Check) {
    act::report(KIND_FILE, |act| {
        act.op_checked(OP_UMOUNT, check.outcome(2));
        act.args(args(u64::from(check.arg(1) as u32), 0));
        let mount = Mount::of_vfsmount(check.raw(0));
        act.inode(mount.root().inode());
        act.walk(mount.root(), mount)
    });
}

/// `int sb_pivotroot(const struct path *old_path, const struct path *new_path)`: where the old root goes, and
/// the new root
#[inline(always)]
fn sb_pivotroot(check: &impl Check) {
    act::report(KIND_FILE, |act| {
        act.op_checked(OP_PIVOT_ROOT, check.outcome(2));
        act.walk_place(Place(check.arg(1)))?;
        let old = Place(check.arg(0));
        act.walk_other(old.dentry(), old.mount())
    });
}

/// `int move_mount(const struct path *from_path, const struct path *to_path)`
#[inline(always)]
fn move_mount(check: &impl Check) {
    act::report(KIND_FILE, |act| {
        act.op_checked(OP_MOVE_MOUNT, check.outcome(2));
        act.args(args(ARG_UNKNOWN, 0));
        let (from, to) = (Place(check.arg(0)), Place(check.arg(1)));
        act.walk_place(from)?;
        act.walk_other(to.dentry(), to.mount())?;
        act.text(Filesystem::of(from.dentry()).type_name())
    });
}

/// `syscalls/sys_exit_mount`: `char *dev_name, char *dir_name, char *type, unsigned long flags, void *data`
#[tracepoint]
pub fn exit_mount(ctx: TracePointContext) -> u32 {
    let regs = Regs::current();
    let (source, kind, flags) = (regs.arg0(), regs.arg2(), regs.arg3());
    if is_move(flags) {
        return by_names(
            &ctx,
            OP_MOVE_MOUNT,
            (HERE, source),
            (HERE, regs.arg1()),
            args(flags, 0),
        );
    }
    by_name(&ctx, OP_MOUNT, HERE, regs.arg1(), |act| {
        act.args(args(flags, 0));
        if flags & MS_BIND != 0 {
            act.claim_other(source)
        } else {
            act.text_of_two(Text::User(kind), Text::User(source))
        }
    })
}

/// `syscalls/sys_exit_umount`: `char *name, int flags`
#[tracepoint]
pub fn exit_umount(ctx: TracePointContext) -> u32 {
    let regs = Regs::current();
    let flags = regs.arg1();
    by_name(&ctx, OP_UMOUNT, HERE, regs.arg0(), |act| {
        act.args(args(u64::from(flags as u32), 0));
        Some(())
    })
}

/// `syscalls/sys_exit_pivot_root`: `const char *new_root, const char *put_old`
#[tracepoint]
pub fn exit_pivot_root(ctx: TracePointContext) -> u32 {
    let regs = Regs::current();
    by_names(
        &ctx,
        OP_PIVOT_ROOT,
        (HERE, regs.arg0()),
        (HERE, regs.arg1()),
        [0; 4],
    )
}

/// `syscalls/sys_exit_move_mount`: `int from_dfd, const char *from_pathname, int to_dfd, const char *to_pathname,
/// unsigned int flags`
#[tracepoint]
pub fn exit_move_mount(ctx: TracePointContext) -> u32 {
    let regs = Regs::current();
    let flags = args(u64::from(regs.arg4() as u32), 0);
    by_names(
        &ctx,
        OP_MOVE_MOUNT,
        (regs.arg0(), regs.arg1()),
        (regs.arg2(), regs.arg3()),
        flags,
    )
}

returns! {
    fsmount => exit exit_fsmount, native native_fsmount, compat compat_fsmount;
    open_tree => exit exit_open_tree, native native_open_tree, compat compat_open_tree,
        native native_open_tree_attr, compat compat_open_tree_attr;
    mount_setattr => exit exit_mount_setattr, native native_mount_setattr, compat compat_mount_setattr;
}

/// `fsmount`: `int fs_fd, unsigned int flags, unsigned int attr_flags`; gives a descriptor
#[inline(always)]
fn fsmount(call: &impl Return) {
    detached(call, call.arg2());
}

/// `open_tree` and `open_tree_attr`: `int dfd, const char *path, unsigned int flags`; gives a descriptor
#[inline(always)]
fn open_tree(call: &impl Return) {
    let flags = call.arg2();
    // Without that it is an open with O_PATH.
    if flags & OPEN_TREE_CLONE != 0 {
        detached(call, flags);
    }
}

#[inline(always)]
fn detached(call: &impl Return, flags: u64) {
    let result = call.result();
    let file = if result < 0 {
        None
    } else {
        Task::current().file(result as u32)
    };
    act::report(KIND_FILE, |act| {
        act.op(OP_DETACHED_MOUNT, 0);
        act.result(result);
        act.args(args(u64::from(flags as u32), 0));
        if let Some(file) = file {
            act.walk_file(file)?;
            act.text(Filesystem::of(file.dentry()).type_name())?;
        }
        Some(())
    });
}

/// `mount_setattr`: `int dfd, const char *path, unsigned int flags, struct mount_attr *uattr, size_t usize`
#[inline(always)]
fn mount_setattr(call: &impl Return) {
    let mut change = MaybeUninit::<[u64; 2]>::zeroed();
    // SAFETY: the helper writes as much as there is room for, or fails and leaves zeros; integers are valid with
    // any bits.
    let [set, clear] = unsafe {
        bpf_probe_read_user(
            change.as_mut_ptr().cast(),
            size_of::<[u64; 2]>() as u32,
            call.arg3() as *const _,
        );
        change.assume_init()
    };
    by_name(call, OP_MOUNT_ATTRIBUTES, call.arg0(), call.arg1(), |act| {
        act.args(args(set, clear));
        Some(())
    });
}
