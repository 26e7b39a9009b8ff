//! Batches that were sent and not acknowledged yet, so that it can be told how long collectors take.

use norma_metrics::Histogram;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

/// Those of one stream, in order. [`super::session::WINDOW`] bounds them.
#[derive(Debug)]
pub struct Unanswered {
    /// The last sequence of each, and when it was given to the stream.
    sent: VecDeque<(u64, Instant)>,
    times: Arc<Histogram>,
}

impl Unanswered {
    /// None yet; tells `times`.
    pub fn new(times: Arc<Histogram>) -> Self {
        Self {
            sent: VecDeque::new(),
            times,
        }
    }

    /// A batch that ends with this sequence goes out.
    pub fn sent(&mut self, last: u64) {
        self.sent.push_back((last, Instant::now()));
    }

    /// Everything up to this sequence is on stable storage.
    pub fn acknowledged(&mut self, through: u64) {
        while let Some((_, at)) = self.sent.pop_front_if(|(last, _)| *last <= through) {
            self.times.add(at.elapsed());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_timed_once_when_all_of_it_is_acknowledged() {
        let times = Arc::new(Histogram::default());
        let mut unanswered = Unanswered::new(Arc::clone(&times));
        unanswered.sent(10);
        unanswered.sent(20);
        unanswered.acknowledged(9);
        assert_eq!(times.count(), 0);
        unanswered.acknowledged(10);
        assert_eq!(times.count(), 1);
        unanswered.acknowledged(10);
        assert_eq!(times.count(), 1);
        unanswered.acknowledged(25);
        assert_eq!(times.count(), 2);
    }
}
