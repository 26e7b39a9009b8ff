//! What a new revision did differently in its first hours: one report to decide on.
//!
//! Where nodes share what they learn, the collector chooses which of those that run the revision reports it: it alone
//! knows them all, and a node alone knows what no pattern may stand for. A node that shares nothing reports by itself.

use super::Baselines;
use super::learner::Learner;
use norma_baseline::Timestamp;
use norma_baseline::evidence::Evidence;
use norma_baseline::fact::Field;
use norma_baseline::overlay::Subject;
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
        let after = self.release_after?.max(Duration::from_secs(1));
        let now = self.wall();
        let shares = self.exchange.is_some();
        let (subject, learner) = self.learners.iter_mut().find(|(_, learner)| {
            !learner.release.reported
                && (learner.release.chosen || !shares)
                && learner.recorder.replicas().next().is_some()
                && learner.follows_a_learned_one()
                && learner.ran(now) >= after
        })?;
        let settled = learner.settled(subject, self.decisions.overlay());
        learner.compile(subject, &self.terms, self.decisions.overlay(), &settled);
        learner.release.reported = true;
        learner.dirty.get_or_insert(self.now);
        learner.news.get_or_insert(self.now);
        let before = learner.predecessor.as_deref()?;
        Some(release_delta(before, &learner.norm, &learner.evidence()))
    }

    /// Whether a revision took over from one that had been learned, and its report is still to come.
    pub(super) fn is_new_revision(&self, subject: &Subject) -> bool {
        let (Some(after), Some(learner)) = (self.release_after, self.learners.get(subject)) else {
            return false;
        };
        learner.follows_a_learned_one() && learner.ran(self.wall()) < after
    }
}

impl Learner {
    /// In some field at least: a workload may have one in which it is never learned.
    fn follows_a_learned_one(&self) -> bool {
        let before = self.predecessor.as_ref();
        before.is_some_and(|before| before.survey().still_learned().count() < Field::ALL.len())
    }

    /// Since the revision was first seen, here or on another node.
    fn ran(&self, now: Timestamp) -> Duration {
        let began = |evidence: &Evidence| {
            let sources = evidence.sources();
            sources.map(|(_, exposure)| exposure.from).min()
        };
        let (own, others) = (began(self.recorder.evidence()), began(&self.others.evidence));
        own.into_iter()
            .chain(others)
            .min()
            .map_or(Duration::ZERO, |from| now.since(from))
    }
}
