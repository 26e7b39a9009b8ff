//! How long a collector is stayed with that cannot store, or that says nothing.
//!
//! The one tries again by itself, the other may be slow, and a move leaves events in two logs, so that both are given
//! time. They are given more after each move that helped nothing: where no collector can store, going round them is no use.

use super::route::Place;
use std::time::Duration;
use tokio::time::Instant;

/// With one that says that it cannot store, before the first move.
const BUSY: Duration = Duration::from_secs(30);
/// Before any.
const LAST: Duration = Duration::from_secs(15 * 60);

/// Since when which collector says that it cannot store, and how many moves helped nothing.
#[derive(Debug)]
pub struct Patience {
    /// With one that says nothing, before the first move.
    silence: Duration,
    moves: u32,
    busy: Option<(Place, Instant)>,
}

impl Patience {
    /// With collectors that can store, as far as known. One that acknowledges nothing for `silence` is left at first.
    pub fn new(silence: Duration) -> Self {
        Self {
            silence,
            moves: 0,
            busy: None,
        }
    }

    /// A collector says that it cannot store.
    pub fn busy(&mut self, place: &Place, now: Instant) {
        if self.busy.as_ref().is_none_or(|(busy, _)| busy != place) {
            self.busy = Some((place.clone(), now));
        }
    }

    /// A collector has stored something.
    pub fn stored(&mut self) {
        *self = Self::new(self.silence);
    }

    /// When it ends with this collector, if that is busy.
    pub fn ends(&self, place: &Place) -> Option<Instant> {
        let (_, since) = self.busy.as_ref().filter(|(busy, _)| busy == place)?;
        Some(*since + self.grown(BUSY))
    }

    /// How long one is stayed with that neither acknowledges what it was sent nor says why.
    pub fn with_silence(&self) -> Duration {
        self.grown(self.silence)
    }

    /// It ended.
    pub fn over(&mut self) {
        self.busy = None;
        self.moves = self.moves.saturating_add(1);
    }

    fn grown(&self, first: Duration) -> Duration {
        let grown = first.saturating_mul(2_u32.saturating_pow(self.moves));
        grown.min(LAST.max(first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::CollectorAddress;
    use rustls_pki_types::ServerName;

    #[test]
    fn it_grows_with_each_move_until_one_helps() {
        let place = |port: u16| Place {
            at: CollectorAddress {
                address: format!("localhost:{port}"),
                server_name: ServerName::try_from("localhost").unwrap(),
            },
            socket: None,
        };
        let (east, west) = (place(1), place(2));
        let now = Instant::now();
        let silence = Duration::from_secs(60);
        let mut patience = Patience::new(silence);
        assert_eq!(patience.ends(&east), None);
        patience.busy(&east, now);
        // It is busy since the first time.
        patience.busy(&east, now + BUSY / 2);
        assert_eq!(patience.ends(&east), Some(now + BUSY));
        assert_eq!(patience.ends(&west), None);
        assert_eq!(patience.with_silence(), silence);
        patience.over();
        assert_eq!(patience.ends(&east), None);
        patience.busy(&west, now);
        assert_eq!(patience.ends(&west), Some(now + BUSY * 2));
        assert_eq!(patience.with_silence(), silence * 2);
        for _ in 0..40 {
            patience.over();
        }
        patience.busy(&east, now);
        assert_eq!(patience.ends(&east), Some(now + LAST));
        assert_eq!(patience.with_silence(), LAST);
        patience.stored();
        assert_eq!(patience.ends(&east), None);
        patience.busy(&east, now);
        assert_eq!(patience.ends(&east), Some(now + BUSY));
        assert_eq!(patience.with_silence(), silence);
        // Who configures more than the most is not given less.
        let mut patience = Patience::new(LAST * 2);
        patience.over();
        assert_eq!(patience.with_silence(), LAST * 2);
    }
}
