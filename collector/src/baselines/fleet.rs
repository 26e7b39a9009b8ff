//! What the whole fleet knows: takes what nodes tell, and says what is to be told to whom.
//!
//! Without I/O and without time: a delta is merged here, [`super::task`] brings it to the disk and to others.

use super::known::{Known, Said};
use norma_baseline::Timestamp;
use norma_baseline::estimate::Settled;
use norma_baseline::evidence::{Evidence, Limits, Pool, TooMuch};
use norma_baseline::fact::Field;
use norma_baseline::file::{self, FormatError};
use norma_baseline::overlay::{Overlay, SignedDecision, Subject};
use norma_baseline_command::shelf::Kept;
use norma_wire::pb;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// Largest delta: twice what one recorder may know.
pub const DELTA_MAX: usize = 4 << 20;
/// Longest name of a workload, and of a revision.
const NAME_MAX: usize = 1_024;
/// In place of a node's name, for what was carried here by hand; no certificate can have it.
const CARRIED: &str = "*";
/// Most revisions back that a node is told of, so that it inherits what others inherited.
const ANCESTORS: usize = 4;

/// How much is kept of all.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Workloads, each revision counted.
    pub subjects: usize,
    /// Of these, such that one and the same node alone has told of.
    pub of_one_node: usize,
    /// Bytes of memory of all evidence together.
    pub bytes: usize,
}

impl Default for Bounds {
    /// 20,000 workloads, 4,000 of one node alone, 1 GiB.
    fn default() -> Self {
        Self {
            subjects: 20_000,
            of_one_node: 4_000,
            bytes: 1 << 30,
        }
    }
}

/// Why evidence is not taken.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Larger than any recorder's.
    #[error("{0} bytes are more than the {DELTA_MAX} that are taken")]
    Oversized(usize),
    /// Not evidence.
    #[error("it cannot be read: {0}")]
    Format(#[from] FormatError),
    /// Of another node.
    #[error("it holds evidence of node `{0}`, and the certificate names another")]
    Foreign(String),
    /// Nameless, or of a name that nobody could read.
    #[error("a workload's name has 1 to {NAME_MAX} bytes and a revision's at most as many")]
    Name,
    /// Not one time for each field.
    #[error("{0} times where there is one for each of 8 fields")]
    Fields(usize),
    /// More than a workload may have.
    #[error(transparent)]
    TooMuch(#[from] TooMuch),
    /// One node makes up names.
    #[error("this node alone has told of {0} workloads; no more are taken from it")]
    TooMany(usize),
    /// No room.
    #[error("there is no room for more baselines")]
    Full,
}

/// What a delta changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Behaviours that nobody had seen before, or a field that is judged now: others are told soon.
    News,
    /// Only numbers.
    Numbers,
}

/// What one node runs.
type Interest = BTreeMap<Subject, Runs>;

/// How a node runs a workload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Runs {
    replicas: u32,
    generations: Vec<u64>,
}

/// All baselines of the fleet, and who runs what.
#[derive(Debug, Default)]
pub struct Fleet {
    bounds: Bounds,
    subjects: BTreeMap<Subject, Known>,
    interests: HashMap<String, Interest>,
    /// Bytes of memory of each baseline, and of all.
    bytes: BTreeMap<Subject, usize>,
    all_bytes: usize,
}

impl Fleet {
    /// Goes on from what was stored.
    pub fn new(stored: Vec<Known>, bounds: Bounds) -> Self {
        let mut fleet = Self {
            bounds,
            ..Self::default()
        };
        for known in stored {
            let subject = known.subject.clone();
            fleet.subjects.insert(subject.clone(), known);
            fleet.weigh(&subject);
        }
        fleet
    }

