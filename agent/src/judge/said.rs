//! What was said of a container already, so that what comes again is counted instead.

use super::baseline::Membership;
use super::crowd::Crowds;
use super::fact::Fact;
use crate::identity::{Identified, Session};
use crate::observation::BootTime;
use foldhash::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

/// The same alert of the same container and incident is raised again after this time; repeats before are counted.
const REALERT_AFTER: Duration = Duration::from_secs(3600);
/// Most behaviours per container that are remembered as reported; above it the older half is forgotten.
const REMEMBERED: usize = 20_000;

/// What was said of a container.
#[derive(Default)]
pub(super) struct Said {
    /// Of the container's own processes, and of sessions': what the one may do says nothing of the other.
    own: Behaviours,
    session: Behaviours,
    /// Alerts about names that are made up.
    pub crowds: Crowds,
}

/// Behaviours by their keyed hash, which nobody outside can make collide: there are thousands in each container, and
/// their texts stand in the baseline already.
#[derive(Default)]
struct Behaviours {
    hashing: RandomState,
    quiet: HashMap<u64, Quiet>,
    alerts: HashMap<u64, Alert>,
}

/// One that was no alert. There are hundreds of thousands.
#[derive(Clone, Copy)]
struct Quiet {
    /// In seconds since boot.
    reported: u32,
    /// When the baseline was shown it, in seconds of the course of learning.
    observed: u32,
    /// It will be judged so again: it is expected, and not only learned.
    settled: bool,
    /// Expected or being learned, and no policy names it.
    ordinary: bool,
}

/// One that was.
#[derive(Clone)]
struct Alert {
    incident: Arc<str>,
    reported: BootTime,
}

/// How a behaviour is judged now.
pub(super) struct Judged {
    /// Of an alert, the incident that it belongs to.
    pub incident: Option<Arc<str>>,
    /// It will be judged so again: it is expected, and not only learned.
    pub settled: bool,
    /// Expected or being learned, and no policy names it.
    pub ordinary: bool,
    /// When, in the course of learning.
    pub course: BootTime,
}

impl Said {
    fn of(&mut self, identified: &Identified) -> &mut Behaviours {
        match identified.process.session {
            Session::Own => &mut self.own,
            Session::Exec => &mut self.session,
        }
    }

    /// Whether it was said before and was no alert; `show` has the baseline look at it again, once in each
    /// `stands_for` of the course of learning, which is at `course` now.
    pub fn is_old(
        &mut self,
        identified: &Identified,
        fact: &Fact,
        course: BootTime,
        stands_for: Duration,
        show: impl FnOnce() -> Membership,
    ) -> bool {
        let behaviours = self.of(identified);
        let key = behaviours.key(fact);
        let Some(quiet) = behaviours.quiet.get_mut(&key) else {
            return false;
        };
        if u64::from(course.seconds().saturating_sub(quiet.observed)) < stands_for.as_secs() {
            return true;
        }
        quiet.observed = course.seconds();
        // What is no longer learned, and did not become part of the norm, is to be judged anew.
        !matches!(show(), Membership::Novel(_)) || quiet.settled
    }

    /// Whether the same alert was raised in the same incident a short while ago.
    pub fn is_repeated(&mut self, identified: &Identified, fact: &Fact, incident: &Arc<str>) -> bool {
        let at = identified.observation.at;
        let behaviours = self.of(identified);
        behaviours.alerts.get(&behaviours.key(fact)).is_some_and(|alert| {
            alert.incident == *incident
                && at.0 < alert.reported.0.saturating_add(REALERT_AFTER.as_nanos() as u64)
        })
    }

    /// Whether a behaviour is one of the container's own that is ordinary.
    pub fn is_ordinary(&self, fact: &Fact) -> bool {
        let quiet = self.own.quiet.get(&self.own.key(fact));
        quiet.is_some_and(|quiet| quiet.ordinary)
    }

    /// Has what the container does next judged as if it came for the first time.
    pub fn unsay(&mut self, fact: &Fact) {
        let key = self.own.key(fact);
        self.own.quiet.remove(&key);
        self.own.alerts.remove(&key);
    }

    /// Forgets what was no alert: it may be judged otherwise now.
    pub fn reconsider(&mut self) {
        for behaviours in [&mut self.own, &mut self.session] {
            behaviours.quiet.clear();
        }
    }

    /// Remembers how it was judged.
    pub fn remember(&mut self, identified: &Identified, fact: &Fact, judged: Judged) {
        let at = identified.observation.at;
        let behaviours = self.of(identified);
        let key = behaviours.key(fact);
        match judged.incident {
            Some(incident) => {
                forget_older_half(&mut behaviours.alerts, |alert| alert.reported);
                behaviours.quiet.remove(&key);
                let alert = Alert {
                    incident,
                    reported: at,
                };
                behaviours.alerts.insert(key, alert);
            }
            None => {
                forget_older_half(&mut behaviours.quiet, |quiet| quiet.reported);
                behaviours.alerts.remove(&key);
                let quiet = Quiet {
                    reported: at.seconds(),
                    observed: judged.course.seconds(),
                    settled: judged.settled,
                    ordinary: judged.ordinary,
                };
                behaviours.quiet.insert(key, quiet);
            }
        }
    }
}

impl Behaviours {
    fn key(&self, fact: &Fact) -> u64 {
        self.hashing.hash_one(fact)
    }
}

/// Makes room where there are as many as are remembered.
fn forget_older_half<T, When: Copy + Ord>(all: &mut HashMap<u64, T>, reported: impl Fn(&T) -> When) {
    if all.len() < REMEMBERED {
        return;
    }
    let mut times: Vec<When> = all.values().map(&reported).collect();
    let middle = times.len() / 2;
    let (_, median, _) = times.select_nth_unstable(middle);
    let median = *median;
    all.retain(|_, one| reported(one) > median);
}
