//! io_uring: rings, and the kinds of requests that go through them.

use crate::act;
use crate::kernel::task::current_process;
use crate::kernel::{offset, read};
use crate::probe::syscall::{self, Return, returns};
use crate::settings;
use aya_ebpf::helpers::generated::bpf_ktime_get_boot_ns;
use aya_ebpf::macros::{btf_tracepoint, map, tracepoint};
use aya_ebpf::maps::LruHashMap;
use aya_ebpf::programs::{BtfTracePointContext, TracePointContext};
use norma_abi::{KIND_HOST, OP_IO_URING_OP, OP_IO_URING_SETUP, OPCODE_UNKNOWN};

/// How often a kind of request is reported of a process.
const PERIOD_NS: u64 = 1_000_000_000;

/// A process and an opcode.
#[derive(Clone, Copy)]
#[repr(C)]
struct Key {
    process: u32,
    opcode: u32,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Seen {
    reported: u64,
    /// Requests since then.
    more: u64,
}

#[map]
static URING_SEEN: LruHashMap<Key, Seen> = LruHashMap::with_max_entries(4096, 0);

/// `TP_PROTO(int fd, void *ctx, u32 sq_entries, u32 cq_entries, u32 flags)`
#[btf_tracepoint(function = "io_uring_create")]
pub fn io_uring_create(ctx: BtfTracePointContext) -> i32 {
    let entries = ctx.arg::<u64>(2) & u64::from(u32::MAX);
    let flags = ctx.arg::<u64>(4) & u64::from(u32::MAX);
    act::report(KIND_HOST, |act| {
        act.op(OP_IO_URING_SETUP, 0);
        act.result(0);
        act.args([entries, flags, 0, 0]);
        Some(())
    });
    0
}

returns! {
    setup_failed => exit exit_io_uring_setup_failed, native native_io_uring_setup_failed,
        compat compat_io_uring_setup_failed;
}

/// `io_uring_setup`: `u32 entries, struct io_uring_params *params`: attempts that fail
#[inline(always)]
fn setup_failed(call: &impl Return) {
    let result = call.result();
    if result < 0 {
        act::report(KIND_HOST, |act| {
            act.op(OP_IO_URING_SETUP, 0);
            act.result(result);
            act.args([call.arg0() & u64::from(u32::MAX), 0, 0, 0]);
            Some(())
        });
    }
}

/// `TP_PROTO(struct io_kiocb *req)` (6.3)
#[btf_tracepoint(function = "io_uring_submit_req")]
pub fn io_uring_submit_req(ctx: BtfTracePointContext) -> i32 {
    submitted(opcode(ctx.arg::<*const u8>(0) as u64), 1);
    0
}

/// `TP_PROTO(struct io_kiocb *req, bool force_nonblock)` (5.19 to 6.2); before, `TP_PROTO(void *ctx, void *req,
/// u8 opcode, u64 user_data, u32 flags, bool force_nonblock, bool sq_thread)`
#[btf_tracepoint(function = "io_uring_submit_sqe")]
pub fn io_uring_submit_sqe(ctx: BtfTracePointContext) -> i32 {
    let opcode = if settings::sqe_opcode() {
        ctx.arg::<u64>(2) & 0xff
    } else {
        opcode(ctx.arg::<*const u8>(0) as u64)
    };
    submitted(opcode, 1);
    0
}

/// `syscalls/sys_exit_io_uring_enter`: how many requests the kernel took.
#[tracepoint]
pub fn exit_io_uring_enter(ctx: TracePointContext) -> u32 {
    let result = syscall::result(&ctx);
    if result > 0 {
        submitted(OPCODE_UNKNOWN, result as u64);
    }
    0
}

#[inline(always)]
fn opcode(request: u64) -> u64 {
    u64::from(read::<u8>(request, offset!(request_opcode)))
}

/// Reports the first request of a kind, and then once in a while how many there were since the last report.
#[inline(always)]
fn submitted(opcode: u64, count: u64) {
    let key = Key {
        process: current_process(),
        opcode: opcode as u32,
    };
    // SAFETY: the helper takes nothing.
    let now = unsafe { bpf_ktime_get_boot_ns() };
    let mut total = count;
    if let Some(seen) = URING_SEEN.get_ptr_mut(&key) {
        // SAFETY: the verifier has seen the null check. Two threads of a process may each miss the other's
        // addition; the count is a measure, not an account.
        let seen = unsafe { &mut *seen };
        if now.wrapping_sub(seen.reported) < PERIOD_NS {
            seen.more += count;
            return;
        }
        total += seen.more;
        seen.reported = now;
        seen.more = 0;
    } else {
        let first = Seen {
            reported: now,
            more: 0,
        };
        // A full map drops its oldest entry.
        let _ = URING_SEEN.insert(key, first, 0);
    }
    act::report(KIND_HOST, |act| {
        act.op(OP_IO_URING_OP, 0);
        act.args([opcode, total, 0, 0]);
        Some(())
    });
}