    /// Takes what a node saw, all of it or nothing. Gives whose baseline it is, what changed, and the baselines that
    /// had to make room.
    pub fn take(
        &mut self,
        node: &str,
        delta: &pb::EvidenceDelta,
    ) -> Result<(Subject, Change, Vec<Subject>), Refusal> {
        let subject = subject(&delta.workload, &delta.revision)?;
        if delta.evidence.len() > DELTA_MAX {
            return Err(Refusal::Oversized(delta.evidence.len()));
        }
        let settled = settled(&delta.ready_since)?;
        let evidence: Evidence = file::from_bytes(&delta.evidence)?;
        if let Some((foreign, _)) = evidence
            .sources()
            .find(|(source, _)| source.node.as_ref() != node)
        {
            return Err(Refusal::Foreign(foreign.node.chars().take(80).collect()));
        }
        let forgotten = if self.subjects.contains_key(&subject) {
            Vec::new()
        } else {
            self.make_room(node)?
        };
        if self.all_bytes + evidence.bytes() > self.bounds.bytes {
            return Err(Refusal::Full);
        }
        let mut known = match self.subjects.remove(&subject) {
            Some(known) => known,
            None => Known::new(subject.clone(), self.newest_but(&subject)),
        };
        let news = |known: &Known| {
            (
                known.evidence.facts().count(),
                known.settled("", None),
                known.release_reported,
            )
        };
        let before = news(&known);
        let merged = known.evidence.merge_within(&evidence, &Limits::merged());
        if merged.is_ok() {
            let said = Said {
                settled,
                replicas_then: delta.replicas_then,
                held: (delta.run, delta.version),
            };
            known.nodes.insert(node.to_owned(), said);
            known.release_reported |= delta.release_reported;
        }
        let after = news(&known);
        // What was refused of a workload that nobody else told of leaves nothing behind.
        if !known.nodes.is_empty() {
            self.subjects.insert(subject.clone(), known);
            self.weigh(&subject);
        }
        merged?;
        let change = if before == after {
            Change::Numbers
        } else {
            Change::News
        };
        Ok((subject, change, forgotten))
    }

    /// Takes over a baseline that was carried here in a bundle which a trusted key signed: whose evidence it is does not
    /// matter. Of the norm, the times count from which on fields were judged.
    pub fn adopt(&mut self, kept: &Kept) -> Result<Subject, Refusal> {
        let Subject { workload, revision } = kept.subject();
        let subject = subject(workload, revision)?;
        if !self.subjects.contains_key(&subject) && self.subjects.len() >= self.bounds.subjects
            || self.all_bytes + kept.evidence.bytes() > self.bounds.bytes
        {
            return Err(Refusal::Full);
        }
        let mut known = match self.subjects.get(&subject) {
            Some(known) => known.clone(),
            None => Known::new(subject.clone(), kept.norm.predecessor().map(Arc::clone)),
        };
        known.evidence.merge_within(&kept.evidence, &Limits::merged())?;
        let said = Said {
            settled: kept.norm.survey().settled(),
            // A trusted key signed it: nothing of it is held back.
            replicas_then: 1,
            held: (0, 0),
        };
        known.nodes.insert(CARRIED.to_owned(), said);
        self.subjects.insert(subject.clone(), known);
        self.weigh(&subject);
        Ok(subject)
    }

    /// A node says what it runs. Gives what it did not run before, and everything of which the number of replicas
    /// changed.
    pub fn interest(&mut self, node: &str, interest: &pb::Interest) -> (Vec<Subject>, BTreeSet<Subject>) {
        let mut runs = Interest::new();
        for running in interest.running.iter().take(self.bounds.of_one_node) {
            if let Ok(subject) = subject(&running.workload, &running.revision) {
                let now = Runs {
                    replicas: running.replicas,
                    generations: running.generations.clone(),
                };
                runs.insert(subject, now);
            }
        }
        let before = self.interests.insert(node.to_owned(), runs).unwrap_or_default();
        let runs = &self.interests[node];
        let new = runs
            .keys()
            .filter(|subject| !before.contains_key(*subject))
            .cloned();
        let replicas =
            |interest: &Interest, subject: &Subject| interest.get(subject).map_or(0, |runs| runs.replicas);
        let changed = before
            .keys()
            .chain(runs.keys())
            .filter(|subject| replicas(&before, subject) != replicas(runs, subject));
        (new.collect(), changed.cloned().collect())
    }

