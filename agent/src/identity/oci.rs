//! What OCI runtimes and engines write about their containers.
//!
//! Read: state of runc (`ROOT/ID/state.json`) and crun (`ROOT/ID/status`) under the roots that
//! containerd, Docker, podman and the runtimes themselves use, the annotations that CRI runtimes pass
//! down, and what Docker and podman keep on disk ([`super::engine::disk`]). The formats are not ours: what is
//! missing or strange is left out, never an error.

use super::cri::Described;
use super::engine::Places;
use super::engine::disk::Disk;
use norma_wire::text::printable;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Roots that hold one directory per container.
const ROOTS: [&str; 3] = ["/run/runc", "/run/crun", "/run/youki"];
/// Roots that hold one such root per namespace, and the engine that drives the runtime there.
const ENGINE_ROOTS: [(&str, &str); 3] = [
    ("/run/containerd/runc", "containerd"),
    ("/run/docker/runtime-runc", "docker"),
    ("/run/docker/runtime-crun", "docker"),
];
/// Where control groups are mounted, pure v2 or with a directory per hierarchy below.
const CGROUP_MOUNT: &str = "/sys/fs/cgroup";

/// What a runtime says of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeState {
    /// The container's id.
    pub id: String,
    /// Its name, empty where it has none.
    pub name: String,
    /// `runc`, `crun`, or the engine that drives it.
    pub runtime: String,
    /// Image reference, empty where it is not told.
    pub image: String,
    /// Image digest, empty where it is not told.
    pub image_digest: String,
    /// Pod, where it belongs to one.
    pub pod: String,
    /// Namespace of that pod.
    pub pod_namespace: String,
    /// Host process id of its first process, 0 where it is not told.
    pub init_pid: u32,
    /// Namespace of the engine that it belongs to, where engines have such.
    pub engine_namespace: String,
    /// Its control group in each hierarchy, as a path from the hierarchy's root.
    cgroup_paths: Vec<String>,
    /// What the engine that made it keeps on disk. Traces from before that was read have nothing.
    #[serde(default)]
    pub described: Option<Arc<Described>>,
}

/// The directories that are searched.
pub(super) struct Roots {
    extra: Vec<PathBuf>,
    disk: Disk,
}

impl Roots {
    pub fn new(extra: &[PathBuf], places: &Places) -> Self {
        Self {
            extra: extra.to_vec(),
            disk: Disk::new(places),
        }
    }

    /// The state of the container with this id.
    pub fn by_id(&self, id: &str) -> Option<RuntimeState> {
        let state = self.all().iter().find_map(|root| root.read(id))?;
        Some(self.with_engine(state))
    }

    /// The state of the container whose control group has this path.
    pub fn by_cgroup_path(&self, path: &str) -> Option<RuntimeState> {
        let state = self.all().iter().find_map(|root| {
            std::fs::read_dir(&root.path).ok()?.flatten().find_map(|entry| {
                let id = entry.file_name().into_string().ok()?;
                root.read(&id).filter(|state| state.is_in(path))
            })
        })?;
        Some(self.with_engine(state))
    }

    /// Adds what the engine says whose container it is, if it is an engine's.
    fn with_engine(&self, mut state: RuntimeState) -> RuntimeState {
        let Some(mut described) = self.disk.container(&state.id) else {
            return state;
        };
        // Written by the runtime at every start, where the engine's file may still be of the start before.
        described.pid = state.init_pid;
        state.runtime.clone_from(&described.runtime);
        state.name.clone_from(&described.name);
        state.image.clone_from(&described.image);
        state.image_digest.clone_from(&described.image_digest);
        state.described = Some(Arc::new(described));
        state
    }

    fn all(&self) -> Vec<Root> {
        let plain = |path: PathBuf| Root {
            path,
            engine: None,
            namespace: String::new(),
        };
        let driven = ENGINE_ROOTS.iter().flat_map(|(root, engine)| {
            let namespaces = std::fs::read_dir(root).into_iter().flatten().flatten();
            namespaces.map(|namespace| Root {
                path: namespace.path(),
                engine: Some(engine),
                namespace: printable(namespace.file_name().as_encoded_bytes()),
            })
        });
        self.extra
            .iter()
            .cloned()
            .chain(ROOTS.iter().map(PathBuf::from))
            .map(plain)
            .chain(driven)
            .collect()
    }
}

/// A directory with one entry per container.
struct Root {
    path: PathBuf,
    engine: Option<&'static str>,
    namespace: String,
}

impl Root {
    fn read(&self, id: &str) -> Option<RuntimeState> {
        let mut state = read(&self.path.join(id), id)?;
        if let Some(engine) = self.engine {
            engine.clone_into(&mut state.runtime);
        }
        state.engine_namespace.clone_from(&self.namespace);
        Some(state)
    }
}

impl RuntimeState {
    /// Its control group in each hierarchy, as paths from the hierarchy's root.
    pub fn cgroup_paths(&self) -> impl Iterator<Item = &str> {
        self.cgroup_paths.iter().map(String::as_str)
    }

    fn is_in(&self, path: &str) -> bool {
        self.cgroup_paths.iter().any(|own| own == path)
    }
}

#[derive(Deserialize)]
struct RuncState {
    #[serde(default)]
    init_process_pid: u32,
    #[serde(default)]
    cgroup_paths: HashMap<String, String>,
    #[serde(default)]
    config: RuncConfig,
}

