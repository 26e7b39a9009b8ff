//! What people hand over while the agent runs: decisions, bundles, and the wish to read what is known by now.

use super::exchange::Sharing;
use super::learner::Learner;
use super::subjects::generation;
use super::{Baselines, URGENT};
use crate::fleet::Others;
use crate::observation::BootTime;
use norma_baseline::estimate::Settled;
use norma_baseline::evidence::{Recorder, SourceId, TooMuch};
use norma_baseline::norm::Norm;
use norma_baseline::overlay::{Overlay, SignedDecision, Subject};
use norma_baseline_command::audit::{self, Source};
use norma_baseline_command::carry::Carried;
use norma_baseline_command::inbox::{Content, Delivery};
use norma_baseline_command::shelf::Kept;
use norma_wire::pb;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longest that is spent on writing for those who want to read: events wait meanwhile.
const WRITE_AT_MOST: Duration = Duration::from_millis(500);

/// What is handed over cannot be taken.
#[derive(Debug, thiserror::Error)]
enum HandedError {
    /// It cannot be kept.
    #[error(transparent)]
    Decisions(#[from] super::DecisionsError),
    /// There is no room for evidence.
    #[error("{subject}: {reason}")]
    TooMuch {
        /// Of what.
        subject: Subject,
        /// Why.
        reason: TooMuch,
    },
    /// It cannot be written.
    #[error("the baseline of {0} cannot be written; see the log of the agent")]
    Unwritten(Subject),
}

impl Baselines {
    /// Takes what was handed over, or refuses it. What is taken is on stable storage. Gives what is to be said of it.
    pub fn take_delivery(&mut self, mut delivery: Delivery) -> Vec<pb::BaselineDecision> {
        let taken = match &mut delivery.content {
            Content::Write => {
                self.write_what_is_known();
                Ok(Vec::new())
            }
            Content::Refused { file, decisions, why } => Ok(audit::refused(file, decisions, why)),
            Content::Decisions(overlay) => self.take_and_judge_by(overlay).map(|new| {
                let say = |signed| audit::decision(signed, Source::Command, None);
                new.iter().map(say).collect()
            }),
            Content::Bundle(carried) => self
                .take_bundle(carried)
                .map(|new| audit::bundle(carried, &new).collect()),
        };
        match taken {
            Ok(said) => {
                delivery.settle(Ok(()));
                said
            }
            Err(error) => {
                let why = error.to_string();
                let said = audit::refused("decisions or a bundle", &[], &why);
                delivery.settle(Err(why));
                said
            }
        }
    }

    /// Puts decisions in force, and works out at once what follows from them.
    fn take_and_judge_by(&mut self, overlay: &Overlay) -> Result<Vec<SignedDecision>, HandedError> {
        let new = self.take_decisions(overlay)?.new;
        let workloads: BTreeSet<&Arc<str>> = new.iter().map(|signed| &signed.decision().workload).collect();
        for (subject, learner) in &mut self.learners {
            if !workloads.contains(&subject.workload) || learner.stale != Some(URGENT) {
                continue;
            }
            let containers = self.subjects.iter().filter(|(_, (_, of))| of == subject);
            self.reconsidered.extend(containers.map(|(cgroup, _)| *cgroup));
            let was_ready = learner.norm.survey().is_ready();
            let settled = learner.settled(subject, self.decisions.overlay());
            learner.compile(subject, &self.terms, self.decisions.overlay(), &settled);
            if !was_ready && learner.norm.survey().is_ready() {
                self.completed_meanwhile
                    .push(learner.completed(subject, &self.terms));
            }
            // The decisions are safe by now; what follows from them is written again later where it cannot be now.
            if !learner.save(&self.directory, subject) {
                learner.dirty.get_or_insert(self.now);
            }
        }
        Ok(new)
    }

