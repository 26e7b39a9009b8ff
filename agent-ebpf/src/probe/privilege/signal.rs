//! Signals that leave the control group of their sender.

use crate::act;
use crate::emit;
use crate::kernel::{offset, read, task::Task};
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use norma_abi::{KIND_PRIVILEGE, OP_SIGNAL};

/// Addresses up to here stand for signals without a description, which only the kernel sends.
const SPECIAL: u64 = 1;
/// No kernel stack is larger.
const STACK: u64 = 32 << 10;
/// The queue of the receiver is full.
const OVERFLOWED: u64 = 3;
const EAGAIN: i64 = -11;

/// `TP_PROTO(int sig, struct kernel_siginfo *info, struct task_struct *task, int group, int result)`
///
/// The kernel's own signals say so by a code above zero. What a program sends carries zero or less, and is
/// described on the kernel stack of the sending thread: a timer that ran out interrupts any thread, and has
/// its description elsewhere.
#[btf_tracepoint(function = "signal_generate")]
pub fn signal_generate(ctx: BtfTracePointContext) -> i32 {
    let info = ctx.arg::<*const u8>(1) as u64;
    if info <= SPECIAL {
        return 0;
    }
    let code: i32 = read(info, offset!(siginfo_code));
    if code > 0 {
        return 0;
    }
    let target = Task::<true>(ctx.arg::<*const u8>(2) as u64);
    let cgroup = target.cgroup();
    if cgroup == emit::current_cgroup_typed() {
        return 0;
    }
    // Compared, not subtracted: from 6.4 the verifier takes no arithmetic on this address.
    let stack = Task::current().stack();
    if info < stack || info > stack.wrapping_add(STACK) {
        return 0;
    }
    let signal = ctx.arg::<u64>(0) & u64::from(u32::MAX);
    let overflowed = ctx.arg::<u64>(4) as u32 == OVERFLOWED as u32;
    act::report(KIND_PRIVILEGE, |act| {
        act.op(OP_SIGNAL, 0);
        act.result(if overflowed { EAGAIN } else { 0 });
        act.args([signal, 0, 0, 0]);
        act.target(target);
        Some(())
    });
    0
}
