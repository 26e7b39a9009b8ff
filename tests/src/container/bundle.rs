//! The OCI runtime configuration of a container, as a container engine would write it.

use super::ContainerSpec;
use crate::cgroup;
use serde_json::{Map, Value, json};

/// What container engines grant by default.
const CAPABILITIES: &[&str] = &[
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// `config.json`. The network is mostly the host's, so that loopback peers of the rig can be reached.
pub fn config(id: &str, spec: &ContainerSpec) -> Value {
    let annotations: Map<_, _> = spec
        .annotations
        .iter()
        .map(|(key, value)| (key.clone(), json!(value)))
        .collect();
    let mut namespaces = vec!["pid", "ipc", "uts", "mount"];
    namespaces.extend(spec.own_network.then_some("network"));
    let namespaces: Vec<_> = namespaces.iter().map(|kind| json!({ "type": kind })).collect();
    let mut mounts = vec![
        json!({ "destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"] }),
        json!({ "destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=65536k"] }),
        json!({ "destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", "mode=1777"] }),
    ];
    mounts.extend(spec.volumes.iter().map(
        |(from, to)| json!({ "destination": to, "type": "bind", "source": from, "options": ["rbind", "rw"] }),
    ));
    json!({
        "ociVersion": "1.0.2",
        "hostname": "norma-rig",
        "annotations": annotations,
        "root": { "path": "rootfs" },
        "process": {
            "user": { "uid": 0, "gid": 0 },
            "args": spec.argv,
            "env": [format!("PATH={}", spec.path.as_deref().unwrap_or("/usr/bin:/bin")), "LANG=C", "HOME=/root"],
            "cwd": "/",
            "noNewPrivileges": true,
            "capabilities": {
                "bounding": CAPABILITIES, "effective": CAPABILITIES, "permitted": CAPABILITIES,
            },
        },
        "mounts": mounts,
        "linux": {
            "cgroupsPath": cgroup::path_of(id),
            "namespaces": namespaces,
            "maskedPaths": ["/proc/kcore", "/proc/keys"],
            "readonlyPaths": ["/proc/sys", "/proc/sysrq-trigger"],
        },
    })
}
