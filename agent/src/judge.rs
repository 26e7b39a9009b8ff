//! Verdicts: what was done by whom, held against declared policy and learned baseline.
//!
//! [`Judge::judge`] gives a [`Judgement`] for an identified observation. Policy comes first: a violation
//! is never learned as normal, an allowed act is never novel. The two halves meet only here, so either
//! can be replaced behind [`policy::PolicySet::evaluate`] and [`baseline::Baselines::observe`].

pub mod baseline;
mod fact;
pub mod policy;
mod reasons;
mod sensitive;

pub use fact::{Access, Fact};
pub use sensitive::{Finder, Sensitive};

use crate::clock::WallClock;
use crate::identity::{Container, Identified, IdentityState, Place, Session};
use crate::observation::{self, Act, BootTime, CgroupId, FileId};
use baseline::{Baselines, Membership};
use foldhash::{HashMap, HashMapExt as _};
use norma_baseline::never::{Circumstances, Origin};
use norma_wire::pb::{Reason, Severity, Verdict, VerdictKind};
use policy::{PolicySet, Response, Verb};
use std::sync::Arc;
use std::time::Duration;

/// The same alert of the same container is raised again after this time; repeats before are counted.
const REALERT_AFTER: Duration = Duration::from_secs(3600);
/// Alerts of medium severity or less about files that one executable of a container may raise in
/// [`REALERT_AFTER`]; more are counted. A program that makes up a name for each of its files would
/// otherwise drown everything else. What is worse than medium is never held back.
const FILE_ALERTS: u32 = 50;
/// Most behaviours per container that are remembered as reported; above it the older half is forgotten.
const REMEMBERED: usize = 20_000;

/// Seconds of learning time that may pass from one look to the next, in an evaluation where it goes faster.
const STEP: u32 = 5;

/// A verdict and what follows from it.
#[derive(Clone, Debug)]
pub struct Judgement {
    /// The verdict.
    pub verdict: Verdict,
    /// What the policy wants done, where one was violated.
    pub response: Option<(policy::ClauseRef, Response)>,
    /// Whether the event says something that was not said before.
    pub news: News,
    /// The configured name of the sensitive file that it is about, by whatever name it was reached.
    pub sensitive: Option<Arc<str>>,
    /// The behaviour, where the kernel side may recognise it from now on instead of reporting it.
    pub recognisable: Option<Fact>,
}

/// Whether an event is worth an event of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// It is to be reported.
    Yes,
    /// The same container did the same before: counted.
    Repeated,
    /// An alert that was raised before for the same container: counted as such.
    RepeatedAlert,
}

/// The stage.
pub struct Judge {
    policies: PolicySet,
    baselines: Baselines,
    said: HashMap<CgroupId, Said>,
    sensitive: Sensitive,
    sensitive_files: Arc<sensitive::Found>,
    ticked: Option<BootTime>,
}

/// What was said of a container already.
#[derive(Default)]
struct Said {
    facts: HashMap<Fact, Last>,
    file_alerts: HashMap<Arc<str>, Budget>,
}

/// Alerts raised since a moment.
#[derive(Clone, Copy)]
struct Budget {
    since: BootTime,
    raised: u32,
}

/// How a behaviour was judged last, and when it was last reported.
#[derive(Clone, Copy)]
struct Last {
    alert: bool,
    /// Expected or being learned, and no policy names it.
    ordinary: bool,
    reported: BootTime,
    /// When the baseline was shown it.
    observed: BootTime,
}

impl Judge {
    /// A judge with these norms.
    pub fn new(policies: PolicySet, baselines: Baselines, sensitive: Sensitive) -> Self {
        Self {
            policies,
            baselines,
            said: HashMap::new(),
            sensitive,
            sensitive_files: Arc::default(),
            ticked: None,
        }
    }

    /// Takes over which inodes the sensitive files are.
    pub fn watch_files(&mut self, found: Arc<sensitive::Found>) {
        self.sensitive_files = found;
    }

