//! The collector's configuration: what a file says, checked as a whole, as values that can only be valid.

mod archive;
mod check;
mod crl;
mod raw;

use crate::administration::Given;
use crate::archive::ArchiveConfig;
use crate::archive::retain::Retention;
use crate::audit::AuditSettings;
use crate::witness::ask::Witnesses;
use check::Check;
use norma_baseline::signature::TrustedKeys;
use norma_metrics::Listen;
use norma_settings::{Faults, SettingsError};
use rustls_pki_types::ServerName;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A new file is begun at this size: small enough to copy and verify, large enough to have few.
pub const DEFAULT_SEGMENT_BYTES: u64 = 64 << 20;
/// A new file is begun after this time: what is sealed can be copied and proven without what is being written.
pub const DEFAULT_SEGMENT_AGE: Duration = Duration::from_secs(3600);
/// So long can the newest records be removed without a checkpoint that tells.
pub const DEFAULT_CHECKPOINT_INTERVAL: Duration = Duration::from_secs(10);
/// At most 200 syncs a second, at the price of 5 ms.
pub const DEFAULT_COMMIT_INTERVAL: Duration = Duration::from_millis(5);
/// An event with its full argument list and lineage stays well below.
pub const DEFAULT_MAX_EVENT_BYTES: u64 = 256 << 10;

/// Clocks of nodes that have no battery can be wrong by hours; by more, times would mislead more than they tell.
pub const DEFAULT_MAX_AHEAD: Duration = Duration::from_secs(24 * 60 * 60);
/// By hand a clock is set to the wrong year at the most; what is further off was made up.
pub const DEFAULT_MAX_CLOCK_STEP: Duration = Duration::from_secs(366 * 24 * 60 * 60);
/// Far more than a node ever has for long, and less than a collector can store.
pub const DEFAULT_NODE_EVENTS: u64 = 50_000;
/// As many events of common size.
pub const DEFAULT_NODE_BYTES: u64 = 64 << 20;
/// Several batches, so that a node never waits for a single commit.
pub const DEFAULT_NODE_IN_FLIGHT: u64 = 8 << 20;
/// What the streams of all nodes take of memory.
pub const DEFAULT_IN_FLIGHT: u64 = 256 << 20;
/// One, and room for those that a cut network left.
pub const DEFAULT_NODE_STREAMS: u64 = 4;

/// Where legal holds lie in the state directory.
pub const HOLDS: &str = "holds";

/// Certificates of nodes that renew them by themselves: short.
pub const DEFAULT_VALIDITY: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// A valid configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// What the file says, word by word; `None` where there is none.
    pub given: Option<Given>,
    /// Where agents connect.
    pub listen: SocketAddr,
    /// Where everything durable lies.
    pub state_dir: PathBuf,
    /// Who the collector is, and whom it trusts.
    pub tls: TlsFiles,
    /// How the audit log is written.
    pub audit: AuditSettings,
    /// Who is asked to cosign the audit log's checkpoints.
    pub witnesses: Option<Witnesses>,
    /// Which events are taken.
    pub events: EventLimits,
    /// What a node may take of the collector.
    pub nodes: NodeLimits,
    /// A warning is recorded when so many percent of the audit log's file system are used.
    pub storage_warning: u64,
    /// Whose decisions on baselines count.
    pub trusted_keys: TrustedKeys,
    /// Where auditors and operators ask; `None` where nobody can.
    pub api: Option<ApiConfig>,
    /// Where metrics are served; `None` where they are not.
    pub metrics: Option<Listen>,
    /// Issuing of certificates to nodes; `None` where others do.
    pub enrolment: Option<EnrolmentConfig>,
    /// Where sealed segments are archived.
    pub archive: Option<ArchiveConfig>,
    /// When segments are removed.
    pub retention: Retention,
    /// Where events are forwarded.
    pub sinks: Vec<SinkConfig>,
}

/// Which events are taken.
#[derive(Clone, Copy, Debug)]
pub struct EventLimits {
    /// Larger ones are rejected.
    pub max_bytes: usize,
    /// Those that are further ahead of the collector's clock are rejected,
    pub max_ahead: Duration,
    /// unless the node told a step of its clock that explains it, which is not larger than this.
    pub max_clock_step: Duration,
}

