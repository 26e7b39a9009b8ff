//! Changes of the time.

use crate::act;
use crate::kernel::read;
use crate::kernel::regs::Regs;
use crate::probe::security::{Check, checks};
use crate::probe::syscall;
use aya_ebpf::helpers::generated::bpf_probe_read_user;
use aya_ebpf::macros::tracepoint;
use aya_ebpf::programs::TracePointContext;
use norma_abi::{KIND_HOST, OP_CLOCK_SET};

const CLOCK_REALTIME: u64 = 0;
/// Of `struct timex.modes`: looks, although it is not zero.
const ADJ_OFFSET_SS_READ: u32 = 0xa001;

checks! {
    lsm_settime, fexit_settime => settime;
}

/// `int settime(const struct timespec64 *ts, const struct timezone *tz)`: seconds, then nanoseconds, as the
/// interface to user space has them. A time zone alone does not set the clock.
#[inline(always)]
fn settime(check: &impl Check) {
    let time = check.arg(0);
    if time == 0 {
        return;
    }
    act::report(KIND_HOST, |act| {
        act.op_checked(OP_CLOCK_SET, check.outcome(2));
        let (seconds, rest) = (read::<u64>(time, 0), read::<u64>(time.wrapping_add(8), 0));
        act.args([CLOCK_REALTIME, nanoseconds(seconds, rest), 0, 0]);
        Some(())
    });
}

/// Programs at the exits of calls that set the clock: those that succeed, and those that fail.
macro_rules! exits {
    ($($(#[$doc:meta])* $done:ident, $failed:ident |$regs:ident| $told:expr;)*) => {$(
        $(#[$doc])*
        #[tracepoint]
        pub fn $done(ctx: TracePointContext) -> u32 {
            let result = syscall::result(&ctx);
            let $regs = Regs::current();
            if result >= 0 && let Some(told) = $told {
                report(result, told);
            }
            0
        }

        $(#[$doc])*
        #[tracepoint]
        pub fn $failed(ctx: TracePointContext) -> u32 {
            let result = syscall::result(&ctx);
            let $regs = Regs::current();
            if result < 0 && let Some(told) = $told {
                report(result, told);
            }
            0
        }
    )*};
}

exits! {
    /// `syscalls/sys_exit_clock_settime`: `clockid_t clock, const struct timespec *tp`
    exit_clock_settime, exit_clock_settime_failed |regs| Some((regs.arg0(), user_time(regs.arg1(), 1)));
    /// `syscalls/sys_exit_settimeofday`: `struct timeval *tv, struct timezone *tz`
    exit_settimeofday, exit_settimeofday_failed |regs|
        (regs.arg0() != 0).then(|| (CLOCK_REALTIME, user_time(regs.arg0(), 1_000)));
    /// `syscalls/sys_exit_adjtimex`: `struct timex *tx`
    exit_adjtimex, exit_adjtimex_failed |regs| changes(regs.arg0()).then_some((CLOCK_REALTIME, 0));
    /// `syscalls/sys_exit_clock_adjtime`: `clockid_t clock, struct timex *tx`
    exit_clock_adjtime, exit_clock_adjtime_failed |regs| changes(regs.arg1()).then(|| (regs.arg0(), 0));
}

#[inline(always)]
fn report(result: i64, (clock, time): (u64, u64)) {
    act::report(KIND_HOST, |act| {
        act.op(OP_CLOCK_SET, 0);
        act.result(result);
        act.args([clock & u64::from(u32::MAX), time, 0, 0]);
        Some(())
    });
}

/// Whether a `struct timex` asks for a change. Its first member says so.
#[inline(always)]
fn changes(timex: u64) -> bool {
    let modes = user_word(timex) as u32;
    modes != 0 && modes != ADJ_OFFSET_SS_READ
}

/// A time of two words, the second in units of so many nanoseconds.
#[inline(always)]
fn user_time(at: u64, unit: u64) -> u64 {
    nanoseconds(user_word(at), user_word(at.wrapping_add(8)).wrapping_mul(unit))
}

#[inline(always)]
fn nanoseconds(seconds: u64, rest: u64) -> u64 {
    seconds.wrapping_mul(1_000_000_000).wrapping_add(rest)
}

#[inline(always)]
fn user_word(at: u64) -> u64 {
    let mut word = 0u64;
    // SAFETY: the helper checks the address and fills the value with zeros where it cannot be read.
    unsafe { bpf_probe_read_user((&raw mut word).cast(), size_of::<u64>() as u32, at as *const _) };
    word
}
