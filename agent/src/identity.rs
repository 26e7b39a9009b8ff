//! Who acted: observation → process with its lineage, container and workload.
//!
//! A container is known by its control group, which its processes cannot leave by changing namespaces.
//! Observations of a control group that is not understood yet wait in a bounded queue: the runtime writes
//! its state a moment after it made the group. What is still unknown when the wait is over goes out
//! marked pending rather than dropped or put down to somebody else.

mod cgroups;
mod container;
pub mod cri;
mod doubt;
pub mod engine;
mod following;
mod oci;
mod openers;
mod process;
mod reconcile;
mod sockets;
pub mod system;
mod tellers;
mod workload;

pub use cgroups::Hierarchy;
pub use container::{Container, ContainerId, IdentityState, WorkloadName};
pub use process::{Ancestor, Before, Process, Session};
pub use reconcile::Found;
pub use tellers::Tellers;
pub use workload::Naming;

use crate::observation::{Act, BootTime, CgroupId, Observation};
use cgroups::Cgroups;
use container::{Containers, Placement};
use doubt::Doubts;
use foldhash::{HashMap, HashMapExt as _};
use openers::Openers;
use process::Processes;
use reconcile::Review;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use system::{Running, System};

/// How long observations of an unknown control group wait.
const HOLD: Duration = Duration::from_secs(2);
/// How often a waiting control group is looked up again.
const RETRY: Duration = Duration::from_millis(20);
/// How often what went out as pending is looked up again.
const RECONSIDER: Duration = Duration::from_secs(1);
/// Most observations that wait at one time; the oldest go out pending when there are more.
const HELD_MAX: usize = 16_384;

/// Where the actor belongs.
#[derive(Clone, Debug)]
pub enum Place {
    /// The host itself.
    Host,
    /// A container's own program.
    Workload(Arc<Container>),
    /// The container runtime, at work inside the container's control group before it hands over.
    Runtime(Arc<Container>),
}

impl Place {
    /// The container, whichever program acted in it.
    pub fn container(&self) -> Option<&Arc<Container>> {
        match self {
            Self::Host => None,
            Self::Workload(container) | Self::Runtime(container) => Some(container),
        }
    }
}

/// An observation with what is known of its actor.
#[derive(Clone, Debug)]
pub struct Identified {
    /// What was seen.
    pub observation: Observation,
    /// The actor, after the act.
    pub process: Arc<Process>,
    /// For an exec: the program that the process ran before.
    pub exec_by: Option<Before>,
    /// Where it belongs.
    pub place: Place,
    /// Executable of the process acted on, where there is one that is known.
    pub target_exe: Option<Arc<str>>,
    /// Id of the container of the process acted on, where it is in one that is known.
    pub target_container: Option<String>,
    /// How many of its ancestors belong to its container; on the host all of them.
    pub lineage: usize,
    /// The systemd unit that it belongs to, on the host.
    pub unit: Option<Arc<str>>,
}

/// What became known of a control group; steers the kernel side.
#[derive(Clone, Debug)]
pub enum Placed {
    /// It belongs to the host.
    Host(CgroupId),
    /// It belongs to this container.
    Container(CgroupId, Arc<Container>),
    /// It was removed.
    Gone(CgroupId),
}

/// Where the stage learns what containers are, besides the usual places of OCI runtimes' state.
#[derive(Debug, Default)]
pub struct Sources {
    /// Further directories of such state.
    pub runtime_roots: Vec<PathBuf>,
    /// Where engines keep what they know.
    pub places: engine::Places,
    /// The word of the container runtime and of engines.
    pub tellers: Tellers,
    /// How workloads are named.
    pub naming: Naming,
}

struct Held {
    identified: Identified,
    since: BootTime,
}

