//! Kernel time and wall time.
//!
//! Events are ordered and measured by CLOCK_BOOTTIME, which nobody can set; wall time is derived from it.
//! A jump of the wall clock against it is an event of its own, so that an auditor can read times across it.
//! What is judged and learned has a [`Course`] of time, which is that of the clocks but in an evaluation.

use crate::observation::BootTime;
use norma_clock::{Steps, nanoseconds};
use rustix::time::ClockId;

pub use norma_clock::offset_ns as offset;

/// Now, by the kernel's clock.
pub fn boot_now() -> BootTime {
    BootTime(nanoseconds(ClockId::Boottime).max(0) as u64)
}

/// Relation of wall clock and kernel clock.
#[derive(Clone, Copy, Debug)]
pub struct WallClock {
    offset_ns: i64,
    steps: Steps,
}

impl WallClock {
    /// The relation as it is now.
    pub fn read() -> Self {
        Self::new(offset())
    }

    /// A relation that is known: nanoseconds from kernel time to wall time.
    pub fn new(offset_ns: i64) -> Self {
        Self {
            offset_ns,
            steps: Steps::from_offset(offset_ns),
        }
    }

    /// Wall time of a moment of kernel time, nanoseconds since 1970 UTC.
    pub fn wall_ns(&self, at: BootTime) -> u64 {
        u64::try_from(i128::from(at.0) + i128::from(self.offset_ns)).unwrap_or(0)
    }

    /// Takes over a newer relation, in nanoseconds; gives by how many the wall clock was stepped, if it was.
    pub fn observe(&mut self, offset_ns: i64) -> Option<i64> {
        self.offset_ns = offset_ns;
        self.steps.observe(offset_ns)
    }
}

/// The course of time by which is judged and learned.
///
/// In an evaluation it can be faster than the clocks: where a workload does in a minute what it would do in hours,
/// the minute is judged as those hours. What is reported keeps the time of the clocks.
#[derive(Clone, Copy, Debug)]
pub struct Course {
    wall: WallClock,
    begin: BootTime,
    speed: u32,
}

impl Course {
    /// From `begin` on `speed` times as fast as the clocks; what was before keeps its time.
    pub fn new(wall: WallClock, begin: BootTime, speed: u32) -> Self {
        Self {
            wall,
            begin,
            speed: speed.max(1),
        }
    }

    /// When it begins.
    pub fn begin(&self) -> BootTime {
        self.begin
    }

    /// How much faster than the clocks.
    pub fn speed(&self) -> u32 {
        self.speed
    }

    /// A moment of kernel time in this course.
    pub fn at(&self, at: BootTime) -> BootTime {
        let since = at.0.saturating_sub(self.begin.0);
        let ahead = since.saturating_mul(u64::from(self.speed) - 1);
        BootTime(at.0.saturating_add(ahead))
    }

    /// Wall time of a moment of this course, in seconds since 1970 UTC.
    pub fn wall_seconds(&self, at: BootTime) -> u64 {
        self.wall.wall_ns(at) / 1_000_000_000
    }

    /// Follows the wall clock.
    pub fn follow(&mut self, wall: WallClock) {
        self.wall = wall;
    }
}

/// That of the clocks, from now on.
impl Default for Course {
    fn default() -> Self {
        Self::new(WallClock::read(), boot_now(), 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_course_is_that_of_the_clocks_but_where_it_is_faster() {
        let wall = WallClock::new(1_000_000_000);
        let real = Course::new(wall, BootTime(0), 1);
        assert_eq!(real.at(BootTime(7)), BootTime(7));
        let fast = Course::new(wall, BootTime(100), 60);
        assert_eq!(fast.at(BootTime(99)), BootTime(99));
        assert_eq!(fast.at(BootTime(100)), BootTime(100));
        assert_eq!(fast.at(BootTime(101)), BootTime(160));
        assert_eq!(fast.at(BootTime(u64::MAX)), BootTime(u64::MAX));
        assert_eq!(fast.wall_seconds(BootTime(2_000_000_000)), 3);
    }

    #[test]
    fn wall_time_follows_a_clock_that_is_set() {
        let mut clock = WallClock::new(1_000);
        assert_eq!(clock.wall_ns(BootTime(7)), 1_007);
        assert_eq!(clock.observe(3_600_000_000_000), Some(3_599_999_999_000));
        assert_eq!(clock.wall_ns(BootTime(7)), 3_600_000_000_007);
    }
}
