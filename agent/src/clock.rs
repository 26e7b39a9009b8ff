//! Kernel time and wall time.
//!
//! Events are ordered and measured by CLOCK_BOOTTIME, which nobody can set; wall time is derived from it.
//! A jump of the wall clock against it is an event of its own, so that an auditor can read times across it.

use crate::observation::BootTime;
use rustix::time::{ClockId, clock_gettime};

/// A smaller difference is the ordinary slewing of a clock that is kept in step.
const STEP_NS: i64 = 100_000_000;

/// Now, by the kernel's clock.
pub fn boot_now() -> BootTime {
    BootTime(nanoseconds(ClockId::Boottime).max(0) as u64)
}

/// Relation of wall clock and kernel clock.
#[derive(Debug)]
pub struct WallClock {
    offset_ns: i64,
    announced_ns: i64,
}

impl WallClock {
    /// The relation as it is now.
    pub fn read() -> Self {
        let offset_ns = offset();
        Self {
            offset_ns,
            announced_ns: offset_ns,
        }
    }

    /// Wall time of a moment of kernel time, nanoseconds since 1970 UTC.
    pub fn wall_ns(&self, at: BootTime) -> u64 {
        u64::try_from(i128::from(at.0) + i128::from(self.offset_ns)).unwrap_or(0)
    }

    /// Reads the clocks again; gives by how many nanoseconds the wall clock was stepped, if it was.
    pub fn update(&mut self) -> Option<i64> {
        self.observe(offset())
    }

    fn observe(&mut self, offset_ns: i64) -> Option<i64> {
        self.offset_ns = offset_ns;
        let step = offset_ns - self.announced_ns;
        if step.abs() < STEP_NS {
            // Slewing is followed silently, so that it never adds up to a step.
            self.announced_ns = offset_ns;
            return None;
        }
        self.announced_ns = offset_ns;
        Some(step)
    }
}

fn offset() -> i64 {
    // The kernel clock is read before and after, so that being preempted in between does not look like a step.
    let before = nanoseconds(ClockId::Boottime);
    let wall = nanoseconds(ClockId::Realtime);
    let after = nanoseconds(ClockId::Boottime);
    wall - (before + (after - before) / 2)
}

fn nanoseconds(clock: ClockId) -> i64 {
    let time = clock_gettime(clock);
    time.tv_sec
        .saturating_mul(1_000_000_000)
        .saturating_add(time.tv_nsec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_is_told_once_and_slewing_never() {
        let mut clock = WallClock {
            offset_ns: 0,
            announced_ns: 0,
        };
        for millis in 1..1_000 {
            assert_eq!(clock.observe(millis * 1_000_000), None);
        }
        let step = 3_600_000_000_000;
        let now = clock.offset_ns;
        assert_eq!(clock.observe(now - step), Some(-step));
        assert_eq!(clock.observe(now - step), None);
        assert_eq!(
            clock.wall_ns(BootTime(u64::try_from(step).unwrap())),
            u64::try_from(now).unwrap()
        );
    }
}
