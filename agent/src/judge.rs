//! Verdicts: what was done by whom, held against declared policy and learned baseline.
//!
//! [`Judge::judge`] gives a [`Judgement`] for an identified observation. Policy comes first: a violation
//! is never learned as normal, an allowed act is never novel. The two halves meet only here, so either
//! can be replaced behind [`policy::PolicySet::evaluate`] and [`baseline::Baselines::observe`].

pub mod baseline;
mod classify;
mod crowd;
mod fact;
mod incident;
pub mod kinds;
pub mod memory;
mod peers;
mod places;
pub mod policy;
mod probe;
mod rates;
mod reasons;
mod said;
mod sensitive;
mod session;
#[cfg(test)]
mod tests;
mod weigh;

pub use fact::{Access, Fact, PeerNames};
pub use incident::Incident;
pub use sensitive::{Finder, Found, Sensitive, SensitiveFiles};

use crate::clock::WallClock;
use crate::identity::{Container, Identified, IdentityState, Place, Session};
use crate::observation::{self, Act, BootTime, CgroupId, FileId};
use baseline::{Baselines, Expectation, Membership};
use classify::Scene;
use foldhash::{HashMap, HashMapExt as _};
use incident::{Incidents, Lineage};
use kinds::{FindingKind, Holds};
use memory::{Keeper, Memory};
use norma_baseline::never::{Circumstances, Origin};
use norma_baseline_command::inbox::Delivery;
use norma_wire::pb::{self, Reason, Severity, Verdict, VerdictKind};
use peers::Peers;
use policy::{PolicySet, Response, Verb};
use probe::Probes;
use rates::Rates;
use said::{Judged, Said};
use session::Sessions;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Seconds of learning time that may pass from one look to the next, in an evaluation where it goes faster. Of longer
/// ones learning by evidence would not count the whole.
const STEP: u32 = 30;

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
    /// What an alert is part of.
    pub incident: Option<Incident>,
    /// By what names the other end of a connection is known.
    pub peer: PeerNames,
    /// It is what a probe does, in a session that comes like clockwork.
    pub of_probe: bool,
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
    sessions: Sessions,
    incidents: Incidents,
    probes: Probes,
    peers: Peers,
    rates: Rates,
    sensitive: Sensitive,
    sensitive_files: Arc<sensitive::Found>,
    ticked: Option<BootTime>,
    /// Brings what is known for a while to the disk; `None` where nothing is to be found again.
    keeper: Option<Keeper>,
    /// There is something new for it.
    unkept: bool,
}

impl Judge {
    /// A judge with these norms.
    pub fn new(policies: PolicySet, baselines: Baselines, sensitive: Sensitive) -> Self {
        Self {
            policies,
            baselines,
            said: HashMap::new(),
            sessions: Sessions::default(),
            incidents: Incidents::default(),
            probes: Probes::default(),
            peers: Peers::default(),
            rates: Rates::default(),
            sensitive,
            sensitive_files: Arc::default(),
            ticked: None,
            keeper: None,
            unkept: false,
        }
    }

    /// Goes on from what was known before a restart, and has what is known kept for the next.
    pub fn remember(&mut self, memory: Memory, keeper: Keeper, now: BootTime) {
        self.peers.take(memory.names, now);
        self.sessions.take(memory.sessions);
        self.incidents.take(memory.incidents);
        self.keeper = Some(keeper);
    }

    /// Has all written that is to be found again.
    pub fn close(&mut self) {
        self.baselines.save();
        let memory = self.memory();
        if let Some(keeper) = &mut self.keeper {
            keeper.close(memory);
        }
    }

    fn memory(&self) -> Memory {
        Memory {
            names: self.peers.kept(),
            sessions: self.sessions.kept(),
            incidents: self.incidents.kept(),
            ..Memory::default()
        }
    }

