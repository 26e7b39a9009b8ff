//! Estimates of the unseen from incidence counts.
//!
//! A. Chao, *Estimating the population size for capture-recapture data with unequal catchability*, Biometrics
//! 43 (1987), has the estimator and its variance; A. Chao and others, *Rarefaction and extrapolation with Hill
//! numbers*, Ecological Monographs 84 (2014), coverage and extrapolation. The estimate of the unseen is a lower
//! bound in expectation; that of new facts in a time much shorter than the observation hardly depends on it.

use serde::{Deserialize, Serialize};

/// Two-sided 95 %.
const Z: f64 = 1.96;
/// -ln 0.05: the rule of three. What was not seen in n units has, with 95 % confidence, a rate under 3/n.
const RULE_OF_THREE: f64 = 3.0;

/// An estimate with a 95 % interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// The estimate.
    pub point: f64,
    /// Upper end.
    pub high: f64,
}

impl Interval {
    /// The sum of two independent estimates.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        let point = self.point + other.point;
        let below = (self.point - self.low).hypot(other.point - other.low);
        let above = (self.high - self.point).hypot(other.high - other.point);
        Self {
            low: (point - below).max(0.0),
            point,
            high: point + above,
        }
    }
}

/// Of how many facts it is known that they were seen in one unit, in two units, and so on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Incidence {
    /// Units, T.
    pub units: u64,
    /// Facts that were seen in exactly one, Q1.
    pub once: u64,
    /// In exactly two, Q2.
    pub twice: u64,
    /// Sum over all facts of the units in which they were seen, U.
    pub incidences: u64,
}

impl Incidence {
    /// Counts a fact that was seen in so many units.
    pub const fn add(&mut self, units: u64) {
        match units {
            1 => self.once += 1,
            2 => self.twice += 1,
            _ => {}
        }
        self.incidences += units;
    }

    /// Counts a fact of which more is known than these units.
    pub const fn add_known(&mut self, units: u64) {
        self.incidences += units;
    }

    /// Good and Turing's estimate of the part of all incidences that unseen facts have, 0 to 1.
    #[must_use]
    pub fn unseen_mass(&self) -> f64 {
        if self.incidences == 0 {
            return 0.0;
        }
        self.once as f64 / self.incidences as f64
    }

    /// Part of all incidences that known facts have, 0 to 1.
    #[must_use]
    pub fn coverage(&self) -> f64 {
        if self.once == 0 {
            return 1.0;
        }
        let known = (self.units.max(1) - 1) as f64 * self.once as f64;
        let share = known / (known + 2.0 * self.twice as f64);
        1.0 - self.unseen_mass() * if share.is_nan() { 1.0 } else { share }
    }

    /// How many facts were never seen (Chao2), with a log-normal interval.
    #[must_use]
    pub fn unseen(&self) -> Interval {
        let point = self.chao2();
        if point <= 0.0 {
            let (_, high) = self.once_interval();
            return Interval {
                low: 0.0,
                point: 0.0,
                high: self.correction() * high * (high - 1.0).max(0.0) / 2.0,
            };
        }
        let spread = (Z * (1.0 + self.variance() / (point * point)).ln().sqrt()).exp();
        Interval {
            low: point / spread,
            point,
            high: point * spread,
        }
    }

    /// How many new facts the next `units` will show.
    #[must_use]
    pub fn expected_new(&self, units: f64) -> Interval {
        if self.units == 0 {
            return Interval {
                high: f64::INFINITY,
                ..Interval::default()
            };
        }
        let unseen = self.unseen();
        let observed = self.units as f64;
        if self.once == 0 {
            return Interval {
                high: RULE_OF_THREE * units / observed,
                ..Interval::default()
            };
        }
        let (once_low, once_high) = self.once_interval();
        let high = extrapolated(unseen.high, once_high, observed, units);
        Interval {
            low: extrapolated(unseen.low, once_low, observed, units),
            point: extrapolated(unseen.point, self.once as f64, observed, units),
            // At this rate at most, which is where the formula leads when the unseen are without number.
            high: high.max(RULE_OF_THREE * units / observed),
        }
    }

    fn correction(&self) -> f64 {
        if self.units == 0 {
            return 0.0;
        }
        (self.units - 1) as f64 / self.units as f64
    }