    /// Takes over the evidence of a bundle, and puts its decisions in force.
    fn take_bundle(&mut self, carried: &Carried) -> Result<Vec<SignedDecision>, HandedError> {
        let norms: Vec<Arc<Norm>> = carried
            .kept
            .iter()
            .map(|kept| Arc::new(kept.norm.clone()))
            .collect();
        for Kept { norm, evidence } in &carried.kept {
            let subject = Arc::new(norm.subject().clone());
            if !self.learners.contains_key(&subject) {
                let mut learner = self.begin(&subject);
                if let Some(revision) = norm.predecessor() {
                    let before = norms.iter().find(|other| {
                        other.subject().workload == subject.workload && other.subject().revision == *revision
                    });
                    learner.predecessor = before.map(Arc::clone).or(learner.predecessor);
                }
                self.make_room();
                self.learners.insert(Arc::clone(&subject), learner);
            }
            let Some(learner) = self.learners.get_mut(&subject) else {
                continue;
            };
            learner
                .recorder
                .adopt(evidence)
                .map_err(|reason| HandedError::TooMuch {
                    subject: norm.subject().clone(),
                    reason,
                })?;
            let settled = either(
                &learner.settled(&subject, self.decisions.overlay()),
                &norm.survey().settled(),
            );
            learner.compile(&subject, &self.terms, self.decisions.overlay(), &settled);
            if !learner.save(&self.directory, &subject) {
                return Err(HandedError::Unwritten(norm.subject().clone()));
            }
        }
        self.take_and_judge_by(&carried.overlay)
    }

    /// Writes what was learned since it was written last; of much, what waits longest.
    fn write_what_is_known(&mut self) {
        let until = Instant::now() + WRITE_AT_MOST;
        let mut waiting: Vec<_> = self
            .learners
            .iter_mut()
            .filter(|(_, learner)| learner.dirty.is_some())
            .collect();
        waiting.sort_by_key(|(_, learner)| learner.dirty);
        for (subject, learner) in waiting {
            if Instant::now() >= until {
                break;
            }
            if learner.stale.is_some() {
                let settled = learner.settled(subject, self.decisions.overlay());
                let was_ready = learner.norm.survey().is_ready();
                learner.compile(subject, &self.terms, self.decisions.overlay(), &settled);
                if !was_ready && learner.norm.survey().is_ready() {
                    self.completed_meanwhile
                        .push(learner.completed(subject, &self.terms));
                }
            }
            learner.save(&self.directory, subject);
        }
    }

    /// Begins new accounts for what a person had forgotten as a whole: of the old ones nothing counts any more.
    pub(super) fn begin_anew_what_is_forgotten(&mut self) {
        let mut learners = std::mem::take(&mut self.learners);
        for (subject, learner) in &mut learners {
            self.begin_anew_if_forgotten(subject, learner);
        }
        self.learners = learners;
    }

    /// As [`Baselines::begin_anew_what_is_forgotten`], for one.
    pub(super) fn begin_anew_if_forgotten(&self, subject: &Subject, learner: &mut Learner) {
        let Some(at) = self.decisions.overlay().whole(subject).forgotten else {
            return;
        };
        let own = learner.recorder.source().clone();
        let began = learner
            .recorder
            .evidence()
            .sources()
            .find(|(source, _)| **source == own)
            .map(|(_, exposure)| exposure.from);
        if began.is_some_and(|began| began > at) {
            return;
        }
        let source = SourceId {
            node: own.node,
            generation: generation(),
        };
        // After the decision, also where both are of the same second.
        let now = self.wall().max(at.plus(Duration::from_secs(1)));
        learner.recorder = Recorder::open(None, source, self.tuning(), now);
        learner.learned_ns = 0;
        learner.others = Others::default();
        learner.sharing = Sharing::new();
        learner.stale = Some(URGENT);
        learner.dirty = Some(BootTime(0));
    }
}

/// Since when each field is ready, by either; where both say it, since the earlier moment.
fn either(left: &Settled, right: &Settled) -> Settled {
    let mut both = *left;
    for (ours, theirs) in both.iter_mut().zip(right) {
        *ours = match (*ours, *theirs) {
            (Some(ours), Some(theirs)) => Some(ours.min(theirs)),
            (ours, theirs) => ours.or(theirs),
        };
    }
    both
}
