//! Checks what a file says, and says of each fault where it is.

use super::{
    ApiConfig, Config, DEFAULT_CHECKPOINT_INTERVAL, DEFAULT_COMMIT_INTERVAL, DEFAULT_IN_FLIGHT,
    DEFAULT_MAX_AHEAD, DEFAULT_MAX_CLOCK_STEP, DEFAULT_MAX_EVENT_BYTES, DEFAULT_NODE_BYTES,
    DEFAULT_NODE_EVENTS, DEFAULT_NODE_IN_FLIGHT, DEFAULT_NODE_STREAMS, DEFAULT_SEGMENT_AGE,
    DEFAULT_SEGMENT_BYTES, DEFAULT_VALIDITY, EnrolmentConfig, EventLimits, NodeLimits, SinkConfig,
    SyslogConfig, TlsFiles, raw,
};
use crate::audit::key::KeySource;
use crate::audit::{AuditSettings, WriterSettings};
use crate::pki::Authority;
use crate::witness::ask::{self, Witnesses};
use norma_baseline::signature::TrustedKeys;
use norma_metrics::Listen;
use norma_settings::{Faults, Spanned};
use norma_tlog::Policy;
use rustls_pki_types::ServerName;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Percent, as the container platform SRG has it (SRG-APP-000359).
const DEFAULT_STORAGE_WARNING: u64 = 75;
/// Below, more is spent on file headers than on events.
const MIN_SEGMENT_BYTES: u64 = 64 << 10;
/// Longer would only delay acknowledgements.
const MAX_COMMIT_INTERVAL: Duration = Duration::from_secs(1);
/// Shorter, the files of a quiet log would hold little but their headers.
const MIN_SEGMENT_AGE: Duration = Duration::from_secs(60);
/// A year.
const MAX_SEGMENT_AGE: Duration = Duration::from_secs(366 * 24 * 3600);
/// Each checkpoint costs a handful of syncs.
const MIN_CHECKPOINT_INTERVAL: Duration = Duration::from_secs(1);
/// Longer, and silence could not be told from a stopped collector in useful time.
const MAX_CHECKPOINT_INTERVAL: Duration = Duration::from_secs(3600);
/// A batch of events must fit into one message.
const MAX_MAX_EVENT_BYTES: u64 = 4 << 20;
const MIN_MAX_EVENT_BYTES: u64 = 4 << 10;
/// Agents look once a minute whether it is time to renew.
const MIN_VALIDITY: Duration = Duration::from_secs(10 * 60);

/// What is said of one file.
pub(super) struct Check<'a> {
    pub path: &'a Path,
    /// Relative paths begin here.
    pub base: &'a Path,
    pub faults: Faults,
}

