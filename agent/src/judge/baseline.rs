//! Learned baselines: what each workload normally does, by the evidence of this node.
//!
//! What is seen of a container is evidence for its workload and revision. Learning ends field by field, when
//! so little that is new is still to be expected that novelty is worth a finding ([`Learning::ByEvidence`]), or
//! after a fixed time where the operator says so. The statistics, the patterns and the norm that is judged by
//! are `norma-baseline`'s; here they meet containers, time and the disk.

mod exchange;
mod handed;
mod learned;
mod learner;
mod losses;
mod release;
mod shelf;
mod store;
mod subjects;
mod summary;
#[cfg(test)]
mod tests;
mod unprecedented;
mod upkeep;

pub use decisions::{DecisionsError, Taken};
pub use exchange::Exchanged;
pub use shelf::shelf;
pub use summary::{FieldSummary, Summary};

use super::fact::Fact;
use super::sensitive::Sensitive;
use crate::clock::{Course, WallClock};
use crate::identity::{Container, WorkloadName};
use crate::observation::{BootTime, CgroupId};
use exchange::{Exchange, Sharing};
use foldhash::{HashMap, HashMapExt as _};
use learner::{Learner, Terms};
use losses::Losses;
use norma_baseline::Timestamp;
use norma_baseline::decisions::{self, Decisions};
use norma_baseline::estimate::{Criteria, State};
use norma_baseline::evidence::{Observed, Phase, Sampling};
use norma_baseline::fact::{self, FactId, Field};
use norma_baseline::never::{Circumstances, Origin};
use norma_baseline::norm::{self, Norm, Score, Setting};
use norma_baseline::overlay::{Overlay, SignedDecision, Subject};
use norma_baseline::pattern::Protection;
use norma_baseline::signature::TrustedKeys;
use norma_baseline_command::words::FieldState;
use release::Release;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// A norm that is stale since then is worked out anew in the next second: people decided, or the fleet told.
const URGENT: BootTime = BootTime(0);
/// Most workloads that are asked whether they show a novel behaviour too: the first so many of all.
const FLEET_ASKED: usize = 64;

/// When a workload has been learned.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Learning {
    /// As soon as little enough that is new is to be expected.
    ByEvidence {
        /// How little that is.
        criteria: Criteria,
        /// What a sampling unit is.
        sampling: Sampling,
    },
    /// After this much time in which a container of it ran.
    Window(Duration),
}

impl Default for Learning {
    fn default() -> Self {
        Self::ByEvidence {
            criteria: Criteria::default(),
            sampling: Sampling::default(),
        }
    }
}

/// What baselines are learned and judged by.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The name under which this node's evidence counts.
    pub node: String,
    /// When a workload has been learned.
    pub learning: Learning,
    /// No wildcard stands for one of these; each is learned by itself.
    pub sensitive: Sensitive,
    /// Whose decisions count.
    pub trusted_keys: TrustedKeys,
    /// What a new revision does differently is reported when it ran for so long; `None` for never.
    pub release_after: Option<Duration>,
    /// The course of time by which is learned.
    pub course: Course,
}

/// How a behaviour relates to what is known of its workload.
#[derive(Clone, Debug, PartialEq)]
pub enum Membership {
    /// Learned now.
    Learned,
    /// Learned earlier, and learning goes on.
    LearnedBefore,
    /// Part of what is expected.
    Known,
    /// A person said that it is expected.
    Approved,
    /// Behaviours of this kind never stop being new for this workload, so that novelty says nothing.
    Open {
        /// How many new ones are to be expected in a day.
        per_day: f64,
    },
    /// Not part of what is expected.
    Novel(Box<Expectation>),
    /// A person said that it is not normal, learned or not.
    Rejected(Box<Expectation>),
}

/// What a baseline knows that comes near a novel behaviour.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Expectation {
    /// How long the workload was learned.
    pub learned_for: Duration,
    /// The acting executable is known.
    pub actor_known: bool,
    /// The target (program, file, peer, port) is known from another executable.
    pub target_known: bool,
    /// For an exec: the one program is known to start the other, but not like this.
    pub edge_known: bool,
    /// What the acting executable does of the same kind, those first that have most in common.
    pub usual: Vec<String>,
    /// How many there are in all.
    pub usual_count: usize,
    /// How unusual it is, term by term; `None` for what no baseline was asked about.
    pub score: Option<Score>,
    /// The workload's own programs did it, at a revision that is new: what that does differently is reported as one.
    pub is_of_release: bool,
}

/// A norm, for telling whether it is still the same, and for naming by number what it has.
#[derive(Clone)]
pub struct NormInForce(Arc<Norm>);

impl NormInForce {
    /// The number of a behaviour, as long as this norm is there; `None` where it is not in it by name.
    pub fn number(&self, fact: &Fact) -> Option<FactId> {
        self.0.dictionary().find(&fact.learned())
    }

