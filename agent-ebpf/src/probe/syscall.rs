//! The return from a system call.

use aya_ebpf::programs::TracePointContext;

/// Offset of `ret` in the record of a `syscalls/sys_exit_*` tracepoint: common fields, number, result.
const RESULT: usize = 16;

/// What the system call returns: a value, or a negative errno.
#[inline(always)]
pub fn result(ctx: &TracePointContext) -> i64 {
    // SAFETY: the record of this tracepoint is longer than that.
    unsafe { ctx.read_at::<i64>(RESULT) }.unwrap_or(0)
}
