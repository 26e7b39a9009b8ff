//! Containers by control group.

mod path;
#[cfg(test)]
mod tests;

use super::cgroups::Cgroups;
use super::cri::{Described, Snapshot};
use super::system::{RuntimeState, System};
use super::workload::{self, Naming};
use crate::observation::CgroupId;
use dashmap::DashMap;
use foldhash::fast::RandomState;
use foldhash::{HashMap, HashMapExt as _, HashSet, HashSetExt as _};
use path::{Recognised, is_container_id, is_of_user, recognise, scope};
use std::sync::Arc;

/// Most pending containers that are looked up again at one time: reading runtimes' state takes its time.
const RECONSIDERED: usize = 8;

/// Id that the runtime gave a container.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContainerId(pub String);

/// Name of what a container is one instance of; baselines and policies belong to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkloadName(pub String);

/// How much is known of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentityState {
    /// The runtime told what it is.
    Known,
    /// Its control group is known, and perhaps what its OCI runtime noted; the rest is still to come.
    Pending,
}

/// A container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Id that the runtime gave it.
    pub id: ContainerId,
    /// Name, where it has one besides its id.
    pub name: String,
    /// `runc`, `crun`, `containerd`, `docker`, `podman`, `cri-o`, or `unknown`.
    pub runtime: String,
    /// Image reference, where known.
    pub image: String,
    /// Image digest, where known.
    pub image_digest: String,
    /// What it is an instance of.
    pub workload: WorkloadName,
    /// Pod, where it belongs to one.
    pub pod: String,
    /// Namespace of that pod.
    pub namespace: String,
    /// Its control group (for a nested group: the container's own).
    pub cgroup: CgroupId,
    /// Path of that control group.
    pub cgroup_path: String,
    /// How much of this is known.
    pub state: IdentityState,
    /// Host process id of its first process, 0 where unknown.
    pub init_pid: u32,
    /// What the runtime tells of it over its socket, where it does.
    pub described: Option<Arc<Described>>,
    /// Its control group was seen to be made, so that all that it did was seen.
    pub start_seen: bool,
}

/// Where a control group belongs.
#[derive(Clone, Debug)]
pub(super) enum Placement {
    Host,
    Container(Arc<Container>),
    Unknown,
}

/// Control groups and the containers they belong to.
pub(super) struct Containers {
    placements: DashMap<CgroupId, Placement, RandomState>,
    system: Arc<dyn System>,
    naming: Naming,
    told: Arc<Snapshot>,
    /// Ids of what is told, by control group path.
    told_paths: HashMap<String, String>,
    /// What OCI state says of containers on whose description is still waited for.
    provisional: HashMap<CgroupId, Arc<Container>>,
    pending: HashSet<CgroupId>,
    /// Control groups that were there when they were first heard of.
    begun_unseen: HashSet<CgroupId>,
    fresh: Option<Change>,
    wanting: bool,
}

/// A control group that became another's, or of whose container more is known.
pub(super) type Change = (CgroupId, Arc<Container>);

impl Containers {
    pub fn new(system: Arc<dyn System>, naming: Naming) -> Self {
        Self {
            placements: DashMap::default(),
            system,
            naming,
            told: Arc::default(),
            told_paths: HashMap::new(),
            provisional: HashMap::new(),
            pending: HashSet::new(),
            begun_unseen: HashSet::new(),
            fresh: None,
            wanting: false,
        }
    }

    /// Notes that a control group was there when it was first heard of.
    pub fn begun_unseen(&mut self, cgroup: CgroupId) {
        self.begun_unseen.insert(cgroup);
    }

    /// Its creation was seen after all.
    pub fn begun_seen(&mut self, cgroup: CgroupId) {
        self.begun_unseen.remove(&cgroup);
    }

    /// Whether something was looked up since the last call that the runtime should know and has not told yet.
    pub fn take_wanting(&mut self) -> bool {
        std::mem::take(&mut self.wanting)
    }

    /// The control group that was looked up last, and what OCI state says of its container, where its description is
    /// waited for from now on.
    pub fn take_provisional(&mut self) -> Option<Change> {
        self.fresh.take()
    }