    fn chao2(&self) -> f64 {
        let (once, twice) = (self.once as f64, self.twice as f64);
        if self.once == 0 {
            0.0
        } else if self.twice == 0 {
            self.correction() * once * (once - 1.0) / 2.0
        } else {
            self.correction() * once * once / (2.0 * twice)
        }
    }

    /// Of [`Incidence::chao2`].
    fn variance(&self) -> f64 {
        let a = self.correction();
        let (once, twice) = (self.once as f64, self.twice as f64);
        if self.twice == 0 {
            // Total number of facts, seen and unseen; where U is small, no less than the singletons.
            let richness = once + self.chao2();
            let variance = a * once * (once - 1.0) / 2.0 + a * a * once * (2.0 * once - 1.0).powi(2) / 4.0
                - a * a * once.powi(4) / (4.0 * richness.max(1.0));
            return variance.max(0.0);
        }
        let ratio = once / twice;
        twice * (a / 2.0 * ratio.powi(2) + a * a * ratio.powi(3) + a * a / 4.0 * ratio.powi(4))
    }

    /// The number of singletons as a Poisson count: score interval.
    fn once_interval(&self) -> (f64, f64) {
        let once = self.once as f64;
        let half = Z * (once + Z * Z / 4.0).sqrt();
        let middle = once + Z * Z / 2.0;
        ((middle - half).max(0.0), middle + half)
    }
}

/// `unseen · (1 - (1 - once / (observed · unseen + once))^units)`.
fn extrapolated(unseen: f64, once: f64, observed: f64, units: f64) -> f64 {
    if unseen <= 0.0 || once <= 0.0 {
        return 0.0;
    }
    let missed = 1.0 - once / (observed * unseen + once);
    unseen * (1.0 - missed.powf(units))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn incidence(units: u64, once: u64, twice: u64, rest: u64) -> Incidence {
        Incidence {
            units,
            once,
            twice,
            incidences: once + 2 * twice + 3 * rest,
        }
    }

    fn near(left: f64, right: f64) -> bool {
        (left - right).abs() < 1e-3 * right.abs().max(1.0)
    }

    /// By hand, from the formulas.
    #[test]
    fn it_is_the_published_estimator() {
        let sample = incidence(121, 84, 10, 200);
        assert!(near(sample.unseen().point, 120.0 / 121.0 * 84.0 * 84.0 / 20.0));
        assert!(near(sample.unseen_mass(), 84.0 / 704.0));
        let known = 120.0 * 84.0;
        assert!(near(
            sample.coverage(),
            1.0 - 84.0 / 704.0 * known / (known + 20.0)
        ));
        // One more unit shows about Q1/T new facts, whatever the number of the unseen.
        assert!((sample.expected_new(1.0).point - 84.0 / 121.0).abs() < 0.02);
        // And infinitely many show all of them.
        assert!(near(sample.expected_new(1e9).point, sample.unseen().point));
    }

    #[test]
    fn without_novelty_the_rule_of_three_is_left() {
        let quiet = incidence(100, 0, 3, 20);
        assert_eq!(quiet.coverage(), 1.0);
        assert_eq!(quiet.expected_new(10.0).point, 0.0);
        assert!(near(quiet.expected_new(10.0).high, 0.3));
        assert_eq!(Incidence::default().expected_new(1.0).high, f64::INFINITY);
    }

    proptest! {
        #[test]
        fn it_stays_within_reason(
            units in 1..100_000_u64,
            once in 0..5_000_u64,
            twice in 0..5_000_u64,
            rest in 0..5_000_u64,
            ahead in 0.0..1e6_f64,
        ) {
            let incidence = incidence(units, once, twice, rest);
            prop_assert!((0.0..=1.0).contains(&incidence.coverage()));
            for interval in [incidence.unseen(), incidence.expected_new(ahead)] {
                prop_assert!(interval.low >= 0.0);
                prop_assert!(interval.low <= interval.point + 1e-9, "{interval:?}");
                prop_assert!(interval.point <= interval.high + 1e-9, "{interval:?}");
            }
            prop_assert!(incidence.expected_new(ahead).point <= incidence.unseen().point + 1e-9);
        }
    }
}
