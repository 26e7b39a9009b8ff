//! When what waits in the outbox happened.

use crate::observation::BootTime;
use std::collections::VecDeque;
use std::time::Duration;

/// Events of so many nanoseconds are told by the first of them.
const RESOLUTION: i128 = 1_000_000_000;
/// Most moments that are remembered; where there are more, every second one is forgotten, and those to come are twice
/// as far from each other.
const REMEMBERED: usize = 4_096;

/// Moments by the first sequence of each.
#[derive(Debug)]
pub(super) struct Ages {
    /// Ascending. Nanoseconds of kernel time, negative for those of an earlier boot.
    moments: VecDeque<(u64, i128)>,
    resolution: i128,
}

impl Default for Ages {
    fn default() -> Self {
        Self {
            moments: VecDeque::new(),
            resolution: RESOLUTION,
        }
    }
}

impl Ages {
    /// An event that happened then has this place.
    pub fn note(&mut self, sequence: u64, at_ns: i128) {
        let is_soon = |last: &(u64, i128)| at_ns < last.1 + self.resolution;
        if self.moments.back().is_some_and(is_soon) {
            return;
        }
        self.moments.push_back((sequence, at_ns));
        if self.moments.len() > REMEMBERED {
            let mut number = 0;
            self.moments.retain(|_| {
                number += 1;
                number % 2 == 1
            });
            self.resolution *= 2;
        }
    }

    /// How old the event in this place is, at most by what is remembered of its time; those before are forgotten.
    pub fn of(&mut self, sequence: u64, now: BootTime) -> Option<Duration> {
        while self.moments.get(1).is_some_and(|(first, _)| *first <= sequence) {
            self.moments.pop_front();
        }
        if self.moments.len() == 1 {
            self.resolution = RESOLUTION;
        }
        let (_, at_ns) = self.moments.front()?;
        let age = i128::from(now.0) - at_ns;
        Some(Duration::from_nanos(u64::try_from(age).unwrap_or(0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i128 = 1_000_000_000;

    fn age(ages: &mut Ages, sequence: u64, now: i128) -> Option<u64> {
        let now = BootTime(u64::try_from(now).unwrap());
        ages.of(sequence, now).map(|age| age.as_secs())
    }

    #[test]
    fn the_oldest_that_waits_is_told_to_within_a_second() {
        let mut ages = Ages::default();
        assert_eq!(age(&mut ages, 1, SECOND), None);
        // From an earlier boot, or so long ago.
        ages.note(1, -100 * SECOND);
        for sequence in 2..=100 {
            ages.note(sequence, SECOND * i128::from(sequence) / 10);
        }
        assert_eq!(age(&mut ages, 1, 10 * SECOND), Some(110));
        assert_eq!(age(&mut ages, 2, 10 * SECOND), Some(9));
        assert_eq!(age(&mut ages, 100, 11 * SECOND), Some(1));
    }

    #[test]
    fn a_month_without_a_collector_takes_no_more_room() {
        let mut ages = Ages::default();
        let seconds = 30 * 86_400;
        for second in 0..seconds {
            ages.note(second, SECOND * i128::from(second));
        }
        assert!(ages.moments.len() <= REMEMBERED);
        assert_eq!(age(&mut ages, 0, SECOND * i128::from(seconds)), Some(seconds));
        let half = age(&mut ages, seconds / 2, SECOND * i128::from(seconds)).unwrap();
        assert!((seconds / 2..seconds / 2 + 2_000).contains(&half), "{half}");
    }
}