    /// The behaviour of a number, if that is an opening of a file.
    pub fn fact(&self, id: FactId) -> Option<Fact> {
        Fact::opening(&self.0.dictionary().get(id)?)
    }
}

impl PartialEq for NormInForce {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// A baseline that became complete.
#[derive(Clone, Debug)]
pub struct Completed {
    /// Whose.
    pub workload: WorkloadName,
    /// Behaviours by kind.
    pub facts: BTreeMap<&'static str, u64>,
    /// How long it was learned.
    pub learned_for: Duration,
    /// Image digest and command.
    pub revision: Arc<str>,
    /// How far each kind of behaviour is.
    pub fields: Vec<FieldState>,
}

/// A directory of baselines that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BaselineError {
    /// The directory cannot be made or read.
    #[error("cannot use {}: {reason}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The operating system's answer.
        reason: std::io::Error,
    },
}

/// No wildcard stands for a sensitive file.
struct Protected(Sensitive);

impl Protection for Protected {
    fn is_sensitive(&self, path: &str) -> bool {
        self.0.by_name(path).is_some()
    }

    /// What an image ships is not known on the node.
    fn is_shipped(&self, _: &str) -> bool {
        false
    }
}

/// All baselines of the node.
pub struct Baselines {
    directory: PathBuf,
    terms: Terms,
    decisions: Decisions,
    node: Arc<str>,
    release_after: Option<Duration>,
    /// The node's end of the exchange with the fleet, where it takes part in one.
    exchange: Option<Exchange>,
    learners: HashMap<Arc<Subject>, Learner>,
    subjects: HashMap<CgroupId, (Arc<Container>, Arc<Subject>)>,
    losses: HashMap<Arc<Subject>, Losses>,
    /// Containers of which something may be judged otherwise than before.
    reconsidered: Vec<CgroupId>,
    course: Course,
    /// The latest moment of it that is known.
    now: BootTime,
    /// Became complete between two ticks.
    completed_meanwhile: Vec<Completed>,
    last_tick: Option<BootTime>,
    last_compile: BootTime,
    /// Uses of capabilities are seen here.
    sees_capabilities: bool,
}

impl Baselines {
    /// Reads what was learned and decided before. A damaged file is set aside with a warning and learned anew.
    pub fn open(directory: &Path, settings: Settings) -> Result<Self, BaselineError> {
        let stored = store::read_all(directory).map_err(|reason| BaselineError::Directory {
            path: directory.to_owned(),
            reason,
        })?;
        let (decisions, dropped) = Decisions::open(directory, settings.trusted_keys);
        for dropped in dropped {
            tracing::error!("{dropped}");
        }
        let mut this = Self {
            directory: directory.to_owned(),
            decisions,
            terms: Terms {
                learning: settings.learning,
                protection: Protected(settings.sensitive),
            },
            node: Arc::from(settings.node),
            release_after: settings.release_after,
            exchange: None,
            learners: HashMap::new(),
            subjects: HashMap::new(),
            losses: HashMap::new(),
            reconsidered: Vec::new(),
            course: settings.course,
            now: settings.course.begin(),
            completed_meanwhile: Vec::new(),
            last_tick: None,
            last_compile: BootTime(0),
            sees_capabilities: false,
        };
        let norms: Vec<Arc<Norm>> = stored
            .iter()
            .map(|stored| Arc::new(stored.norm.clone()))
            .collect();
        for (stored, norm) in stored.into_iter().zip(&norms) {
            let predecessor = norm.predecessor().and_then(|revision| {
                norms
                    .iter()
                    .find(|other| {
                        other.subject().workload == stored.subject.workload
                            && other.subject().revision == *revision
                    })
                    .map(Arc::clone)
            });
            let mut learner = Learner {
                recorder: this.recorder(Some(stored.recorder)),
                norm: Arc::clone(norm),
                predecessor,
                learned_ns: stored.counted.learned_ns,
                replicas_then: stored.counted.replicas_then,
                // People may have decided since it was written.
                stale: Some(URGENT),
                dirty: None,
                news: None,
                observed: Duration::ZERO,
                facts: 0,
                others: stored.others,
                sharing: Sharing::new(),
                release: Release {
                    reported: stored.counted.release_reported,
                    ..Release::default()
                },
            };
            this.begin_anew_if_forgotten(&stored.subject, &mut learner);
            this.learners.insert(Arc::new(stored.subject), learner);
        }
        Ok(this)
    }

    /// The course of time here; moments that are handed in are of it.
    pub fn course(&self) -> Course {
        self.course
    }

    /// Uses of capabilities are seen from here on: that a workload uses none is evidence, too.
    pub fn see_capabilities(&mut self) {
        self.sees_capabilities = true;
    }