    /// The sensitive file that an act is about, and the behaviour under that file's configured name.
    fn under_sensitive_name(&self, identified: &Identified, fact: Fact) -> (Option<Arc<str>>, Fact) {
        let file = match &identified.observation.act {
            Act::Open(open) => open.file,
            Act::Operation(operation) => operation.file,
            _ => return (None, fact),
        };
        let cgroup = identified.observation.actor.cgroup;
        let by_inode = self.sensitive_files.get(&(cgroup, file)).cloned();
        match fact {
            Fact::Open { exe, path, access } => {
                if let Some(name) = by_inode {
                    let fact = Fact::Open {
                        exe,
                        path: Arc::clone(&name),
                        access,
                    };
                    return (Some(name), fact);
                }
                let by_name = self.sensitive.by_name(&path).cloned();
                (by_name, Fact::Open { exe, path, access })
            }
            other => (by_inode, other),
        }
    }

    /// The verdict on what was seen.
    pub fn judge(&mut self, identified: &Identified) -> Judgement {
        let container = match &identified.place {
            Place::Host => return Judgement::unjudged(News::Yes),
            // The runtime's own work before it hands over says nothing about the workload.
            Place::Runtime(_)
                if matches!(
                    identified.observation.act,
                    Act::Open(_) | Act::Operation(_) | Act::Socket(_) | Act::Dns(_)
                ) =>
            {
                return Judgement::unjudged(News::Repeated);
            }
            Place::Runtime(_) => return Judgement::unjudged(News::Yes),
            Place::Workload(container) => container,
        };
        let Some(fact) = Fact::of(identified) else {
            return Judgement::unjudged(News::Yes);
        };
        let (sensitive, fact) = self.under_sensitive_name(identified, fact);
        let at = self.baselines.course().at(identified.observation.at);
        if sensitive.is_none() && self.is_old_news(container, identified, &fact) {
            return Judgement {
                news: News::Repeated,
                recognisable: self.recognisable(container, identified, &fact),
                ..Judgement::plain(expected())
            };
        }
        let mut ordinary = sensitive.is_none();
        let judgement = match self.policies.evaluate(container, &fact) {
            Some(hit) if hit.verb != Verb::Allow => Judgement {
                verdict: reasons::violation(container, &fact, &hit),
                response: hit.response.map(|response| (hit.clause.clone(), response)),
                news: News::Yes,
                sensitive: None,
                recognisable: None,
            },
            Some(hit) => {
                ordinary = false;
                Judgement::plain(reasons::allowed(&hit))
            }
            None => match self
                .baselines
                .observe(container, &fact, circumstances(identified), at)
            {
                Membership::Learned | Membership::LearnedBefore => {
                    Judgement::plain(verdict(VerdictKind::Learning, Severity::Info, 0, Vec::new()))
                }
                Membership::Known | Membership::Open => Judgement::plain(expected()),
                Membership::Novel(context) | Membership::Rejected(context) => {
                    ordinary = false;
                    Judgement::plain(reasons::novel(container, &fact, &context, sensitive.is_some()))
                }
            },
        };
        let mild = judgement.verdict.severity <= Severity::Medium as i32 && judgement.response.is_none();
        let said = self.said.entry(container.cgroup).or_default();
        let held_back = judgement.is_alert() && mild && said.is_over_budget(&fact, at);
        let ordinary = ordinary && !judgement.is_alert();
        let recognisable = (ordinary && may_be_recognised(container, identified)).then(|| fact.clone());
        let news = said.news(fact, at, judgement.is_alert(), ordinary);
        Judgement {
            news: if held_back { News::RepeatedAlert } else { news },
            sensitive,
            recognisable,
            ..judgement
        }
    }

    /// A behaviour that is old news, where the kernel side may recognise it.
    fn recognisable(&self, container: &Container, identified: &Identified, fact: &Fact) -> Option<Fact> {
        if !may_be_recognised(container, identified) {
            return None;
        }
        // As remembered, so that its text is kept once.
        let (fact, last) = self.said.get(&container.cgroup)?.facts.get_key_value(fact)?;
        last.ordinary.then(|| fact.clone())
    }

