//! What this node tells the fleet and is told by it.
//!
//! A recorder's state is on the disk before evidence of it is told; what the collector holds of it, it says itself
//! at the beginning of a stream. So a crash of either side neither loses evidence nor counts any twice. Telling is
//! paced, and never waits: what cannot be told now is told later, from the disk if need be.

use super::learner::Learner;
use super::{Baselines, Completed, Taken};
use crate::fleet::{Link, State, Told};
use crate::observation::BootTime;
use norma_baseline::evidence::Version;
use norma_baseline::file;
use norma_baseline::overlay::Subject;
use norma_wire::pb::{self, to_collector};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

#[cfg(test)]
mod tests;

/// How often something is told.
const TELL_EVERY: Duration = Duration::from_millis(100);
/// Baselines of which it is not known yet whether what was told has arrived.
const IN_FLIGHT: usize = 8;
/// What was refused for now is told again after this.
const AGAIN_AFTER: Duration = Duration::from_secs(10);
/// And what was refused for good, in case that it is not.
const REFUSED_FOR: Duration = Duration::from_secs(600);

/// How far one recorder's evidence has been told.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sharing {
    /// Names the recorder, within which versions count.
    pub run: u64,
    /// What the collector has.
    held: Version,
    /// What it may have soon.
    in_flight: Option<Version>,
    /// There is more on the disk than was told.
    untold: bool,
    /// The collector has not said yet what it has.
    awaiting: bool,
    /// Not to be told before.
    not_before: BootTime,
}

impl Sharing {
    /// Of a recorder that was just opened.
    pub fn new() -> Self {
        Self {
            run: super::subjects::generation(),
            untold: true,
            ..Self::default()
        }
    }

    /// More is on the disk.
    pub const fn saved(&mut self) {
        self.untold = true;
    }

    /// The collector has all that is on the disk.
    pub const fn is_held(&self) -> bool {
        !self.untold && !self.awaiting && self.in_flight.is_none()
    }

    const fn is_due(&self, now: BootTime) -> bool {
        self.untold && !self.awaiting && self.in_flight.is_none() && self.not_before.0 <= now.0
    }
}

/// The node's end of the exchange.
pub(super) struct Exchange {
    link: Link,
    joined: bool,
    /// What the collector knows to run here.
    said: BTreeMap<Arc<Subject>, Running>,
    /// That may not be so any more.
    look_again: bool,
    last_told: BootTime,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Running {
    replicas: u32,
    generations: Vec<u64>,
}

/// What came of an exchange.
#[derive(Debug, Default)]
pub struct Exchanged {
    /// Baselines that became complete by what others know.
    pub completed: Vec<Completed>,
    /// Decisions that came.
    pub taken: Vec<Taken>,
}

impl Exchange {
    fn new(link: Link) -> Self {
        Self {
            link,
            joined: false,
            said: BTreeMap::new(),
            look_again: true,
            last_told: BootTime(0),
        }
    }

    /// What runs here may have changed.
    pub const fn look_again(&mut self) {
        self.look_again = true;
    }
}

impl Baselines {
    /// From now on, what is learned here is told, and what others know is judged by.
    pub fn join_fleet(&mut self, link: Link) {
        self.exchange = Some(Exchange::new(link));
    }

    /// Takes what was told since, at most one baseline at a time, and tells what is due. To be called often.
    pub fn exchange(&mut self, now: BootTime) -> Exchanged {
        let mut exchanged = Exchanged::default();
        let Some(mut exchange) = self.exchange.take() else {
            return exchanged;
        };
        while let Ok(told) = exchange.link.told.try_recv() {
            match told {
                Told::Joined => self.joined(&mut exchange),
                Told::Held {
                    subject,
                    run,
                    version,
                } => {
                    if let Some(learner) = self.learners.get_mut(&subject)
                        && learner.sharing.run == run
                    {
                        learner.sharing.held = learner.sharing.held.max(version);
                        learner.sharing.in_flight = None;
                    }
                }
                Told::State(state) => {
                    exchanged.completed.extend(self.take_state(*state));
                    // Working out a norm takes some milliseconds, and events wait.
                    break;
                }
                Told::Decisions(overlay) => match self.take_decisions(&overlay) {
                    Ok(taken) => exchanged.taken.push(taken),
                    Err(error) => tracing::error!(%error, "what people decided is not in force"),
                },
                Told::Refused {
                    subject,
                    reason,
                    later,
                } => self.refused(&subject, &reason, later, now),
            }
        }
        if exchange.joined {
            if exchange.look_again {
                self.say_what_runs(&mut exchange);
            }
            if now.0 >= exchange.last_told.0 + TELL_EVERY.as_nanos() as u64 {
                exchange.last_told = now;
                self.tell_one(&exchange, now);
            }
        }
        self.exchange = Some(exchange);
        exchanged
    }

    fn joined(&mut self, exchange: &mut Exchange) {
        exchange.joined = true;
        exchange.said.clear();
        exchange.look_again = true;
        for learner in self.learners.values_mut() {
            learner.sharing = Sharing {
                run: learner.sharing.run,
                untold: true,
                ..Sharing::default()
            };
        }
    }

