//! How long a collector is stayed with that cannot store.
//!
//! It tries again by itself, and a move leaves events in two logs, so that it is given time. It is given more after each
//! move that helped nothing: where no collector can store, going round them is no use.

use super::route::Place;
use std::time::Duration;
use tokio::time::Instant;

/// Before the first move.
const FIRST: Duration = Duration::from_secs(30);
/// Before any.
const LAST: Duration = Duration::from_secs(15 * 60);

/// Since when which collector says that it cannot store.
#[derive(Debug)]
pub struct Patience {
    limit: Duration,
    busy: Option<(Place, Instant)>,
}

impl Patience {
    /// With collectors that can store, as far as known.
    pub fn new() -> Self {
        Self {
            limit: FIRST,
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
        *self = Self::new();
    }

    /// When it ends with this collector, if that is busy.
    pub fn ends(&self, place: &Place) -> Option<Instant> {
        let (_, since) = self.busy.as_ref().filter(|(busy, _)| busy == place)?;
        Some(*since + self.limit)
    }

    /// It ended.
    pub fn over(&mut self) {
        self.busy = None;
        self.limit = (self.limit * 2).min(LAST);
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
        let mut patience = Patience::new();
        assert_eq!(patience.ends(&east), None);
        patience.busy(&east, now);
        // It is busy since the first time.
        patience.busy(&east, now + FIRST / 2);
        assert_eq!(patience.ends(&east), Some(now + FIRST));
        assert_eq!(patience.ends(&west), None);
        patience.over();
        assert_eq!(patience.ends(&east), None);
        patience.busy(&west, now);
        assert_eq!(patience.ends(&west), Some(now + FIRST * 2));
        for _ in 0..20 {
            patience.over();
        }
        patience.busy(&east, now);
        assert_eq!(patience.ends(&east), Some(now + LAST));
        patience.stored();
        assert_eq!(patience.ends(&east), None);
        patience.busy(&east, now);
        assert_eq!(patience.ends(&east), Some(now + FIRST));
    }
}
