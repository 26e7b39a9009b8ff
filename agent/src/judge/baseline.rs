//! Learned baselines: what each workload normally does, by the evidence of this node.
//!
//! What is seen of a container is evidence for its workload and revision. Learning ends field by field, when
//! so little that is new is still to be expected that novelty is worth a finding ([`Learning::ByEvidence`]), or
//! after a fixed time where the operator says so. The statistics, the patterns and the norm that is judged by
//! are `norma-baseline`'s; here they meet containers, time and the disk.

mod learned;
mod store;

use super::fact::Fact;
use super::sensitive::Sensitive;
use crate::identity::{Container, IdentityState, WorkloadName};
use crate::observation::{BootTime, CgroupId};
use foldhash::{HashMap, HashMapExt as _};
use norma_baseline::Timestamp;
use norma_baseline::estimate::{Criteria, Settled, State};
use norma_baseline::evidence::{Limits, Observed, Recorder, Sampling, Saved, SourceId, Start, Tuning};
use norma_baseline::fact::{self, Field};
use norma_baseline::never::Circumstances;
use norma_baseline::norm::{self, Inputs, Norm};
use norma_baseline::overlay::{Overlay, Subject};
use norma_baseline::pattern::Protection;
use serde::Serialize;
use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A changed baseline is written this often at most, besides when it becomes complete and at the end. One at a time:
/// each is on stable storage before the next event is looked at.
const SAVE_EVERY: Duration = Duration::from_secs(60);
/// Most baselines that are kept; those whose workload was gone longest make room.
const KEPT_MAX: usize = 2_000;
/// What is expected is worked out anew this often at most, of the workload that waits longest.
const COMPILE_EVERY: Duration = Duration::from_secs(5);
/// Longest step of learning time that is credited at once; a longer one means that the agent was not there.
const TICK_MAX: Duration = Duration::from_secs(5);

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

/// How a behaviour relates to what is known of its workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Membership {
    /// Learned now.
    Learned,
    /// Learned earlier, and learning goes on.
    LearnedBefore,
    /// Part of what is expected.
    Known,
    /// Behaviours of this kind never stop being new for this workload, so that novelty says nothing.
    Open,
    /// Not part of what is expected.
    Novel(Box<Expectation>),
}

/// What a baseline knows that comes near a novel behaviour.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expectation {
    /// How long the workload was learned.
    pub learned_for: Duration,
    /// The acting executable is known.
    pub actor_known: bool,
    /// The target (program, file, peer, port) is known from another executable.
    pub target_known: bool,
    /// What the acting executable does of the same kind, those first that have most in common.
    pub usual: Vec<String>,
    /// How many there are in all.
    pub usual_count: usize,
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
}

/// State of a baseline, for the outside.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Whose.
    pub workload: String,
    /// Image and command of the revision, where known.
    pub revision: String,
    /// Novelty of every field is an alert, or says nothing for good.
    pub ready: bool,
    /// Seconds learned so far.
    pub learned_seconds: u64,
    /// Behaviours known.
    pub facts: usize,
    /// There was no room for all that was seen.
    pub overflowed: bool,
    /// Per kind of behaviour.
    pub fields: Vec<FieldSummary>,
}

