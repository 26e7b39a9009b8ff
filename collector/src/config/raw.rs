//! The file as it is written.

use norma_settings::Spanned;
use serde::Deserialize;
use std::path::PathBuf;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub listen: Spanned<String>,
    pub state_dir: PathBuf,
    pub tls: Tls,
    pub audit: Option<Audit>,
    #[serde(default)]
    pub limits: Limits,
    pub baselines: Option<Baselines>,
    pub api: Option<Api>,
    pub metrics: Option<Metrics>,
    pub enrolment: Option<Enrolment>,
    pub archive: Option<Archive>,
    #[serde(default)]
    pub retention: Retention,
    #[serde(default)]
    pub sinks: Vec<Sink>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    pub certificate: Spanned<PathBuf>,
    pub key: Spanned<PathBuf>,
    pub client_ca: Spanned<PathBuf>,
    #[serde(default)]
    pub crl: Vec<Spanned<String>>,
    pub crl_refresh: Option<Spanned<String>>,
    #[serde(default)]
    pub crl_expired: WhenExpired,
}

/// Whether certificates count when the revocation list of their issuer is out of date, or there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WhenExpired {
    /// They do not.
    #[default]
    Refuse,
    /// They do.
    Accept,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Audit {
    pub segment_bytes: Option<Spanned<u64>>,
    pub segment_age: Option<Spanned<String>>,
    pub commit_interval: Option<Spanned<String>>,
    pub checkpoint_interval: Option<Spanned<String>>,
    pub storage_warning: Option<Spanned<u64>>,
    pub key: Option<Spanned<String>>,
    pub next_key: Option<Spanned<String>>,
    pub origin: Option<Spanned<String>>,
    pub witnesses: Option<Spanned<PathBuf>>,
    pub witness_ca: Option<Spanned<PathBuf>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    pub max_event_bytes: Option<Spanned<u64>>,
    pub max_ahead: Option<Spanned<String>>,
    pub max_clock_step: Option<Spanned<String>>,
    pub node_events_per_second: Option<Spanned<u64>>,
    pub node_bytes_per_second: Option<Spanned<u64>>,
    pub node_in_flight_bytes: Option<Spanned<u64>>,
    pub node_streams: Option<Spanned<u64>>,
    pub in_flight_bytes: Option<Spanned<u64>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baselines {
    #[serde(default)]
    pub trusted_keys: Vec<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Api {
    pub listen: Spanned<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    pub listen: Spanned<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enrolment {
    pub ca: Spanned<PathBuf>,
    pub listen: Option<Spanned<String>>,
    pub validity: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Archive {
    pub cluster: Spanned<String>,
    pub directory: Option<PathBuf>,
    pub store: Option<Store>,
    pub encryption: Option<Encryption>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Encryption {
    pub key: Spanned<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Store {
    pub endpoint: Spanned<String>,
    pub region: Option<String>,
    pub bucket: Spanned<String>,
    pub prefix: Option<Spanned<String>>,
    pub addressing: Option<Addressing>,
    pub ca: Option<Spanned<PathBuf>>,
    pub credentials: Spanned<PathBuf>,
    pub retain: Spanned<String>,
}

/// Where the bucket is named in URLs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Addressing {
    /// In the path.
    #[default]
    Path,
    /// In the host's name.
    Host,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    pub keep: Option<Spanned<String>>,
    pub after_archive: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sink {
    pub name: Spanned<String>,
    pub syslog: Syslog,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Syslog {
    pub address: Spanned<String>,
    pub server_name: Spanned<String>,
    pub ca: Spanned<PathBuf>,
    pub certificate: Option<Spanned<PathBuf>>,
    pub key: Option<Spanned<PathBuf>>,
    #[serde(default)]
    pub send: Send,
}

/// Which events a sink sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Send {
    /// What somebody should look at.
    #[default]
    Alerts,
    /// Everything.
    All,
}
