//! Changes of a process's root directory.

use super::{HERE, by_name, no_more};
use crate::act;
use crate::kernel::file::Place;
use crate::kernel::regs::Regs;
use crate::probe::security::{Check, checks};
use aya_ebpf::macros::tracepoint;
use aya_ebpf::programs::TracePointContext;
use norma_abi::{KIND_FILE, OP_CHROOT};

checks! {
    lsm_path_chroot, fexit_path_chroot => path_chroot;
}

/// `int path_chroot(const struct path *path)`
#[inline(always)]
fn path_chroot(check: &impl Check) {
    act::report(KIND_FILE, |act| {
        act.op_checked(OP_CHROOT, check.outcome(1));
        act.walk_place(Place(check.arg(0)))
    });
}

/// `syscalls/sys_exit_chroot`: `const char *filename`
#[tracepoint]
pub fn exit_chroot(ctx: TracePointContext) -> u32 {
    by_name(&ctx, OP_CHROOT, HERE, Regs::current().arg0(), no_more)
}
