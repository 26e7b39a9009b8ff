//! Containers by control group.

use super::cgroups::Cgroups;
use super::oci::{Roots, RuntimeState};
use super::workload;
use crate::observation::CgroupId;
use dashmap::DashMap;
use foldhash::fast::RandomState;
use std::sync::Arc;

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
    /// Only its control group is known.
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
    roots: Roots,
}

impl Containers {
    pub fn new(roots: Roots) -> Self {
        Self {
            placements: DashMap::default(),
            roots,
        }
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
            Placement::Unknown if recognise(path).is_some() => self.give_up(cgroup, cgroups),
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
        let recognised = recognise(path);
        let state = match &recognised {
            Some(recognised) => self.roots.by_id(&recognised.id),
            None => self.roots.by_cgroup_path(path),
        };
        match (state, recognised) {
            (Some(state), recognised) => {
                let own = recognised.as_ref().map_or(path, |recognised| &recognised.path);
                let container = Arc::new(from_state(cgroup, own, &state, recognised.as_ref()));
                self.set(cgroup, Placement::Container(container))
            }
            (None, None) if namespaced => self.set(
                cgroup,
                Placement::Container(Arc::new(pending(cgroup, path, None))),
            ),
            _ => Placement::Unknown,
        }
    }

    /// Ends the wait: a group that looks like a container's is one of which no more is known; any other
    /// is the host's.
    pub fn give_up(&mut self, cgroup: CgroupId, cgroups: &Cgroups) -> Placement {
        let path = cgroups.path(cgroup).unwrap_or("");
        match recognise(path) {
            Some(recognised) => self.set(
                cgroup,
                Placement::Container(Arc::new(pending(cgroup, path, Some(&recognised)))),
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
    }

    fn set(&mut self, cgroup: CgroupId, placement: Placement) -> Placement {
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
}

/// What a control group path alone tells.
#[derive(Debug, PartialEq, Eq)]
struct Recognised {
    id: String,
    runtime: &'static str,
    /// The part of the path that is the container's own.
    path: String,
}

/// Prefixes of systemd scope names, and whose they are.
const SCOPES: [(&str, &str); 5] = [
    ("cri-containerd-", "containerd"),
    ("docker-", "docker"),
    ("libpod-", "podman"),
    ("crio-", "cri-o"),
    ("nerdctl-", "containerd"),
];

/// Finds the container in a path that a runtime under Kubernetes, Docker or podman made.
fn recognise(path: &str) -> Option<Recognised> {
    let mut own = String::new();
    let mut above = "";
    for component in path.split('/').skip(1) {
        own.push('/');
        own.push_str(component);
        let scope = component.strip_suffix(".scope").unwrap_or(component);
        let found = SCOPES
            .iter()
            .find_map(|(prefix, runtime)| Some((scope.strip_prefix(prefix)?, *runtime)))
            .or_else(|| {
                let runtime = match above {
                    "docker" => "docker",
                    _ if own.contains("kubepods") => "containerd",
                    _ => return None,
                };
                Some((component, runtime))
            });
        if let Some((id, runtime)) = found
            && is_container_id(id)
        {
            return Some(Recognised {
                id: id.to_owned(),
                runtime,
                path: own,
            });
        }
        above = component;
    }
    None
}

/// 64 hexadecimal digits, as containerd, CRI-O, Docker and podman name containers.
fn is_container_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn from_state(
    cgroup: CgroupId,
    path: &str,
    state: &RuntimeState,
    recognised: Option<&Recognised>,
) -> Container {
    let runtime = recognised.map_or(state.runtime.as_str(), |recognised| recognised.runtime);
    let name = if state.name.is_empty() {
        &state.id
    } else {
        &state.name
    };
    let workload = if state.pod.is_empty() {
        workload::of_container(runtime, name)
    } else {
        workload::of_pod(&state.pod_namespace, &state.pod, name)
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
    }
}

fn pending(cgroup: CgroupId, path: &str, recognised: Option<&Recognised>) -> Container {
    let (id, runtime, path) = match recognised {
        Some(recognised) => (
            recognised.id.clone(),
            recognised.runtime,
            recognised.path.as_str(),
        ),
        None => (
            path.rsplit('/').next().unwrap_or(path).to_owned(),
            "unknown",
            path,
        ),
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
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_known_runtimes_are_recognised() {
        let id = "0123456789abcdef".repeat(4);
        for (path, runtime, own) in [
            (
                format!("/kubepods/burstable/pod12-3/{id}"),
                "containerd",
                format!("/kubepods/burstable/pod12-3/{id}"),
            ),
            (
                format!("/kubepods.slice/kubepods-pod1.slice/cri-containerd-{id}.scope/sub"),
                "containerd",
                format!("/kubepods.slice/kubepods-pod1.slice/cri-containerd-{id}.scope"),
            ),
            (
                format!("/machine.slice/libpod-{id}.scope"),
                "podman",
                format!("/machine.slice/libpod-{id}.scope"),
            ),
            (format!("/docker/{id}"), "docker", format!("/docker/{id}")),
            (
                format!("/system.slice/docker-{id}.scope"),
                "docker",
                format!("/system.slice/docker-{id}.scope"),
            ),
        ] {
            assert_eq!(
                recognise(&path),
                Some(Recognised {
                    id: id.clone(),
                    runtime,
                    path: own
                }),
                "{path}"
            );
        }
        assert_eq!(recognise("/system.slice/ssh.service"), None);
        assert_eq!(recognise("/docker/short"), None);
    }
}
