//! What the kernel says of a host's wall clock: what counts it, what keeps it in step, how far off it may be, and that
//! it was set. Agent and collector record the same of theirs (NIST 800-53 AU-8).

#![deny(unsafe_code)]

mod kernel;

use norma_wire::pb::ClockState;
use rustix::time::{ClockId, clock_gettime};

/// A smaller difference is the ordinary slewing of a clock that is kept in step.
const STEP_NS: i64 = 100_000_000;
/// A bound of the error is told again when it is so many times what was told, or such a part of it.
const MUCH: u64 = 10;
/// Below, nobody's time stamps become any better: differences are not told.
const FINE_US: u64 = 1_000;
/// Two clocks that are read within this time are read at once.
const AT_ONCE_NS: i64 = 5_000;
/// Most readings of two clocks to find one.
const READINGS_MAX: u32 = 8;
/// What counts the time.
const SOURCE: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";

/// How far the wall clock can be trusted, now.
pub fn state() -> ClockState {
    let mut unknown = Vec::new();
    let source = match std::fs::read_to_string(SOURCE) {
        Ok(source) => source.trim().to_owned(),
        Err(error) => {
            unknown.push(format!("what counts the time: {error}"));
            String::new()
        }
    };
    let mut state = ClockState {
        source,
        ..ClockState::default()
    };
    match kernel::discipline() {
        Ok(told) => {
            state.synchronised = Some(told.synchronised);
            state.max_error_us = Some(told.max_error_us);
            state.estimated_error_us = Some(told.estimated_error_us);
            state.tai_offset_s = Some(told.tai_offset_s);
            told.leap.clone_into(&mut state.leap);
        }
        Err(error) => unknown.push(format!("what keeps the clock in step: {error}")),
    }
    state.unknown = unknown.join("; ");
    state
}

/// Whether `now` says something else than what was `told`: anything but the errors, or an error bound of another order.
pub fn is_news(told: &ClockState, now: &ClockState) -> bool {
    let order = |state: &ClockState| state.max_error_us.map(|error| error.max(FINE_US));
    let other_order = match (order(told), order(now)) {
        (Some(told), Some(now)) => now / told >= MUCH || told / now >= MUCH,
        (told, now) => told.is_some() != now.is_some(),
    };
    let without_errors = |state: &ClockState| ClockState {
        max_error_us: None,
        estimated_error_us: None,
        ..state.clone()
    };
    other_order || without_errors(told) != without_errors(now)
}

/// Nanoseconds from kernel time (CLOCK_BOOTTIME, which nobody can set) to wall time, now, to within half of the time that
/// reading both took.
pub fn offset_ns() -> i64 {
    // Who was preempted in between knows it by the kernel clock before and after, and reads again: it must not look like
    // a step, nor make times worse than they are.
    let mut best: Option<(i64, i64)> = None;
    for _ in 0..READINGS_MAX {
        let before = nanoseconds(ClockId::Boottime);
        let wall = nanoseconds(ClockId::Realtime);
        let took = nanoseconds(ClockId::Boottime) - before;
        if best.is_none_or(|(least, _)| took < least) {
            best = Some((took, wall - (before + took / 2)));
        }
        if took <= AT_ONCE_NS {
            break;
        }
    }
    best.map_or(0, |(_, offset)| offset)
}

/// Finds steps of the wall clock: jumps against the kernel's.
#[derive(Clone, Copy, Debug)]
pub struct Steps {
    offset_ns: i64,
}

impl Steps {
    /// From this relation on, in nanoseconds from kernel time to wall time.
    pub fn from_offset(offset_ns: i64) -> Self {
        Self { offset_ns }
    }

    /// Takes over a newer relation; gives by how many nanoseconds the wall clock was stepped, if it was. Slewing is
    /// followed silently, so that it never adds up to a step.
    pub fn observe(&mut self, offset_ns: i64) -> Option<i64> {
        let step = offset_ns - self.offset_ns;
        self.offset_ns = offset_ns;
        (step.abs() >= STEP_NS).then_some(step)
    }
}

/// A clock, in nanoseconds.
pub fn nanoseconds(clock: ClockId) -> i64 {
    let time = clock_gettime(clock);
    time.tv_sec
        .saturating_mul(1_000_000_000)
        .saturating_add(time.tv_nsec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_says_what_its_clock_is() {
        let state = state();
        assert_eq!(
            state.unknown.is_empty(),
            state.synchronised.is_some() && !state.source.is_empty(),
            "{state:?}"
        );
    }

    #[test]
    fn news_is_another_order_of_the_error_or_anything_else() {
        let told = ClockState {
            source: "tsc".into(),
            synchronised: Some(true),
            max_error_us: Some(20_000),
            estimated_error_us: Some(5),
            ..ClockState::default()
        };
        let with = |change: fn(&mut ClockState)| {
            let mut now = told.clone();
            change(&mut now);
            is_news(&told, &now)
        };
        assert!(!with(|_| {}));
        assert!(!with(|now| now.max_error_us = Some(150_000)));
        assert!(!with(|now| now.estimated_error_us = Some(5_000_000)));
        assert!(with(|now| now.max_error_us = Some(200_000)));
        assert!(with(|now| now.max_error_us = Some(900)));
        assert!(with(|now| now.max_error_us = None));
        assert!(with(|now| now.synchronised = Some(false)));
        assert!(with(|now| now.source = "hpet".into()));
        assert!(with(|now| now.leap = "insert".into()));
    }

    #[test]
    fn a_jump_is_told_once_and_slewing_never() {
        let mut steps = Steps::from_offset(0);
        for millis in 1..1_000 {
            assert_eq!(steps.observe(millis * 1_000_000), None);
        }
        let hour = 3_600_000_000_000;
        assert_eq!(steps.observe(999_000_000 - hour), Some(-hour));
        assert_eq!(steps.observe(999_000_000 - hour), None);
    }
}
