//! Learned baselines: per workload, the exact set of behaviours seen in a fixed learning window.
//!
//! The window counts the time during which a container of the workload runs. Baselines are kept on disk
//! as MessagePack, written whole and renamed into place, so that a restart neither forgets nor learns anew.

use super::fact::{Access, Fact};
use crate::identity::{Container, WorkloadName};
use crate::observation::BootTime;
use foldhash::{HashMap, HashMapExt as _, HashSet};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Version of the file format.
const FORMAT: u32 = 1;
/// Changed baselines of workloads that are being learned are written this often.
const SAVE_EVERY: Duration = Duration::from_secs(5);
/// Longest step of learning time that is credited at once; a longer one means that the agent was not there.
const TICK_MAX: Duration = Duration::from_secs(5);
/// Most behaviours per workload; one that needs more is not described by exact sets.
const FACTS_MAX: usize = 20_000;

/// How a behaviour relates to what is known of its workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Membership {
    /// Learned now.
    Learned,
    /// Learned earlier in the window that is still open.
    LearnedBefore,
    /// Part of a complete baseline.
    Known,
    /// Not part of a complete baseline.
    Novel(Box<Expectation>),
}

/// What a complete baseline knows that comes near a novel behaviour.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expectation {
    /// How long the workload was learned.
    pub learned_for: Duration,
    /// The acting executable is known.
    pub actor_known: bool,
    /// The target (program, file, peer, port) is known from another executable.
    pub target_known: bool,
    /// What the acting executable does of the same kind, or, for an unknown one, what executables are known.
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
    /// Novelty is an alert.
    pub ready: bool,
    /// Seconds learned so far.
    pub learned_seconds: u64,
    /// Behaviours known.
    pub facts: usize,
}

#[derive(Debug, Serialize, Deserialize)]
struct Baseline {
    format: u32,
    workload: String,
    learned_ns: u64,
    ready: bool,
    overflowed: bool,
    facts: HashSet<Fact>,
    #[serde(skip)]
    dirty: bool,
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

/// All baselines of the node.
pub struct Baselines {
    directory: PathBuf,
    window: Duration,
    by_workload: HashMap<WorkloadName, Baseline>,
    last_tick: Option<BootTime>,
    last_save: BootTime,
}

impl Baselines {
    /// Reads what was learned before. A damaged file is set aside with a warning and learned anew.
    pub fn open(directory: &Path, window: Duration) -> Result<Self, BaselineError> {
        let fail = |reason| BaselineError::Directory {
            path: directory.to_owned(),
            reason,
        };
        std::fs::create_dir_all(directory).map_err(fail)?;
        let mut by_workload = HashMap::new();
        for entry in std::fs::read_dir(directory).map_err(fail)?.flatten() {
            let path = entry.path();
            if path.extension().is_none_or(|extension| extension != "msgpack") {
                continue;
            }
            match std::fs::read(&path)
                .map_err(|error| error.to_string())
                .and_then(|bytes| {
                    rmp_serde::from_slice::<Baseline>(&bytes).map_err(|error| error.to_string())
                }) {
                Ok(baseline) if baseline.format == FORMAT => {
                    by_workload.insert(WorkloadName(baseline.workload.clone()), baseline);
                }
                Ok(baseline) => set_aside(&path, &format!("format {} is not known", baseline.format)),
                Err(error) => set_aside(&path, &error),
            }
        }
        Ok(Self {
            directory: directory.to_owned(),
            window,
            by_workload,
            last_tick: None,
            last_save: BootTime(0),
        })
    }

    /// Holds a behaviour against the baseline of its workload, or learns it.
    pub fn observe(&mut self, workload: &WorkloadName, fact: &Fact) -> Membership {
        let baseline = self.baseline(workload);
        let known = baseline.facts.contains(fact);
        match (baseline.ready, known) {
            (true, true) => Membership::Known,
            (true, false) => Membership::Novel(Box::new(baseline.expectation(fact))),
            (false, true) => Membership::LearnedBefore,
            (false, false) => {
                baseline.dirty = true;
                if baseline.facts.len() < FACTS_MAX {
                    baseline.facts.insert(fact.clone());
                } else if !baseline.overflowed {
                    baseline.overflowed = true;
                    tracing::warn!(
                        workload = workload.0,
                        limit = FACTS_MAX,
                        "baseline is full; further behaviours are not learned"
                    );
                }
                Membership::Learned
            }
        }
    }