impl Check<'_> {
    pub fn config(&mut self, raw: &raw::Config) -> Config {
        let listen = self.listen(&raw.listen);
        let tls = TlsFiles {
            certificate: self.file(&raw.tls.certificate),
            key: self.file(&raw.tls.key),
            client_ca: self.file(&raw.tls.client_ca),
            crl: self.revocation_lists(&raw.tls, self.base.join(&raw.state_dir).join("crl")),
        };
        let mut names = BTreeSet::new();
        let mut sinks = Vec::new();
        for sink in &raw.sinks {
            let name = &sink.name.value;
            let valid = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            if name.is_empty() || name.len() > 63 || !name.bytes().all(valid) {
                self.fault(
                    &sink.name,
                    "a sink is named by 1 to 63 lower-case letters, digits and `-`",
                );
            }
            if !names.insert(name.clone()) {
                self.fault(&sink.name, "another sink has this name already");
            }
            sinks.push(SinkConfig {
                name: name.clone(),
                syslog: self.syslog(&sink.syslog),
            });
        }
        let witnesses = self.witnesses(raw.audit.as_ref());
        let state_dir = self.base.join(&raw.state_dir);
        let archive_dir = state_dir.join("archive");
        Config {
            given: None,
            listen,
            tls,
            audit: self.audit(raw.audit.as_ref(), &state_dir),
            witnesses,
            state_dir,
            events: self.events(&raw.limits),
            nodes: self.nodes(&raw.limits),
            storage_warning: {
                let percent = raw
                    .audit
                    .as_ref()
                    .and_then(|audit| audit.storage_warning.as_ref());
                self.bounded(percent, DEFAULT_STORAGE_WARNING, 1, 99)
            },
            trusted_keys: self.trusted_keys(raw.baselines.as_ref()),
            api: raw.api.as_ref().map(|raw| self.api(raw, listen)),
            metrics: raw.metrics.as_ref().and_then(|raw| self.metrics(raw)),
            archive: raw.archive.as_ref().map(|raw| self.archive(raw, &archive_dir)),
            retention: self.retention(&raw.retention, raw.archive.as_ref()),
            enrolment: raw.enrolment.as_ref().map(|raw| self.enrolment(raw)),
            sinks,
        }
    }

    fn events(&mut self, raw: &raw::Limits) -> EventLimits {
        let max_bytes = self.bounded(
            raw.max_event_bytes.as_ref(),
            DEFAULT_MAX_EVENT_BYTES,
            MIN_MAX_EVENT_BYTES,
            MAX_MAX_EVENT_BYTES,
        );
        let mut bound = |text: &Option<Spanned<String>>, default| {
            let Some(text) = text else { return default };
            norma_settings::duration(&text.value).unwrap_or_else(|error| {
                self.fault(text, error);
                default
            })
        };
        EventLimits {
            max_bytes: max_bytes as usize,
            max_ahead: bound(&raw.max_ahead, DEFAULT_MAX_AHEAD),
            max_clock_step: bound(&raw.max_clock_step, DEFAULT_MAX_CLOCK_STEP),
        }
    }

    fn nodes(&mut self, raw: &raw::Limits) -> NodeLimits {
        let (events, bytes) = (&raw.node_events_per_second, &raw.node_bytes_per_second);
        let in_flight = |this: &mut Self, value: &Option<Spanned<u64>>, default| {
            this.bounded(value.as_ref(), default, MAX_MAX_EVENT_BYTES, u32::MAX.into()) as usize
        };
        NodeLimits {
            events_per_second: self.bounded(events.as_ref(), DEFAULT_NODE_EVENTS, 1, u64::MAX),
            bytes_per_second: self.bounded(bytes.as_ref(), DEFAULT_NODE_BYTES, 1024, u64::MAX),
            in_flight_bytes: in_flight(self, &raw.node_in_flight_bytes, DEFAULT_NODE_IN_FLIGHT),
            all_in_flight_bytes: in_flight(self, &raw.in_flight_bytes, DEFAULT_IN_FLIGHT),
            streams: self.bounded(raw.node_streams.as_ref(), DEFAULT_NODE_STREAMS, 1, 1024) as usize,
        }
    }

    fn listen(&mut self, text: &Spanned<String>) -> SocketAddr {
        text.value.parse().unwrap_or_else(|_| {
            self.fault(
                text,
                "not an address to listen on such as `0.0.0.0:7443` or `[::]:7443`",
            );
            SocketAddr::from(([127, 0, 0, 1], 0))
        })
    }

    fn api(&mut self, raw: &raw::Api, agents: SocketAddr) -> ApiConfig {
        let listen = self.listen(&raw.listen);
        if listen.port() != 0 && listen == agents {
            self.fault(
                &raw.listen,
                "agents connect there (`listen`): people need a port of their own",
            );
        }
        ApiConfig { listen }
    }

    fn metrics(&mut self, raw: &raw::Metrics) -> Option<Listen> {
        match raw.listen.value.parse() {
            Ok(listen) => Some(listen),
            Err(error) => {
                self.fault(
                    &raw.listen,
                    format!("metrics.listen: `{}` {error}", raw.listen.value),
                );
                None
            }
        }
    }

    fn enrolment(&mut self, raw: &raw::Enrolment) -> EnrolmentConfig {
        let ca = self.base.join(&raw.ca.value);
        if let Err(error) = Authority::open(&ca) {
            self.fault(&raw.ca, format!("not the directory of an authority: {error}"));
        }
        let mut validity = DEFAULT_VALIDITY;
        if let Some(text) = &raw.validity {
            match norma_settings::duration(&text.value) {
                Ok(given) if given >= MIN_VALIDITY => validity = given,
                Ok(_) => self.fault(text, "must be 10 minutes at least: agents look once a minute"),
                Err(error) => self.fault(text, error),
            }
        }
        EnrolmentConfig {
            ca,
            listen: raw.listen.as_ref().map(|text| self.listen(text)),
            validity,
        }
    }

    fn trusted_keys(&mut self, raw: Option<&raw::Baselines>) -> TrustedKeys {
        let mut keys = Vec::new();
        for entry in raw.into_iter().flat_map(|baselines| &baselines.trusted_keys) {
            match TrustedKeys::named(&entry.value, self.base) {
                Ok(named) => keys.extend(named),
                Err(error) => self.fault(entry, error.to_string()),
            }
        }
        keys.into_iter().collect()
    }

    fn audit(&mut self, raw: Option<&raw::Audit>, state_dir: &Path) -> AuditSettings {
        let segment_bytes = raw.and_then(|audit| audit.segment_bytes.as_ref());
        let writer = WriterSettings {
            segment_bytes: self.bounded(segment_bytes, DEFAULT_SEGMENT_BYTES, MIN_SEGMENT_BYTES, u64::MAX),
            segment_age: self.duration(
                raw.and_then(|audit| audit.segment_age.as_ref()),
                DEFAULT_SEGMENT_AGE,
                MIN_SEGMENT_AGE..=MAX_SEGMENT_AGE,
                "must be between 1m and 366d",
            ),
            commit_interval: self.duration(
                raw.and_then(|audit| audit.commit_interval.as_ref()),
                DEFAULT_COMMIT_INTERVAL,
                Duration::ZERO..=MAX_COMMIT_INTERVAL,
                "must not be longer than 1s: acknowledgements wait for it",
            ),
        };
        let origin = raw.and_then(|audit| audit.origin.as_ref());
        if let Some(origin) = origin
            && let Err(error) = norma_tlog::key::check_name(&origin.value)
        {
            self.fault(origin, error.to_string());
        }
        let key = self.log_key(
            "key",
            raw.and_then(|audit| audit.key.as_ref()),
            &state_dir.join("audit.key.pub"),
        );
        let next_key = self.log_key(
            "next_key",
            raw.and_then(|audit| audit.next_key.as_ref()),
            &state_dir.join("audit.next_key.pub"),
        );
        if let (Some(KeySource::Token { .. }), None, Some(text)) =
            (&key, origin, raw.and_then(|audit| audit.key.as_ref()))
        {
            self.fault(
                text,
                "a token keeps no name of a log with the key: say which as `origin` beside it, such as \
                 `logs.example.org/norma`",
            );
        }
        AuditSettings {
            writer,
            checkpoint_interval: self.duration(
                raw.and_then(|audit| audit.checkpoint_interval.as_ref()),
                DEFAULT_CHECKPOINT_INTERVAL,
                MIN_CHECKPOINT_INTERVAL..=MAX_CHECKPOINT_INTERVAL,
                "must be between 1s and 1h",
            ),
            key: key.unwrap_or_else(|| KeySource::File(state_dir.join("audit.key"))),
            next_key,
            origin: origin.map(|origin| origin.value.clone()),
        }
    }

    fn log_key(&mut self, field: &str, text: Option<&Spanned<String>>, public: &Path) -> Option<KeySource> {
        let text = text?;
        match KeySource::named(&text.value, self.base, public) {
            Ok(source) => Some(source),
            Err(error) => {
                self.fault(text, format!("audit.{field}: {error}"));
                None
            }
        }
    }

    fn witnesses(&mut self, raw: Option<&raw::Audit>) -> Option<Witnesses> {
        let raw = raw?;
        let Some(file) = &raw.witnesses else {
            if let Some(ca) = &raw.witness_ca {
                self.fault(ca, "nobody is asked: `witnesses` is missing beside it");
            }
            return None;
        };
        let path = self.file(file);
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let ca = raw.witness_ca.as_ref().map(|ca| self.file(ca));
        let policy = match Policy::parse(&text) {
            Ok(policy) => policy,
            Err(error) => {
                self.fault(file, format!("{}: {error}", path.display()));
                return None;
            }
        };
        if let Err(what) = ask::check(&policy, ca.is_some()) {
            self.fault(file, format!("{}: {what}", path.display()));
        }
        Some(Witnesses { policy, ca })
    }

    pub fn duration(
        &mut self,
        text: Option<&Spanned<String>>,
        default: Duration,
        bounds: RangeInclusive<Duration>,
        out_of_bounds: &str,
    ) -> Duration {
        let Some(text) = text else {
            return default;
        };
        match norma_settings::duration(&text.value) {
            Ok(duration) if bounds.contains(&duration) => return duration,
            Ok(_) => self.fault(text, out_of_bounds),
            Err(error) => self.fault(text, error),
        }
        default
    }

    fn syslog(&mut self, raw: &raw::Syslog) -> SyslogConfig {
        let address = &raw.address.value;
        let port = address.rsplit_once(':').filter(|(host, _)| !host.is_empty());
        if !port.is_some_and(|(_, port)| port.parse::<u16>().is_ok_and(|port| port != 0)) {
            self.fault(&raw.address, "not an address such as `siem.example:6514`");
        }
        let server_name = ServerName::try_from(raw.server_name.value.clone()).unwrap_or_else(|_| {
            self.fault(
                &raw.server_name,
                "not a DNS name or address, as it is in the receiver's certificate",
            );
            ServerName::IpAddress(std::net::IpAddr::from([0, 0, 0, 0]).into())
        });
        let client = match (&raw.certificate, &raw.key) {
            (Some(certificate), Some(key)) => Some((self.file(certificate), self.file(key))),
            (None, None) => None,
            (Some(alone), None) | (None, Some(alone)) => {
                self.fault(
                    alone,
                    "`certificate` and `key` belong together; the other one is missing",
                );
                None
            }
        };
        SyslogConfig {
            address: address.clone(),
            server_name,
            ca: self.file(&raw.ca),
            client,
            send: raw.send,
        }
    }

    pub fn file(&mut self, path: &Spanned<PathBuf>) -> PathBuf {
        let full = self.base.join(&path.value);
        if let Err(error) = std::fs::File::open(&full) {
            self.fault(path, format!("cannot read {}: {error}", full.display()));
        }
        full
    }

    fn bounded(&mut self, value: Option<&Spanned<u64>>, default: u64, min: u64, max: u64) -> u64 {
        match value {
            Some(value) if (min..=max).contains(&value.value) => value.value,
            Some(value) if max == u64::MAX => {
                self.fault(value, format!("must be at least {min}"));
                default
            }
            Some(value) => {
                self.fault(value, format!("must be between {min} and {max}"));
                default
            }
            None => default,
        }
    }

    pub fn fault<T>(&mut self, at: &Spanned<T>, message: impl Into<String>) {
        self.faults.push(self.path, at, message);
    }
}
