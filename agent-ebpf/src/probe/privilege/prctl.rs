//! What a process gives up or takes by prctl(2) and seccomp(2).
//!
//! There is no BPF-LSM way: a module that has nothing to say about a prctl returns ENOSYS there, and 0 would
//! make the kernel take the call as done.

use super::ids;
use crate::act;
use crate::probe::syscall::{Return, returns};
use norma_abi::{KIND_PRIVILEGE, OP_NO_NEW_PRIVS, OP_SECCOMP};

const PR_SET_SECCOMP: u32 = 22;
const PR_SET_NO_NEW_PRIVS: u32 = 38;
const PR_CAP_AMBIENT: u32 = 47;
const PR_CAP_AMBIENT_RAISE: u64 = 2;
/// Highest operation of seccomp(2) that installs something.
const SECCOMP_SET_MODE_FILTER: u64 = 1;

returns! {
    prctl => exit exit_prctl, native native_prctl, compat compat_prctl;
    seccomp => exit exit_seccomp, native native_seccomp, compat compat_seccomp;
}

/// `prctl`: `int option, unsigned long arg2, ...`
#[inline(always)]
fn prctl(call: &impl Return) {
    let result = call.result();
    match call.arg0() as u32 {
        PR_SET_NO_NEW_PRIVS => report(OP_NO_NEW_PRIVS, result, [0; 4]),
        // Modes are operations counted from 1.
        PR_SET_SECCOMP => report(OP_SECCOMP, result, [call.arg1().wrapping_sub(1), 0, 0, 0]),
        PR_CAP_AMBIENT if call.arg1() == PR_CAP_AMBIENT_RAISE => ids::capabilities(result),
        _ => {}
    }
}

/// `seccomp`: `unsigned int op, unsigned int flags, void *uargs`
#[inline(always)]
fn seccomp(call: &impl Return) {
    if call.arg0() <= SECCOMP_SET_MODE_FILTER {
        report(OP_SECCOMP, call.result(), [call.arg0(), call.arg1(), 0, 0]);
    }
}

#[inline(always)]
fn report(op: u32, result: i64, args: [u64; 4]) {
    act::report(KIND_PRIVILEGE, |act| {
        act.op(op, 0);
        act.result(result);
        act.args(args);
        Some(())
    });
}