    /// Takes over what the wall clock says.
    pub fn follow(&mut self, wall: WallClock) {
        self.course.follow(wall);
    }

    /// Holds a behaviour against the baseline of its workload, or learns it.
    pub fn observe(
        &mut self,
        container: &Arc<Container>,
        fact: &Fact,
        mut circumstances: Circumstances,
        now: BootTime,
    ) -> Membership {
        if self.is_provisional(container) {
            return Membership::LearnedBefore;
        }
        let otherwise = fact.otherwise();
        let mut fact = fact.learned();
        self.now = self.now.max(now);
        let mut at = self.wall();
        let subject = self.subject(container);
        let start = self.start(container);
        let Some(learner) = self.learners.get_mut(&subject) else {
            return Membership::LearnedBefore;
        };
        learner.recorder.container_started(&container.id.0, start);
        if fact.field() == Field::Capability {
            self.sees_capabilities = true;
            learner.watch(&container.id.0, at);
        }
        let mut membership = learner.norm.judge(&fact, &self.terms.protection);
        if !matches!(
            membership,
            norm::Membership::Expected(_) | norm::Membership::Rejected
        ) {
            for other in otherwise {
                let judged = learner.norm.judge(&other, &self.terms.protection);
                if matches!(judged, norm::Membership::Expected(_)) {
                    (fact, membership) = (other, judged);
                    break;
                }
            }
        }
        if membership == norm::Membership::NotReady {
            let losses = self.losses.entry(Arc::clone(&subject)).or_default();
            losses.saw(fact.field());
        }
        let recorded = match &membership {
            norm::Membership::Expected(norm::Expected::Pattern(pattern)) => pattern,
            _ => &fact,
        };
        // What comes once its field is ready is not learned by coming again.
        if let Some(since) = learner.norm.survey().field(fact.field()).state.ready_since() {
            at = at.max(since.plus(Duration::from_secs(1)));
        }
        circumstances.rejected |= membership == norm::Membership::Rejected;
        let observed = circumstances
            .learnable()
            .ok()
            .map(|leave| learner.recorder.observe(recorded, &container.id.0, leave, at));
        if observed == Some(Observed::New) {
            learner.stale.get_or_insert(now);
            learner.dirty.get_or_insert(now);
            learner.news.get_or_insert(now);
            learner.facts += 1;
        }
        match membership {
            norm::Membership::Expected(norm::Expected::Approved) => Membership::Approved,
            norm::Membership::Expected(_) => Membership::Known,
            norm::Membership::OpenField => Membership::Open {
                per_day: learner.norm.survey().field(fact.field()).per_day.point,
            },
            norm::Membership::NotReady if observed == Some(Observed::New) => Membership::Learned,
            norm::Membership::NotReady => Membership::LearnedBefore,
            norm::Membership::Novel(_) => Membership::Novel(Box::new(Expectation {
                is_of_release: !circumstances.exec_session && self.is_new_revision(&subject),
                ..self.near(&subject, &fact, circumstances.origin)
            })),
            norm::Membership::Rejected => {
                Membership::Rejected(Box::new(self.near(&subject, &fact, circumstances.origin)))
            }
        }
    }

    /// Whether a container is in its start-up phase, in which much is done that is not done again.
    pub fn is_starting(&self, container: &Container) -> bool {
        let learner = self
            .subjects
            .get(&container.cgroup)
            .and_then(|(_, subject)| self.learners.get(subject));
        learner.is_some_and(|learner| learner.recorder.phase(&container.id.0) == Some(Phase::Startup))
    }

    /// Whether a behaviour is no novelty by the norm in force for its container.
    pub fn expects(&self, container: &Container, fact: &Fact) -> bool {
        self.norm_of(container).is_some_and(|NormInForce(norm)| {
            !matches!(
                norm.judge(&fact.learned(), &self.terms.protection),
                norm::Membership::Novel(_) | norm::Membership::Rejected
            )
        })
    }

    /// Whether a behaviour, under any of its names, is part of the norm in force for its container.
    pub fn knows(&self, container: &Container, fact: &Fact) -> bool {
        self.norm_of(container).is_some_and(|NormInForce(norm)| {
            std::iter::once(fact.learned())
                .chain(fact.otherwise())
                .any(|fact| {
                    let judged = norm.judge(&fact, &self.terms.protection);
                    matches!(judged, norm::Membership::Expected(_))
                })
        })
    }

    /// The norm that what a container does is judged by.
    pub fn norm_of(&self, container: &Container) -> Option<NormInForce> {
        let (_, subject) = self.subjects.get(&container.cgroup)?;
        let learner = self.learners.get(subject)?;
        Some(NormInForce(Arc::clone(&learner.norm)))
    }