    /// What the runtime told last.
    pub fn told(&self) -> &Snapshot {
        &self.told
    }

    /// Takes over what the runtime tells now; gives the control groups for which that is something new.
    pub fn tell(&mut self, told: Arc<Snapshot>, cgroups: &Cgroups) -> Vec<Change> {
        self.told_paths = told
            .containers
            .values()
            .filter(|described| !described.cgroup_path.is_empty())
            .map(|described| (described.cgroup_path.clone(), described.id.clone()))
            .collect();
        self.told = told;
        let mut changes = Vec::new();
        let mut made: HashMap<String, Arc<Container>> = HashMap::new();
        for entry in &self.placements {
            let cgroup = *entry.key();
            let (described, own, path, init_pid) = match entry.value() {
                Placement::Container(container) => {
                    let Some(described) = self.told.containers.get(&container.id.0) else {
                        continue;
                    };
                    let is_same = |known: &Arc<Described>| Arc::ptr_eq(known, described);
                    let is_known = container.described.as_ref().is_some_and(is_same);
                    if is_known || self.is_outdated(described) == Some(true) {
                        continue;
                    }
                    let path = container.cgroup_path.clone();
                    (described, container.cgroup, path, container.init_pid)
                }
                // It was not recognised when it was looked up.
                Placement::Host => {
                    let Some((described, path)) = cgroups.path(cgroup).and_then(|path| self.claimed(path))
                    else {
                        continue;
                    };
                    (described, cgroup, path, 0)
                }
                Placement::Unknown => continue,
            };
            let container = made
                .entry(described.id.clone())
                .or_insert_with(|| Arc::new(self.told_container(own, &path, described, init_pid)));
            changes.push((cgroup, Arc::clone(container)));
        }
        for (cgroup, container) in &changes {
            self.set(*cgroup, Placement::Container(Arc::clone(container)));
        }
        changes
    }

    /// Looks up anew what went out as pending.
    pub fn reconsider_pending(&mut self, cgroups: &Cgroups) -> Vec<Change> {
        let some: Vec<CgroupId> = self.pending.iter().copied().take(RECONSIDERED).collect();
        let mut changes = Vec::new();
        for cgroup in some {
            // Last in line from now on, unless it is known.
            self.pending.remove(&cgroup);
            let before = self.known(cgroup);
            match self.lookup(cgroup, cgroups, false) {
                Placement::Container(container) if container.state == IdentityState::Known => {
                    changes.push((cgroup, container));
                }
                _ => {
                    self.set(cgroup, before);
                }
            }
        }
        self.fresh = None;
        changes
    }

    /// What the runtime tells of the container in whose control group this path lies, and that group's path.
    fn claimed(&self, path: &str) -> Option<(&Arc<Described>, String)> {
        let mut own = String::new();
        // From the top: within a container's own group names can be anything.
        path.split('/').skip(1).find_map(|component| {
            own.push('/');
            own.push_str(component);
            let id = self
                .told_paths
                .get(&own)
                .map_or_else(|| scope(component).0, String::as_str);
            let described = self.told.containers.get(id)?;
            let told = std::iter::once(described.cgroup_path.as_str());
            (!self.is_namesake(id, &own, told)).then(|| (described, own.clone()))
        })
    }