    /// A node's stream ended: what it ran is not counted any more.
    pub fn left(&mut self, node: &str) -> Vec<Subject> {
        self.interests
            .remove(node)
            .unwrap_or_default()
            .into_keys()
            .collect()
    }

    /// The state of a node's evidence that is known here.
    pub fn held(&self, node: &str, subject: &Subject) -> Option<pb::EvidenceHeld> {
        let (run, version) = self.subjects.get(subject)?.nodes.get(node)?.held;
        Some(pb::EvidenceHeld {
            workload: subject.workload.to_string(),
            revision: subject.revision.to_string(),
            run,
            version,
        })
    }

    /// A baseline.
    pub fn known(&self, subject: &Subject) -> Option<&Known> {
        self.subjects.get(subject)
    }

    /// What a node that runs a workload has to know: the baseline itself, and before it those that it takes over
    /// from, the oldest first.
    pub fn lineage(&self, subject: &Subject) -> Vec<Subject> {
        let mut lineage = Vec::new();
        let mut next = match self.subjects.get(subject) {
            Some(known) => {
                lineage.push(subject.clone());
                known.predecessor.clone()
            }
            None => self.newest_but(subject),
        };
        while let Some(revision) = next.take()
            && lineage.len() <= ANCESTORS
        {
            let before = Subject {
                workload: Arc::clone(&subject.workload),
                revision,
            };
            if lineage.contains(&before) {
                break;
            }
            next = self
                .subjects
                .get(&before)
                .and_then(|known| known.predecessor.clone());
            lineage.push(before);
        }
        lineage.reverse();
        lineage
    }

    /// The nodes that have to know a baseline.
    pub fn interested(&self, subject: &Subject) -> Vec<String> {
        self.interests
            .iter()
            .filter(|(_, runs)| {
                runs.contains_key(subject)
                    || runs
                        .keys()
                        .filter(|other| other.workload == subject.workload)
                        .any(|other| self.lineage(other).contains(subject))
            })
            .map(|(node, _)| node.clone())
            .collect()
    }

    /// What nodes are told of a baseline. Sums are made once for all of them.
    pub fn states(
        &self,
        subject: &Subject,
        nodes: &[String],
        overlay: &Overlay,
    ) -> Vec<(String, pb::FleetState)> {
        let unknown;
        let known = match self.subjects.get(subject) {
            Some(known) => known,
            None => {
                unknown = Known::new(subject.clone(), self.newest_but(subject));
                &unknown
            }
        };
        let whole = overlay.whole(subject);
        let remembered;
        let evidence = match whole.forgotten {
            Some(at) => {
                remembered = known.evidence.begun_after(at);
                &remembered
            }
            None => &known.evidence,
        };
        let pool = Pool::of(evidence);
        let unlocked = whole.unlocked;
        let first = self
            .interests
            .iter()
            .filter(|(_, runs)| runs.contains_key(subject))
            .map(|(node, _)| node)
            .min();
        let replicas = self
            .interests
            .values()
            .filter_map(|runs| runs.get(subject))
            .fold(0_u32, |sum, runs| sum.saturating_add(runs.replicas));
        let state = |node: &String| {
            let own = self.interests.get(node).and_then(|runs| runs.get(subject));
            let others = pool.without(|source| {
                source.node.as_ref() == node
                    && own.is_some_and(|own| own.generations.contains(&source.generation))
            });
            match file::to_bytes(&others) {
                Ok(evidence) => Some(pb::FleetState {
                    workload: subject.workload.to_string(),
                    revision: subject.revision.to_string(),
                    predecessor: known.predecessor.as_deref().unwrap_or_default().to_owned(),
                    replicas,
                    // One of those that run it, and another as soon as that one does not.
                    replicas_then: known.replicas_then(node, unlocked),
                    report_release: !known.release_reported && first == Some(node),
                    ready_since: known.settled(node, unlocked).map(seconds).to_vec(),
                    evidence,
                }),
                Err(error) => {
                    tracing::error!(%subject, %error, "what is known of a workload cannot be written");
                    None
                }
            }
        };
        nodes
            .iter()
            .filter_map(|node| Some((node.clone(), state(node)?)))
            .collect()
    }