/// How far one kind of behaviour is.
#[derive(Clone, Debug, Serialize)]
pub struct FieldSummary {
    /// Which.
    pub field: &'static str,
    /// Behaviours known.
    pub facts: u64,
    /// New ones that are to be expected in the next day, with the bounds of the 95 % confidence interval; `None` where
    /// there is too little evidence for any estimate, or learning goes by the clock.
    pub expected_per_day: Option<[f64; 3]>,
    /// In words.
    pub state: String,
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

/// One workload at one revision.
struct Learner {
    recorder: Recorder,
    norm: Arc<Norm>,
    predecessor: Option<Arc<Norm>>,
    learned_ns: u64,
    /// The norm does not have all that was recorded; since when.
    stale: Option<BootTime>,
    /// What is on disk is not all; since when.
    dirty: Option<BootTime>,
}

/// All baselines of the node.
pub struct Baselines {
    directory: PathBuf,
    learning: Learning,
    protection: Protected,
    source: SourceId,
    learners: HashMap<Arc<Subject>, Learner>,
    subjects: HashMap<CgroupId, (Arc<Container>, Arc<Subject>)>,
    last_tick: Option<BootTime>,
    last_compile: BootTime,
}

impl Baselines {
    /// Reads what was learned before. A damaged file is set aside with a warning and learned anew.
    ///
    /// `node` is the name under which this node's evidence counts; of `sensitive` files each is learned by itself.
    pub fn open(
        directory: &Path,
        node: &str,
        learning: Learning,
        sensitive: Sensitive,
    ) -> Result<Self, BaselineError> {
        let stored = store::read_all(directory).map_err(|reason| BaselineError::Directory {
            path: directory.to_owned(),
            reason,
        })?;
        let mut this = Self {
            directory: directory.to_owned(),
            learning,
            protection: Protected(sensitive),
            source: SourceId {
                node: Arc::from(node),
                generation: RandomState::new().hash_one(SystemTime::now()),
            },
            learners: HashMap::new(),
            subjects: HashMap::new(),
            last_tick: None,
            last_compile: BootTime(0),
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
            let learner = Learner {
                recorder: this.recorder(Some(stored.recorder)),
                norm: Arc::clone(norm),
                predecessor,
                learned_ns: stored.learned_ns,
                stale: None,
                dirty: None,
            };
            this.learners.insert(Arc::new(stored.subject), learner);
        }
        Ok(this)
    }

    /// Holds a behaviour against the baseline of its workload, or learns it.
    pub fn observe(
        &mut self,
        container: &Arc<Container>,
        fact: &Fact,
        circumstances: Circumstances,
        now: BootTime,
    ) -> Membership {
        // What is put down to nobody yet may turn out to be another workload's.
        if container.state == IdentityState::Pending && matches!(self.learning, Learning::ByEvidence { .. }) {
            return Membership::LearnedBefore;
        }
        let fact = fact.learned();
        let subject = self.subject(container);
        let start = self.start();
        let Some(learner) = self.learners.get_mut(&subject) else {
            return Membership::LearnedBefore;
        };
        learner.recorder.container_started(&container.id.0, start);
        let membership = learner.norm.judge(&fact, &self.protection);
        let recorded = match &membership {
            norm::Membership::Expected(norm::Expected::Pattern(pattern)) => pattern,
            _ => &fact,
        };
        // What comes once its field is ready is not learned by coming again.
        let mut at = wall_now();
        if let Some(since) = learner.norm.survey().field(fact.field()).state.ready_since() {
            at = at.max(since.plus(Duration::from_secs(1)));
        }
        let observed = circumstances
            .learnable()
            .ok()
            .map(|leave| learner.recorder.observe(recorded, &container.id.0, leave, at));
        if observed == Some(Observed::New) {
            learner.stale.get_or_insert(now);
            learner.dirty.get_or_insert(now);
        }
        match membership {
            norm::Membership::Expected(_) => Membership::Known,
            norm::Membership::OpenField => Membership::Open,
            norm::Membership::NotReady if observed == Some(Observed::New) => Membership::Learned,
            norm::Membership::NotReady => Membership::LearnedBefore,
            norm::Membership::Novel(_) | norm::Membership::Rejected => {
                Membership::Novel(Box::new(learner.expectation(&fact, self.learning)))
            }
        }
    }

    /// How long an observation stands for all that come after it: a behaviour has to be seen once in each sampling
    /// unit in which it happens.
    pub fn stands_for(&self) -> Duration {
        match self.learning {
            Learning::ByEvidence {
                sampling: Sampling::Hours { small, .. },
                ..
            } => Duration::from_secs(u64::from(small) / 4),
            Learning::ByEvidence { .. } | Learning::Window(_) => Duration::MAX,
        }
    }

