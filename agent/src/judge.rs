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
mod judgement;
pub mod kinds;
mod learnable;
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
mod standing;
#[cfg(test)]
mod tests;
mod weigh;

pub use fact::{Access, Fact, PeerNames};
pub use incident::Incident;
pub use judgement::{Judgement, News};
pub use sensitive::{Finder, Found, Sensitive, SensitiveFiles};

use crate::clock::WallClock;
use crate::identity::{Container, Identified, Place};
use crate::observation::{Act, BootTime, CgroupId, FileId};
use baseline::{Baselines, Expectation, Membership};
use classify::Scene;
use foldhash::{HashMap, HashMapExt as _};
use incident::{Incidents, Lineage};
use judgement::{expected, name_behaviour};
use kinds::FindingKind;
use learnable::{circumstances, may_be_recognised};
use memory::{Keeper, Memory};
use norma_baseline::never::Circumstances;
use norma_baseline_command::inbox::Delivery;
use norma_wire::pb::{self, Severity, Verdict, VerdictKind};
use peers::Peers;
use policy::{PolicySet, Verb};
use probe::Probes;
use rates::Rates;
use said::{Judged, Said};
use session::Sessions;
use standing::judged_by_baseline;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Seconds of learning time that may pass from one look to the next, in an evaluation where it goes faster. Of longer
/// ones learning by evidence would not count the whole.
const STEP: u32 = 30;

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
        let recognisable = ordinary
            && may_be_recognised(container, identified)
            && (fact.gets_old() || self.baselines.knows(container, &fact));
        let recognisable = recognisable.then(|| fact.clone());
        let judged = Judged {
            incident: None,
            settled: judgement.verdict.kind == VerdictKind::Expected as i32,
            ordinary,
            course: self.baselines.course().at(at),
        };
        let said = self.said.entry(cgroup).or_default();
        said.remember(identified, &fact.recurring(), judged);
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
            said.remember(identified, &fact, judged);
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
        let said = self.said.get(&container.cgroup)?;
        said.is_ordinary(fact).then(|| fact.clone())
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

    /// Whether a connection that was known is still by the norm that is in force now, and its peer still goes by the
    /// same names; `used` tells whether there was one lately.
    pub fn still_knows(&mut self, container: &Container, fact: &Fact, at: BootTime, used: bool) -> bool {
        let mut now = fact.clone();
        now.name_peer(|address| {
            if used {
                self.peers.names(container.cgroup, address, at)
            } else {
                self.peers.look(container.cgroup, address, at)
            }
        });
        now == *fact && self.baselines.knows(container, fact)
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
