//! Changes of the time.

use crate::act;
use crate::kernel::read;
use crate::probe::security::{Check, checks};
use crate::probe::syscall::{Return, returns};
use aya_ebpf::helpers::generated::bpf_probe_read_user;
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

returns! {
    clock_settime => exit exit_clock_settime;
    settimeofday => exit exit_settimeofday;
    adjtimex => exit exit_adjtimex;
    clock_adjtime => exit exit_clock_adjtime;
    clock_settime_failed => exit exit_clock_settime_failed, native native_clock_settime_failed,
        compat compat_clock_settime_failed;
    clock_settime32_failed => compat compat_clock_settime32_failed;
    settimeofday_failed => exit exit_settimeofday_failed, native native_settimeofday_failed;
    settimeofday32_failed => compat compat_settimeofday_failed;
    stime32_failed => compat compat_stime32_failed;
    adjtimex_failed => exit exit_adjtimex_failed;
    clock_adjtime_failed => exit exit_clock_adjtime_failed;
    adjusted => shared shared_adjtimex of 1;
    adjusted_failed => shared shared_adjtimex_failed of 1;
    other_adjusted => native native_clock_adjtime, compat compat_clock_adjtime, compat compat_clock_adjtime32;
    other_adjusted_failed => native native_clock_adjtime_failed, compat compat_clock_adjtime_failed,
        compat compat_clock_adjtime32_failed;
}

/// `clock_settime`: `clockid_t clock, const struct timespec *tp`
#[inline(always)]
fn clock_settime(call: &impl Return) {
    done(call, || Some((call.arg0(), user_time(call.arg1(), 1))));
}

/// As [`clock_settime`]; by the 32-bit interface it is `clock_settime64`
#[inline(always)]
fn clock_settime_failed(call: &impl Return) {
    failed(call, || Some((call.arg0(), user_time(call.arg1(), 1))));
}

/// `clock_settime` of the 32-bit interface, where times have 32 bits
#[inline(always)]
fn clock_settime32_failed(call: &impl Return) {
    failed(call, || Some((call.arg0(), user_time32(call.arg1(), 1))));
}

/// `settimeofday`: `struct timeval *tv, struct timezone *tz`
#[inline(always)]
fn settimeofday(call: &impl Return) {
    let time = call.arg0();
    done(call, || {
        (time != 0).then(|| (CLOCK_REALTIME, user_time(time, 1_000)))
    });
}

/// As [`settimeofday`]
#[inline(always)]
fn settimeofday_failed(call: &impl Return) {
    let time = call.arg0();
    failed(call, || {
        (time != 0).then(|| (CLOCK_REALTIME, user_time(time, 1_000)))
    });
}

/// `settimeofday` of the 32-bit interface
#[inline(always)]
fn settimeofday32_failed(call: &impl Return) {
    let time = call.arg0();
    failed(call, || {
        (time != 0).then(|| (CLOCK_REALTIME, user_time32(time, 1_000)))
    });
}

/// `stime`: `old_time32_t *tptr`
#[inline(always)]
fn stime32_failed(call: &impl Return) {
    failed(call, || {
        let seconds = user_word(call.arg0()) as u32;
        Some((CLOCK_REALTIME, nanoseconds(seconds.into(), 0)))
    });
}

/// `adjtimex`: `struct timex *tx`
#[inline(always)]
fn adjtimex(call: &impl Return) {
    done(call, || user_changes(call.arg0()).then_some((CLOCK_REALTIME, 0)));
}

/// As [`adjtimex`]
#[inline(always)]
fn adjtimex_failed(call: &impl Return) {
    failed(call, || user_changes(call.arg0()).then_some((CLOCK_REALTIME, 0)));
}

/// `clock_adjtime`: `clockid_t clock, struct timex *tx`
#[inline(always)]
fn clock_adjtime(call: &impl Return) {
    done(call, || user_changes(call.arg1()).then(|| (call.arg0(), 0)));
}

/// As [`clock_adjtime`]
#[inline(always)]
fn clock_adjtime_failed(call: &impl Return) {
    failed(call, || user_changes(call.arg1()).then(|| (call.arg0(), 0)));
}

/// `int do_adjtimex(struct __kernel_timex *txc)`: what both calls come to for the clock of the day, with the
/// kernel's copy of what is asked for
#[inline(always)]
fn adjusted(call: &impl Return) {
    done(call, || {
        changes(read(call.arg0(), 0)).then_some((CLOCK_REALTIME, 0))
    });
}

/// As [`adjusted`]
#[inline(always)]
fn adjusted_failed(call: &impl Return) {
    failed(call, || {
        changes(read(call.arg0(), 0)).then_some((CLOCK_REALTIME, 0))
    });
}

/// [`clock_adjtime`] of clocks that do not come to [`adjusted`]. What they have in common is inlined.
#[inline(always)]
fn other_adjusted(call: &impl Return) {
    done(call, || other_clock(call));
}

/// As [`other_adjusted`]
#[inline(always)]
fn other_adjusted_failed(call: &impl Return) {
    failed(call, || other_clock(call));
}

#[inline(always)]
fn other_clock(call: &impl Return) -> Option<(u64, u64)> {
    let clock = u64::from(call.arg0() as u32);
    (clock != CLOCK_REALTIME && user_changes(call.arg1())).then_some((clock, 0))
}

/// Reports a call that succeeds, where there is something to tell: a clock, and its new time.
#[inline(always)]
fn done(call: &impl Return, tell: impl FnOnce() -> Option<(u64, u64)>) {
    let result = call.result();
    if result >= 0
        && let Some(told) = tell()
    {
        report(result, told);
    }
}

/// The same of a call that fails.
#[inline(always)]
fn failed(call: &impl Return, tell: impl FnOnce() -> Option<(u64, u64)>) {
    let result = call.result();
    if result < 0
        && let Some(told) = tell()
    {
        report(result, told);
    }
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

/// Whether a `struct timex` of the program asks for a change. Its first member says so.
#[inline(always)]
fn user_changes(timex: u64) -> bool {
    changes(user_word(timex) as u32)
}

#[inline(always)]
fn changes(modes: u32) -> bool {
    modes != 0 && modes != ADJ_OFFSET_SS_READ
}

/// A time of two words, the second in units of so many nanoseconds.
#[inline(always)]
fn user_time(at: u64, unit: u64) -> u64 {
    nanoseconds(user_word(at), user_word(at.wrapping_add(8)).wrapping_mul(unit))
}

/// The same of words of 32 bits.
#[inline(always)]
fn user_time32(at: u64, unit: u64) -> u64 {
    let words = user_word(at);
    nanoseconds(u64::from(words as u32), (words >> 32).wrapping_mul(unit))
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
