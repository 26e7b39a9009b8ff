//! What is against a control in the way that a container is set up.

use super::PostureConfig;
use crate::identity::cri::{Described, Kind};
use norma_wire::pb::Severity;

/// A control that can be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Check {
    ImageSource,
    Root,
    HostNamespaces,
    Privileged,
    Capabilities,
    Limits,
    WritableRoot,
    HostPath,
    Token,
}

/// Something that is against one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub check: Check,
    pub severity: Severity,
    /// What it is, exactly.
    pub value: String,
}

const CHECKS: [Check; 9] = [
    Check::ImageSource,
    Check::Root,
    Check::HostNamespaces,
    Check::Privileged,
    Check::Capabilities,
    Check::Limits,
    Check::WritableRoot,
    Check::HostPath,
    Check::Token,
];

/// Capabilities with which a container is as good as the host's root, or nearly so.
const GRAVE_CAPABILITIES: [&str; 11] = [
    // Docker's word for all of them.
    "ALL",
    "CAP_BPF",
    "CAP_DAC_READ_SEARCH",
    "CAP_MAC_ADMIN",
    "CAP_NET_ADMIN",
    "CAP_PERFMON",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_MODULE",
    "CAP_SYS_PTRACE",
    "CAP_SYS_RAWIO",
];
/// Places of the host from which it can be taken over or its secrets read.
const GRAVE_PATHS: [&str; 11] = [
    "/boot",
    "/dev",
    "/etc",
    "/proc",
    "/root",
    "/run",
    "/sys",
    "/usr",
    "/var/lib/kubelet",
    "/var/run",
    "/home",
];
/// Where a service account's token is mounted.
const TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

impl Check {
    /// Stable name.
    pub fn name(self) -> &'static str {
        match self {
            Self::ImageSource => "posture.image-not-from-an-approved-registry",
            Self::Root => "posture.runs-as-root",
            Self::HostNamespaces => "posture.host-namespaces",
            Self::Privileged => "posture.privileged",
            Self::Capabilities => "posture.added-capabilities",
            Self::Limits => "posture.no-resource-limits",
            Self::WritableRoot => "posture.writable-root",
            Self::HostPath => "posture.host-path",
            Self::Token => "posture.service-account-token",
        }
    }

    pub fn by_name(name: &str) -> Option<Self> {
        CHECKS.into_iter().find(|check| check.name() == name)
    }

    pub fn expected(self) -> &'static str {
        match self {
            Self::ImageSource => "images come from the registries that `posture.approved_registries` lists",
            Self::Root => "the first process runs as another user than root (`runAsNonRoot`)",
            Self::HostNamespaces => "the pod has network, process ids and IPC of its own",
            Self::Privileged => "containers run without `privileged`, or with a waiver that somebody signed",
            Self::Capabilities => "no capabilities beyond those that container engines grant by default",
            Self::Limits => "processor time and memory are limited",
            Self::WritableRoot => "the root filesystem is read-only (`readOnlyRootFilesystem`)",
            Self::HostPath => "no files of the host are mounted (`hostPath`)",
            Self::Token => {
                "no token for the cluster's API where it is not used (`automountServiceAccountToken: false`)"
            }
        }
    }

    pub fn why(self) -> &'static str {
        match self {
            Self::ImageSource => "nobody vouches for what is in an image from elsewhere",
            Self::Root => {
                "root in a container is root on the node the moment that it breaks out, and owns what is mounted"
            }
            Self::HostNamespaces => {
                "it can see or reach other workloads and the node itself: their traffic, processes or shared memory"
            }
            Self::Privileged => {
                "it can do everything that root on the node can; the container is no boundary"
            }
            Self::Capabilities => "each of them is a part of root's power over the node",
            Self::Limits => "it can take the node's processor or memory from every other workload",
            Self::WritableRoot => "an intruder can change its programs and bring others",
            Self::HostPath => {
                "what is changed or read there is the node's: the way out of the container most often used"
            }
            Self::Token => "whoever gets into the container can speak to the cluster's API in its name",
        }
    }

    pub fn controls(self) -> &'static [&'static str] {
        match self {
            Self::ImageSource => &[
                "STIG KUBER-L2-000010",
                "NIST 800-53 CM-7(5)",
                "NIST 800-53 CM-14",
                "NIST 800-53 SR-4(3)",
            ],
            Self::Root => &["STIG KUBER-L2-000020", "NIST 800-53 AC-6(2)", "NIST 800-53 CM-6"],
            Self::HostNamespaces => &[
                "STIG KUBER-L2-000060",
                "NIST 800-53 SC-39",
                "NIST 800-53 SC-7",
                "MITRE ATT&CK T1611",
            ],
            Self::Privileged => &[
                "STIG KUBER-L2-000070",
                "NIST 800-53 AC-6",
                "NIST 800-53 CM-7",
                "MITRE ATT&CK T1611",
            ],
            Self::Capabilities => &["NIST 800-53 AC-6", "NIST 800-53 CM-7", "MITRE ATT&CK T1611"],
            Self::Limits => &[
                "STIG KUBER-L2-000080",
                "NIST 800-53 SC-6",
                "NIST 800-53 SC-5(2)",
                "MITRE ATT&CK T1496",
            ],
            Self::WritableRoot => &["NIST 800-53 SI-7", "NIST 800-53 CM-5"],
            Self::HostPath => &["NIST 800-53 AC-6", "NIST 800-53 SC-39", "MITRE ATT&CK T1611"],
            Self::Token => &["NIST 800-53 AC-6", "NIST 800-53 IA-5", "MITRE ATT&CK T1528"],
        }
    }
}