/// What a node may take of the collector.
#[derive(Clone, Copy, Debug)]
pub struct NodeLimits {
    /// Events that it may deliver in a second.
    pub events_per_second: u64,
    /// Bytes of events.
    pub bytes_per_second: u64,
    /// Bytes of its events that may wait to be stored.
    pub in_flight_bytes: usize,
    /// Bytes of all nodes' events that may.
    pub all_in_flight_bytes: usize,
    /// Streams that it may have at the same time.
    pub streams: usize,
}

/// Where auditors and operators ask.
#[derive(Clone, Copy, Debug)]
pub struct ApiConfig {
    /// The address, another than that of agents.
    pub listen: SocketAddr,
}

/// How certificates are issued to nodes.
#[derive(Clone, Debug)]
pub struct EnrolmentConfig {
    /// Directory of the authority, with its key.
    pub ca: PathBuf,
    /// Where nodes with a token come; `None` where certificates are only renewed.
    pub listen: Option<SocketAddr>,
    /// How long a certificate is valid.
    pub validity: Duration,
}

/// Files that are read again when they change.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// Certificate chain of the collector.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Authorities of the agents' certificates.
    pub client_ca: PathBuf,
    /// Their revocation lists.
    pub crl: CrlFiles,
}

/// Revocation lists.
#[derive(Clone, Debug)]
pub struct CrlFiles {
    /// Where they are read from, also those that are fetched; none where nothing is ever revoked.
    pub files: Vec<PathBuf>,
    /// Those of them that are fetched.
    pub fetched: Vec<FetchedList>,
    /// How often.
    pub every: Duration,
    /// Directory in which the newest ones are kept.
    pub cache: PathBuf,
    /// What happens when one is out of date.
    pub when_expired: WhenExpired,
}

/// A revocation list that is fetched over HTTP.
#[derive(Clone, Debug)]
pub struct FetchedList {
    /// From here.
    pub url: url::Url,
    /// And put there.
    pub file: PathBuf,
}

/// One sink.
#[derive(Clone, Debug)]
pub struct SinkConfig {
    /// Names its cursor file and its log lines.
    pub name: String,
    /// The receiver.
    pub syslog: SyslogConfig,
}

/// A syslog receiver over TLS (RFC 5425).
#[derive(Clone, Debug)]
pub struct SyslogConfig {
    /// `host:port`.
    pub address: String,
    /// Name that its certificate must have.
    pub server_name: ServerName<'static>,
    /// Authorities of its certificate.
    pub ca: PathBuf,
    /// Certificate chain and key to show to it.
    pub client: Option<(PathBuf, PathBuf)>,
    /// What is sent.
    pub send: Send,
}

pub use raw::{Send, WhenExpired};

impl Config {
    /// Reads and checks the file at `path`; every fault of it is reported.
    pub fn read(path: &Path) -> Result<Self, SettingsError> {
        let text = std::fs::read_to_string(path).map_err(|reason| SettingsError::Unreadable {
            path: path.to_owned(),
            reason,
        })?;
        let raw: raw::Config = norma_settings::parse(path, &text)?;
        let words: serde_json::Value = norma_settings::parse(path, &text)?;
        let mut check = Check {
            path,
            base: path.parent().unwrap_or(Path::new("")),
            faults: Faults::default(),
        };
        let mut config = check.config(&raw);
        config.given = Some(Given::new(path, text.as_bytes(), &words));
        check.faults.or(config)
    }

    /// Where the audit log lies.
    pub fn audit_dir(&self) -> PathBuf {
        self.state_dir.join("audit")
    }

    /// Where tokens lie.
    pub fn tokens_dir(&self) -> PathBuf {
        self.state_dir.join("enrolment")
    }

    /// Where it is kept which batch heads are known.
    pub fn heads_file(&self) -> PathBuf {
        self.state_dir.join("heads")
    }

    /// Where what nodes learned and people decided lies.
    pub fn baselines_dir(&self) -> PathBuf {
        self.state_dir.join("baselines")
    }

    /// Where it is kept what nodes told of steps of their clocks.
    pub fn clocks_file(&self) -> PathBuf {
        self.state_dir.join("clocks.json")
    }

    /// Where the cursors of the sinks lie.
    pub fn cursor_dir(&self) -> PathBuf {
        self.state_dir.join("cursors")
    }
}
