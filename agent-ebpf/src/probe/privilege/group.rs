//! Processes that are moved to another control group.

use crate::act;
use crate::kernel::{cgroup::Cgroup, task::Task};
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use norma_abi::{KIND_PRIVILEGE, OP_CGROUP_MOVE};

/// `TP_PROTO(struct cgroup *dst_cgrp, const char *path, struct task_struct *task, bool threadgroup)`: after
/// the move.
#[btf_tracepoint(function = "cgroup_attach_task")]
pub fn cgroup_attach_task(ctx: BtfTracePointContext) -> i32 {
    let cgroup = Cgroup(ctx.arg::<*const u8>(0) as u64);
    if !cgroup.is_v2() {
        return 0;
    }
    let path = ctx.arg::<*const u8>(1) as u64;
    let task = Task::<true>(ctx.arg::<*const u8>(2) as u64);
    act::report(KIND_PRIVILEGE, |act| {
        act.op(OP_CGROUP_MOVE, 0);
        act.result(0);
        act.args([cgroup.id(), 0, 0, 0]);
        act.target(task);
        act.text(path)
    });
    0
}