/// Everything that is against a control; `None` where the runtime did not tell enough to judge.
pub(super) fn look(told: &Described, config: &PostureConfig) -> Option<Vec<Finding>> {
    // The pod's sandbox runs nothing of the user's.
    if told.kind == Kind::Sandbox {
        return None;
    }
    let privileges = told.privileges.as_ref()?;
    let mut findings = Vec::new();
    let mut found = |check, severity, value: String| {
        findings.push(Finding {
            check,
            severity,
            value,
        });
    };
    if !is_approved(&told.image, &config.approved_registries) {
        let name = match told.image.as_str() {
            "" => "an image without a name",
            name => name,
        };
        found(Check::ImageSource, Severity::Medium, name.to_owned());
    }
    if privileges.uid == Some(0) {
        found(Check::Root, Severity::Medium, "uid 0".to_owned());
    }
    let host = privileges.host.names();
    if !host.is_empty() {
        found(Check::HostNamespaces, Severity::High, host.join(" "));
    }
    if privileges.privileged {
        found(
            Check::Privileged,
            Severity::Critical,
            "all capabilities and devices".to_owned(),
        );
    } else if !privileges.added_capabilities.is_empty() {
        // A privileged container has them all, which is said already.
        let grave = privileges
            .added_capabilities
            .iter()
            .any(|name| GRAVE_CAPABILITIES.contains(&name.as_str()));
        let severity = if grave { Severity::High } else { Severity::Medium };
        found(
            Check::Capabilities,
            severity,
            privileges.added_capabilities.join(" "),
        );
    }
    let missing: Vec<&str> = [
        (privileges.cpu_limit_us, "CPU"),
        (privileges.memory_limit, "memory"),
    ]
    .into_iter()
    .filter_map(|(limit, name)| (limit == 0).then_some(name))
    .collect();
    if !missing.is_empty() {
        found(Check::Limits, Severity::Low, missing.join(" and "));
    }
    if !privileges.read_only_root {
        found(Check::WritableRoot, Severity::Low, "/".to_owned());
    }
    let mut paths: Vec<(String, bool)> = told
        .mounts
        .iter()
        .filter(|mount| is_host_path(&mount.source, &told.pod.uid))
        .map(|mount| {
            let how = if mount.read_only { "read-only" } else { "writable" };
            (format!("{} ({how})", mount.source), is_grave_path(&mount.source))
        })
        .collect();
    paths.sort();
    paths.dedup();
    if !paths.is_empty() {
        let grave = paths.iter().any(|(_, grave)| *grave);
        let severity = if grave { Severity::High } else { Severity::Medium };
        let words: Vec<String> = paths.into_iter().map(|(path, _)| path).collect();
        found(Check::HostPath, severity, words.join(", "));
    }
    let has_token = told
        .mounts
        .iter()
        .any(|mount| mount.destination.trim_end_matches('/') == TOKEN);
    if has_token {
        found(Check::Token, Severity::Low, TOKEN.to_owned());
    }
    Some(findings)
}

/// The image lies in one of the approved places, as a whole path component: `reg.example` is not the registry
/// `reg.example.evil`.
fn is_approved(image: &str, approved: &[String]) -> bool {
    approved.is_empty() || {
        let full = full_name(image);
        approved.iter().any(|place| {
            let place = place.trim_end_matches('/');
            full.strip_prefix(place)
                .is_some_and(|rest| rest.starts_with(['/', ':', '@']) || rest.is_empty())
        })
    }
}

/// A name without a registry is one of Docker Hub's, and one without a slash of its official images.
fn full_name(image: &str) -> String {
    match image.split_once('/') {
        None => format!("docker.io/library/{image}"),
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => image.to_owned(),
        Some(_) => format!("docker.io/{image}"),
    }
}