    /// The kernel side recognised a behaviour of a container that it had been told; whether that is still expected.
    pub fn recognised_again(&mut self, container: &Arc<Container>, fact: &Fact, at: BootTime) -> bool {
        let at = self.baselines.course().at(at);
        let membership = self
            .baselines
            .observe(container, fact, Circumstances::default(), at);
        let expected = !matches!(membership, Membership::Novel(_) | Membership::Rejected(_));
        if !expected {
            self.unsay(container, fact);
        }
        expected
    }

    /// Whether a behaviour that was ordinary is so by the norm that is in force now.
    pub fn still_expects(&mut self, container: &Container, fact: &Fact) -> bool {
        let expected = self.baselines.expects(container, fact);
        if !expected {
            self.unsay(container, fact);
        }
        expected
    }

    /// What comes next is judged as if it came for the first time.
    fn unsay(&mut self, container: &Container, fact: &Fact) {
        if let Some(said) = self.said.get_mut(&container.cgroup) {
            said.facts.remove(fact);
        }
    }

    /// Whether a file of a container is a sensitive one.
    pub fn is_sensitive(&self, cgroup: CgroupId, file: FileId) -> bool {
        self.sensitive_files.contains_key(&(cgroup, file))
    }

    /// Moves learning on; to be called about once a second with the containers that run and what the wall clock says.
    pub fn tick(
        &mut self,
        running: &[Arc<Container>],
        now: BootTime,
        wall: WallClock,
    ) -> Vec<baseline::Completed> {
        self.baselines.follow(wall);
        let course = self.baselines.course();
        let since = self.ticked.replace(now).unwrap_or(now);
        // In a faster course many times the time passes, and is looked at as often.
        let steps = u64::from(course.speed().div_ceil(STEP));
        let mut completed = Vec::new();
        for step in 1..=steps {
            let part = (now.0.saturating_sub(since.0) / steps).saturating_mul(steps - step);
            completed.extend(self.baselines.tick(running, course.at(BootTime(now.0 - part))));
        }
        self.reconsider();
        completed
    }

    /// Tells the fleet what was learned, and takes what it knows; to be called often.
    pub fn exchange(&mut self, now: BootTime) -> baseline::Exchanged {
        let exchanged = self.baselines.exchange(now);
        self.reconsider();
        exchanged
    }

    /// What was no alert may be one by another norm.
    fn reconsider(&mut self) {
        for cgroup in self.baselines.reconsidered() {
            if let Some(said) = self.said.get_mut(&cgroup) {
                said.facts.retain(|_, last| last.alert);
            }
        }
    }

    /// Forgets what was said of a container that is gone.
    pub fn forget(&mut self, cgroup: CgroupId) {
        self.said.remove(&cgroup);
        self.baselines.forget(cgroup);
    }

    /// The declared half.
    pub fn policies(&self) -> &PolicySet {
        &self.policies
    }

    /// The learned half.
    pub fn baselines(&mut self) -> &mut Baselines {
        &mut self.baselines
    }

    /// The container did the same before and it was no alert: nothing has to be looked up. Each exec,
    /// connection and listener is an event of its own for the auditor; only opens and the like get old. The
    /// baseline is shown them once in each of its sampling units.
    fn is_old_news(&mut self, container: &Arc<Container>, identified: &Identified, fact: &Fact) -> bool {
        if !fact.gets_old() {
            return false;
        }
        let said = self.said.get_mut(&container.cgroup);
        let Some(last) = said
            .and_then(|said| said.facts.get_mut(fact))
            .filter(|last| !last.alert)
        else {
            return false;
        };
        let at = self.baselines.course().at(identified.observation.at);
        if Duration::from_nanos(at.0.saturating_sub(last.observed.0)) >= self.baselines.stands_for() {
            last.observed = at;
            self.baselines
                .observe(container, fact, circumstances(identified), at);
        }
        true
    }
}

