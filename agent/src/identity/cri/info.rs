//! The verbose part of a status: JSON that each runtime makes as it likes.
//!
//! containerd and CRI-O both put the OCI configuration of the container and its process id into a document
//! under the key `info`. Nothing of it is promised, so each value is looked for by itself and one that is
//! missing or of another type costs nothing but itself.

use super::describe::{COMMAND_MAX, LIST_MAX, Privileges, text};
use serde_json::Value;
use std::collections::{BTreeSet, HashMap};

/// Capabilities that container engines grant by default.
pub(in crate::identity) const DEFAULT_CAPABILITIES: [&str; 14] = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];
/// So many capabilities are all of them, also on a kernel that knows fewer than the newest.
const ALL_CAPABILITIES: usize = 37;
/// CRI's number for the namespace of the node.
const NODE: u64 = 2;
/// CRI's number for the namespace of another container.
const TARGET: u64 = 3;

/// What a verbose answer adds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Info {
    pub pid: u32,
    pub command: Vec<String>,
    pub cgroup_path: String,
    /// Image as the pod names it.
    pub image: String,
    /// `None` where there is no OCI configuration.
    pub privileges: Option<Privileges>,
    /// Its process ids are those of another container.
    pub targets_container: bool,
}

impl Info {
    pub fn parse(info: &HashMap<String, String>) -> Self {
        let document = info
            .get("info")
            .and_then(|text| serde_json::from_str::<Value>(text).ok());
        document.map_or_else(Self::default, |document| Self::read(&document))
    }

    fn read(document: &Value) -> Self {
        let spec = document.pointer("/runtimeSpec").filter(|spec| spec.is_object());
        let pid_mode = document.pointer("/config/linux/security_context/namespace_options/pid");
        Self {
            pid: number(document.pointer("/pid"))
                .and_then(|pid| u32::try_from(pid).ok())
                .unwrap_or(0),
            command: strings(at(spec, "/process/args"), COMMAND_MAX),
            cgroup_path: at(spec, "/linux/cgroupsPath")
                .and_then(Value::as_str)
                .map(cgroup_path)
                .unwrap_or_default(),
            image: [
                document.pointer("/config/image/user_specified_image"),
                at(spec, "/annotations/io.kubernetes.cri.image-name"),
                at(spec, "/annotations/io.kubernetes.cri-o.ImageName"),
                document.pointer("/config/image/image"),
            ]
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .find(|image| !image.is_empty())
            .map(text)
            .unwrap_or_default(),
            privileges: spec.map(|spec| privileges(document, spec)),
            targets_container: number(pid_mode) == Some(TARGET),
        }
    }
}

/// Command, privileges and control group by an OCI configuration alone.
pub(in crate::identity) fn of_spec(spec: &Value) -> (Vec<String>, Option<Privileges>, String) {
    let info = Info::read(&serde_json::json!({ "runtimeSpec": spec }));
    let mut privileges = info.privileges;
    // What is not made for the container is the node's.
    if let Some(privileges) = &mut privileges
        && let Some(own) = spec.pointer("/linux/namespaces").and_then(Value::as_array)
    {
        let shares = |kind: &str| !own.iter().any(|namespace| namespace["type"] == kind);
        privileges.host = super::HostNamespaces {
            network: shares("network"),
            pid: shares("pid"),
            ipc: shares("ipc"),
        };
    }
    (info.command, privileges, info.cgroup_path)
}

fn privileges(document: &Value, spec: &Value) -> Privileges {
    let all: BTreeSet<String> = ["bounding", "permitted"]
        .iter()
        .flat_map(|set| strings(spec.pointer(&format!("/process/capabilities/{set}")), LIST_MAX))
        .collect();
    let told = ["/config/linux/security_context/privileged", "/privileged"]
        .iter()
        .any(|place| document.pointer(place).and_then(Value::as_bool) == Some(true));
    // A runtime that does not tell it: everything is allowed and nothing hidden.
    let masked = spec.pointer("/linux/maskedPaths").and_then(Value::as_array);
    let looks = all.len() >= ALL_CAPABILITIES && masked.is_none_or(Vec::is_empty);
    let quota = number(spec.pointer("/linux/resources/cpu/quota")).unwrap_or(0);
    let period = number(spec.pointer("/linux/resources/cpu/period")).unwrap_or(100_000);
    Privileges {
        uid: number(spec.pointer("/process/user/uid")).and_then(|uid| u32::try_from(uid).ok()),
        privileged: told || looks,
        added_capabilities: all
            .into_iter()
            .filter(|name| !DEFAULT_CAPABILITIES.contains(&name.as_str()))
            .collect(),
        read_only_root: spec.pointer("/root/readonly").and_then(Value::as_bool) == Some(true),
        host: super::HostNamespaces {
            pid: number(document.pointer("/config/linux/security_context/namespace_options/pid"))
                == Some(NODE),
            ..super::HostNamespaces::default()
        },
        cpu_limit_us: quota.saturating_mul(1_000_000) / period.max(1),
        memory_limit: number(spec.pointer("/linux/resources/memory/limit")).unwrap_or(0),
    }
}

