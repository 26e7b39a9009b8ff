//! One workload at one revision: what was recorded of it, and what follows.

use super::exchange::Sharing;
use super::release::Release;
use super::{Completed, Expectation, Learning, Protected, store};
use crate::fleet::Others;
use crate::identity::WorkloadName;
use crate::observation::BootTime;
use norma_baseline::Timestamp;
use norma_baseline::estimate::{Criteria, Settled};
use norma_baseline::evidence::{Evidence, Limits, Recorder};
use norma_baseline::fact::{self, Field};
use norma_baseline::never::Circumstances;
use norma_baseline::norm::{Inputs, Norm, Setting};
use norma_baseline::overlay::{Overlay, Subject};
use norma_baseline_command::words::FieldState;
use std::borrow::Cow;
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
    /// Of what is not on disk, something was never seen before; since when.
    pub news: Option<BootTime>,
    /// Wall-clock time that all evidence spans, as of the norm.
    pub observed: Duration,
    /// Behaviours that are known, to this node or to others.
    pub facts: usize,
    /// Replicas that ran when fields came to be judged; `None` before.
    pub replicas_then: Option<u32>,
    /// What other nodes know.
    pub others: Others,
    /// How far this node's evidence has been told.
    pub sharing: Sharing,
    /// Whether what this revision does differently is reported.
    pub release: Release,
}

/// Replicas of a workload.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Replicas {
    /// Those that run now.
    pub now: u32,
    /// Those that ran when fields came to be judged, if any is.
    pub then: Option<u32>,
}

/// What norms are worked out by, besides what was seen and decided.
pub(super) struct Terms {
    pub learning: Learning,
    pub protection: Protected,
}

impl Learner {
    pub fn compile(&mut self, subject: &Subject, terms: &Terms, overlay: &Overlay, settled: &Settled) {
        let alone = self.is_alone();
        let evidence = self.evidence();
        let (observed, facts) = (evidence.total().span(), evidence.facts().count());
        let predecessor = self.predecessor.as_deref();
        let began = evidence.total().from;
        let replicas = Replicas {
            now: self.replicas(),
            then: self.replicas_then(settled),
        };
        let norm = terms.norm(
            subject,
            &evidence,
            replicas,
            (predecessor, Some(&*self.norm)),
            overlay,
            settled,
        );
        drop(evidence);
        // What the revision before was ready for says nothing of the replicas of this one.
        let is_settled = |since: &Option<Timestamp>| since.is_some_and(|since| since >= began);
        self.replicas_then = if norm.survey().settled().iter().any(is_settled) {
            replicas.then.or(Some(replicas.now.max(1)))
        } else {
            None
        };
        (self.observed, self.facts) = (observed, facts);
        if !alone {
            // Texts are kept once, where the norm has them all. Otherwise they are kept twice, and nothing else differs.
            let _shared =
                self.recorder.share(norm.dictionary()) && self.others.evidence.share(norm.dictionary());
        }
        self.norm = Arc::new(norm);
        self.stale = None;
    }

    /// A replica is looked at for its use of capabilities.
    pub fn watch(&mut self, replica: &str, now: Timestamp) {
        let watch = fact::Fact::watch(Field::Capability);
        if let (Some(watch), Ok(leave)) = (watch, Circumstances::default().learnable()) {
            self.recorder.observe(&watch, replica, leave, now);
        }
    }

    /// Events of a replica were lost that a field is learned of.
    pub fn lost(&mut self, field: Field, replica: &str, now: Timestamp) {
        if let Ok(leave) = Circumstances::default().learnable() {
            self.recorder.lost(field, replica, leave, now);
        }
    }

    /// Whether each field was looked at for so long, or never: then there is nothing to wait for.
    pub fn is_watched_for(&self, window: Duration, now: Timestamp) -> bool {
        let evidence = self.recorder.evidence();
        Field::ALL
            .into_iter()
            .filter(|field| fact::Fact::watch(*field).is_some())
            .filter_map(|field| evidence.watched(field))
            .all(|watched| now.since(watched.from) >= window)
    }