/// Not one of the files and volumes that the kubelet keeps for this pod, under its uid: those of another pod are
/// the host's for it.
fn is_host_path(source: &str, pod_uid: &str) -> bool {
    let own = format!("/kubelet/pods/{pod_uid}/");
    let is_own = !pod_uid.is_empty() && source.contains(&own) && !source.contains("/../");
    source.starts_with('/') && !is_own
}

fn is_grave_path(source: &str) -> bool {
    let source = source.trim_end_matches('/');
    source.is_empty()
        || source.ends_with(".sock")
        || source == "/var"
        || source == "/var/lib"
        || GRAVE_PATHS.iter().any(|place| {
            source
                .strip_prefix(place)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::cri::{HostNamespaces, Mount, Pod, Privileges};
    use std::sync::Arc;

    fn told(privileges: Privileges) -> Described {
        Described {
            pod: Arc::new(Pod {
                uid: "1".to_owned(),
                ..Pod::default()
            }),
            image: "reg.example/shop/web:v1".to_owned(),
            privileges: Some(privileges),
            ..Described::default()
        }
    }

    fn mount(source: &str, destination: &str) -> Mount {
        Mount {
            source: source.to_owned(),
            destination: destination.to_owned(),
            read_only: false,
        }
    }

    fn names(told: &Described, config: &PostureConfig) -> Vec<&'static str> {
        look(told, config)
            .unwrap()
            .iter()
            .map(|finding| finding.check.name().trim_start_matches("posture."))
            .collect()
    }

    #[test]
    fn a_container_that_is_set_up_well_has_no_findings() {
        let well = Described {
            mounts: vec![
                mount("/var/lib/kubelet/pods/1/volumes/x", "/data"),
                mount("/var/lib/kubelet/pods/1/etc-hosts", "/etc/hosts"),
            ],
            ..told(Privileges {
                uid: Some(1000),
                read_only_root: true,
                cpu_limit_us: 500_000,
                memory_limit: 1 << 20,
                ..Privileges::default()
            })
        };
        let config = PostureConfig {
            approved_registries: vec!["reg.example/shop".to_owned()],
        };
        assert_eq!(look(&well, &config), Some(Vec::new()));
        assert_eq!(look(&Described::default(), &config), None, "nothing was told");
    }

    #[test]
    fn everything_that_is_against_a_control_is_found() {
        let bad = Described {
            mounts: vec![
                mount("/run/containerd/containerd.sock", "/cri.sock"),
                mount("/var/lib/kubelet/pods/1/volumes/t", TOKEN),
            ],
            ..told(Privileges {
                uid: Some(0),
                added_capabilities: vec!["CAP_SYS_ADMIN".to_owned()],
                host: HostNamespaces {
                    network: true,
                    pid: true,
                    ipc: false,
                },
                ..Privileges::default()
            })
        };
        let config = PostureConfig {
            approved_registries: vec!["reg.example/bank".to_owned()],
        };
        assert_eq!(
            names(&bad, &config),
            [
                "image-not-from-an-approved-registry",
                "runs-as-root",
                "host-namespaces",
                "added-capabilities",
                "no-resource-limits",
                "writable-root",
                "host-path",
                "service-account-token",
            ]
        );
        let findings = look(&bad, &config).unwrap();
        let of = |check| findings.iter().find(|finding| finding.check == check).unwrap();
        assert_eq!(of(Check::HostNamespaces).value, "network pid");
        assert_eq!(of(Check::HostPath).severity, Severity::High);
        for (source, expected) in [
            ("/var/lib/kubelet/pods/2/volumes/x", true),
            ("/var/lib/kubelet/pods", true),
            ("/var/lib/kubelet/pods/1/../2/x", true),
            ("/data/kubelet/pods/1/volumes/x", false),
        ] {
            assert_eq!(is_host_path(source, "1"), expected, "{source}");
        }
        assert_eq!(of(Check::Capabilities).severity, Severity::High);
        for check in CHECKS {
            assert_eq!(Check::by_name(check.name()), Some(check));
            assert!(check.controls().iter().any(|control| control.starts_with("NIST")));
        }
    }

    #[test]
    fn registries_are_compared_by_whole_names() {
        let approved = |place: &str, image: &str| is_approved(image, &[place.to_owned()]);
        assert!(approved("reg.example", "reg.example/a/b:v1"));
        assert!(approved("reg.example/a/", "reg.example/a/b@sha256:00"));
        assert!(approved("reg.example:5000", "reg.example:5000/a"));
        assert!(!approved("reg.example", "reg.example.evil/a"));
        assert!(!approved("reg.example/a", "reg.example/ab"));
        assert!(approved("docker.io/library", "nginx:1"));
        assert!(approved("docker.io", "grafana/grafana"));
        assert!(!approved("docker.io/library", "grafana/grafana"));
        assert!(!approved("reg.example", ""));
    }
}
