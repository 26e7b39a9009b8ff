//! What is kept of an engine's answers.

use super::Engine;
use super::api::{HostConfig, Inspect, MountPoint};
use crate::identity::cri::{
    COMMAND_MAX, DEFAULT_CAPABILITIES, Described, HostNamespaces, LIST_MAX, Mount, Pod, Privileges, labels,
    text,
};
use crate::identity::workload;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

/// The engines' word for every capability.
const ALL: &str = "ALL";
/// What a processor time is out of where nothing is said, in microseconds.
const PERIOD_US: u64 = 100_000;

/// A container. `digests` are those that registries know its image by.
pub(super) fn container(engine: Engine, told: &Inspect, digests: &[String]) -> Described {
    let host = HostNamespaces {
        network: told.host_config.network_mode == "host",
        pid: told.host_config.pid_mode == "host",
        ipc: told.host_config.ipc_mode == "host",
    };
    let pod = Pod {
        labels: labels(&told.config.labels),
        host,
        ips: addresses(told, host),
        ..Pod::default()
    };
    let command: Vec<String> = std::iter::once(&told.path)
        .filter(|path| !path.is_empty())
        .chain(&told.args)
        .take(COMMAND_MAX)
        .map(|argument| text(argument))
        .collect();
    let image_digest = digest(&told.image, digests);
    Described {
        revision: workload::revision(&image_digest, &command),
        id: text(&told.id),
        runtime: engine.name().to_owned(),
        pod: Arc::new(pod),
        name: text(told.name.trim_start_matches('/')),
        attempt: told.restart_count,
        image: text(&told.config.image),
        image_digest,
        pid: told.state.pid,
        mounts: told
            .mounts
            .iter()
            .chain(told.mount_points.values())
            .take(LIST_MAX)
            .map(mount)
            .collect(),
        privileges: Some(privileges(&told.host_config, &told.config.user, host)),
        command,
        started_ns: since_1970(&told.state.started_at),
        ..Described::default()
    }
}

/// The digest that a registry knows the image by, or else the image's id. The least of several, so that it does not
/// depend on their order.
pub(super) fn digest(image: &str, digests: &[String]) -> String {
    let known = digests
        .iter()
        .filter_map(|reference| reference.rsplit_once('@').map(|(_, digest)| digest))
        .min();
    text(known.unwrap_or(image))
}

fn addresses(told: &Inspect, host: HostNamespaces) -> Vec<std::net::IpAddr> {
    // On the host's network its addresses are everybody's.
    let networks = told
        .network_settings
        .networks
        .values()
        .flatten()
        .filter(|_| !host.network);
    let mut addresses: Vec<_> = networks
        .flat_map(|network| [&network.v4, &network.v6])
        .filter_map(|address| address.parse().ok())
        .take(LIST_MAX)
        .collect();
    addresses.sort_unstable();
    addresses
}

fn mount(point: &MountPoint) -> Mount {
    // A volume is the engine's: where it keeps it is no place of the host that somebody chose to show.
    let source = match (point.kind.as_str(), point.name.as_str()) {
        ("volume", name) if !name.is_empty() => name,
        _ => &point.source,
    };
    Mount {
        source: text(source),
        destination: text(&point.destination),
        read_only: !point.writable,
    }
}

fn privileges(config: &HostConfig, user: &str, host: HostNamespaces) -> Privileges {
    let positive = |number: i64| u64::try_from(number).unwrap_or(0);
    let period = match positive(config.cpu_period) {
        0 => PERIOD_US,
        period => period,
    };
    let by_quota = positive(config.cpu_quota).saturating_mul(1_000_000) / period;
    let dropped: Vec<String> = config.cap_drop.iter().map(|name| capability(name)).collect();
    let mut added: Vec<String> = config
        .cap_add
        .iter()
        .take(LIST_MAX)
        .map(|name| capability(name))
        .filter(|name| !DEFAULT_CAPABILITIES.contains(&name.as_str()) && !dropped.contains(name))
        .collect();
    added.sort();
    added.dedup();
    Privileges {
        uid: uid(user),
        privileged: config.privileged,
        added_capabilities: added,
        read_only_root: config.readonly_rootfs,
        host,
        cpu_limit_us: match positive(config.nano_cpus) {
            0 => by_quota,
            nanoseconds => nanoseconds / 1_000,
        },
        memory_limit: positive(config.memory),
    }
}

/// `net_admin`, `NET_ADMIN` and `CAP_NET_ADMIN` are one.
fn capability(name: &str) -> String {
    let name = text(name).to_ascii_uppercase();
    if name == ALL || name.starts_with("CAP_") {
        name
    } else {
        format!("CAP_{name}")
    }
}

