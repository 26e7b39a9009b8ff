//! Moments, as they are handed in.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// Seconds since 1970, UTC. Four bytes, as there is one or two with every fact; they last until 2106.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(u32);

impl Timestamp {
    /// Later than all others.
    pub(crate) const NEVER: Self = Self(u32::MAX);

    /// Of seconds since 1970; what does not fit is the last moment that does.
    #[must_use]
    pub const fn from_unix(seconds: u64) -> Self {
        if seconds >= u32::MAX as u64 {
            Self(u32::MAX - 1)
        } else {
            Self(seconds as u32)
        }
    }

    /// Seconds since 1970.
    #[must_use]
    pub const fn as_unix(self) -> u64 {
        self.0 as u64
    }

    /// From an earlier moment to this one; nothing if it is not earlier.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_secs(self.0.saturating_sub(earlier.0) as u64)
    }

    /// This much later.
    #[must_use]
    pub const fn plus(self, duration: Duration) -> Self {
        Self::from_unix(self.as_unix().saturating_add(duration.as_secs()))
    }

    /// The second before.
    pub(crate) const fn before(self) -> Self {
        Self(self.0.saturating_sub(1))
    }

    pub(crate) const fn day(self) -> u32 {
        self.0 / 86_400
    }
}

/// RFC 3339, UTC.
impl fmt::Display for Timestamp {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Days to civil date: Howard Hinnant's algorithm, for years after 1970.
        let days = u64::from(self.0 / 86_400) + 719_468;
        let era = days / 146_097;
        let day_of_era = days % 146_097;
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * shifted + 2) / 5 + 1;
        let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
        let year = year_of_era + era * 400 + u64::from(month <= 2);
        let second = self.0 % 86_400;
        write!(
            out,
            "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
            second / 3_600,
            second / 60 % 60,
            second % 60
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_printed_as_a_date() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_795_219_199, "2026-11-20T23:59:59Z"),
            (4_102_444_799, "2099-12-31T23:59:59Z"),
        ] {
            assert_eq!(Timestamp::from_unix(seconds).to_string(), text);
        }
    }
}
