//! Batches that were sent and not acknowledged yet, so that it can be told how long collectors take, and that one says
//! nothing any more.

use norma_metrics::Histogram;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::time::Instant;

/// Those of one stream, in order. [`super::session::WINDOW`] bounds them.
#[derive(Debug)]
pub struct Unanswered {
    /// The last sequence of each, and when it was given to the stream.
    sent: VecDeque<(u64, Instant)>,
    /// When the collector last got on with it, or said why it does not.
    heard: Option<Instant>,
    times: Arc<Histogram>,
}

impl Unanswered {
    /// None yet; tells `times`.
    pub fn new(times: Arc<Histogram>) -> Self {
        Self {
            sent: VecDeque::new(),
            heard: None,
            times,
        }
    }

    /// A batch that ends with this sequence goes out.
    pub fn sent(&mut self, last: u64, now: Instant) {
        self.sent.push_back((last, now));
    }

    /// Everything up to this sequence is on stable storage.
    pub fn acknowledged(&mut self, through: u64, now: Instant) {
        while let Some((_, at)) = self.sent.pop_front_if(|(last, _)| *last <= through) {
            self.times.add(now.duration_since(at));
            self.heard(now);
        }
    }

    /// The collector says that it is at work on what was sent.
    pub fn heard(&mut self, now: Instant) {
        self.heard = Some(now);
    }

    /// Since when the collector says nothing although something was sent; `None` where nothing waits for it.
    ///
    /// One that gets on with what it has is not silent, however long the oldest batch has waited: a node that delivers
    /// more than it may is held back.
    pub fn silent_since(&self) -> Option<Instant> {
        let (_, oldest) = self.sent.front()?;
        Some(self.heard.map_or(*oldest, |heard| heard.max(*oldest)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_batch_is_timed_once_when_all_of_it_is_acknowledged() {
        let times = Arc::new(Histogram::default());
        let now = Instant::now();
        let mut unanswered = Unanswered::new(Arc::clone(&times));
        unanswered.sent(10, now);
        unanswered.sent(20, now);
        unanswered.acknowledged(9, now);
        assert_eq!(times.count(), 0);
        unanswered.acknowledged(10, now);
        assert_eq!(times.count(), 1);
        unanswered.acknowledged(10, now);
        assert_eq!(times.count(), 1);
        unanswered.acknowledged(25, now);
        assert_eq!(times.count(), 2);
    }

    #[test]
    fn silence_begins_with_what_waits_and_anew_with_each_sign_of_life() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut unanswered = Unanswered::new(Arc::default());
        assert_eq!(unanswered.silent_since(), None);
        unanswered.sent(10, at(0));
        unanswered.sent(20, at(1));
        unanswered.sent(30, at(1));
        assert_eq!(unanswered.silent_since(), Some(at(0)));
        // An acknowledgement of nothing new is none.
        unanswered.acknowledged(9, at(2));
        assert_eq!(unanswered.silent_since(), Some(at(0)));
        unanswered.acknowledged(10, at(2));
        assert_eq!(unanswered.silent_since(), Some(at(2)));
        unanswered.heard(at(3));
        assert_eq!(unanswered.silent_since(), Some(at(3)));
        unanswered.acknowledged(30, at(4));
        assert_eq!(unanswered.silent_since(), None);
        unanswered.sent(40, at(9));
        assert_eq!(unanswered.silent_since(), Some(at(9)));
    }
}
