//! What is done as time passes: learning is credited, norms are worked out, baselines are written.

use super::learner::Learner;
use super::subjects::start_of;
use super::{Baselines, Completed, Learning, URGENT};
use crate::identity::Container;
use crate::observation::BootTime;
use foldhash::{HashMap, HashMapExt as _};
use norma_baseline::Timestamp;
use norma_baseline::evidence::Start;
use norma_baseline::overlay::Subject;
use std::sync::Arc;
use std::time::Duration;

/// A changed baseline is written this often at most, besides when it becomes complete and at the end. One at a time:
/// each is on stable storage before the next event is looked at.
const SAVE_EVERY: Duration = Duration::from_secs(60);
/// One in which there is a new behaviour is written after this: a crash loses no more of what is new.
const SAVE_NEWS_AFTER: Duration = Duration::from_secs(10);
/// What is expected is worked out anew this often at most, of the workload that waits longest.
const COMPILE_EVERY: Duration = Duration::from_secs(5);
/// In a faster course the clocks' [`COMPILE_EVERY`] is many times as long; no longer than this in the course's time.
const COMPILE_AFTER: Duration = Duration::from_secs(300);
/// Longest step of learning time that is credited at once; a longer one means that the agent was not there.
const TICK_MAX: Duration = Duration::from_secs(5);

impl Baselines {
    /// Credits learning time to workloads that run; gives those that became complete.
    pub fn tick(&mut self, running: &[Arc<Container>], now: BootTime) -> Vec<Completed> {
        let step = self
            .last_tick
            .map_or(0, |last| now.0.saturating_sub(last.0))
            .min(self.of_course(TICK_MAX));
        let is_first_look = self.last_tick.is_none();
        self.last_tick = Some(now);
        self.now = self.now.max(now);
        let wall = self.wall();
        // Where time goes faster, several looks follow each other at what lies between two of the clocks' seconds, and
        // what was seen meanwhile is later than the first of them.
        let passed = match self.course.speed() {
            1 => wall,
            _ => Timestamp::from_unix(self.course.wall_seconds(now)),
        };
        if let Some(exchange) = &mut self.exchange {
            exchange.look_again();
        }
        let mut alive: HashMap<Arc<Subject>, HashMap<&str, Start>> = HashMap::new();
        for container in running {
            if self.is_provisional(container) {
                continue;
            }
            let subject = self.subject(container);
            let start = start_of(container, is_first_look);
            alive.entry(subject).or_default().insert(&container.id.0, start);
        }
        let mut completed = std::mem::take(&mut self.completed_meanwhile);
        for (subject, learner) in &mut self.learners {
            let ended: Vec<String> = learner
                .recorder
                .replicas()
                .filter(|replica| {
                    alive
                        .get(subject)
                        .is_none_or(|alive| !alive.contains_key(replica))
                })
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
            for (replica, start) in replicas {
                learner.recorder.container_started(replica, *start);
                if self.sees_capabilities {
                    learner.watch(replica, passed);
                }
            }
            learner.recorder.advance(passed);
            learner.dirty.get_or_insert(now);
            if learner.norm.survey().is_ready() {
                continue;
            }
            learner.learned_ns = learner.learned_ns.saturating_add(step);
            match self.terms.learning {
                Learning::Window(window)
                    if learner.learned_ns >= window.as_nanos() as u64
                        && learner.is_watched_for(window, passed) =>
                {
                    // What was settled before stays so.
                    let settled = learner
                        .settled(subject, self.decisions.overlay())
                        .map(|since| since.or(Some(wall)));
                    learner.compile(subject, &self.terms, self.decisions.overlay(), &settled);
                    learner.save(&self.directory, subject);
                    completed.push(learner.completed(subject, &self.terms));
                }
                Learning::Window(_) => {}
                Learning::ByEvidence { .. } => {
                    learner.stale.get_or_insert(now);
                }
            }
        }
        let is_urgent = self
            .learners
            .values()
            .any(|learner| learner.stale == Some(URGENT));
        let compile_every = self.of_course(COMPILE_EVERY).min(COMPILE_AFTER.as_nanos() as u64);
        if is_urgent || now.0 >= self.last_compile.0.saturating_add(compile_every) {
            self.last_compile = now;
            completed.extend(self.compile_one());
        }
        self.save_one(now);
        completed
    }

    /// Writes the baseline that has waited longest, if that was long enough.
    fn save_one(&mut self, now: BootTime) {
        let (every, news_after) = (self.of_course(SAVE_EVERY), self.of_course(SAVE_NEWS_AFTER));
        let is_over = |since: Option<BootTime>, wait: u64| {
            since.is_some_and(|since| now.0 >= since.0.saturating_add(wait))
        };
        let due = |learner: &Learner| is_over(learner.dirty, every) || is_over(learner.news, news_after);
        let waiting = self.learners.iter_mut().filter(|(_, learner)| due(learner));
        if let Some((subject, learner)) = waiting.min_by_key(|(_, learner)| learner.dirty)
            && !learner.save(&self.directory, subject)
        {
            // The others have their turn before.
            learner.dirty = Some(now);
            learner.news = None;
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
        let settled = learner.settled(subject, self.decisions.overlay());
        if learner.stale == Some(URGENT) {
            let containers = self.subjects.iter().filter(|(_, (_, of))| of == subject);
            self.reconsidered.extend(containers.map(|(cgroup, _)| *cgroup));
        }
        learner.compile(subject, &self.terms, self.decisions.overlay(), &settled);
        if was_ready || !learner.norm.survey().is_ready() {
            return None;
        }
        learner.save(&self.directory, subject);
        Some(learner.completed(subject, &self.terms))
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
}