    /// Says what runs here, where that has changed.
    fn say_what_runs(&mut self, exchange: &mut Exchange) {
        let own = &self.node;
        let runs = |learner: &Learner| Running {
            replicas: u32::try_from(learner.recorder.replicas().count()).unwrap_or(u32::MAX),
            generations: learner
                .recorder
                .evidence()
                .sources()
                .filter(|(source, _)| source.node == *own)
                .map(|(source, _)| source.generation)
                .collect(),
        };
        let mut running: BTreeMap<Arc<Subject>, Running> = BTreeMap::new();
        for (subject, learner) in &self.learners {
            if learner.recorder.replicas().next().is_some() {
                running.insert(Arc::clone(subject), runs(learner));
            }
        }
        if running == exchange.said {
            exchange.look_again = false;
            return;
        }
        let interest = pb::Interest {
            running: running
                .iter()
                .map(|(subject, running)| pb::Running {
                    workload: subject.workload.to_string(),
                    revision: subject.revision.to_string(),
                    replicas: running.replicas,
                    generations: running.generations.clone(),
                })
                .collect(),
        };
        if exchange
            .link
            .tell
            .try_send(to_collector::Message::Interest(interest))
            .is_err()
        {
            return;
        }
        for subject in running
            .keys()
            .filter(|subject| !exchange.said.contains_key(*subject))
        {
            if let Some(learner) = self.learners.get_mut(subject) {
                learner.sharing.awaiting = true;
            }
        }
        exchange.said = running;
        exchange.look_again = false;
    }

    /// Tells what is new of one recorder, those first whose workload runs.
    fn tell_one(&mut self, exchange: &Exchange, now: BootTime) {
        let in_flight = |learner: &&Learner| learner.sharing.in_flight.is_some();
        if self.learners.values().filter(in_flight).count() >= IN_FLIGHT {
            return;
        }
        let Ok(place) = exchange.link.tell.try_reserve() else {
            return;
        };
        let due = self
            .learners
            .iter_mut()
            .filter(|(_, learner)| learner.sharing.is_due(now))
            .min_by_key(|(_, learner)| learner.recorder.replicas().next().is_none());
        let Some((subject, learner)) = due else { return };
        // What is told has to be found again after a crash.
        if learner.dirty.is_some() && !learner.save(&self.directory, subject) {
            learner.sharing.not_before = BootTime(now.0 + AGAIN_AFTER.as_nanos() as u64);
            return;
        }
        let (evidence, version) = learner.recorder.delta(learner.sharing.held);
        match file::to_bytes(&evidence) {
            Ok(evidence) => {
                learner.sharing.in_flight = Some(version);
                learner.sharing.untold = false;
                place.send(to_collector::Message::Evidence(pb::EvidenceDelta {
                    workload: subject.workload.to_string(),
                    revision: subject.revision.to_string(),
                    evidence,
                    run: learner.sharing.run,
                    version: version.number(),
                    release_reported: learner.release.reported,
                    replicas_then: learner.replicas_then.unwrap_or(0),
                    ready_since: learner
                        .norm
                        .survey()
                        .settled()
                        .map(|since| {
                            since.map_or(0, |since| u32::try_from(since.as_unix()).unwrap_or(u32::MAX))
                        })
                        .to_vec(),
                }));
            }
            Err(error) => {
                tracing::error!(workload = %subject, %error, "evidence cannot be written");
                learner.sharing.untold = false;
            }
        }
    }

    /// Judges by what the fleet knows from now on.
    fn take_state(&mut self, state: State) -> Option<Completed> {
        let State {
            subject,
            predecessor,
            others,
            report_release,
        } = state;
        let before = predecessor.and_then(|revision| {
            let before = Subject {
                workload: Arc::clone(&subject.workload),
                revision,
            };
            Some(Arc::clone(&self.learners.get(&before)?.norm))
        });
        let subject = self.learner_of(Arc::new(subject));
        let containers = self.subjects.iter().filter(|(_, (_, of))| *of == subject);
        self.reconsidered.extend(containers.map(|(cgroup, _)| *cgroup));
        let learner = self.learners.get_mut(&subject)?;
        if let Some(before) = before
            && learner
                .predecessor
                .as_ref()
                .is_none_or(|own| own.subject().revision != before.subject().revision)
        {
            learner.predecessor = Some(before);
        }
        learner.others = others;
        learner.release.chosen = report_release;
        learner.sharing.awaiting = false;
        learner.dirty.get_or_insert(self.now);
        let was_ready = learner.norm.survey().is_ready();
        let settled = learner.settled(&subject, self.decisions.overlay());
        learner.compile(&subject, &self.terms, self.decisions.overlay(), &settled);
        if was_ready || !learner.norm.survey().is_ready() {
            return None;
        }
        tracing::info!(workload = %subject, "the fleet knows what is normal");
        Some(learner.completed(&subject, &self.terms))
    }

    fn refused(&mut self, subject: &Subject, reason: &str, later: bool, now: BootTime) {
        let Some(learner) = self.learners.get_mut(subject) else {
            return;
        };
        let wait = if later { AGAIN_AFTER } else { REFUSED_FOR };
        if !later {
            tracing::error!(workload = %subject, reason, "the collector does not take what was learned; it counts on this node only");
        }
        learner.sharing.in_flight = None;
        learner.sharing.untold = true;
        learner.sharing.not_before = BootTime(now.0.saturating_add(wait.as_nanos() as u64));
    }
}