impl Said {
    fn news(&mut self, fact: Fact, at: BootTime, alert: bool, ordinary: bool) -> News {
        if self.facts.len() >= REMEMBERED {
            self.forget_older_half();
        }
        match self.facts.get_mut(&fact) {
            Some(last) if alert && last.alert && !is_past(last.reported, at) => News::RepeatedAlert,
            Some(last) => {
                *last = Last {
                    alert,
                    ordinary,
                    reported: at,
                    observed: at,
                };
                News::Yes
            }
            None => {
                self.facts.insert(
                    fact,
                    Last {
                        alert,
                        ordinary,
                        reported: at,
                        observed: at,
                    },
                );
                News::Yes
            }
        }
    }

    /// Counts an alert about a file against its executable's budget.
    fn is_over_budget(&mut self, fact: &Fact, at: BootTime) -> bool {
        let (Fact::Open { exe, .. } | Fact::Act { exe, .. }) = fact else {
            return false;
        };
        if self.facts.get(fact).is_some_and(|last| last.alert) {
            return false;
        }
        let budget = self
            .file_alerts
            .entry(Arc::clone(exe))
            .or_insert(Budget { since: at, raised: 0 });
        if is_past(budget.since, at) {
            *budget = Budget { since: at, raised: 0 };
        }
        budget.raised = budget.raised.saturating_add(1);
        budget.raised > FILE_ALERTS
    }

    fn forget_older_half(&mut self) {
        let mut times: Vec<BootTime> = self.facts.values().map(|last| last.reported).collect();
        times.sort_unstable();
        let Some(middle) = times.get(times.len() / 2).copied() else {
            return;
        };
        self.facts.retain(|_, last| last.reported > middle);
    }
}

impl Judgement {
    fn unjudged(news: News) -> Self {
        Self {
            verdict: verdict(VerdictKind::Unjudged, Severity::Info, 0, Vec::new()),
            response: None,
            news,
            sensitive: None,
            recognisable: None,
        }
    }

    fn plain(verdict: Verdict) -> Self {
        Self {
            verdict,
            response: None,
            news: News::Yes,
            sensitive: None,
            recognisable: None,
        }
    }

    /// Somebody should read it.
    pub fn is_alert(&self) -> bool {
        norma_wire::id::calls_for_action(&self.verdict)
    }
}

/// Whether the kernel side may recognise what was observed: an open by the container's own program, by a name that
/// is known as a whole. Who acts for an exec session is another one to the kernel side, too, so that what is
/// recognised of the container is not of the session.
fn may_be_recognised(container: &Container, identified: &Identified) -> bool {
    let Act::Open(open) = &identified.observation.act else {
        return false;
    };
    open.id.is_some()
        && !(open.path.truncated || open.path.disconnected || open.path.deleted)
        && identified.process.session == Session::Own
        && identified.process.exe.starts_with('/')
        && container.state != IdentityState::Pending
}

/// What decides whether a behaviour may be learned. What a policy objects to does not come that far.
fn circumstances(identified: &Identified) -> Circumstances {
    let origin = match &identified.observation.act {
        Act::Exec(exec) => match exec.program.origin(true) {
            observation::Origin::Image => Origin::Image,
            observation::Origin::UpperLayer => Origin::UpperLayer,
            observation::Origin::Volume => Origin::Volume,
            observation::Origin::Tmpfs => Origin::Tmpfs,
            observation::Origin::Memfd => Origin::Memory,
            observation::Origin::Deleted => Origin::Deleted,
            observation::Origin::Host | observation::Origin::Unknown(_) => Origin::Unknown,
        },
        _ => Origin::Unknown,
    };
    Circumstances {
        origin,
        exec_session: identified.process.session == Session::Exec,
        ..Circumstances::default()
    }
}

/// It is time to raise an alert again.
fn is_past(reported: BootTime, now: BootTime) -> bool {
    now.0 >= reported.0.saturating_add(REALERT_AFTER.as_nanos() as u64)
}

fn expected() -> Verdict {
    verdict(VerdictKind::Expected, Severity::Info, 0, Vec::new())
}

fn verdict(kind: VerdictKind, severity: Severity, score: u32, reasons: Vec<Reason>) -> Verdict {
    Verdict {
        kind: kind as i32,
        severity: severity as i32,
        score,
        reasons,
    }
}
