//! What a new revision did differently in its first hours: one report to decide on.
//!
//! Where nodes share what they learn, the collector chooses which of those that run the revision reports it: it alone
//! knows them all, and a node alone knows what no pattern may stand for. A node that shares nothing reports by itself.

use super::Baselines;
use norma_baseline::revision::{ReleaseDelta, release_delta};
use std::time::Duration;

/// How far the report on a revision is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Release {
    /// The collector has chosen this node to report it.
    pub chosen: bool,
    /// It was reported from here.
    pub reported: bool,
}

impl Baselines {
    /// What a new revision of a workload that had been learned did differently, once it has run for long enough;
    /// each is given once, and one at a time.
    pub fn take_release(&mut self) -> Option<ReleaseDelta> {
        let after = self.release_after?;
        let now = self.wall();
        let shares = self.exchange.is_some();
        let ran = |learner: &super::Learner| {
            let own = learner.recorder.evidence().total();
            let from = match learner.others.evidence.sources().next() {
                Some(_) => own.from.min(learner.others.evidence.total().from),
                None => own.from,
            };
            now.since(from)
        };
        let (subject, learner) = self.learners.iter_mut().find(|(_, learner)| {
            !learner.release.reported
                && (learner.release.chosen || !shares)
                && learner.recorder.replicas().next().is_some()
                && learner
                    .predecessor
                    .as_ref()
                    .is_some_and(|before| before.survey().is_ready())
                && ran(learner) >= after.max(Duration::from_secs(1))
        })?;
        let settled = learner.settled(subject, self.decisions.overlay());
        learner.compile(subject, &self.terms, self.decisions.overlay(), &settled);
        learner.release.reported = true;
        learner.dirty.get_or_insert(self.now);
        learner.news.get_or_insert(self.now);
        let before = learner.predecessor.as_deref()?;
        Some(release_delta(before, &learner.norm, &learner.evidence()))
    }
}
