//! When an entry was used, and when the baseline is to be shown that it was.

use super::IDLE;
use std::time::Duration;

/// Of one entry. There are hundreds of thousands.
#[derive(Clone, Copy)]
pub(super) struct Usage {
    /// When it was last found used, in seconds since boot.
    used: u32,
    /// When the baseline was shown it, in seconds of the course in which it learns.
    shown: u32,
    /// It was used, and it was not looked at yet whether the baseline is to be shown it.
    fresh: bool,
}

/// The moment of a look, in seconds.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    /// Since boot.
    pub at: u32,
    /// Of the course in which the baseline learns.
    pub learned_at: u32,
    /// How long it stands for something that it was shown.
    pub stands_for: Duration,
}

/// What is to be done about an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Nothing.
    Nothing,
    /// The baseline is shown it now.
    Show,
    /// It was not used for so long that it makes room.
    Drop,
}

impl Usage {
    /// Of one that is entered now.
    pub const fn new(at: u32, shown: u32) -> Self {
        Self {
            used: at,
            shown,
            fresh: false,
        }
    }

    /// It was used since the last look.
    pub const fn renew(&mut self, at: u32) {
        self.used = at;
        self.fresh = true;
    }

    /// Whether it was used since it was looked at.
    pub const fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// Looks at it.
    pub fn look(&mut self, moment: Moment) -> Due {
        if !std::mem::take(&mut self.fresh) {
            let idle = u64::from(moment.at.saturating_sub(self.used));
            return if idle < IDLE.as_secs() {
                Due::Nothing
            } else {
                Due::Drop
            };
        }
        let since = u64::from(moment.learned_at.saturating_sub(self.shown));
        if since < moment.stands_for.as_secs() {
            return Due::Nothing;
        }
        self.shown = moment.learned_at;
        Due::Show
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_is_shown_once_in_a_unit_and_what_is_not_makes_room() {
        let moment = |at| Moment {
            at,
            learned_at: at,
            stands_for: Duration::from_secs(100),
        };
        let mut usage = Usage::new(10, 10);
        assert_eq!(usage.look(moment(60)), Due::Nothing);
        usage.renew(70);
        assert_eq!(usage.look(moment(80)), Due::Nothing, "shown a short while ago");
        usage.renew(120);
        assert!(usage.is_fresh());
        assert_eq!(usage.look(moment(120)), Due::Show);
        usage.renew(130);
        assert_eq!(usage.look(moment(130)), Due::Nothing, "shown once");
        let idle = IDLE.as_secs() as u32;
        assert_eq!(usage.look(moment(130 + idle - 1)), Due::Nothing);
        assert_eq!(usage.look(moment(130 + idle)), Due::Drop);
    }
}