    /// The decisions that concern what a node runs.
    pub fn decisions(&self, node: &str, overlay: &Overlay) -> Overlay {
        let runs = self.interests.get(node);
        let workloads: BTreeSet<&str> = runs
            .into_iter()
            .flat_map(BTreeMap::keys)
            .map(|subject| subject.workload.as_ref())
            .collect();
        let concerns = |decision: &&SignedDecision| workloads.contains(decision.decision().workload.as_ref());
        overlay
            .decisions()
            .filter(concerns)
            .cloned()
            .collect::<Vec<_>>()
            .into()
    }

    /// The revision of the workload that ran last, besides this one.
    fn newest_but(&self, subject: &Subject) -> Option<Arc<str>> {
        self.subjects
            .iter()
            .filter(|(other, _)| other.workload == subject.workload && other.revision != subject.revision)
            .max_by_key(|(other, known)| (known.evidence.total().until, Arc::clone(&other.revision)))
            .map(|(other, _)| Arc::clone(&other.revision))
    }

    /// Makes room for one more baseline, told of by a node.
    fn make_room(&mut self, node: &str) -> Result<Vec<Subject>, Refusal> {
        let only_of = |known: &Known| known.nodes.len() == 1 && known.nodes.contains_key(node);
        let own = self.subjects.values().filter(|known| only_of(known)).count();
        let gone = if own >= self.bounds.of_one_node {
            Some(self.longest_gone(only_of).ok_or(Refusal::TooMany(own))?)
        } else if self.subjects.len() >= self.bounds.subjects {
            Some(self.longest_gone(|_| true).ok_or(Refusal::Full)?)
        } else {
            None
        };
        if let Some(subject) = &gone {
            self.subjects.remove(subject);
            self.all_bytes -= self.bytes.remove(subject).unwrap_or(0);
        }
        Ok(gone.into_iter().collect())
    }

    /// Of these, the baseline of what has not run for longest.
    fn longest_gone(&self, which: impl Fn(&Known) -> bool) -> Option<Subject> {
        let runs = |subject: &Subject| self.interests.values().any(|runs| runs.contains_key(subject));
        self.subjects
            .iter()
            .filter(|(subject, known)| which(known) && !runs(subject))
            .min_by_key(|(_, known)| known.evidence.total().until)
            .map(|(subject, _)| subject.clone())
    }

    fn weigh(&mut self, subject: &Subject) {
        let bytes = self
            .subjects
            .get(subject)
            .map_or(0, |known| known.evidence.bytes());
        let before = self.bytes.insert(subject.clone(), bytes).unwrap_or(0);
        self.all_bytes = self.all_bytes - before + bytes;
    }
}

fn subject(workload: &str, revision: &str) -> Result<Subject, Refusal> {
    if workload.is_empty() || workload.len() > NAME_MAX || revision.len() > NAME_MAX {
        return Err(Refusal::Name);
    }
    Ok(Subject {
        workload: Arc::from(workload),
        revision: Arc::from(revision),
    })
}

/// Times per field as they are sent.
fn settled(ready_since: &[u32]) -> Result<Settled, Refusal> {
    let since: [u32; Field::ALL.len()] = ready_since
        .try_into()
        .map_err(|_| Refusal::Fields(ready_since.len()))?;
    Ok(since.map(|since| (since != 0).then(|| Timestamp::from_unix(since.into()))))
}

fn seconds(since: Option<Timestamp>) -> u32 {
    since.map_or(0, |since| u32::try_from(since.as_unix()).unwrap_or(u32::MAX))
}