    /// Credits learning time to workloads that run; gives those that became complete.
    pub fn tick(&mut self, running: &[Arc<Container>], now: BootTime) -> Vec<Completed> {
        let step = self
            .last_tick
            .map_or(0, |last| now.0.saturating_sub(last.0))
            .min(TICK_MAX.as_nanos() as u64);
        let start = self.start();
        self.last_tick = Some(now);
        let wall = wall_now();
        let mut alive: HashMap<Arc<Subject>, HashSet<&str>> = HashMap::new();
        for container in running {
            let subject = self.subject(container);
            alive.entry(subject).or_default().insert(&container.id.0);
        }
        let mut completed = Vec::new();
        for (subject, learner) in &mut self.learners {
            let ended: Vec<String> = learner
                .recorder
                .replicas()
                .filter(|replica| alive.get(subject).is_none_or(|alive| !alive.contains(replica)))
                .map(str::to_owned)
                .collect();
            for replica in ended {
                learner.recorder.container_ended(&replica);
                learner.stale.get_or_insert(now);
                learner.dirty.get_or_insert(now);
            }
            let Some(replicas) = alive.get(subject) else {
                continue;
            };
            for replica in replicas {
                learner.recorder.container_started(replica, start);
            }
            learner.recorder.advance(wall);
            learner.dirty.get_or_insert(now);
            if learner.norm.survey().is_ready() {
                continue;
            }
            learner.learned_ns = learner.learned_ns.saturating_add(step);
            match self.learning {
                Learning::Window(window) if learner.learned_ns >= window.as_nanos() as u64 => {
                    let settled = [Some(wall); Field::ALL.len()];
                    learner.compile(subject, self.learning, &settled, &self.protection);
                    learner.save(&self.directory, subject);
                    completed.push(learner.completed(subject, self.learning));
                }
                Learning::Window(_) => {}
                Learning::ByEvidence { .. } => {
                    learner.stale.get_or_insert(now);
                }
            }
        }
        if now.0 >= self.last_compile.0 + COMPILE_EVERY.as_nanos() as u64 {
            self.last_compile = now;
            completed.extend(self.compile_one());
        }
        self.save_one(now);
        completed
    }

    /// Writes the baseline that has waited longest, if that was long enough.
    fn save_one(&mut self, now: BootTime) {
        let due = |learner: &Learner| {
            learner
                .dirty
                .is_some_and(|since| now.0 >= since.0.saturating_add(SAVE_EVERY.as_nanos() as u64))
        };
        let waiting = self.learners.iter_mut().filter(|(_, learner)| due(learner));
        if let Some((subject, learner)) = waiting.min_by_key(|(_, learner)| learner.dirty)
            && !learner.save(&self.directory, subject)
        {
            // The others have their turn before.
            learner.dirty = Some(now);
        }
    }

    /// Works out anew what is expected of the workload that waits longest for it.
    fn compile_one(&mut self) -> Option<Completed> {
        let (subject, learner) = self
            .learners
            .iter_mut()
            .filter(|(_, learner)| learner.stale.is_some())
            .min_by_key(|(_, learner)| learner.stale)?;
        let was_ready = learner.norm.survey().is_ready();
        let settled = learner.norm.survey().settled();
        learner.compile(subject, self.learning, &settled, &self.protection);
        if was_ready || !learner.norm.survey().is_ready() {
            return None;
        }
        learner.save(&self.directory, subject);
        Some(learner.completed(subject, self.learning))
    }

    /// Forgets which container a control group was.
    pub fn forget(&mut self, cgroup: CgroupId) {
        self.subjects.remove(&cgroup);
    }

    /// Writes all that changed.
    pub fn save(&mut self) {
        for (subject, learner) in self
            .learners
            .iter_mut()
            .filter(|(_, learner)| learner.dirty.is_some())
        {
            learner.save(&self.directory, subject);
        }
    }

    /// State of every baseline.
    pub fn summaries(&self) -> Vec<Summary> {
        let mut all: Vec<_> = self
            .learners
            .iter()
            .map(|(subject, learner)| learner.summary(subject, self.learning))
            .collect();
        all.sort_by(|left, right| (&left.workload, &left.revision).cmp(&(&right.workload, &right.revision)));
        all
    }