    /// Offers what is known to the disk, where it is something new.
    fn keep(&mut self, now: BootTime) {
        if !self.unkept || !self.keeper.as_ref().is_some_and(|keeper| keeper.is_due(now)) {
            return;
        }
        let memory = self.memory();
        if let Some(keeper) = &mut self.keeper {
            self.unkept = !keeper.offer(memory, now);
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
        let (cgroup, at) = (container.cgroup, identified.observation.at);
        if let Some(command) = self.sessions.follow(identified) {
            self.unkept = true;
            let first = identified.process.key;
            self.probes
                .begin(&container.workload.0, cgroup, &command, first, at);
        }
        if let Act::Dns(dns) = &identified.observation.act {
            self.peers.hear(cgroup, dns, at);
            self.unkept = true;
        }
        let Some(mut fact) = Fact::of(identified) else {
            return Judgement::unjudged(News::Yes);
        };
        fact.name_peer(|address| self.peers.names(cgroup, address, at));
        let (sensitive, fact) = self.under_sensitive_name(identified, fact);
        let session = self.sessions.of(identified);
        let is_probes = session.as_ref().is_some_and(|(first, command)| {
            let fact = fact.clone().recurring();
            self.probes.takes(&container.workload.0, command, *first, &fact)
        });
        if sensitive.is_none() && self.is_old_news(container, identified, &fact) {
            return Judgement {
                news: News::Repeated,
                recognisable: self.recognisable(container, identified, &fact),
                ..Judgement::plain(expected())
            };
        }
        let scene = Scene {
            identified,
            fact: &fact,
            sensitive: sensitive.is_some(),
        };
        let judgement = match self.policies.evaluate(container, &fact) {
            Some(hit) if hit.verb != Verb::Allow => Judgement {
                verdict: reasons::violation(
                    container,
                    &fact,
                    classify::novel(&scene, &Expectation::default()),
                    &hit,
                ),
                response: hit.response.map(|response| (hit.clause.clone(), response)),
                ..Judgement::plain(Verdict::default())
            },
            Some(hit) => Judgement::plain(reasons::allowed(&hit)),
            None => {
                let verdict = judged_by_baseline(&mut self.baselines, &mut self.rates, container, &scene);
                let grave = FindingKind::of_verdict(&verdict).is_some_and(|kind| kind.row().grave);
                Judgement {
                    of_probe: is_probes && !grave,
                    ..Judgement::plain(if is_probes && !grave {
                        reasons::of_probe()
                    } else {
                        verdict
                    })
                }
            }
        };
        let peer = match &fact {
            Fact::Connect { names, .. } => names.clone(),
            _ => PeerNames::default(),
        };
        let mut judgement = Judgement {
            sensitive,
            peer,
            ..judgement
        };
        if judgement.verdict.kind == VerdictKind::Novel as i32 {
            name_behaviour(&mut judgement.verdict, &fact);
        }
        if judgement.is_alert() {
            return self.settle_alert(container, identified, fact, judgement);
        }
        if let Fact::Connect {
            peer,
            port: peers::DNS_PORT,
            ..
        } = &fact
        {
            self.peers.trust(cgroup, *peer);
            self.unkept = true;
        }
        // Expected or being learned, and neither a policy nor a probe is the reason.
        let ordinary = judgement.sensitive.is_none() && judgement.verdict.reasons.is_empty();
        let recognisable = (ordinary && may_be_recognised(container, identified)).then(|| fact.clone());
        let judged = Judged {
            incident: None,
            settled: judgement.verdict.kind == VerdictKind::Expected as i32,
            ordinary,
            course: self.baselines.course().at(at),
        };
        let said = self.said.entry(cgroup).or_default();
        said.remember(identified, fact.recurring(), judged);
        Judgement {
            recognisable,
            ..judgement
        }
    }

    /// Puts an alert into its incident, where the same may have been raised before.
    fn settle_alert(
        &mut self,
        container: &Arc<Container>,
        identified: &Identified,
        fact: Fact,
        mut judgement: Judgement,
    ) -> Judgement {
        let at = identified.observation.at;
        let lineage = Lineage::of(container, identified, &self.sessions);
        let incident = self.incidents.current(lineage, at);
        let said = self.said.entry(container.cgroup).or_default();
        let fact = fact.recurring();
        let repeated = said.is_repeated(identified, &fact, &incident);
        if repeated {
            judgement.news = News::RepeatedAlert;
        } else {
            let mild = judgement.verdict.severity <= Severity::Medium as i32 && judgement.response.is_none();
            let kind = FindingKind::of_verdict(&judgement.verdict).filter(|_| mild);
            if let Some((kind, place)) = kind.zip(fact.place()) {
                let standing = said.crowds.take(fact.actor(), kind.code(), &place, at);
                reasons::put_into_crowd(&mut judgement.verdict, &standing);
            }
            let alert = judgement.is_alert().then_some(incident);
            let judged = Judged {
                incident: alert,
                settled: false,
                ordinary: false,
                course: self.baselines.course().at(at),
            };
            said.remember(identified, fact, judged);
        }
        self.unkept = true;
        judgement.incident = self.incidents.count(lineage, at, judgement.code(), repeated);
        judgement
    }

    /// A behaviour that is old news, where the kernel side may recognise it.
    fn recognisable(&self, container: &Container, identified: &Identified, fact: &Fact) -> Option<Fact> {
        if !may_be_recognised(container, identified) {
            return None;
        }
        self.said.get(&container.cgroup)?.ordinary(fact)
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
            said.unsay(fact);
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
        self.peers.follow(running);
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
        self.keep(now);
        completed
    }

    /// Tells the fleet what was learned, and takes what it knows; to be called often.
    pub fn exchange(&mut self, now: BootTime) -> baseline::Exchanged {
        let exchanged = self.baselines.exchange(self.baselines.course().at(now));
        self.reconsider();
        exchanged
    }

    /// What was no alert may be one by another norm.
    fn reconsider(&mut self) {
        for cgroup in self.baselines.reconsidered() {
            if let Some(said) = self.said.get_mut(&cgroup) {
                said.reconsider();
            }
        }
    }

    /// Takes what people hand over for baselines; gives what is to be said of it.
    pub fn take_delivery(&mut self, delivery: Delivery) -> Vec<pb::BaselineDecision> {
        self.baselines.take_delivery(delivery)
    }

    /// Records of a container, so many of each `KIND_*`, were lost on the way from the kernel.
    pub fn lost(&mut self, container: &Arc<Container>, counts: &BTreeMap<usize, u64>, at: BootTime) {
        let at = self.baselines.course().at(at);
        self.baselines.lost(container, counts, at);
    }

    /// Forgets what was said of a container that is gone.
    pub fn forget(&mut self, cgroup: CgroupId) {
        self.said.remove(&cgroup);
        self.incidents.forget(cgroup);
        self.peers.forget(cgroup);
        self.rates.forget(cgroup);
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
        let Some(said) = self.said.get_mut(&container.cgroup) else {
            return false;
        };
        let baselines = &mut self.baselines;
        let fact = match fact {
            Fact::Connect { .. } | Fact::Accept { .. } => Cow::Owned(fact.clone().recurring()),
            same => Cow::Borrowed(same),
        };
        let at = baselines.course().at(identified.observation.at);
        said.is_old(identified, &fact, at, baselines.stands_for(), || {
            baselines.observe(container, &fact, circumstances(identified), at)
        })
    }
}

impl Judgement {
    fn unjudged(news: News) -> Self {
        Self {
            verdict: verdict(VerdictKind::Unjudged, Severity::Info, 0, Vec::new()),
            response: None,
            news,
            sensitive: None,
            incident: None,
            peer: PeerNames::default(),
            of_probe: false,
            recognisable: None,
        }
    }