    /// Records of a container, so many of each `KIND_*`, were lost on the way from the kernel.
    pub fn lost(&mut self, container: &Arc<Container>, counts: &BTreeMap<usize, u64>, now: BootTime) {
        if self.is_provisional(container) {
            return;
        }
        self.now = self.now.max(now);
        let (at, start) = (self.wall(), self.start(container));
        let subject = self.subject(container);
        let Some(learner) = self.learners.get_mut(&subject) else {
            return;
        };
        learner.recorder.container_started(&container.id.0, start);
        for (kind, count) in counts {
            for field in losses::fields(*kind) {
                learner.lost(*field, &container.id.0, at);
                learner.dirty.get_or_insert(now);
                if matches!(learner.norm.survey().field(*field).state, State::Learning(_)) {
                    let losses = self.losses.entry(Arc::clone(&subject)).or_default();
                    losses.lose(*field, *count);
                }
            }
        }
    }

    /// What there is to say of a behaviour, whether it is expected or not.
    pub fn expectation(&mut self, container: &Arc<Container>, fact: &Fact, origin: Origin) -> Expectation {
        let subject = self.subject(container);
        self.near(&subject, &fact.learned(), origin)
    }

    fn near(&self, subject: &Arc<Subject>, fact: &fact::Fact, origin: Origin) -> Expectation {
        let Some(learner) = self.learners.get(subject) else {
            return Expectation::default();
        };
        let mut workloads: HashMap<&str, bool> = HashMap::new();
        for (other, learner) in self.learners.iter().take(FLEET_ASKED) {
            let does = other.workload != subject.workload
                && matches!(
                    learner.norm.judge(fact, &self.terms.protection),
                    norm::Membership::Expected(_)
                );
            *workloads.entry(&other.workload).or_default() |= does;
        }
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let fleet = Setting {
            workloads: count(workloads.len()),
            workloads_with: count(workloads.values().filter(|does| **does).count()),
            origin,
            ..Setting::default()
        };
        let mut near = learner.expectation(fact, &self.terms, fleet);
        if let (Some(score), Some(losses)) = (&mut near.score, self.losses.get(subject)) {
            losses.lower(fact.field(), score);
        }
        near
    }

    /// How long an observation stands for all that come after it: a behaviour has to be seen once in each sampling
    /// unit in which it happens.
    pub fn stands_for(&self) -> Duration {
        match self.terms.learning {
            Learning::ByEvidence {
                sampling: Sampling::Hours { small, .. },
                ..
            } => Duration::from_secs(u64::from(small) / 4),
            Learning::ByEvidence { .. } | Learning::Window(_) => Duration::MAX,
        }
    }

    /// Puts decisions in force that are signed by a trusted key. They are on stable storage when this returns.
    ///
    /// # Errors
    /// They cannot be kept. Nothing has changed then.
    pub fn take_decisions(&mut self, offered: &Overlay) -> Result<Taken, DecisionsError> {
        let taken = self.decisions.take(offered)?;
        for decision in taken.new.iter().map(SignedDecision::decision) {
            let concerned = |subject: &Subject| {
                subject.workload == decision.workload
                    && decision
                        .revision
                        .as_ref()
                        .is_none_or(|revision| *revision == subject.revision)
            };
            for (_, learner) in self.learners.iter_mut().filter(|(subject, _)| concerned(subject)) {
                learner.stale = Some(URGENT);
            }
        }
        self.begin_anew_what_is_forgotten();
        Ok(taken)
    }

    /// The decisions in force.
    pub const fn decisions(&self) -> &Overlay {
        self.decisions.overlay()
    }

    /// Containers whose norm was worked out anew for another reason than what they did; each is given once.
    pub fn reconsidered(&mut self) -> Vec<CgroupId> {
        std::mem::take(&mut self.reconsidered)
    }

    /// Forgets which container a control group was.
    pub fn forget(&mut self, cgroup: CgroupId) {
        self.subjects.remove(&cgroup);
    }

    /// State of every baseline.
    pub fn summaries(&self) -> Vec<Summary> {
        let mut all: Vec<_> = self
            .learners
            .iter()
            .map(|(subject, learner)| {
                Summary::of(
                    subject,
                    learner,
                    self.terms.learning,
                    self.exchange.is_some(),
                    self.losses.get(subject),
                )
            })
            .collect();
        all.sort_by(|left, right| (&left.workload, &left.revision).cmp(&(&right.workload, &right.revision)));
        all
    }

    fn wall(&self) -> Timestamp {
        Timestamp::from_unix(self.course.wall_seconds(self.now))
    }

    /// Nanoseconds of the course that pass in a time of the clocks.
    fn of_course(&self, time: Duration) -> u64 {
        let clocks = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        clocks.saturating_mul(u64::from(self.course.speed()))
    }
}