fn at<'a>(value: Option<&'a Value>, pointer: &str) -> Option<&'a Value> {
    value?.pointer(pointer)
}

/// A number that is not negative; runtimes say -1 for none.
fn number(value: Option<&Value>) -> Option<u64> {
    value?.as_u64()
}

fn strings(value: Option<&Value>, most: usize) -> Vec<String> {
    value
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .take(most)
        .map(text)
        .collect()
}

/// A control group's path from the root of the hierarchy; systemd's `SLICE:PREFIX:NAME` is the path that systemd
/// makes of it.
fn cgroup_path(text: &str) -> String {
    let path = match text.split(':').collect::<Vec<_>>()[..] {
        [slice, prefix, name] => format!("{}/{prefix}-{name}.scope", slice_path(slice)),
        _ => format!("/{}", text.trim_matches('/')),
    };
    super::describe::text(&path)
}

/// `a-b-c.slice` lies in `a.slice/a-b.slice` (systemd.slice(5)).
fn slice_path(slice: &str) -> String {
    let Some(name) = slice.strip_suffix(".slice") else {
        return format!("/{slice}");
    };
    let mut path = String::new();
    let mut whole = String::new();
    for part in name.split('-') {
        if !whole.is_empty() {
            whole.push('-');
        }
        whole.push_str(part);
        path.push('/');
        path.push_str(&whole);
        path.push_str(".slice");
        if path.len() > 4096 {
            break;
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn info(document: &Value) -> Info {
        Info::parse(&HashMap::from([("info".to_owned(), document.to_string())]))
    }

    #[test]
    fn what_containerd_tells_is_understood() {
        let read = info(&json!({
            "pid": 42,
            "config": {"image": {"image": "sha256:12"},
                       "linux": {"security_context": {"privileged": true, "namespace_options": {"pid": 2}}}},
            "runtimeSpec": {
                "annotations": {"io.kubernetes.cri.image-name": "reg/web:v1"},
                "process": {"user": {"uid": 0, "gid": 0}, "args": ["/bin/web", "-x"],
                            "capabilities": {"bounding": ["CAP_CHOWN", "CAP_SYS_ADMIN"]}},
                "root": {"path": "rootfs", "readonly": true},
                "linux": {"cgroupsPath": "kubepods-burstable-pod1.slice:cri-containerd:ab",
                          "resources": {"cpu": {"quota": 50000, "period": 100000}, "memory": {"limit": 1024}}},
            },
        }));
        assert_eq!(read.pid, 42);
        assert_eq!(read.command, ["/bin/web", "-x"]);
        assert_eq!(read.image, "reg/web:v1");
        assert_eq!(
            read.cgroup_path,
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice/cri-containerd-ab.scope"
        );
        let privileges = read.privileges.unwrap();
        assert!(privileges.privileged && privileges.read_only_root && privileges.host.pid);
        assert_eq!(privileges.uid, Some(0));
        assert_eq!(privileges.added_capabilities, ["CAP_SYS_ADMIN"]);
        assert_eq!(
            (privileges.cpu_limit_us, privileges.memory_limit),
            (500_000, 1024)
        );
    }

    #[test]
    fn nonsense_leaves_gaps() {
        assert_eq!(Info::parse(&HashMap::new()), Info::default());
        for document in [
            "",
            "[]",
            "{\"pid\":",
            "null",
            "{\"runtimeSpec\": 7, \"pid\": \"x\"}",
        ] {
            let read = Info::parse(&HashMap::from([("info".to_owned(), document.to_owned())]));
            assert_eq!(read, Info::default(), "{document}");
        }
        let read = info(&json!({
            "pid": -1,
            "runtimeSpec": {
                "process": {"args": [1, "a\nb", null], "user": [], "capabilities": {"bounding": "all"}},
                "linux": {"resources": {"cpu": {"quota": -1, "period": 0}, "memory": {"limit": -1}}},
            },
        }));
        assert_eq!(read.command, ["a\\x0ab"]);
        let privileges = read.privileges.unwrap();
        assert_eq!(
            (privileges.uid, privileges.cpu_limit_us, privileges.memory_limit),
            (None, 0, 0)
        );
        let deep = "[".repeat(100_000);
        assert_eq!(
            Info::parse(&HashMap::from([("info".to_owned(), deep)])),
            Info::default()
        );
    }
}