    /// What a container that is seen now for the first time was before: all that are there at the agent's start ran
    /// already.
    fn start(&self) -> Start {
        if self.last_tick.is_some() {
            Start::Witnessed
        } else {
            Start::Found
        }
    }

    /// Whose baseline a container's behaviour belongs to; there is one afterwards.
    fn subject(&mut self, container: &Arc<Container>) -> Arc<Subject> {
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
        if !self.learners.contains_key(&subject) {
            let learner = self.begin(&subject);
            self.make_room();
            self.learners.insert(Arc::clone(&subject), learner);
        }
        self.subjects
            .insert(container.cgroup, (Arc::clone(container), Arc::clone(&subject)));
        subject
    }

    /// Forgets the workload that has been gone longest, where there are too many. Whoever can start containers can
    /// make up names for them.
    fn make_room(&mut self) {
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
            store::remove(&self.directory, &subject);
        }
    }

    /// A baseline of which nothing was learned, but that another revision of the workload is known.
    fn begin(&self, subject: &Arc<Subject>) -> Learner {
        let predecessor = self
            .learners
            .iter()
            .filter(|(other, _)| other.workload == subject.workload)
            .max_by_key(|(_, learner)| learner.recorder.evidence().total().until)
            .map(|(_, learner)| Arc::clone(&learner.norm));
        let recorder = self.recorder(None);
        let settled = Settled::default();
        let norm = compiled(
            subject,
            &recorder,
            predecessor.as_deref(),
            self.learning,
            &settled,
            &self.protection,
        );
        Learner {
            recorder,
            norm: Arc::new(norm),
            predecessor,
            learned_ns: 0,
            stale: None,
            dirty: Some(BootTime(0)),
        }
    }

    fn recorder(&self, saved: Option<Saved>) -> Recorder {
        let sampling = match self.learning {
            Learning::ByEvidence { sampling, .. } => sampling,
            Learning::Window(_) => Sampling::default(),
        };
        let tuning = Tuning {
            sampling,
            ..Tuning::default()
        };
        Recorder::open(saved, self.source.clone(), tuning, wall_now())
    }
}

impl Learner {
    fn compile(&mut self, subject: &Subject, learning: Learning, settled: &Settled, protection: &Protected) {
        let predecessor = self.predecessor.as_deref();
        let norm = compiled(
            subject,
            &self.recorder,
            predecessor,
            learning,
            settled,
            protection,
        );
        self.norm = Arc::new(norm);
        self.stale = None;
    }

