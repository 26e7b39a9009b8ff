//! The agent's configuration.
//!
//! [`raw`] is the file as typed; [`Config`] is what it means. A value that exists is valid, and one start
//! reports every fault of the file and of the policies that it names.

mod baselines;
mod raw;
mod sensor;

use crate::hash::HashConfig;
use crate::identity::engine::Places;
use crate::judge::Sensitive;
use crate::judge::baseline::Learning;
use crate::judge::policy::PolicySet;
use crate::outbox::Limits;
use crate::posture::PostureConfig;
use crate::sensor::SensorConfig;
use norma_baseline::signature::TrustedKeys;
use norma_metrics::Listen;
use norma_settings::{Faults, Location, SettingsError};
use raw::RawConfig;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Size of the kernel ring where the file names none: 8 MiB last 10 ms at 3 million events a second.
pub const DEFAULT_RING_BYTES: u32 = 8 << 20;
/// Bound of the outbox on disk where the file names none.
pub const DEFAULT_OUTBOX_BYTES: u64 = 1 << 30;
/// Size at which an outbox segment is closed where the file names none.
pub const DEFAULT_SEGMENT_BYTES: u64 = 16 << 20;
/// Greatest age of low-priority events in the outbox where the file names none: longer than any outage should last.
pub const DEFAULT_OUTBOX_AGE: Duration = Duration::from_secs(30 * 24 * 3600);
/// Least such age.
const MIN_OUTBOX_AGE: Duration = Duration::from_secs(600);
/// How long a new revision runs before what it does differently is reported, where the file says nothing.
pub const DEFAULT_RELEASE_AFTER: Duration = Duration::from_secs(2 * 3600);
/// Smallest useful segment: room for the largest event many times over.
const MIN_SEGMENT_BYTES: u64 = 64 << 10;
/// Where the agent keeps its state where the file names no place.
pub const DEFAULT_STATE_DIR: &str = "/var/lib/norma-agent";

/// Name of a node: what its certificate says and every event carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeName(String);

