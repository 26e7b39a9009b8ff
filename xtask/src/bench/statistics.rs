//! Medians and how far values lie apart.

use serde_json::{Value, json};

/// The middle of some values, and the ends.
#[derive(Clone, Debug, PartialEq)]
pub struct Spread {
    /// The middle one.
    pub median: f64,
    /// The least.
    pub least: f64,
    /// The most.
    pub most: f64,
    /// All, in the order in which they were taken.
    pub values: Vec<f64>,
}

impl Spread {
    /// Of these values; `None` where there are none.
    pub fn of(values: Vec<f64>) -> Option<Self> {
        let mut sorted = values.clone();
        sorted.sort_by(f64::total_cmp);
        Some(Self {
            median: median(&sorted)?,
            least: *sorted.first()?,
            most: *sorted.last()?,
            values,
        })
    }

    /// For programs.
    pub fn json(&self) -> Value {
        json!({ "median": self.median, "min": self.least, "max": self.most, "values": self.values })
    }
}

/// Of values in order.
fn median(sorted: &[f64]) -> Option<f64> {
    let upper = *sorted.get(sorted.len() / 2)?;
    Some(match sorted.len() % 2 {
        1 => upper,
        _ => f64::midpoint(sorted[sorted.len() / 2 - 1], upper),
    })
}

#[cfg(test)]
mod tests {
    use super::Spread;

    #[test]
    fn the_median_is_the_middle() {
        let median = |values: &[f64]| Spread::of(values.to_vec()).map(|spread| spread.median);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn the_ends_are_the_least_and_the_most() {
        let spread = Spread::of(vec![3.0, -1.0, 2.0]).unwrap();
        assert_eq!((spread.least, spread.most), (-1.0, 3.0));
    }
}