    /// Whether it was written.
    fn save(&mut self, directory: &Path, subject: &Subject) -> bool {
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

    fn completed(&self, subject: &Subject, learning: Learning) -> Completed {
        let mut facts = BTreeMap::new();
        for fact in self.norm.expected() {
            *facts.entry(fact.field().name()).or_default() += 1;
        }
        Completed {
            workload: WorkloadName(subject.workload.to_string()),
            facts,
            learned_for: self.learned_for(learning),
        }
    }

    fn expectation(&self, fact: &fact::Fact, learning: Learning) -> Expectation {
        let known = self.norm.expectation(fact);
        Expectation {
            learned_for: self.learned_for(learning),
            actor_known: known.actor_known,
            target_known: known.target_known,
            usual: known.usual,
            usual_count: known.usual_count,
        }
    }

    fn learned_for(&self, learning: Learning) -> Duration {
        match learning {
            Learning::Window(_) => Duration::from_nanos(self.learned_ns),
            Learning::ByEvidence { .. } => self.recorder.evidence().total().span(),
        }
    }

    fn summary(&self, subject: &Subject, learning: Learning) -> Summary {
        let survey = self.norm.survey();
        let fields = Field::ALL.map(|field| {
            let estimate = survey.field(field);
            let is_estimated =
                matches!(learning, Learning::ByEvidence { .. }) && survey.units[0] > 0 && survey.units[1] > 0;
            FieldSummary {
                field: field.name(),
                facts: estimate.distinct,
                expected_per_day: is_estimated.then_some([
                    estimate.per_day.point,
                    estimate.per_day.low,
                    estimate.per_day.high,
                ]),
                state: match (learning, estimate.state) {
                    (Learning::Window(window), State::Learning(_)) => {
                        format!("learning for {}", humantime::format_duration(window))
                    }
                    (_, state) => state.to_string(),
                },
            }
        });
        Summary {
            workload: subject.workload.to_string(),
            revision: subject.revision.to_string(),
            ready: survey.is_ready(),
            learned_seconds: self.learned_for(learning).as_secs(),
            facts: self.recorder.evidence().dictionary().len(),
            overflowed: survey.overflowed,
            fields: fields.into(),
        }
    }
}

fn compiled(
    subject: &Subject,
    recorder: &Recorder,
    predecessor: Option<&Norm>,
    learning: Learning,
    settled: &Settled,
    protection: &Protected,
) -> Norm {
    let criteria = match learning {
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
        overlay: &Overlay::default(),
        settled,
        replicas: u32::try_from(recorder.replicas().count()).unwrap_or(u32::MAX),
        criteria: &criteria,
        protection,
        facts_max: Limits::default().facts,
    }
    .compile()
}

fn wall_now() -> Timestamp {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_unix(now.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::ContainerId;
    use crate::judge::fact::Access;

    const SECOND: u64 = 1_000_000_000;

    fn container(workload: &str, id: &str, image_digest: &str) -> Arc<Container> {
        Arc::new(Container {
            id: ContainerId(id.into()),
            name: id.into(),
            runtime: "runc".into(),
            image: String::new(),
            image_digest: image_digest.into(),
            workload: WorkloadName(workload.into()),
            pod: String::new(),
            namespace: String::new(),
            cgroup: CgroupId(1),
            cgroup_path: "/c".into(),
            state: IdentityState::Known,
            init_pid: 1,
            described: None,
        })
    }

    fn open(path: &str) -> Fact {
        Fact::Open {
            exe: "/bin/cat".into(),
            path: path.into(),
            access: Access::Read,
        }
    }

    fn baselines(directory: &Path, window: u64) -> Baselines {
        let learning = Learning::Window(Duration::from_secs(window));
        Baselines::open(directory, "node", learning, Sensitive::default()).unwrap()
    }

    fn see(baselines: &mut Baselines, container: &Arc<Container>, path: &str) -> Membership {
        baselines.observe(container, &open(path), Circumstances::default(), BootTime(0))
    }

    #[test]
    fn novelty_begins_when_the_window_ends_and_survives_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let running = [container("w", "c", "")];
        let mut first = baselines(dir.path(), 3);
        assert_eq!(see(&mut first, &running[0], "/a"), Membership::Learned);
        assert_eq!(see(&mut first, &running[0], "/a"), Membership::LearnedBefore);
        let mut completed = Vec::new();
        for second in 0..=3 {
            completed.extend(first.tick(&running, BootTime(second * SECOND)));
        }
        assert_eq!(completed.len(), 1);
        assert_eq!(completed[0].facts["file"], 1);
        drop(first);

        let mut second = baselines(dir.path(), 3);
        assert_eq!(see(&mut second, &running[0], "/a"), Membership::Known);
        let Membership::Novel(expectation) = see(&mut second, &running[0], "/b") else {
            panic!()
        };
        assert_eq!(expectation.usual, ["/a"]);
        assert!(expectation.actor_known && !expectation.target_known);
        assert!(
            second.tick(&running, BootTime(9 * SECOND)).is_empty(),
            "complete only once"
        );
    }

    #[test]
    fn what_is_novel_does_not_become_normal_by_coming_again() {
        let dir = tempfile::tempdir().unwrap();
        let running = [container("w", "c", "")];
        let mut baselines = baselines(dir.path(), 1);
        see(&mut baselines, &running[0], "/a");
        for second in 0..=1 {
            baselines.tick(&running, BootTime(second * SECOND));
        }
        for second in 2..30 {
            let membership = see(&mut baselines, &running[0], "/b");
            assert!(matches!(membership, Membership::Novel(_)), "{membership:?}");
            baselines.tick(&running, BootTime(second * SECOND));
        }
    }

    #[test]
    fn what_sessions_do_and_what_the_image_did_not_ship_is_not_learned() {
        let dir = tempfile::tempdir().unwrap();
        let running = [container("w", "c", "")];
        let mut baselines = baselines(dir.path(), 1);
        let circumstances = [
            Circumstances {
                exec_session: true,
                ..Circumstances::default()
            },
            Circumstances {
                origin: norma_baseline::never::Origin::UpperLayer,
                ..Circumstances::default()
            },
        ];
        for (number, circumstances) in circumstances.into_iter().enumerate() {
            let fact = open(&format!("/{number}"));
            for _ in 0..2 {
                let membership = baselines.observe(&running[0], &fact, circumstances, BootTime(0));
                assert_eq!(membership, Membership::LearnedBefore);
            }
        }
        for second in 0..=1 {
            baselines.tick(&running, BootTime(second * SECOND));
        }
        assert!(matches!(
            see(&mut baselines, &running[0], "/0"),
            Membership::Novel(_)
        ));
        assert!(matches!(
            see(&mut baselines, &running[0], "/1"),
            Membership::Novel(_)
        ));
    }

    #[test]
    fn a_new_revision_is_held_against_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        let old = [container("w", "c", "sha256:old")];
        let mut baselines = baselines(dir.path(), 1);
        see(&mut baselines, &old[0], "/a");
        for second in 0..=1 {
            baselines.tick(&old, BootTime(second * SECOND));
        }
        let new = container("w", "d", "sha256:new");
        assert_eq!(see(&mut baselines, &new, "/a"), Membership::Known);
        assert!(matches!(see(&mut baselines, &new, "/b"), Membership::Novel(_)));
        let other = container("other", "e", "sha256:new");
        assert_eq!(see(&mut baselines, &other, "/a"), Membership::Learned);
    }