impl NodeName {
    /// A name of 1 to 253 letters, digits, dots and hyphens, as Kubernetes names nodes.
    pub fn parse(text: &str) -> Result<Self, String> {
        let fits = (1..=253).contains(&text.len())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.');
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!(
                "node name `{text}` must be 1 to 253 letters, digits, `.` or `-`"
            ))
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Where a collector is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CollectorAddress {
    /// `host:port`.
    pub address: String,
    /// Name that the collector's certificate must carry.
    pub server_name: rustls_pki_types::ServerName<'static>,
}

/// How to reach the collector.
#[derive(Clone, Debug)]
pub struct CollectorTarget {
    /// `host:port`.
    pub address: String,
    /// Name that the collector's certificate must carry.
    pub server_name: rustls_pki_types::ServerName<'static>,
    /// Where else there is one, for when this one fails.
    pub fallbacks: Vec<CollectorAddress>,
    /// PEM file of the certificate authority that signed the collector's certificate.
    pub ca: PathBuf,
    /// PEM file of this node's certificate chain.
    pub certificate: PathBuf,
    /// PEM file of this node's private key.
    pub key: PathBuf,
    /// The agent renews its certificate by itself, which `norma-agent enrol` got.
    pub renew: bool,
    /// A collector that acknowledges nothing of what it was sent for so long is left.
    pub answer_timeout: Duration,
}

impl CollectorTarget {
    /// All addresses, in the order in which they are tried.
    pub fn addresses(&self) -> impl Iterator<Item = CollectorAddress> {
        let first = CollectorAddress {
            address: self.address.clone(),
            server_name: self.server_name.clone(),
        };
        std::iter::once(first).chain(self.fallbacks.iter().cloned())
    }
}

/// A configuration that can be used.
#[derive(Clone, Debug)]
pub struct Config {
    /// This node.
    pub node: NodeName,
    /// Directory of outbox, baselines and status.
    pub state_dir: PathBuf,
    /// Where events go; without it the agent only logs alerts.
    pub collector: Option<CollectorTarget>,
    /// When a workload has been learned.
    pub learning: Learning,
    /// What a new revision does differently is reported when it has run for so long.
    pub release_after: Duration,
    /// What is learned is told to the collector, and what other nodes learned is judged by.
    pub share: bool,
    /// Whose decisions on baselines count.
    pub trusted_keys: TrustedKeys,
    /// Declared policies.
    pub policies: PolicySet,
    /// Bounds of the outbox.
    pub outbox: Limits,
    /// What the sensor is to see.
    pub sensor: SensorConfig,
    /// Files whose every opening is of interest.
    pub sensitive: Sensitive,
    /// Hashing of what is executed; `None` where it is not wanted.
    pub hash: Option<HashConfig>,
    /// Further directories in which an OCI runtime keeps its state.
    pub runtime_roots: Vec<PathBuf>,
    /// Socket of the container runtime; the usual places are searched where there is none.
    pub cri_socket: Option<PathBuf>,
    /// Where Docker and podman are.
    pub engines: Places,
    /// Their sockets are asked, and not only their files read.
    pub ask_engines: bool,
    /// Label or annotation of pods that names their workload.
    pub workload_label: Option<String>,
    /// How containers should be set up.
    pub posture: PostureConfig,
    /// Where metrics are served, if they are.
    pub metrics: Option<Listen>,
    /// Report what the host itself does, besides its containers.
    pub host_events: bool,
    /// SHA-256 of the configuration and policy files, in hex.
    pub revision: String,
}

/// Reads, understands and checks a configuration file. `node`, where given, is used instead of the file's.
pub fn load(path: &Path, node: Option<&str>) -> Result<Config, SettingsError> {
    let raw: RawConfig = norma_settings::read(path)?;
    let base = path.parent().unwrap_or(Path::new(""));
    let mut faults = Faults::default();
    let mut digest = Sha256::new();
    digest.update(std::fs::read(path).unwrap_or_default());

    let node = match (node, &raw.node) {
        (Some(name), _) => NodeName::parse(name)
            .map_err(|fault| faults.push_at(path, Location::UNKNOWN, format!("{fault} (--node, NORMA_NODE)")))
            .ok(),
        (None, Some(name)) => NodeName::parse(&name.value)
            .map_err(|fault| faults.push(path, name, fault))
            .ok(),
        (None, None) => hostname(path, &mut faults),
    };
    let collector = raw
        .collector
        .as_ref()
        .and_then(|raw| raw.validate(path, base, &mut faults));
    let share = raw
        .learning
        .as_ref()
        .and_then(|learning| learning.share)
        .unwrap_or(true);
    let release_after = raw
        .learning
        .as_ref()
        .and_then(|learning| learning.release_after(path, &mut faults))
        .unwrap_or(DEFAULT_RELEASE_AFTER);
    let learning = raw
        .learning
        .map_or_else(Learning::default, |raw| raw.validate(path, &mut faults));
    let trusted_keys = raw
        .baselines
        .unwrap_or_default()
        .validate(path, base, &mut faults);
    let outbox = raw.outbox.validate(path, &mut faults);
    let (sensor, sensitive) = raw.sensor.validate(path, &mut faults);
    let hash = raw.sensor.hash(path, &mut faults);
    let identity = raw.identity.unwrap_or_default();
    let workload_label = identity.workload_label(path, &mut faults);
    let runtime = raw.runtime.unwrap_or_default();
    let cri_socket = runtime.cri_socket(path, base, &mut faults);
    let engines = runtime.engines(path, base, &mut faults);
    let metrics = raw
        .metrics
        .as_ref()
        .and_then(|metrics| metrics.validate(path, &mut faults));
    let posture = raw.posture.unwrap_or_default().validate(path, &mut faults);

    let mut policy_files = Vec::new();
    for place in raw.policies.iter().flatten() {
        match crate::judge::policy::files(&base.join(&place.value)) {
            Ok(files) => policy_files.extend(files),
            Err(error) => faults.push(
                path,
                place,
                format!(
                    "policies cannot be read from {}: {error}",
                    base.join(&place.value).display()
                ),
            ),
        }
    }
    let policies = PolicySet::load(&policy_files, &mut faults);
    for file in &policy_files {
        digest.update(std::fs::read(file).unwrap_or_default());
    }

    let Some(node) = node else {
        return Err(SettingsError::Wrong(faults));
    };
    faults.or(Config {
        node,
        state_dir: raw
            .state_dir
            .map_or_else(|| PathBuf::from(DEFAULT_STATE_DIR), |place| base.join(place)),
        collector,
        learning,
        release_after,
        share,
        trusted_keys,
        policies,
        outbox,
        sensor,
        sensitive,
        hash,
        cri_socket,
        engines,
        ask_engines: runtime.ask_engines.unwrap_or(true),
        workload_label,
        posture,
        metrics,
        runtime_roots: identity
            .runtime_roots
            .unwrap_or_default()
            .into_iter()
            .map(|root| base.join(root))
            .collect(),
        host_events: raw.events.and_then(|events| events.host).unwrap_or(false),
        revision: hex(&digest.finalize()),
    })
}

/// Bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    norma_wire::text::Hex(bytes).to_string()
}