/// The stage: keeps what it learned of processes, control groups and containers.
pub struct Identity {
    system: Arc<dyn System>,
    processes: Processes,
    cgroups: Cgroups,
    containers: Containers,
    openers: Openers,
    held: VecDeque<Held>,
    next_retry: HashMap<CgroupId, BootTime>,
    placed: Vec<Placed>,
    units: HashMap<CgroupId, Option<Arc<str>>>,
    reconsidered: BootTime,
    review: Review,
    doubts: Doubts,
}

impl Identity {
    /// Takes stock of what runs already.
    pub fn start(hierarchy: Hierarchy, sources: Sources) -> Self {
        let system = Running::new(
            hierarchy,
            &sources.runtime_roots,
            &sources.places,
            sources.tellers,
        );
        Self::of(Arc::new(system), sources.naming)
    }

    /// Takes stock of what a system says that runs already.
    pub fn of(system: Arc<dyn System>, naming: Naming) -> Self {
        let mut this = Self {
            processes: Processes::scan(Arc::clone(&system)),
            cgroups: Cgroups::scan(Arc::clone(&system)),
            containers: Containers::new(Arc::clone(&system), naming),
            system,
            openers: Openers::default(),
            held: VecDeque::new(),
            next_retry: HashMap::new(),
            placed: Vec::new(),
            units: HashMap::new(),
            reconsidered: BootTime(0),
            review: Review::default(),
            doubts: Doubts::default(),
        };
        this.hear();
        for (id, path) in this.cgroups.all() {
            this.containers.begun_unseen(id);
            let placement = this.containers.place_existing(id, &path, &this.cgroups);
            this.note(id, &placement);
        }
        let Self {
            processes,
            containers,
            ..
        } = &mut this;
        processes.find_sessions(|cgroup| containers.is_host(cgroup));
        this
    }

    /// Takes over what the container runtime tells, where that is something new.
    fn hear(&mut self) {
        let Some(told) = self.system.news() else {
            return;
        };
        for (cgroup, container) in self.containers.tell(told, &self.cgroups) {
            self.note(cgroup, &Placement::Container(container));
        }
    }

    /// Sockets that exist, as if they were observed now.
    pub fn existing_sockets(&self) -> Vec<Observation> {
        self.system.sockets()
    }

    /// Those of them that the kernel side has not reported.
    pub fn without_reported(stock: Vec<Observation>, reported: &[Observation]) -> Vec<Observation> {
        sockets::without_reported(stock, reported)
    }

    /// Gives the observation its actor; what can go on is appended to `out`, in order per container.
    pub fn identify(&mut self, mut observation: Observation, out: &mut Vec<Identified>) {
        self.openers.name(&mut observation);
        let containers = &self.containers;
        let (process, exec_by) = self.processes.update(
            &observation,
            |cgroup| containers.is_host(cgroup),
            |cgroup| containers.init_of(cgroup),
        );
        // Exact by now, perhaps, where it was found in /proc.
        observation.actor.process = process.key;
        let actor = &observation.actor;
        let cgroup = actor.cgroup;
        if let Act::Cgroup(change) = &observation.act {
            self.follow_group(change, observation.at, out);
            return;
        }
        let at = observation.at;
        let namespaced = self.processes.is_namespaced(actor);
        let placement = self.place(cgroup, namespaced);
        let identified = Identified {
            observation,
            process,
            exec_by,
            place: Place::Host,
            target_exe: None,
            target_container: None,
            lineage: 0,
            unit: None,
        };
        match placement {
            Placement::Unknown => {
                if self.held.len() >= HELD_MAX
                    && let Some(oldest) = self.held.pop_front()
                {
                    out.push(self.give_up(oldest));
                }
                self.held.push_back(Held {
                    identified,
                    since: at,
                });
            }
            known => {
                self.release(cgroup, &known, out);
                let identified = self.complete(identified, &known);
                out.push(identified);
            }
        }
    }