    /// Credits learning time to workloads that run; gives those that became complete.
    pub fn tick(&mut self, running: &[Arc<Container>], now: BootTime) -> Vec<Completed> {
        let step = self
            .last_tick
            .map_or(0, |last| now.0.saturating_sub(last.0))
            .min(TICK_MAX.as_nanos() as u64);
        self.last_tick = Some(now);
        let window = self.window.as_nanos() as u64;
        let workloads: BTreeSet<&WorkloadName> =
            running.iter().map(|container| &container.workload).collect();
        let mut completed = Vec::new();
        for workload in workloads {
            let baseline = self.baseline(workload);
            if baseline.ready {
                continue;
            }
            baseline.learned_ns = baseline.learned_ns.saturating_add(step);
            baseline.dirty = true;
            if baseline.learned_ns >= window {
                baseline.ready = true;
                let mut facts = BTreeMap::new();
                for fact in &baseline.facts {
                    *facts.entry(fact.kind()).or_default() += 1;
                }
                completed.push(Completed {
                    workload: workload.clone(),
                    facts,
                    learned_for: Duration::from_nanos(baseline.learned_ns),
                });
            }
        }
        if !completed.is_empty() || now.0 >= self.last_save.0 + SAVE_EVERY.as_nanos() as u64 {
            self.last_save = now;
            self.save();
        }
        completed
    }

    /// Writes what changed.
    pub fn save(&mut self) {
        for (workload, baseline) in self.by_workload.iter_mut().filter(|(_, baseline)| baseline.dirty) {
            match write(&self.directory, workload, baseline) {
                Ok(()) => baseline.dirty = false,
                Err(error) => {
                    tracing::warn!(workload = workload.0, %error, "cannot write baseline; it is tried again");
                }
            }
        }
    }

    /// State of every baseline.
    pub fn summaries(&self) -> Vec<Summary> {
        let mut all: Vec<_> = self
            .by_workload
            .values()
            .map(|baseline| Summary {
                workload: baseline.workload.clone(),
                ready: baseline.ready,
                learned_seconds: Duration::from_nanos(baseline.learned_ns).as_secs(),
                facts: baseline.facts.len(),
            })
            .collect();
        all.sort_by(|left, right| left.workload.cmp(&right.workload));
        all
    }

