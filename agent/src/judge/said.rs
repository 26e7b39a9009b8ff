//! What was said of a container already, so that what comes again is counted instead.

use super::baseline::Membership;
use super::crowd::Crowds;
use super::fact::Fact;
use crate::identity::{Identified, Session};
use crate::observation::BootTime;
use foldhash::HashMap;
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
    own: HashMap<Fact, Last>,
    session: HashMap<Fact, Last>,
    /// Alerts about names that are made up.
    pub crowds: Crowds,
}

/// How a behaviour was judged last.
#[derive(Clone)]
pub(super) struct Last {
    /// Of an alert, the incident that it belongs to.
    incident: Option<Arc<str>>,
    /// It will be judged so again: it is expected, and not only learned.
    settled: bool,
    /// Expected or being learned, and no policy names it.
    ordinary: bool,
    reported: BootTime,
    /// When the baseline was shown it, in the course of learning.
    observed: BootTime,
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
    fn of(&mut self, identified: &Identified) -> &mut HashMap<Fact, Last> {
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
        let Some(last) = self
            .of(identified)
            .get_mut(fact)
            .filter(|last| last.incident.is_none())
        else {
            return false;
        };
        if Duration::from_nanos(course.0.saturating_sub(last.observed.0)) < stands_for {
            return true;
        }
        last.observed = course;
        // What is no longer learned, and did not become part of the norm, is to be judged anew.
        !matches!(show(), Membership::Novel(_)) || last.settled
    }

    /// Whether the same alert was raised in the same incident a short while ago.
    pub fn is_repeated(&mut self, identified: &Identified, fact: &Fact, incident: &Arc<str>) -> bool {
        let at = identified.observation.at;
        self.of(identified).get(fact).is_some_and(|last| {
            last.incident.as_ref() == Some(incident)
                && at.0 < last.reported.0.saturating_add(REALERT_AFTER.as_nanos() as u64)
        })
    }

    /// A behaviour of the container's own that is ordinary, as remembered, so that its text is kept once.
    pub fn ordinary(&self, fact: &Fact) -> Option<Fact> {
        let (fact, last) = self.own.get_key_value(fact)?;
        last.ordinary.then(|| fact.clone())
    }

    /// Has what the container does next judged as if it came for the first time.
    pub fn unsay(&mut self, fact: &Fact) {
        self.own.remove(fact);
    }

    /// Forgets what was no alert: it may be judged otherwise now.
    pub fn reconsider(&mut self) {
        for all in [&mut self.own, &mut self.session] {
            all.retain(|_, last| last.incident.is_some());
        }
    }

    /// Remembers how it was judged.
    pub fn remember(&mut self, identified: &Identified, fact: Fact, judged: Judged) {
        let at = identified.observation.at;
        let all = self.of(identified);
        if all.len() >= REMEMBERED {
            forget_older_half(all);
        }
        let last = Last {
            incident: judged.incident,
            settled: judged.settled,
            ordinary: judged.ordinary,
            reported: at,
            observed: judged.course,
        };
        all.insert(fact, last);
    }
}

fn forget_older_half(all: &mut HashMap<Fact, Last>) {
    let mut times: Vec<BootTime> = all.values().map(|last| last.reported).collect();
    let middle = times.len() / 2;
    let (_, median, _) = times.select_nth_unstable(middle);
    let median = *median;
    all.retain(|_, last| last.reported > median);
}