    /// Lets what waits of a control group go first, so that order is kept.
    fn release(&mut self, cgroup: CgroupId, placement: &Placement, out: &mut Vec<Identified>) {
        if self
            .held
            .iter()
            .all(|held| held.identified.observation.actor.cgroup != cgroup)
        {
            return;
        }
        let (ready, waiting): (VecDeque<Held>, VecDeque<Held>) = std::mem::take(&mut self.held)
            .into_iter()
            .partition(|held| held.identified.observation.actor.cgroup == cgroup);
        self.held = waiting;
        for held in ready {
            let identified = self.complete(held.identified, placement);
            out.push(identified);
        }
    }

    /// Lets what waits of a control group that is gone go: there is nothing more to be learned of it.
    fn settle_held(&mut self, cgroup: CgroupId, out: &mut Vec<Identified>) {
        let waits = |held: &Held| held.identified.observation.actor.cgroup == cgroup;
        let Some(first) = self.held.iter().find(|held| waits(held)) else {
            return;
        };
        let namespaced = self.processes.is_namespaced(&first.identified.observation.actor);
        let placement = match self.ask(cgroup, namespaced) {
            Placement::Unknown => self.containers.give_up(cgroup, &self.cgroups),
            known => known,
        };
        self.note(cgroup, &placement);
        self.release(cgroup, &placement, out);
    }

    /// Looks waiting control groups up again; to be called every few milliseconds.
    pub fn tick(&mut self, now: BootTime, out: &mut Vec<Identified>) {
        self.hear();
        self.review(now, out);
        if now.0 >= self.reconsidered.0 + RECONSIDER.as_nanos() as u64 {
            self.reconsidered = now;
            for (cgroup, container) in self.containers.reconsider_pending(&self.cgroups) {
                self.note(cgroup, &Placement::Container(container));
            }
            self.place_found(now);
        }
        if self.held.is_empty() {
            return;
        }
        let mut waiting = VecDeque::new();
        for held in std::mem::take(&mut self.held) {
            let cgroup = held.identified.observation.actor.cgroup;
            let due = self.next_retry.get(&cgroup).is_none_or(|at| *at <= now);
            let namespaced = self.processes.is_namespaced(&held.identified.observation.actor);
            let placement = if due {
                self.next_retry
                    .insert(cgroup, BootTime(now.0 + RETRY.as_nanos() as u64));
                self.ask(cgroup, namespaced)
            } else {
                self.containers.known(cgroup)
            };
            match placement {
                Placement::Unknown if now.0 < held.since.0 + HOLD.as_nanos() as u64 => {
                    waiting.push_back(held);
                }
                Placement::Unknown => out.push(self.give_up(held)),
                known => {
                    self.note(cgroup, &known);
                    let identified = self.complete(held.identified, &known);
                    out.push(identified);
                }
            }
        }
        self.held = waiting;
        if self.held.is_empty() {
            self.next_retry.clear();
        }
    }

    /// What became known of control groups since the last call.
    pub fn take_placed(&mut self) -> Vec<Placed> {
        std::mem::take(&mut self.placed)
    }

    /// Forgets processes that ended long ago, and reads the control groups anew where the kernel side
    /// does not report them.
    pub fn expire(&mut self, now: BootTime) {
        self.processes.expire(now);
    }

    /// Containers that are known now.
    pub fn containers(&self) -> Vec<Arc<Container>> {
        self.containers.all()
    }

    /// What the container runtime told last, where it ever answered.
    pub fn told(&self) -> Option<&cri::Snapshot> {
        let told = self.containers.told();
        (!told.runtime.is_empty() || !told.engines.is_empty()).then_some(told)
    }

    fn place(&mut self, cgroup: CgroupId, namespaced: bool) -> Placement {
        match self.containers.known(cgroup) {
            Placement::Unknown => {}
            // A host group in which a process with its own namespaces appears is a container's after all.
            Placement::Host if namespaced => self.containers.reconsider(cgroup),
            known => return known,
        }
        for found in self.cgroups.learn(cgroup) {
            self.found_group(found, self.system.now());
        }
        let placement = self.ask(cgroup, namespaced);
        self.note(cgroup, &placement);
        placement
    }

