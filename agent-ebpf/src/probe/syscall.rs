//! The return from a system call.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::programs::TracePointContext;

/// Offset of `ret` in the record of a `syscalls/sys_exit_*` tracepoint: common fields, number, result.
const RESULT: usize = 16;

/// What the system call returns: a value, or a negative errno.
#[inline(always)]
pub fn result(ctx: &TracePointContext) -> i64 {
    // SAFETY: the record of this tracepoint is longer than that, which the verifier checks.
    unsafe { core::ptr::read_volatile(ctx.as_ptr().cast::<u8>().add(RESULT).cast::<i64>()) }
}
