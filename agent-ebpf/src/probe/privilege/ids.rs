//! User and group ids, and capabilities.

use crate::act;
use crate::kernel::regs::Regs;
use crate::kernel::task::{Cred, Task};
use crate::probe::security::{Check, checks};
use crate::probe::syscall;
use aya_ebpf::macros::tracepoint;
use aya_ebpf::programs::TracePointContext;
use norma_abi::{KIND_PRIVILEGE, OP_CAPSET, OP_SET_GROUPS, OP_SET_IDS};

/// An id that stays as it is.
const UNCHANGED: u64 = u32::MAX as u64;

checks! {
    lsm_task_fix_setuid, fexit_task_fix_setuid => fix_ids;
    lsm_task_fix_setgid, fexit_task_fix_setgid => fix_ids;
    lsm_task_fix_setgroups, fexit_task_fix_setgroups => fix_groups;
    lsm_capset, fexit_capset => capset;
}

/// `int task_fix_setuid(struct cred *new, const struct cred *old, int flags)`, and the same for groups
#[inline(always)]
fn fix_ids(check: &impl Check) {
    let new = Cred::<true>(check.arg(0));
    if new.has_ids_of(Cred(check.arg(1))) {
        return;
    }
    act::report(KIND_PRIVILEGE, |act| {
        act.op_checked(OP_SET_IDS, check.outcome(3));
        act.args(ids(new));
        Some(())
    });
}

/// `int task_fix_setgroups(struct cred *new, const struct cred *old)` (5.16)
#[inline(always)]
fn fix_groups(check: &impl Check) {
    let new = Cred::<true>(check.arg(0));
    act::report(KIND_PRIVILEGE, |act| {
        act.op_checked(OP_SET_GROUPS, check.outcome(2));
        act.args([new.groups(), 0, 0, 0]);
        Some(())
    });
}

/// `int capset(struct cred *new, const struct cred *old, const kernel_cap_t *effective,
/// const kernel_cap_t *inheritable, const kernel_cap_t *permitted)`: the module that checks capabilities
/// comes first and has put them into `new`.
#[inline(always)]
fn capset(check: &impl Check) {
    let new = Cred::<true>(check.arg(0)).capabilities();
    if new == Cred::<true>(check.arg(1)).capabilities() {
        return;
    }
    act::report(KIND_PRIVILEGE, |act| {
        act.op_checked(OP_CAPSET, check.outcome(5));
        act.args([new.0, new.1, new.2, 0]);
        Some(())
    });
}

#[inline(always)]
fn ids<const TYPED: bool>(cred: Cred<TYPED>) -> [u64; 4] {
    [
        cred.uid().into(),
        cred.euid().into(),
        cred.gid().into(),
        cred.egid().into(),
    ]
}

/// `syscalls/sys_exit_set{,re,res}{u,g}id`: the ids after the call, from the thread's credentials.
#[tracepoint]
pub fn exit_ids(ctx: TracePointContext) -> u32 {
    if syscall::result(&ctx) == 0 {
        changed();
    }
    0
}

/// `syscalls/sys_exit_setfs{u,g}id`: the result is the id before the call, whether or not it was changed.
#[tracepoint]
pub fn exit_fs_ids(ctx: TracePointContext) -> u32 {
    let regs = Regs::current();
    let asked = regs.arg0() as u32;
    if asked != u32::MAX && syscall::result(&ctx) as u32 != asked {
        changed();
    }
    0
}

#[inline(always)]
fn changed() {
    act::report(KIND_PRIVILEGE, |act| {
        act.op(OP_SET_IDS, 0);
        act.result(0);
        act.args(ids(Task::current().cred()));
        Some(())
    });
}

/// `syscalls/sys_exit_setgroups`
#[tracepoint]
pub fn exit_setgroups(ctx: TracePointContext) -> u32 {
    if syscall::result(&ctx) == 0 {
        act::report(KIND_PRIVILEGE, |act| {
            act.op(OP_SET_GROUPS, 0);
            act.result(0);
            act.args([Task::current().cred().groups(), 0, 0, 0]);
            Some(())
        });
    }
    0
}

/// `syscalls/sys_exit_setgroups`: `int gidsetsize, ...`
#[tracepoint]
pub fn exit_setgroups_failed(ctx: TracePointContext) -> u32 {
    let result = syscall::result(&ctx);
    if result < 0 {
        act::report(KIND_PRIVILEGE, |act| {
            act.op(OP_SET_GROUPS, 0);
            act.result(result);
            act.args([Regs::current().arg0(), 0, 0, 0]);
            Some(())
        });
    }
    0
}

/// `syscalls/sys_exit_capset`: the capabilities after the call, from the thread's credentials.
#[tracepoint]
pub fn exit_capset(ctx: TracePointContext) -> u32 {
    if syscall::result(&ctx) == 0 {
        capabilities(0);
    }
    0
}

/// `syscalls/sys_exit_capset`: the capabilities that stay.
#[tracepoint]
pub fn exit_capset_failed(ctx: TracePointContext) -> u32 {
    let result = syscall::result(&ctx);
    if result < 0 {
        capabilities(result);
    }
    0
}

/// Reports the capabilities that are in force after an attempt to change them.
#[inline(always)]
pub fn capabilities(result: i64) {
    act::report(KIND_PRIVILEGE, |act| {
        act.op(OP_CAPSET, 0);
        act.result(result);
        let now = Task::current().cred().capabilities();
        act.args([now.0, now.1, now.2, 0]);
        Some(())
    });
}

/// Programs for attempts to take ids that fail, with the ids that were asked for.
macro_rules! failed {
    ($($(#[$doc:meta])* $name:ident |$regs:ident| $ids:expr;)*) => {$(
        $(#[$doc])*
        #[tracepoint]
        pub fn $name(ctx: TracePointContext) -> u32 {
            let result = syscall::result(&ctx);
            if result < 0 {
                let $regs = Regs::current();
                let ids: [u64; 4] = $ids;
                act::report(KIND_PRIVILEGE, |act| {
                    act.op(OP_SET_IDS, 0);
                    act.result(result);
                    act.args(ids);
                    Some(())
                });
            }
            0
        }
    )*};
}

failed! {
    /// `syscalls/sys_exit_setuid`: `uid_t uid`
    exit_setuid_failed |regs| [UNCHANGED, regs.arg0(), UNCHANGED, UNCHANGED];
    /// `syscalls/sys_exit_setgid`: `gid_t gid`
    exit_setgid_failed |regs| [UNCHANGED, UNCHANGED, UNCHANGED, regs.arg0()];
    /// `syscalls/sys_exit_set{re,res}uid`: `uid_t ruid, uid_t euid`
    exit_setreuid_failed |regs| [regs.arg0(), regs.arg1(), UNCHANGED, UNCHANGED];
    /// `syscalls/sys_exit_set{re,res}gid`: `gid_t rgid, gid_t egid`
    exit_setregid_failed |regs| [UNCHANGED, UNCHANGED, regs.arg0(), regs.arg1()];
}
