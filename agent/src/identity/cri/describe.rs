//! What is kept of the runtime's answers.

use super::api::{self, NamespaceMode};
use super::info::Info;
use crate::identity::workload;
use norma_wire::text::printable;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

/// Longest text that is kept, in bytes before it is made printable: as long as a path can be shown.
const TEXT_MAX: usize = 1024;
/// Most labels, mounts and capabilities that are kept of one container.
pub(in crate::identity) const LIST_MAX: usize = 128;
/// Most arguments of a command that are kept.
pub(in crate::identity) const COMMAND_MAX: usize = 64;
/// Longest key of a label or annotation: a DNS name, a slash, and a name (Kubernetes' own bound).
const KEY_MAX: usize = 253 + 1 + 63;
/// Stands for what was cut off a text.
const CUT: &str = "…";
/// The pod as the user applied it; tells which of its containers are of which type.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Annotations that say what a pod is.
const ANNOTATIONS: [&str; 4] = [
    "kubernetes.io/config.source",
    "kubernetes.io/config.mirror",
    "kubectl.kubernetes.io/default-container",
    "kubectl.kubernetes.io/restartedAt",
];

/// A pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its uid.
    pub uid: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Those of its annotations that say what it is.
    pub annotations: BTreeMap<String, String>,
    /// Namespaces of the node that it uses.
    pub host: HostNamespaces,
    /// What its containers are, by name, as far as that is told.
    pub types: BTreeMap<String, Kind>,
    /// Its addresses; none where it uses the node's.
    pub ips: Vec<IpAddr>,
}

/// Namespaces of the node that are shared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostNamespaces {
    /// Network.
    pub network: bool,
    /// Process ids.
    pub pid: bool,
    /// System V IPC and POSIX message queues.
    pub ipc: bool,
}

impl HostNamespaces {
    /// Their names.
    pub fn names(self) -> Vec<&'static str> {
        [(self.network, "network"), (self.pid, "pid"), (self.ipc, "ipc")]
            .into_iter()
            .filter_map(|(shared, name)| shared.then_some(name))
            .collect()
    }
}

/// What a container is in its pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// One that the pod is there for.
    Main,
    /// One that has to end before those start.
    Init,
    /// An init container that goes on running beside them.
    Sidecar,
    /// One that was added to the running pod.
    Ephemeral,
    /// The one that holds the pod's namespaces.
    Sandbox,
    /// The runtime does not tell.
    #[default]
    Unknown,
}

impl Kind {
    /// Its name in events.
    pub fn name(self) -> &'static str {
        match self {
            Self::Main => "main",
            Self::Init => "init",
            Self::Sidecar => "sidecar",
            Self::Ephemeral => "ephemeral",
            Self::Sandbox => "sandbox",
            Self::Unknown => "unknown",
        }
    }
}

/// Something of the host that a container sees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// On the host.
    pub source: String,
    /// In the container.
    pub destination: String,
    /// It cannot be written there.
    pub read_only: bool,
}

/// What a container may do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Privileges {
    /// User of its first process, where told.
    pub uid: Option<u32>,
    /// Everything.
    pub privileged: bool,
    /// Capabilities beyond those that engines grant by default.
    pub added_capabilities: Vec<String>,
    /// It cannot write its root.
    pub read_only_root: bool,
    /// Namespaces of the node that it shares.
    pub host: HostNamespaces,
    /// Microseconds of processor time per second, 0 for no limit.
    pub cpu_limit_us: u64,
    /// Bytes of memory, 0 for no limit.
    pub memory_limit: u64,
}

/// A container, or a pod's sandbox, as the runtime describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Described {
    /// Id that the runtime gave it.
    pub id: String,
    /// Name of the runtime.
    pub runtime: String,
    /// Id of its pod's sandbox; its own for a sandbox.
    pub sandbox: String,
    /// Its pod.
    pub pod: Arc<Pod>,
    /// Name in the pod; `sandbox` for a sandbox.
    pub name: String,
    /// How often it was started anew in its pod.
    pub attempt: u32,
    /// What it is in the pod.
    pub kind: Kind,
    /// Image reference.
    pub image: String,
    /// Digest of the image's manifest, or of its configuration where it came from no registry.
    pub image_digest: String,
    /// Process id of its first process on the host, 0 where it has none.
    pub pid: u32,
    /// Path of its control group, empty where not told.
    pub cgroup_path: String,
    /// What it sees of the host's files.
    pub mounts: Vec<Mount>,
    /// `None` where the runtime does not tell.
    pub privileges: Option<Privileges>,
    /// Arguments of its first process.
    pub command: Vec<String>,
    /// When it was started, nanoseconds since 1970; 0 where it was not.
    pub started_ns: u64,
    /// Image digest and a hash of the command.
    pub revision: String,
}