    /// Whether the control group at `own` has no more than the name of a container that a runtime tells of, and that it
    /// puts at one of the paths `told`. Whoever may make control groups may give them any name, and is not to pass for
    /// a container by it. Paths that a runtime tells may lack what lies above its own view of the tree, so that another
    /// one alone is no proof.
    fn is_namesake<'a>(&self, id: &str, own: &str, mut told: impl Iterator<Item = &'a str>) -> bool {
        let is_own = |path: &str| {
            path.strip_prefix(own)
                .is_some_and(|below| below.is_empty() || below.starts_with('/'))
        };
        !told.any(is_own) && (is_of_user(own) || self.is_elsewhere(id, own))
    }

    /// Whether another control group is the container's.
    fn is_elsewhere(&self, id: &str, own: &str) -> bool {
        self.placements.iter().any(|entry| match entry.value() {
            Placement::Container(container) => container.id.0 == id && container.cgroup_path != own,
            Placement::Host | Placement::Unknown => false,
        })
    }

    /// The container that a path names, if it is one, and what its runtime has noted of it.
    fn recognised(&self, path: &str) -> Option<(Recognised, Option<RuntimeState>)> {
        let recognised = recognise(path)?;
        let (id, own) = (recognised.id.as_str(), recognised.path.as_str());
        let state = self.system.container(id);
        let described = self.told.containers.get(id);
        let is_namesake = if state.is_none() && described.is_none() {
            self.is_elsewhere(id, own)
        } else {
            let noted = state.iter().flat_map(RuntimeState::cgroup_paths);
            let told = described.map(|described| described.cgroup_path.as_str());
            self.is_namesake(id, own, noted.chain(told))
        };
        (!is_namesake).then_some((recognised, state))
    }

    /// What is known of a container by what its runtime and its engine have written.
    fn noted_container(
        &self,
        cgroup: CgroupId,
        path: &str,
        state: &RuntimeState,
        recognised: Option<&Recognised>,
    ) -> Container {
        let runtime = match (&state.described, recognised) {
            (None, Some(recognised)) => recognised.runtime,
            _ => state.runtime.as_str(),
        };
        let name = if state.name.is_empty() {
            &state.id
        } else {
            &state.name
        };
        let workload = if !state.pod.is_empty() {
            workload::of_pod(&state.pod_namespace, &state.pod, name)
        } else if let Some(described) = &state.described {
            self.workload_of(described)
        } else if runtime == "containerd" && !state.engine_namespace.is_empty() {
            workload::of_container(runtime, &format!("{}/{name}", state.engine_namespace))
        } else {
            workload::of_container(runtime, name)
        };
        Container {
            id: ContainerId(state.id.clone()),
            name: name.clone(),
            runtime: runtime.to_owned(),
            image: state.image.clone(),
            image_digest: state.image_digest.clone(),
            workload,
            pod: state.pod.clone(),
            namespace: state.pod_namespace.clone(),
            cgroup,
            cgroup_path: path.to_owned(),
            state: IdentityState::Known,
            init_pid: state.init_pid,
            described: state.described.clone(),
            start_seen: !self.begun_unseen.contains(&cgroup),
        }
    }

    fn told_container(
        &self,
        cgroup: CgroupId,
        path: &str,
        described: &Arc<Described>,
        init_pid: u32,
    ) -> Container {
        let init_pid = match (described.pid, init_pid) {
            (0, 0) => self
                .system
                .container(&described.id)
                .map_or(0, |state| state.init_pid),
            (0, known) => known,
            (told, _) => told,
        };
        Container {
            id: ContainerId(described.id.clone()),
            name: described.name.clone(),
            runtime: described.runtime.clone(),
            image: described.image.clone(),
            image_digest: described.image_digest.clone(),
            workload: self.workload_of(described),
            pod: described.pod.name.clone(),
            namespace: described.pod.namespace.clone(),
            cgroup,
            cgroup_path: path.to_owned(),
            state: IdentityState::Known,
            init_pid,
            described: Some(Arc::clone(described)),
            start_seen: !self.begun_unseen.contains(&cgroup),
        }
    }

    fn workload_of(&self, described: &Described) -> WorkloadName {
        if described.is_of_engine() {
            workload::of_engine(&described.runtime, &described.name, &described.pod, &self.naming)
        } else {
            workload::of_described(&described.pod, &described.name, &self.naming)
        }
    }

    /// Engines start a container again under the id that it had: what they told before that is of another first
    /// process. `None` where its runtime has noted nothing, yet or at all.
    fn is_outdated(&self, described: &Described) -> Option<bool> {
        if !described.is_of_engine() {
            return Some(false);
        }
        let state = self.system.container(&described.id)?;
        Some(state.init_pid != described.pid)
    }

    /// What its runtime noted is there, and somebody who answers is going to tell more.
    fn is_waited_for(&self, cgroup: CgroupId, path: &str) -> bool {
        self.provisional.get(&cgroup).is_some_and(|noted| {
            let is_in_pod = path.contains("kubepods") || !noted.pod.is_empty();
            self.told.teller(&noted.runtime, is_in_pod) == Some(true)
        })
    }

    /// What is known without looking anything up.
    pub fn known(&self, cgroup: CgroupId) -> Placement {
        self.placements
            .get(&cgroup)
            .map_or(Placement::Unknown, |placement| placement.clone())
    }

    /// The control group is known to be the host's.
    pub fn is_host(&self, cgroup: CgroupId) -> bool {
        self.placements
            .get(&cgroup)
            .is_some_and(|placement| matches!(*placement, Placement::Host))
    }

    /// The control group is known to be a container's.
    pub fn is_container(&self, cgroup: CgroupId) -> bool {
        self.placements
            .get(&cgroup)
            .is_some_and(|placement| matches!(*placement, Placement::Container(_)))
    }

    /// Process id of the first process of a control group's container, where it is known.
    pub fn init_of(&self, cgroup: CgroupId) -> Option<u32> {
        match *self.placements.get(&cgroup)? {
            Placement::Container(ref container) => (container.init_pid != 0).then_some(container.init_pid),
            Placement::Host | Placement::Unknown => None,
        }
    }

    /// Every container, once.
    pub fn all(&self) -> Vec<Arc<Container>> {
        let mut all: Vec<_> = self
            .placements
            .iter()
            .filter_map(|entry| match entry.value() {
                Placement::Container(container) if container.cgroup == *entry.key() => {
                    Some(Arc::clone(container))
                }
                _ => None,
            })
            .collect();
        all.sort_by(|left, right| left.id.cmp(&right.id));
        all
    }

    /// Places a control group that was there before the agent: its runtime has written what it will.
    pub fn place_existing(&mut self, cgroup: CgroupId, path: &str, cgroups: &Cgroups) -> Placement {
        match self.lookup(cgroup, cgroups, false) {
            Placement::Unknown
                if self.recognised(path).is_some() || self.provisional.contains_key(&cgroup) =>
            {
                self.give_up(cgroup, cgroups)
            }
            Placement::Unknown => self.set(cgroup, Placement::Host),
            known => known,
        }
    }

    /// Asks control group path, runtime state and, for a group that no runtime claims, the namespaces of
    /// the acting process.
    pub fn lookup(&mut self, cgroup: CgroupId, cgroups: &Cgroups, namespaced: bool) -> Placement {
        let Some(path) = cgroups.path(cgroup) else {
            return Placement::Unknown;
        };
        if path == "/" {
            return self.set(cgroup, Placement::Host);
        }
        if let Some(container) = self.enclosing(path) {
            return self.set(cgroup, Placement::Container(container));
        }
        let claimed = self
            .claimed(path)
            .filter(|(described, _)| self.is_outdated(described) == Some(false));
        if let Some((described, own)) = claimed {
            let container = Arc::new(self.told_container(cgroup, &own, described, 0));
            return self.set(cgroup, Placement::Container(container));
        }
        if self.is_waited_for(cgroup, path) {
            self.wanting = true;
            return Placement::Unknown;
        }
        let (recognised, state) = match self.recognised(path) {
            Some((recognised, state)) => (Some(recognised), state),
            None => (None, self.system.container_at(path)),
        };
        let of_kubernetes = path.contains("kubepods");
        match (state, recognised) {
            (Some(state), recognised) => {
                let own = recognised.as_ref().map_or(path, |recognised| &recognised.path);
                let mut container = self.noted_container(cgroup, own, &state, recognised.as_ref());
                let is_in_pod = of_kubernetes || !state.pod.is_empty();
                // Somebody can tell more of it than what was noted.
                if let Some(live) = self.told.teller(&container.runtime, is_in_pod) {
                    // What an engine keeps on disk is all but the whole.
                    if live || container.described.is_none() {
                        container.state = IdentityState::Pending;
                    }
                    if live {
                        self.wanting = true;
                        let container = Arc::new(container);
                        self.fresh = Some((cgroup, Arc::clone(&container)));
                        self.provisional.insert(cgroup, container);
                        return Placement::Unknown;
                    }
                }
                self.set(cgroup, Placement::Container(Arc::new(container)))
            }
            (None, Some(recognised)) if self.told.teller(recognised.runtime, of_kubernetes) == Some(true) => {
                self.wanting = true;
                Placement::Unknown
            }
            (None, None) if namespaced => self.set(
                cgroup,
                Placement::Container(Arc::new(self.pending_container(cgroup, path, None))),
            ),
            _ => Placement::Unknown,
        }
    }

    /// Ends the wait: a group that looks like a container's is one of which no more is known; any other
    /// is the host's.
    pub fn give_up(&mut self, cgroup: CgroupId, cgroups: &Cgroups) -> Placement {
        if let Some(container) = self.provisional.remove(&cgroup) {
            return self.set(cgroup, Placement::Container(container));
        }
        let path = cgroups.path(cgroup).unwrap_or("");
        // Its runtime notes nothing where it is looked for: what the engine told is all that will be known.
        if let Some((described, own)) = self.claimed(path) {
            let container = Arc::new(self.told_container(cgroup, &own, described, 0));
            return self.set(cgroup, Placement::Container(container));
        }
        match self.recognised(path) {
            Some((recognised, _)) => self.set(
                cgroup,
                Placement::Container(Arc::new(self.pending_container(cgroup, path, Some(&recognised)))),
            ),
            None => self.set(cgroup, Placement::Host),
        }
    }

    /// Forgets that a control group was taken for the host's.
    pub fn reconsider(&mut self, cgroup: CgroupId) {
        self.placements.remove(&cgroup);
    }

    /// Forgets a control group.
    pub fn remove(&mut self, cgroup: CgroupId) {
        self.placements.remove(&cgroup);
        self.provisional.remove(&cgroup);
        self.pending.remove(&cgroup);
        self.begun_unseen.remove(&cgroup);
    }

    fn set(&mut self, cgroup: CgroupId, placement: Placement) -> Placement {
        self.provisional.remove(&cgroup);
        match &placement {
            Placement::Container(container) if container.state == IdentityState::Pending => {
                self.pending.insert(cgroup);
            }
            _ => {
                self.pending.remove(&cgroup);
            }
        }
        self.placements.insert(cgroup, placement.clone());
        placement
    }

    /// The container in whose control group this path lies.
    fn enclosing(&self, path: &str) -> Option<Arc<Container>> {
        self.placements.iter().find_map(|entry| match entry.value() {
            Placement::Container(container)
                if path
                    .strip_prefix(container.cgroup_path.as_str())
                    .is_some_and(|rest| rest.starts_with('/')) =>
            {
                Some(Arc::clone(container))
            }
            _ => None,
        })
    }

    /// One of which no more is known.
    fn pending_container(&self, cgroup: CgroupId, path: &str, recognised: Option<&Recognised>) -> Container {
        let (id, runtime, path) = match recognised {
            Some(recognised) => (
                recognised.id.clone(),
                recognised.runtime,
                recognised.path.as_str(),
            ),
            None => {
                let name = path.rsplit('/').next().unwrap_or(path);
                // That of another container, as far as anybody knows.
                let id = if is_container_id(scope(name).0) {
                    format!("name:{name}")
                } else {
                    name.to_owned()
                };
                (id, "unknown", path)
            }
        };
        Container {
            workload: workload::of_container(runtime, &id),
            name: id.clone(),
            id: ContainerId(id),
            runtime: runtime.to_owned(),
            image: String::new(),
            image_digest: String::new(),
            pod: String::new(),
            namespace: String::new(),
            cgroup,
            cgroup_path: path.to_owned(),
            state: IdentityState::Pending,
            init_pid: 0,
            described: None,
            start_seen: !self.begun_unseen.contains(&cgroup),
        }
    }
}