    fn baseline(&mut self, workload: &WorkloadName) -> &mut Baseline {
        self.by_workload
            .entry(workload.clone())
            .or_insert_with(|| Baseline {
                format: FORMAT,
                workload: workload.0.clone(),
                learned_ns: 0,
                ready: false,
                overflowed: false,
                facts: HashSet::default(),
                dirty: true,
            })
    }
}

/// How many examples of usual behaviour an alert names.
const EXAMPLES: usize = 5;

impl Baseline {
    fn expectation(&self, fact: &Fact) -> Expectation {
        let actor = fact.actor();
        let same_kind_by_actor: Vec<&Fact> = self
            .facts
            .iter()
            .filter(|known| known.kind() == fact.kind() && known.actor() == actor)
            .collect();
        let actor_known = self.facts.iter().any(|known| match known {
            Fact::Exec { by, exe } => by == actor || exe == actor,
            other => other.actor() == actor,
        });
        let mut usual: Vec<String> = same_kind_by_actor.iter().map(|known| target(known)).collect();
        usual.sort();
        usual.dedup();
        Expectation {
            learned_for: Duration::from_nanos(self.learned_ns),
            actor_known,
            target_known: self
                .facts
                .iter()
                .any(|known| known.kind() == fact.kind() && target(known) == target(fact)),
            usual_count: usual.len(),
            usual: nearest(usual, &target(fact)),
        }
    }
}

/// The known targets that share the longest beginning with the novel one.
fn nearest(mut usual: Vec<String>, novel: &str) -> Vec<String> {
    let shared = |text: &str| {
        text.bytes()
            .zip(novel.bytes())
            .take_while(|(left, right)| left == right)
            .count()
    };
    usual.sort_by_key(|text| std::cmp::Reverse(shared(text)));
    usual.truncate(EXAMPLES);
    usual
}

/// What a behaviour is aimed at, in words.
fn target(fact: &Fact) -> String {
    match fact {
        Fact::Exec { exe, .. } => exe.to_string(),
        Fact::Open {
            path,
            access: Access::Read,
            ..
        } => path.to_string(),
        Fact::Open {
            path,
            access: Access::Write,
            ..
        } => format!("{path} (write)"),
        Fact::Open {
            path,
            access: Access::Create,
            ..
        } => format!("{path} (create)"),
        Fact::Connect { peer, port, .. } => std::net::SocketAddr::new(*peer, *port).to_string(),
        Fact::Listen { port, .. } => format!("port {port}"),
        Fact::Act {
            operation, object, ..
        } => format!("{operation} {object}").trim_end().to_owned(),
    }
}

fn set_aside(path: &Path, why: &str) {
    let aside = path.with_extension("damaged");
    tracing::warn!(file = %path.display(), why, "baseline cannot be read; it is set aside as *.damaged and learned anew");
    if let Err(error) = std::fs::rename(path, &aside) {
        tracing::warn!(file = %path.display(), %error, "cannot set the damaged baseline aside");
    }
}

fn write(directory: &Path, workload: &WorkloadName, baseline: &Baseline) -> std::io::Result<()> {
    let name = crate::config::hex(&Sha256::digest(workload.0.as_bytes())[..16]);
    let bytes = rmp_serde::to_vec_named(baseline).map_err(std::io::Error::other)?;
    let temporary = directory.join(format!("{name}.tmp"));
    let mut file = File::create(&temporary)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    std::fs::rename(&temporary, directory.join(format!("{name}.msgpack")))?;
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{ContainerId, IdentityState};
    use crate::observation::CgroupId;

    const SECOND: u64 = 1_000_000_000;

    fn container(workload: &str) -> Arc<Container> {
        Arc::new(Container {
            id: ContainerId("c".into()),
            name: "c".into(),
            runtime: "runc".into(),
            image: String::new(),
            image_digest: String::new(),
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

    #[test]
    fn novelty_begins_when_the_window_ends_and_survives_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let window = Duration::from_secs(3);
        let running = [container("w")];
        let workload = &running[0].workload;
        let mut baselines = Baselines::open(dir.path(), window).unwrap();
        assert_eq!(baselines.observe(workload, &open("/a")), Membership::Learned);
        assert_eq!(
            baselines.observe(workload, &open("/a")),
            Membership::LearnedBefore
        );
        let mut completed = Vec::new();
        for second in 0..=3 {
            completed.extend(baselines.tick(&running, BootTime(second * SECOND)));
        }
        assert_eq!(completed.len(), 1);
        drop(baselines);

        let mut baselines = Baselines::open(dir.path(), window).unwrap();
        assert_eq!(baselines.observe(workload, &open("/a")), Membership::Known);
        let Membership::Novel(expectation) = baselines.observe(workload, &open("/b")) else {
            panic!()
        };
        assert_eq!(expectation.usual, ["/a"]);
        assert!(expectation.actor_known && !expectation.target_known);
        assert!(
            baselines.tick(&running, BootTime(9 * SECOND)).is_empty(),
            "complete only once"
        );
    }

    #[test]
    fn a_workload_that_does_not_run_does_not_learn() {
        let dir = tempfile::tempdir().unwrap();
        let mut baselines = Baselines::open(dir.path(), Duration::from_secs(2)).unwrap();
        baselines.observe(&WorkloadName("w".into()), &open("/a"));
        for second in 0..10 {
            assert!(baselines.tick(&[], BootTime(second * SECOND)).is_empty());
        }
    }

    #[test]
    fn a_damaged_file_is_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("x.msgpack"), b"\xc1garbage").unwrap();
        let baselines = Baselines::open(dir.path(), Duration::from_secs(2)).unwrap();
        assert!(baselines.summaries().is_empty());
        assert!(dir.path().join("x.damaged").exists());
    }
}