    fn plain(verdict: Verdict) -> Self {
        Self {
            verdict,
            response: None,
            news: News::Yes,
            sensitive: None,
            incident: None,
            peer: PeerNames::default(),
            of_probe: false,
            recognisable: None,
        }
    }

    /// The stable name of its first reason; empty where there is none.
    pub fn code(&self) -> &str {
        let first = self.verdict.reasons.first();
        first.map_or("", |reason| reason.code.as_str())
    }

    /// Somebody should read it.
    pub fn is_alert(&self) -> bool {
        norma_wire::id::calls_for_action(&self.verdict)
    }
}

/// The verdict of what no policy decides: of rules that hold for every container, and of what was learned.
fn judged_by_baseline(
    baselines: &mut Baselines,
    rates: &mut Rates,
    container: &Arc<Container>,
    scene: &Scene<'_>,
) -> Verdict {
    let (cgroup, now) = (container.cgroup, scene.identified.observation.at);
    let kind = classify::standing(scene);
    let holds = kind.map_or(Holds::Novel, |kind| kind.row().holds);
    let mut circumstances = circumstances(scene.identified);
    // What a rule objects to is learned as little as what a policy does.
    circumstances.violation |= holds == Holds::Always || rates.is_tunnel(cgroup, scene.fact);
    let at = baselines.course().at(now);
    let membership = baselines.observe(container, scene.fact, circumstances, at);
    if !matches!(membership, Membership::Known | Membership::Approved)
        && let Some((domain, names)) = {
            let is_novel = matches!(membership, Membership::Novel(_) | Membership::Rejected(_));
            rates.ask(cgroup, scene.fact, is_novel, now)
        }
    {
        let near = baselines.expectation(container, scene.fact, circumstances.origin);
        return reasons::tunnel(container, scene.fact, &near, &domain, names);
    }
    let is_new = membership == Membership::Learned;
    match (membership, kind) {
        (Membership::Approved, _) => expected(),
        (Membership::Novel(near) | Membership::Rejected(near), _) => {
            reasons::finding(container, scene.fact, classify::novel(scene, &near), &near)
        }
        (membership, Some(kind)) if is_finding(holds, &membership, baselines, container) => {
            let near = baselines.expectation(container, scene.fact, circumstances.origin);
            reasons::finding(container, scene.fact, kind, &near)
        }
        (Membership::Learned | Membership::LearnedBefore, None)
            if is_unprecedented(baselines, container, scene, is_new) =>
        {
            let near = baselines.expectation(container, scene.fact, circumstances.origin);
            reasons::finding(container, scene.fact, FindingKind::NewShell, &near)
        }
        (Membership::Open { per_day }, _) => {
            let field = scene.fact.learned().field();
            match rates.count(cgroup, field, per_day, now) {
                Some(count) => {
                    let near = baselines.expectation(container, scene.fact, circumstances.origin);
                    reasons::burst(container, scene.fact, &near, count, per_day)
                }
                None => expected(),
            }
        }
        (Membership::Learned | Membership::LearnedBefore, _) => {
            verdict(VerdictKind::Learning, Severity::Info, 0, Vec::new())
        }
        (Membership::Known, _) => expected(),
    }
}

/// Whether an act of a kind with these terms is a finding although no norm calls it novel.
fn is_finding(holds: Holds, membership: &Membership, baselines: &Baselines, container: &Container) -> bool {
    match (holds, membership) {
        (Holds::Always, _) | (Holds::OpenField | Holds::FirstSeen, Membership::Open { .. }) => true,
        (Holds::FirstSeen, Membership::Learned) => !baselines.is_starting(container),
        _ => false,
    }
}

/// Whether the program that acts was watched for long enough to say that it starts no shell, and starts one now.
fn is_unprecedented(baselines: &Baselines, container: &Container, scene: &Scene<'_>, is_new: bool) -> bool {
    let fact = scene.fact.learned();
    classify::is_shell_from_elsewhere(&fact.view())
        && scene.identified.process.session == Session::Own
        && !baselines.is_starting(container)
        && baselines.is_unprecedented(container, &fact, is_new, classify::is_shell_from_elsewhere)
}

/// Whether the kernel side may recognise what was observed: an open by the container's own program, by a name that
/// is known as a whole, and that may be learned. Who acts for an exec session is another one to the kernel side, too,
/// so that what is recognised of the container is not of the session.
fn may_be_recognised(container: &Container, identified: &Identified) -> bool {
    let Act::Open(open) = &identified.observation.act else {
        return false;
    };
    open.id.is_some()
        && !(open.path.truncated || open.path.disconnected || open.path.deleted)
        && identified.process.session == Session::Own
        && identified.process.exe.starts_with('/')
        && container.state != IdentityState::Pending
        && circumstances(identified).learnable().is_ok()
}

/// What decides whether a behaviour may be learned. What a policy objects to does not come that far.
fn circumstances(identified: &Identified) -> Circumstances {
    let origin = match (&identified.observation.act, identified.process.program) {
        (Act::Exec(exec), _) => exec.origin(),
        // Whoever approves a program on a volume wants to know what it normally does.
        (_, observation::Origin::Volume) => observation::Origin::Unknown(""),
        (_, program) => program,
    };
    Circumstances {
        origin: match origin {
            observation::Origin::Image => Origin::Image,
            observation::Origin::UpperLayer => Origin::UpperLayer,
            observation::Origin::Volume => Origin::Volume,
            observation::Origin::Tmpfs => Origin::Tmpfs,
            observation::Origin::Memfd => Origin::Memory,
            observation::Origin::Deleted => Origin::Deleted,
            observation::Origin::Host | observation::Origin::Unknown(_) => Origin::Unknown,
        },
        exec_session: identified.process.session == Session::Exec,
        ..Circumstances::default()
    }
}

/// Says by what a person approves or rejects what was done.
fn name_behaviour(verdict: &mut Verdict, fact: &Fact) {
    let learned = fact.learned();
    verdict.behaviour_id = learned.code().to_string();
    // A fact is texts and numbers, which JSON has a form for.
    verdict.behaviour = serde_json::to_string(&learned).unwrap_or_default();
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
        ..Verdict::default()
    }
}