    /// What this node and all others saw.
    pub fn evidence(&self) -> Cow<'_, Evidence> {
        if self.is_alone() {
            return Cow::Borrowed(self.recorder.evidence());
        }
        let mut all = self.others.evidence.clone();
        all.merge(self.recorder.evidence());
        Cow::Owned(all)
    }

    fn is_alone(&self) -> bool {
        self.others.evidence.sources().next().is_none()
    }

    /// Since when each field is judged: by this node, or by the first that did. What is from before a person
    /// unlocked the baseline counts no more.
    pub fn settled(&self, subject: &Subject, overlay: &Overlay) -> Settled {
        let unlocked = overlay.whole(subject).unlocked;
        let mut settled = self.norm.survey().settled();
        for (since, theirs) in settled.iter_mut().zip(self.others.settled) {
            *since = [*since, theirs]
                .into_iter()
                .flatten()
                .filter(|since| unlocked.is_none_or(|unlocked| *since > unlocked))
                .min();
        }
        settled
    }

    /// Replicas that run, in the whole fleet where that is known.
    pub fn replicas(&self) -> u32 {
        let here = u32::try_from(self.recorder.replicas().count()).unwrap_or(u32::MAX);
        here.max(self.others.replicas)
    }

    /// Replicas that ran when this node, or the first that did, came to judge.
    fn replicas_then(&self, settled: &Settled) -> Option<u32> {
        settled.iter().any(Option::is_some).then_some(())?;
        [self.replicas_then, self.others.replicas_then]
            .into_iter()
            .flatten()
            .min()
    }

    /// Whether it was written.
    pub fn save(&mut self, directory: &Path, subject: &Subject) -> bool {
        match store::write(
            directory,
            subject,
            store::Counted {
                learned_ns: self.learned_ns,
                replicas_then: self.replicas_then,
                release_reported: self.release.reported,
            },
            self.recorder.saved(),
            &self.norm,
            &self.others,
        ) {
            Ok(()) => {
                self.dirty = None;
                self.news = None;
                self.sharing.saved();
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
            revision: Arc::clone(&subject.revision),
            fields: FieldState::all(self.norm.survey()),
        }
    }

    /// `fleet` is what is known of other workloads.
    pub fn expectation(&self, fact: &fact::Fact, terms: &Terms, fleet: Setting) -> Expectation {
        let known = self.norm.expectation(fact);
        let seen = |evidence: &Evidence| evidence.tally_of(fact).map_or(0, |tally| tally.replicas);
        let seen_by = seen(self.recorder.evidence()).saturating_add(seen(&self.others.evidence));
        let replicas = self.replicas();
        let setting = Setting {
            replicas,
            // This one shows it now.
            replicas_with: u32::try_from(seen_by)
                .unwrap_or(u32::MAX)
                .clamp(1, replicas.max(1)),
            ..fleet
        };
        Expectation {
            learned_for: self.learned_for(terms.learning),
            actor_known: known.actor_known,
            target_known: known.target_known,
            edge_known: known.edge_known,
            usual: known.usual,
            usual_count: known.usual_count,
            score: Some(self.norm.score(fact, &setting)),
            is_of_release: false,
        }
    }

    pub fn learned_for(&self, learning: Learning) -> Duration {
        match learning {
            // Others may have learned it before it was here.
            Learning::Window(_) => Duration::from_nanos(self.learned_ns).max(self.observed),
            Learning::ByEvidence { .. } => self.observed,
        }
    }
}

impl Terms {
    /// The norm that follows from what was seen and decided, after the norms of the revision before and of until now.
    pub fn norm(
        &self,
        subject: &Subject,
        evidence: &Evidence,
        replicas: Replicas,
        (predecessor, replaced): (Option<&Norm>, Option<&Norm>),
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
        let inputs = Inputs {
            subject,
            evidence,
            predecessor,
            overlay,
            settled,
            replicas: replicas.now,
            criteria: &criteria,
            protection: &self.protection,
            facts_max: Limits::default().facts,
        };
        let replicas_then = replicas.then.unwrap_or(replicas.now);
        match replaced {
            Some(replaced) => inputs.compile_in_place_of(replaced, replicas_then),
            None => inputs.compile_as_of(replicas_then),
        }
    }
}