/// Engines take `USER`, `UID`, `USER:GROUP` and nothing for root. A name stands for what the image's passwd says, which
/// is not known here.
fn uid(user: &str) -> Option<u32> {
    match user.split(':').next().unwrap_or_default() {
        "" | "root" => Some(0),
        name => name.parse().ok(),
    }
}

fn since_1970(time: &str) -> u64 {
    let since = humantime::parse_rfc3339(time)
        .ok()
        .and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    since.map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn described(answer: serde_json::Value, digests: &[&str]) -> Described {
        let digests: Vec<String> = digests.iter().map(|digest| (*digest).to_owned()).collect();
        container(Engine::Docker, &serde_json::from_value(answer).unwrap(), &digests)
    }

    #[test]
    fn what_docker_tells_is_understood() {
        let web = described(
            json!({
                "Id": "ab", "Name": "/web", "Image": "sha256:id", "Path": "/bin/web", "Args": ["-x"],
                "RestartCount": 2,
                "State": {"Pid": 42, "StartedAt": "2026-11-22T08:39:35.033088545Z"},
                "Config": {"Image": "nginx:1", "User": "1000:1000", "Labels": {"app": "web\n"}},
                "HostConfig": {
                    "CapAdd": ["NET_ADMIN", "chown", "CAP_SYS_PTRACE", "CAP_BPF"], "CapDrop": ["BPF"],
                    "ReadonlyRootfs": true, "PidMode": "host", "IpcMode": "private", "NetworkMode": "bridge",
                    "NanoCpus": 500_000_000, "Memory": 1024, "Privileged": false,
                },
                "Mounts": [
                    {"Type": "bind", "Source": "/etc", "Destination": "/host", "RW": false},
                    {"Type": "volume", "Name": "data", "Source": "/var/lib/docker/volumes/data/_data",
                     "Destination": "/data", "RW": true},
                ],
                "NetworkSettings": {"Networks": {"bridge": {"IPAddress": "172.17.0.2", "GlobalIPv6Address": ""},
                                                 "gone": null}},
            }),
            &["reg/b@sha256:bb", "reg/a@sha256:aa"],
        );
        assert_eq!((web.name.as_str(), web.image.as_str()), ("web", "nginx:1"));
        assert_eq!(web.image_digest, "sha256:aa");
        assert_eq!(web.command, ["/bin/web", "-x"]);
        assert_eq!((web.pid, web.attempt), (42, 2));
        assert_eq!(web.started_ns % 1_000_000_000, 33_088_545);
        assert_eq!(web.pod.labels["app"], "web\\x0a");
        assert_eq!(web.pod.ips, ["172.17.0.2".parse::<std::net::IpAddr>().unwrap()]);
        let privileges = web.privileges.unwrap();
        assert_eq!(privileges.uid, Some(1000));
        assert_eq!(privileges.added_capabilities, ["CAP_NET_ADMIN", "CAP_SYS_PTRACE"]);
        assert_eq!(privileges.host.names(), ["pid"]);
        assert!(privileges.read_only_root && !privileges.privileged);
        assert_eq!(
            (privileges.cpu_limit_us, privileges.memory_limit),
            (500_000, 1024)
        );
        let sources: Vec<_> = web.mounts.iter().map(|mount| mount.source.as_str()).collect();
        assert_eq!(sources, ["/etc", "data"]);
    }

    #[test]
    fn what_is_null_or_missing_is_nothing() {
        let bare = described(
            json!({"Id": "ab", "Image": "sha256:id", "Args": null, "Mounts": null, "Config": null,
                   "HostConfig": {"CapAdd": null, "CpuQuota": 50000, "CpuPeriod": 0, "Memory": -1},
                   "State": {"StartedAt": "yesterday"}, "NetworkSettings": {"Networks": null}}),
            &[],
        );
        assert_eq!(bare.image_digest, "sha256:id");
        assert_eq!(bare.started_ns, 0);
        let privileges = bare.privileges.unwrap();
        assert_eq!(privileges.uid, Some(0));
        assert_eq!((privileges.cpu_limit_us, privileges.memory_limit), (500_000, 0));
    }

    #[test]
    fn users_are_numbers_or_unknown() {
        for (user, expected) in [
            ("", Some(0)),
            ("root:root", Some(0)),
            ("0", Some(0)),
            ("1000:0", Some(1000)),
            ("app", None),
        ] {
            assert_eq!(uid(user), expected, "{user}");
        }
    }
}
