//! One workload at one revision: what was recorded of it, and what follows.

use super::{Completed, Expectation, Learning, Protected, store};
use crate::identity::WorkloadName;
use crate::observation::BootTime;
use norma_baseline::estimate::{Criteria, Settled};
use norma_baseline::evidence::{Limits, Recorder};
use norma_baseline::fact;
use norma_baseline::never::Origin;
use norma_baseline::norm::{Inputs, Norm, Setting};
use norma_baseline::overlay::{Overlay, Subject};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// One workload at one revision.
pub(super) struct Learner {
    pub recorder: Recorder,
    pub norm: Arc<Norm>,
    pub predecessor: Option<Arc<Norm>>,
    pub learned_ns: u64,
    /// The norm does not have all that was recorded; since when.
    pub stale: Option<BootTime>,
    /// What is on disk is not all; since when.
    pub dirty: Option<BootTime>,
}

/// What norms are worked out by, besides what was seen and decided.
pub(super) struct Terms {
    pub learning: Learning,
    pub protection: Protected,
}

impl Learner {
    pub fn compile(&mut self, subject: &Subject, terms: &Terms, overlay: &Overlay, settled: &Settled) {
        let predecessor = self.predecessor.as_deref();
        self.norm = Arc::new(terms.norm(subject, &self.recorder, predecessor, overlay, settled));
        self.stale = None;
    }

    /// Whether it was written.
    pub fn save(&mut self, directory: &Path, subject: &Subject) -> bool {
        match store::write(
            directory,
            subject,
            self.learned_ns,
            self.recorder.saved(),
            &self.norm,
        ) {
            Ok(()) => {
                self.dirty = None;
                true
            }
            Err(error) => {
                tracing::warn!(workload = %subject, %error, "cannot write baseline; it is tried again");
                false
            }
        }
    }

    pub fn completed(&self, subject: &Subject, terms: &Terms) -> Completed {
        let mut facts = BTreeMap::new();
        for fact in self.norm.expected() {
            *facts.entry(fact.field().name()).or_default() += 1;
        }
        Completed {
            workload: WorkloadName(subject.workload.to_string()),
            facts,
            learned_for: self.learned_for(terms.learning),
        }
    }

    pub fn expectation(&self, fact: &fact::Fact, terms: &Terms, origin: Origin) -> Expectation {
        let known = self.norm.expectation(fact);
        let seen_by = self
            .recorder
            .evidence()
            .tally_of(fact)
            .map_or(1, |tally| tally.replicas);
        let running = u32::try_from(self.recorder.replicas().count()).unwrap_or(u32::MAX);
        let setting = Setting {
            replicas: running,
            replicas_with: u32::try_from(seen_by).unwrap_or(u32::MAX).min(running),
            origin,
            ..Setting::default()
        };
        Expectation {
            learned_for: self.learned_for(terms.learning),
            actor_known: known.actor_known,
            target_known: known.target_known,
            usual: known.usual,
            usual_count: known.usual_count,
            score: Some(self.norm.score(fact, &setting)),
        }
    }

    pub fn learned_for(&self, learning: Learning) -> Duration {
        match learning {
            Learning::Window(_) => Duration::from_nanos(self.learned_ns),
            Learning::ByEvidence { .. } => self.recorder.evidence().total().span(),
        }
    }
}

impl Terms {
    /// The norm that follows from what was recorded and decided.
    pub fn norm(
        &self,
        subject: &Subject,
        recorder: &Recorder,
        predecessor: Option<&Norm>,
        overlay: &Overlay,
        settled: &Settled,
    ) -> Norm {
        let criteria = match self.learning {
            Learning::ByEvidence { criteria, .. } => criteria,
            // The clock alone decides.
            Learning::Window(_) => Criteria {
                large_units: u64::MAX,
                ..Criteria::default()
            },
        };
        Inputs {
            subject,
            evidence: recorder.evidence(),
            predecessor,
            overlay,
            settled,
            replicas: u32::try_from(recorder.replicas().count()).unwrap_or(u32::MAX),
            criteria: &criteria,
            protection: &self.protection,
            facts_max: Limits::default().facts,
        }
        .compile()
    }
}
