//! User and group ids, and capabilities.

use crate::act;
use crate::kernel::regs::Regs;
use crate::kernel::task::{Cred, Task};
use crate::probe::security::{Check, checks};
use crate::probe::syscall::{self, Return, returns};
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

returns! {
    setgroups => exit exit_setgroups, native native_setgroups, compat compat_setgroups, compat compat_setgroups16;
    setgroups_failed => exit exit_setgroups_failed, native native_setgroups_failed, compat compat_setgroups_failed,
        compat compat_setgroups16_failed;
    capset_done => exit exit_capset;
    capset_failed => exit exit_capset_failed, native native_capset_failed, compat compat_capset_failed;
    setuid_failed => exit exit_setuid_failed, shared shared_setuid_failed of 1;
    setgid_failed => exit exit_setgid_failed, shared shared_setgid_failed of 1;
    setreuid_failed => exit exit_setreuid_failed, shared shared_setreuid_failed of 2, shared shared_setresuid_failed of 3;
    setregid_failed => exit exit_setregid_failed, shared shared_setregid_failed of 2, shared shared_setresgid_failed of 3;
}

/// `setgroups` and `setgroups16`: the groups after the call, from the thread's credentials
#[inline(always)]
fn setgroups(call: &impl Return) {
    if call.result() == 0 {
        act::report(KIND_PRIVILEGE, |act| {
            act.op(OP_SET_GROUPS, 0);
            act.result(0);
            act.args([Task::current().cred().groups(), 0, 0, 0]);
            Some(())
        });
    }
}

/// `setgroups` and `setgroups16`: `int gidsetsize, ...`
#[inline(always)]
fn setgroups_failed(call: &impl Return) {
    let result = call.result();
    if result < 0 {
        act::report(KIND_PRIVILEGE, |act| {
            act.op(OP_SET_GROUPS, 0);
            act.result(result);
            act.args([call.arg0(), 0, 0, 0]);
            Some(())
        });
    }
}

/// `capset`: the capabilities after the call, from the thread's credentials
#[inline(always)]
fn capset_done(call: &impl Return) {
    if call.result() == 0 {
        capabilities(0);
    }
}

/// `capset`: the capabilities that stay
#[inline(always)]
fn capset_failed(call: &impl Return) {
    let result = call.result();
    if result < 0 {
        capabilities(result);
    }
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

/// `setuid`: `uid_t uid`
#[inline(always)]
fn setuid_failed(call: &impl Return) {
    ids_failed(call, || [UNCHANGED, id(call.arg0()), UNCHANGED, UNCHANGED]);
}

/// `setgid`: `gid_t gid`
#[inline(always)]
fn setgid_failed(call: &impl Return) {
    ids_failed(call, || [UNCHANGED, UNCHANGED, UNCHANGED, id(call.arg0())]);
}

/// `setreuid` and `setresuid`: `uid_t ruid, uid_t euid`
#[inline(always)]
fn setreuid_failed(call: &impl Return) {
    ids_failed(call, || [id(call.arg0()), id(call.arg1()), UNCHANGED, UNCHANGED]);
}

/// `setregid` and `setresgid`: `gid_t rgid, gid_t egid`
#[inline(always)]
fn setregid_failed(call: &impl Return) {
    ids_failed(call, || [UNCHANGED, UNCHANGED, id(call.arg0()), id(call.arg1())]);
}

/// Reports an attempt to take ids that fails, with the ids that were asked for.
#[inline(always)]
fn ids_failed(call: &impl Return, asked: impl FnOnce() -> [u64; 4]) {
    let result = call.result();
    if result < 0 {
        act::report(KIND_PRIVILEGE, |act| {
            act.op(OP_SET_IDS, 0);
            act.result(result);
            act.args(asked());
            Some(())
        });
    }
}

/// Ids have 32 bits.
#[inline(always)]
fn id(argument: u64) -> u64 {
    u64::from(argument as u32)
}