    #[test]
    fn learning_by_evidence_says_what_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        let running = [container("w", "c", "")];
        let mut baselines =
            Baselines::open(dir.path(), "node", Learning::default(), Sensitive::default()).unwrap();
        see(&mut baselines, &running[0], "/a");
        for second in 0..20 {
            assert!(baselines.tick(&running, BootTime(second * SECOND)).is_empty());
        }
        let [summary] = &baselines.summaries()[..] else {
            panic!()
        };
        assert!(!summary.ready);
        let file = summary.fields.iter().find(|field| field.field == "file").unwrap();
        assert_eq!(file.facts, 1);
        assert_eq!(file.expected_per_day, None);
        assert_eq!(file.state, "learning: 0 of 3 long sampling units are complete");
    }

    #[test]
    fn names_that_are_made_up_do_not_pile_up() {
        let dir = tempfile::tempdir().unwrap();
        let mut baselines = baselines(dir.path(), 2);
        let kept = container("kept", "k", "");
        for number in 0..=KEPT_MAX {
            let passing = container(&format!("w{number}"), "c", "");
            see(&mut baselines, &passing, "/a");
            see(&mut baselines, &kept, "/a");
            baselines.tick(&[Arc::clone(&kept)], BootTime(0));
        }
        let summaries = baselines.summaries();
        assert_eq!(summaries.len(), KEPT_MAX);
        assert!(summaries.iter().any(|summary| summary.workload == "kept"));
    }

    #[test]
    fn a_workload_that_does_not_run_does_not_learn() {
        let dir = tempfile::tempdir().unwrap();
        let mut baselines = baselines(dir.path(), 2);
        see(&mut baselines, &container("w", "c", ""), "/a");
        for second in 0..10 {
            assert!(baselines.tick(&[], BootTime(second * SECOND)).is_empty());
        }
    }

    #[test]
    fn a_damaged_file_is_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("x.baseline"), b"\xc1garbage").unwrap();
        let baselines = baselines(dir.path(), 2);
        assert!(baselines.summaries().is_empty());
        assert!(dir.path().join("x.damaged").exists());
    }
}
