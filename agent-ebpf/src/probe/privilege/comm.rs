//! Names that threads give themselves and each other.

use crate::act;
use crate::kernel::{read, task::Task};
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use norma_abi::{KIND_PRIVILEGE, OP_COMM};

/// `TP_PROTO(struct task_struct *task, const char *comm)`: before the name is changed. Every exec comes
/// along here, too, and is told by its own event.
#[btf_tracepoint(function = "task_rename")]
pub fn task_rename(ctx: BtfTracePointContext) -> i32 {
    let task = Task::<true>(ctx.arg::<*const u8>(0) as u64);
    let name = ctx.arg::<*const u8>(1) as u64;
    if task.is_kernel_thread() || task.is_executing() || is(task.comm(), read(name, 0)) {
        return 0;
    }
    act::report(KIND_PRIVILEGE, |act| {
        act.op(OP_COMM, 0);
        act.result(0);
        if task.0 != Task::current().0 {
            act.target(task);
        }
        act.text(name)
    });
    0
}

/// Whether the names are the same up to their ends.
#[inline(always)]
fn is(old: [u8; 16], new: [u8; 16]) -> bool {
    for at in 0..16 {
        if old[at] != new[at] {
            return false;
        }
        if old[at] == 0 {
            break;
        }
    }
    true
}
