//! Whose baseline is whose, and how one begins.

use super::exchange::Sharing;
use super::learner::{Learner, Replicas};
use super::release::Release;
use super::{Baselines, Learning, store};
use crate::fleet::Others;
use crate::identity::{Container, IdentityState};
use crate::observation::BootTime;
use norma_baseline::estimate::Settled;
use norma_baseline::evidence::{Recorder, Sampling, Saved, SourceId, Start, Tuning};
use norma_baseline::overlay::Subject;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Most baselines that are kept; those whose workload was gone longest make room.
pub(super) const KEPT_MAX: usize = 2_000;
/// A start takes its time by the clocks, also in a faster course: what is done in so much of it is start-up at least.
const STARTUP_MIN: Duration = Duration::from_secs(5);

impl Baselines {
    pub(super) fn start(&self, container: &Container) -> Start {
        start_of(container, self.last_tick.is_none())
    }

    /// Whose baseline a container's behaviour belongs to; there is one afterwards.
    pub(super) fn subject(&mut self, container: &Arc<Container>) -> Arc<Subject> {
        if let Some((known, subject)) = self.subjects.get(&container.cgroup)
            && Arc::ptr_eq(known, container)
        {
            return Arc::clone(subject);
        }
        let revision = match &container.described {
            Some(described) => described.revision.as_str(),
            None => container.image_digest.as_str(),
        };
        let subject = Arc::new(Subject {
            workload: Arc::from(container.workload.0.as_str()),
            revision: Arc::from(revision),
        });
        let subject = self.learner_of(subject);
        if let Some(exchange) = &mut self.exchange {
            exchange.look_again();
        }
        self.subjects
            .insert(container.cgroup, (Arc::clone(container), Arc::clone(&subject)));
        subject
    }

    /// What is put down to nobody yet may turn out to be another workload's.
    pub(super) fn is_provisional(&self, container: &Container) -> bool {
        container.state == IdentityState::Pending
            && matches!(self.terms.learning, Learning::ByEvidence { .. })
    }

    /// Begins a baseline where there is none. Gives the name under which it is kept.
    pub(super) fn learner_of(&mut self, subject: Arc<Subject>) -> Arc<Subject> {
        if !self.learners.contains_key(&subject) {
            let learner = self.begin(&subject);
            self.make_room();
            self.learners.insert(Arc::clone(&subject), learner);
        }
        subject
    }

    /// Forgets the workload that has been gone longest, where there are too many. Whoever can start containers can
    /// make up names for them.
    pub(super) fn make_room(&mut self) {
        if self.learners.len() < KEPT_MAX {
            return;
        }
        let gone = self
            .learners
            .iter()
            .filter(|(_, learner)| learner.recorder.replicas().next().is_none())
            .min_by_key(|(_, learner)| learner.recorder.evidence().total().until)
            .map(|(subject, _)| Arc::clone(subject));
        if let Some(subject) = gone {
            tracing::warn!(workload = %subject, limit = KEPT_MAX, "more baselines than are kept; this one is forgotten");
            self.learners.remove(&subject);
            self.losses.remove(&subject);
            store::remove(&self.directory, &subject);
        }
    }

    /// A baseline of which nothing was learned, but that another revision of the workload is known.
    pub(super) fn begin(&self, subject: &Arc<Subject>) -> Learner {
        let predecessor = self
            .learners
            .iter()
            .filter(|(other, _)| other.workload == subject.workload)
            .max_by_key(|(_, learner)| learner.recorder.evidence().total().until)
            .map(|(_, learner)| Arc::clone(&learner.norm));
        let recorder = self.recorder(None);
        let norm = self.terms.norm(
            subject,
            recorder.evidence(),
            Replicas::default(),
            (predecessor.as_deref(), None),
            self.decisions.overlay(),
            &Settled::default(),
        );
        Learner {
            recorder,
            norm: Arc::new(norm),
            predecessor,
            learned_ns: 0,
            stale: None,
            dirty: Some(BootTime(0)),
            news: None,
            observed: Duration::ZERO,
            facts: 0,
            replicas_then: None,
            others: Others::default(),
            sharing: Sharing::new(),
            release: Release::default(),
        }
    }

    pub(super) fn recorder(&self, saved: Option<Saved>) -> Recorder {
        // What is forgotten and begun again must not be taken for the same account.
        let source = SourceId {
            node: Arc::clone(&self.node),
            generation: generation(),
        };
        Recorder::open(saved, source, self.tuning(), self.wall())
    }

    pub(super) fn tuning(&self) -> Tuning {
        let sampling = match self.terms.learning {
            Learning::ByEvidence { sampling, .. } => sampling,
            Learning::Window(_) => Sampling::default(),
        };
        let usual = Tuning::default();
        Tuning {
            sampling,
            startup: usual
                .startup
                .max(Duration::from_nanos(self.of_course(STARTUP_MIN))),
            ..usual
        }
    }
}

/// What a container that is seen now for the first time was before: all that are there at the agent's start ran
/// already, and so did those that were found later without a record of their creation.
pub(super) fn start_of(container: &Container, is_first_look: bool) -> Start {
    if is_first_look || !container.start_seen {
        Start::Found
    } else {
        Start::Witnessed
    }
}

/// A number that no other recorder has.
pub(super) fn generation() -> u64 {
    RandomState::new().hash_one(SystemTime::now())
}