    /// Looks a control group up, and has the runtime asked where it should know it.
    fn ask(&mut self, cgroup: CgroupId, namespaced: bool) -> Placement {
        let placement = self.containers.lookup(cgroup, &self.cgroups, namespaced);
        if self.containers.take_wanting() {
            self.system.poke();
        }
        // What its OCI runtime noted is enough to steer the kernel side by until its description comes.
        if let Some((cgroup, container)) = self.containers.take_provisional() {
            self.placed.push(Placed::Container(cgroup, container));
        }
        placement
    }

    fn note(&mut self, cgroup: CgroupId, placement: &Placement) {
        match placement {
            Placement::Host => self.placed.push(Placed::Host(cgroup)),
            Placement::Container(container) => {
                self.processes.confirm_init(cgroup, container.init_pid);
                self.placed.push(Placed::Container(cgroup, Arc::clone(container)));
            }
            Placement::Unknown => {}
        }
    }

    fn complete(&mut self, mut identified: Identified, placement: &Placement) -> Identified {
        identified.place = match placement {
            Placement::Host | Placement::Unknown => Place::Host,
            Placement::Container(container)
                if self
                    .processes
                    .started_outside(&identified.process, |cgroup| self.containers.is_host(cgroup)) =>
            {
                Place::Runtime(Arc::clone(container))
            }
            Placement::Container(container) => Place::Workload(Arc::clone(container)),
        };
        let ancestors = &identified.process.ancestors;
        identified.lineage = match &identified.place {
            Place::Host => ancestors.len(),
            // A container's story begins with its first process; what started that is the host's.
            Place::Workload(_) | Place::Runtime(_) => {
                let own = identified.observation.actor.cgroup;
                ancestors
                    .iter()
                    .take_while(|ancestor| {
                        !ancestor.outside
                            && (ancestor.cgroup == own || self.containers.is_container(ancestor.cgroup))
                    })
                    .count()
            }
        };
        self.settle_session(&mut identified);
        if matches!(identified.place, Place::Host) {
            identified.unit = self.unit(identified.observation.actor.cgroup);
        }
        if let Act::Operation(operation) = &identified.observation.act
            && let Some(target) = operation.target
        {
            identified.target_exe = self.processes.exe(target.process);
            identified.target_container = match self.containers.known(target.cgroup) {
                Placement::Container(container) => Some(container.id.0.clone()),
                Placement::Host | Placement::Unknown => None,
            };
        }
        identified
    }

    /// A session that was begun while the container's first process was not known yet can turn out to be it.
    fn settle_session(&self, identified: &mut Identified) {
        let session = match &identified.place {
            Place::Host => Session::Own,
            Place::Workload(container) | Place::Runtime(container)
                if container.init_pid != 0
                    && process::descends_from(&identified.process, container.init_pid) =>
            {
                Session::Own
            }
            _ => return,
        };
        if identified.process.session != session {
            identified.process = Arc::new(identified.process.in_session(session));
        }
    }

    fn unit(&mut self, cgroup: CgroupId) -> Option<Arc<str>> {
        let path = self.cgroups.path(cgroup)?;
        self.units
            .entry(cgroup)
            .or_insert_with(|| cgroups::unit(path).map(Arc::from))
            .clone()
    }

    /// The container of a control group, where it is known.
    pub fn container_of(&self, cgroup: CgroupId) -> Option<Arc<Container>> {
        match self.containers.known(cgroup) {
            Placement::Container(container) => Some(container),
            Placement::Host | Placement::Unknown => None,
        }
    }

    fn give_up(&mut self, held: Held) -> Identified {
        let cgroup = held.identified.observation.actor.cgroup;
        let placement = self.containers.give_up(cgroup, &self.cgroups);
        self.note(cgroup, &placement);
        self.complete(held.identified, &placement)
    }
}