fn hostname(path: &Path, faults: &mut Faults) -> Option<NodeName> {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    match NodeName::parse(&name) {
        Ok(name) => Some(name),
        Err(fault) => {
            faults.push_at(
                path,
                Location::UNKNOWN,
                format!("{fault}; it is this machine's hostname: set `node`"),
            );
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load_text(text: &str) -> Result<Config, String> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("agent.yaml");
        std::fs::write(&file, text).unwrap();
        load(&file, None).map_err(|error| {
            error
                .to_string()
                .replace(&format!("{}/", dir.path().display()), "")
        })
    }

    #[test]
    fn an_empty_mapping_gives_the_defaults() {
        let config = load_text("node: a\n").unwrap();
        assert_eq!(config.learning, Learning::default());
        assert_eq!(config.sensor.ring_bytes, DEFAULT_RING_BYTES);
        assert_eq!(config.sensor.wanted, crate::sensor::Wanted::All);
        assert_eq!(config.state_dir, Path::new(DEFAULT_STATE_DIR));
        assert!(config.collector.is_none());
    }

    #[test]
    fn every_fault_is_reported_at_once() {
        let message = load_text(
            "node: 'a b'\nlearning: {window: soon}\noutbox: {segment_bytes: 1}\nsensor: {ring_bytes: 5}\npolicies: [nowhere]\n",
        )
        .unwrap_err();
        for expected in [
            "agent.yaml:1:7",
            "agent.yaml:2:20",
            "agent.yaml:3:25",
            "agent.yaml:4:22",
            "agent.yaml:5:12",
        ] {
            assert!(message.contains(expected), "{expected} not in\n{message}");
        }
    }

    #[test]
    fn a_silent_collector_is_given_a_minute_or_what_is_said() {
        let load = |more: &str| {
            let collector = format!("{{address: 'a:1', ca: ca, certificate: c, key: k{more}}}");
            let config = load_text(&format!("node: a\ncollector: {collector}\n"))?;
            Ok::<_, String>(config.collector.unwrap().answer_timeout.as_secs())
        };
        assert_eq!(load(""), Ok(60));
        assert_eq!(load(", answer_timeout: 5m"), Ok(300));
        let message = load(", answer_timeout: 0s").unwrap_err();
        assert!(
            message.contains("agent.yaml:2:") && message.contains("longer than nothing"),
            "{message}"
        );
    }

    #[test]
    fn a_capability_that_does_not_exist_is_named_with_those_that_do() {
        let message = load_text("node: a\nsensor: {off: [open, opne]}\n").unwrap_err();
        assert!(message.contains("agent.yaml:2:22"), "{message}");
        assert!(
            message.contains("there is no capability `opne`; there are exec, "),
            "{message}"
        );
        let config = load_text("node: a\nsensor: {only: [exec, fork]}\n").unwrap();
        assert!(config.sensor.wanted.includes("fork") && !config.sensor.wanted.includes("open"));
    }

    #[test]
    fn hashing_is_asked_for_and_bounded() {
        let hash =
            |text: &str| load_text(&format!("node: a\nsensor: {{hash: {text}}}\n")).map(|config| config.hash);
        assert_eq!(load_text("node: a\n").unwrap().hash, None);
        assert_eq!(hash("{exec: false}"), Ok(None));
        let max = |max_bytes| Ok(Some(HashConfig { max_bytes }));
        assert_eq!(hash("{exec: true}"), max(64 << 20));
        assert_eq!(hash("{exec: true, max_bytes: 1}"), max(1));
        for (text, expected) in [
            (
                "{exec: true, max_bytes: 0}",
                "agent.yaml:2:40: max_bytes must be 1 to",
            ),
            (
                "{max_bytes: 5}",
                "agent.yaml:2:28: nothing is hashed: add `exec: true`",
            ),
            ("{exce: true}", "did you mean `exec`"),
        ] {
            let message = hash(text).unwrap_err();
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn what_is_said_of_runtime_and_posture_is_checked() {
        let config = load_text(
            "node: a\nruntime: {cri_socket: /run/x.sock, docker_root: data/docker, ask_engines: false}\nidentity: {workload_label: norma.dev/workload}\n\
             posture: {approved_registries: [reg.example/shop, 'localhost:5000']}\n",
        )
        .unwrap();
        assert_eq!(config.cri_socket.as_deref(), Some(Path::new("/run/x.sock")));
        let engines = &config.engines;
        assert_eq!(engines.docker_socket, Path::new("/run/docker.sock"));
        assert!(engines.docker_root.ends_with("data/docker") && engines.docker_root.is_absolute());
        assert!(!config.ask_engines);
        assert_eq!(config.workload_label.as_deref(), Some("norma.dev/workload"));
        assert_eq!(
            config.posture.approved_registries,
            ["reg.example/shop", "localhost:5000"]
        );
        for (text, expected) in [
            (
                "runtime: {cri_socket: 'unix:///run/x.sock'}",
                "agent.yaml:2:23: `unix:///run/x.sock` is a URL",
            ),
            (
                "runtime: {docker_socket: 'tcp://127.0.0.1:2375'}",
                "agent.yaml:2:26: `tcp://127.0.0.1:2375` is a URL",
            ),
            (
                "runtime: {podman_root: ''}",
                "agent.yaml:2:24: podman_root is empty",
            ),
            (
                "runtime: {cri_socket: ''}",
                "agent.yaml:2:23: cri_socket is empty",
            ),
            (
                "identity: {workload_label: 'a b'}",
                "agent.yaml:2:28: `a b` is no key of a label",
            ),
            (
                "posture: {approved_registries: ['https://reg.example']}",
                "agent.yaml:2:33: `https://reg.example` is no registry",
            ),
            (
                "metrics: {listen: '0.0.0.0:9464'}",
                "metrics.listen: `0.0.0.0:9464` is no loopback address with a port",
            ),
            (
                "posture: {aproved_registries: []}",
                "did you mean `approved_registries`",
            ),
        ] {
            let message = load_text(&format!("node: a\n{text}\n")).unwrap_err();
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn keys_are_digits_or_a_file_of_them() {
        let key = "00".repeat(32);
        assert!(load_text(&format!("node: a\nbaselines: {{trusted_keys: ['{key}']}}\n")).is_ok());
        for (entry, expected) in [
            (
                "none.pub",
                "agent.yaml:2:28: `none.pub` is neither the 64 hexadecimal digits",
            ),
            (
                "agent.yaml",
                "agent.yaml:1: a public key is 64 hexadecimal digits",
            ),
        ] {
            let text = format!("node: a\nbaselines: {{trusted_keys: ['{entry}']}}\n");
            let message = load_text(&text).unwrap_err();
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn a_misspelt_key_is_refused_with_the_nearest() {
        let message = load_text("node: a\ncolector:\n  address: x\n").unwrap_err();
        assert!(
            message.starts_with("agent.yaml:2:1: unknown key `colector`; did you mean `collector`?"),
            "{message}"
        );
    }
}