impl Described {
    /// An engine beside Kubernetes made it: there is no sandbox.
    pub(in crate::identity) fn is_of_engine(&self) -> bool {
        self.sandbox.is_empty() && self.pod.name.is_empty() && self.kind != Kind::Sandbox
    }
}

/// A text as it is kept: bounded and printable.
pub(in crate::identity) fn text(raw: &str) -> String {
    bounded(raw, TEXT_MAX)
}

fn bounded(raw: &str, most: usize) -> String {
    if raw.len() <= most {
        return printable(raw.as_bytes());
    }
    let mut end = most;
    while !raw.is_char_boundary(end) {
        end -= 1;
    }
    printable(&raw.as_bytes()[..end]) + CUT
}

/// Labels as they are kept.
pub(in crate::identity) fn labels(raw: &HashMap<String, String>) -> BTreeMap<String, String> {
    map(raw, |_| true)
}

/// Labels or annotations as they are kept. A key that is too long is left out: cut, it could be another's.
fn map(raw: &HashMap<String, String>, wanted: impl Fn(&str) -> bool) -> BTreeMap<String, String> {
    // In the order of their keys, so that it does not change from answer to answer which are kept.
    let sorted: BTreeMap<&String, &String> = raw
        .iter()
        .filter(|(key, _)| key.len() <= KEY_MAX && wanted(key))
        .collect();
    sorted
        .into_iter()
        .take(LIST_MAX)
        .map(|(key, value)| (printable(key.as_bytes()), text(value)))
        .collect()
}

/// The pod of a sandbox. `naming` is the further annotation that is kept.
pub(super) fn pod(
    sandbox: &api::PodSandbox,
    status: Option<&api::PodSandboxStatus>,
    naming: Option<&str>,
) -> Pod {
    let metadata = sandbox.metadata.clone().unwrap_or_default();
    let options = status
        .and_then(|status| status.linux.as_ref())
        .and_then(|linux| linux.namespaces.as_ref())
        .and_then(|namespaces| namespaces.options.clone())
        .unwrap_or_default();
    let on_node = |mode: i32| mode == NamespaceMode::Node as i32;
    let network = status
        .and_then(|status| status.network.clone())
        .unwrap_or_default();
    let further = network.additional_ips.iter().map(|further| further.ip.as_str());
    let ips = std::iter::once(network.ip.as_str())
        .chain(further)
        .filter(|_| !on_node(options.network))
        .filter_map(|address| address.parse().ok())
        .take(LIST_MAX);
    Pod {
        name: text(&metadata.name),
        namespace: text(&metadata.namespace),
        uid: text(&metadata.uid),
        labels: labels(&sandbox.labels),
        annotations: map(&sandbox.annotations, |key| {
            ANNOTATIONS.contains(&key) || naming == Some(key)
        }),
        host: HostNamespaces {
            network: on_node(options.network),
            pid: on_node(options.pid),
            ipc: on_node(options.ipc),
        },
        types: sandbox
            .annotations
            .get(LAST_APPLIED)
            .and_then(|applied| serde_json::from_str(applied).ok())
            .map(|applied| types(&applied))
            .unwrap_or_default(),
        ips: ips.collect(),
    }
}

/// Which container is of which type, by the pod as it was applied. Only pods that were applied as such have it.
fn types(applied: &Value) -> BTreeMap<String, Kind> {
    let of = |list: &str, kind: fn(&Value) -> Kind| {
        let containers = applied
            .pointer(&format!("/spec/{list}"))
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        containers
            .into_iter()
            .take(LIST_MAX)
            .filter_map(move |container| Some((text(container["name"].as_str()?), kind(&container))))
    };
    let init = |container: &Value| match container["restartPolicy"].as_str() {
        Some("Always") => Kind::Sidecar,
        _ => Kind::Init,
    };
    of("containers", |_| Kind::Main)
        .chain(of("initContainers", init))
        .collect()
}

/// A pod's sandbox as a container.
pub(super) fn sandbox(
    runtime: &str,
    sandbox: &api::PodSandbox,
    answer: &api::PodSandboxStatusResponse,
    pod: &Arc<Pod>,
) -> Described {
    let info = Info::parse(&answer.info);
    Described {
        id: text(&sandbox.id),
        runtime: runtime.to_owned(),
        sandbox: text(&sandbox.id),
        pod: Arc::clone(pod),
        name: Kind::Sandbox.name().to_owned(),
        attempt: sandbox
            .metadata
            .as_ref()
            .map(|metadata| metadata.attempt)
            .unwrap_or_default(),
        kind: Kind::Sandbox,
        image: info.image,
        image_digest: String::new(),
        pid: info.pid,
        cgroup_path: info.cgroup_path,
        mounts: Vec::new(),
        privileges: info.privileges,
        revision: String::new(),
        command: info.command,
        started_ns: u64::try_from(sandbox.created_at).unwrap_or(0),
    }
}