#[derive(Default, Deserialize)]
struct RuncConfig {
    #[serde(default)]
    labels: Vec<String>,
    #[serde(default)]
    cgroups: Option<RuncCgroups>,
}

#[derive(Default, Deserialize)]
struct RuncCgroups {
    #[serde(default)]
    path: String,
}

#[derive(Deserialize)]
struct CrunStatus {
    #[serde(default)]
    pid: u32,
    #[serde(default, rename = "cgroup-path")]
    cgroup_path: String,
    #[serde(default)]
    bundle: String,
}

#[derive(Default, Deserialize)]
struct Spec {
    #[serde(default)]
    annotations: HashMap<String, String>,
}

fn read(directory: &Path, id: &str) -> Option<RuntimeState> {
    let mut state = read_runc(directory).or_else(|| read_crun(directory))?;
    id.clone_into(&mut state.id);
    Some(state)
}

fn read_runc(directory: &Path) -> Option<RuntimeState> {
    let raw: RuncState = json(&directory.join("state.json"))?;
    let labels: HashMap<String, String> = raw
        .config
        .labels
        .iter()
        .filter_map(|label| label.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    let mut state = from_annotations(&labels);
    "runc".clone_into(&mut state.runtime);
    state.init_pid = raw.init_process_pid;
    state.cgroup_paths = raw
        .cgroup_paths
        .iter()
        .filter_map(|(controller, directory)| below_root(controller, directory))
        .collect();
    state.cgroup_paths.extend(
        raw.config
            .cgroups
            .map(|cgroups| cgroups.path)
            .filter(|path| !path.is_empty()),
    );
    Some(state)
}

/// Path from the root of a hierarchy of a directory that runc names with its controller (`""` for v2).
fn below_root(controller: &str, directory: &str) -> Option<String> {
    let below = directory.strip_prefix(CGROUP_MOUNT)?;
    let hierarchy = if controller.is_empty() {
        "/unified"
    } else {
        &format!("/{controller}")
    };
    let below = below
        .strip_prefix(hierarchy)
        .filter(|rest| rest.starts_with('/'))
        .unwrap_or(below);
    Some(below.to_owned())
}

fn read_crun(directory: &Path) -> Option<RuntimeState> {
    let raw: CrunStatus = json(&directory.join("status"))?;
    let spec: Spec = json(&Path::new(&raw.bundle).join("config.json")).unwrap_or_default();
    let mut state = from_annotations(&spec.annotations);
    "crun".clone_into(&mut state.runtime);
    state.init_pid = raw.pid;
    state.cgroup_paths = vec![format!("/{}", raw.cgroup_path.trim_start_matches('/'))];
    Some(state)
}

/// What containerd's CRI plugin, CRI-O and podman tell the runtime about pod and image.
fn from_annotations(annotations: &HashMap<String, String>) -> RuntimeState {
    let first = |keys: &[&str]| {
        keys.iter()
            .find_map(|key| annotations.get(*key))
            .cloned()
            .unwrap_or_default()
    };
    let mut state = RuntimeState {
        name: first(&[
            "io.kubernetes.cri.container-name",
            "io.kubernetes.container.name",
            "io.podman.annotations.name",
        ]),
        image: first(&[
            "io.kubernetes.cri.image-name",
            "io.kubernetes.cri-o.ImageName",
            "io.container.image.name",
            "org.opencontainers.image.ref.name",
        ]),
        pod: first(&["io.kubernetes.cri.sandbox-name", "io.kubernetes.pod.name"]),
        pod_namespace: first(&[
            "io.kubernetes.cri.sandbox-namespace",
            "io.kubernetes.pod.namespace",
        ]),
        ..RuntimeState::default()
    };
    if state.name.is_empty() && first(&["io.kubernetes.cri.container-type"]) == "sandbox" {
        "sandbox".clone_into(&mut state.name);
    }
    if let Some((_, digest)) = state.image.split_once('@') {
        state.image_digest = digest.to_owned();
    }
    state
}

pub(super) fn json<T: serde::de::DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runc_state_is_found_by_control_group_path() {
        let dir = tempfile::tempdir().unwrap();
        let container = dir.path().join("web");
        std::fs::create_dir(&container).unwrap();
        std::fs::write(
            container.join("state.json"),
            r#"{"init_process_pid": 42,
                "cgroup_paths": {"": "/sys/fs/cgroup/unified/shop/web", "cpu": "/sys/fs/cgroup/cpu/shop/web"},
                "config": {"labels": ["bundle=/b", "io.kubernetes.cri.sandbox-name=web-0",
                           "io.kubernetes.cri.image-name=reg/x@sha256:ab"]}}"#,
        )
        .unwrap();
        let roots = Roots::new(&[dir.path().to_owned()], &Places::default());
        let state = roots.by_cgroup_path("/shop/web").unwrap();
        assert_eq!(
            (state.id.as_str(), state.init_pid, state.pod.as_str()),
            ("web", 42, "web-0")
        );
        assert_eq!(state.image_digest, "sha256:ab");
        assert_eq!(
            roots.by_cgroup_path("/web"),
            None,
            "a shorter path is another group"
        );
        assert!(roots.by_id("web").is_some());
    }
}