/// A container. `digests` are those that registries know its image by.
pub(super) fn container(
    runtime: &str,
    listed: &api::Container,
    answer: &api::ContainerStatusResponse,
    pod: &Arc<Pod>,
    digests: &[String],
) -> Described {
    let status = answer.status.clone().unwrap_or_default();
    let info = Info::parse(&answer.info);
    let metadata = status
        .metadata
        .or_else(|| listed.metadata.clone())
        .unwrap_or_default();
    let image = status.image.unwrap_or_default();
    // The name that people gave, not the id that the runtime resolved it to.
    let name = [image.user_specified_image, info.image, image.image]
        .into_iter()
        .find(|name| !name.is_empty() && !name.starts_with("sha256:"))
        .unwrap_or_default();
    let name_in_pod = text(&metadata.name);
    let told = listed
        .labels
        .get("io.kubernetes.container.type")
        .map(String::as_str);
    let kind = match told {
        Some("INIT" | "init") => Kind::Init,
        Some("EPHEMERAL" | "ephemeral") => Kind::Ephemeral,
        // `kubectl debug --target` is the only maker of such containers.
        _ if info.targets_container => Kind::Ephemeral,
        _ => pod.types.get(&name_in_pod).copied().unwrap_or_default(),
    };
    let mut privileges = info.privileges;
    if let Some(privileges) = &mut privileges {
        privileges.host.network |= pod.host.network;
        privileges.host.pid |= pod.host.pid;
        privileges.host.ipc |= pod.host.ipc;
    }
    let image_digest = text(&digest(&status.image_ref, digests));
    Described {
        revision: workload::revision(&image_digest, &info.command),
        id: text(&listed.id),
        runtime: runtime.to_owned(),
        sandbox: text(&listed.pod_sandbox_id),
        pod: Arc::clone(pod),
        attempt: metadata.attempt,
        kind,
        image: text(&name),
        image_digest,
        pid: info.pid,
        cgroup_path: info.cgroup_path,
        mounts: status
            .mounts
            .iter()
            .take(LIST_MAX)
            .map(|mount| Mount {
                source: text(&mount.host_path),
                destination: text(&mount.container_path),
                read_only: mount.readonly,
            })
            .collect(),
        privileges,
        command: info.command,
        started_ns: u64::try_from(status.started_at).unwrap_or(0),
        name: name_in_pod,
    }
}

/// The digest in `NAME@DIGEST`, of the image in use or of what registries know it by, or the image's id.
fn digest(image_ref: &str, digests: &[String]) -> String {
    std::iter::once(image_ref)
        .chain(digests.iter().map(String::as_str))
        .find_map(|reference| reference.rsplit_once('@').map(|(_, digest)| digest))
        .unwrap_or(image_ref)
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn hostile_texts_are_bounded_and_printable() {
        let labels = HashMap::from([
            ("app".to_owned(), "a\nb\u{1b}[31m\u{202e}".to_owned()),
            ("k".repeat(1 << 20), "v".to_owned()),
            ("big".to_owned(), "é".repeat(1 << 20)),
        ]);
        let pod = pod(
            &api::PodSandbox {
                metadata: Some(api::PodSandboxMetadata {
                    name: "p\r\n".repeat(1 << 20),
                    ..Default::default()
                }),
                labels,
                annotations: HashMap::from([(LAST_APPLIED.to_owned(), "{".repeat(1 << 20))]),
                ..Default::default()
            },
            None,
            None,
        );
        assert_eq!(pod.labels.len(), 2);
        for text in pod.labels.values().chain([&pod.name]) {
            assert!(text.len() <= 4 * TEXT_MAX + CUT.len(), "{}", text.len());
            assert!(!text.chars().any(char::is_control), "{text}");
        }
        assert!(pod.labels["big"].ends_with(CUT));
        let many = (0..10_000)
            .map(|number| (format!("{number:05}"), String::new()))
            .collect();
        assert_eq!(map(&many, |_| true).len(), LIST_MAX);
    }

    #[test]
    fn an_image_is_known_by_its_digest() {
        for (image_ref, digests, expected) in [
            ("reg/web@sha256:aa", vec![], "sha256:aa"),
            ("sha256:id", vec!["reg/web@sha256:bb".to_owned()], "sha256:bb"),
            ("sha256:id", vec![], "sha256:id"),
            ("", vec![], ""),
        ] {
            assert_eq!(digest(image_ref, &digests), expected);
        }
    }

    #[test]
    fn containers_are_told_apart_by_the_pod_that_was_applied() {
        let applied = json!({"spec": {
            "containers": [{"name": "web"}],
            "initContainers": [{"name": "setup"}, {"name": "proxy", "restartPolicy": "Always"}],
        }});
        let types = types(&applied);
        assert_eq!(types["web"], Kind::Main);
        assert_eq!(types["setup"], Kind::Init);
        assert_eq!(types["proxy"], Kind::Sidecar);
    }
}
