//! The configuration file as typed.

use super::baselines::RawBaselines;
use super::sensor::RawSensor;
use super::{
    CollectorAddress, CollectorTarget, DEFAULT_OUTBOX_AGE, DEFAULT_OUTBOX_BYTES, DEFAULT_SEGMENT_BYTES,
    MIN_OUTBOX_AGE, MIN_SEGMENT_BYTES,
};
use crate::enrol::store;
use crate::identity::engine::Places;
use crate::judge::baseline::Learning;
use crate::outbox::Limits;
use crate::posture::PostureConfig;
use norma_baseline::estimate::Criteria;
use norma_baseline::evidence::Sampling;
use norma_metrics::Listen;
use norma_settings::{Faults, Spanned};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawConfig {
    pub node: Option<Spanned<String>>,
    pub state_dir: Option<PathBuf>,
    pub collector: Option<RawCollector>,
    pub learning: Option<RawLearning>,
    pub baselines: Option<RawBaselines>,
    pub policies: Option<Vec<Spanned<PathBuf>>>,
    #[serde(default)]
    pub outbox: RawOutbox,
    #[serde(default)]
    pub sensor: RawSensor,
    pub identity: Option<RawIdentity>,
    pub runtime: Option<RawRuntime>,
    pub posture: Option<RawPosture>,
    pub events: Option<RawEvents>,
    pub metrics: Option<RawMetrics>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawMetrics {
    listen: Spanned<String>,
}

impl RawMetrics {
    pub fn validate(&self, path: &Path, faults: &mut Faults) -> Option<Listen> {
        match self.listen.value.parse() {
            Ok(listen) => Some(listen),
            Err(error) => {
                let message = format!("metrics.listen: `{}` {error}", self.listen.value);
                faults.push(path, &self.listen, message);
                None
            }
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawCollector {
    address: Spanned<String>,
    server_name: Option<Spanned<String>>,
    #[serde(default)]
    fallbacks: Vec<Spanned<String>>,
    ca: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
    renew: Option<Spanned<bool>>,
    answer_timeout: Option<Spanned<String>>,
}

/// A collector takes a fraction of a second, and hundreds of milliseconds when it is full; a disk that is given up takes
/// less than a minute.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLearning {
    window: Option<Spanned<String>>,
    budget: Option<Spanned<f64>>,
    unit: Option<Spanned<String>>,
    observe: Option<Spanned<String>>,
    pub share: Option<bool>,
    release_after: Option<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawOutbox {
    max_bytes: Option<Spanned<u64>>,
    segment_bytes: Option<Spanned<u64>>,
    max_age: Option<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawIdentity {
    pub runtime_roots: Option<Vec<PathBuf>>,
    workload_label: Option<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRuntime {
    cri_socket: Option<Spanned<PathBuf>>,
    docker_socket: Option<Spanned<PathBuf>>,
    docker_root: Option<Spanned<PathBuf>>,
    podman_socket: Option<Spanned<PathBuf>>,
    podman_root: Option<Spanned<PathBuf>>,
    pub ask_engines: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPosture {
    approved_registries: Option<Vec<Spanned<String>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawEvents {
    pub host: Option<bool>,
}

impl RawCollector {
    pub fn validate(&self, path: &Path, base: &Path, faults: &mut Faults) -> Option<CollectorTarget> {
        let first = self.address(&self.address, path, faults);
        // Each that is wrong is named.
        let fallbacks: Vec<_> = self
            .fallbacks
            .iter()
            .map(|address| self.address(address, path, faults))
            .collect();
        let CollectorAddress { address, server_name } = first?;
        Some(CollectorTarget {
            address,
            server_name,
            fallbacks: fallbacks.into_iter().collect::<Option<_>>()?,
            ca: base.join(&self.ca),
            certificate: base.join(&self.certificate),
            key: base.join(&self.key),
            renew: self.renew(path, base, faults),
            answer_timeout: match &self.answer_timeout {
                Some(given) => positive(path, given, faults)?,
                None => ANSWER_TIMEOUT,
            },
        })
    }

    fn address(&self, text: &Spanned<String>, path: &Path, faults: &mut Faults) -> Option<CollectorAddress> {
        let address = &text.value;
        let host = address.rsplit_once(':').and_then(|(host, port)| {
            port.parse::<u16>()
                .ok()
                .filter(|port| *port != 0 && !host.is_empty())
                .map(|_| host)
        });
        let Some(host) = host else {
            faults.push(path, text, format!("`{address}` is not `host:port`"));
            return None;
        };
        let (name, at) = match &self.server_name {
            Some(name) => (name.value.as_str(), name),
            None => (host.trim_start_matches('[').trim_end_matches(']'), text),
        };
        match rustls_pki_types::ServerName::try_from(name.to_owned()) {
            Ok(server_name) => Some(CollectorAddress {
                address: address.clone(),
                server_name,
            }),
            Err(_) => {
                faults.push(
                    path,
                    at,
                    format!("`{name}` is neither a DNS name nor an IP address"),
                );
                None
            }
        }
    }
}

impl RawCollector {
    fn renew(&self, path: &Path, base: &Path, faults: &mut Faults) -> bool {
        let Some(renew) = self.renew.as_ref().filter(|renew| renew.value) else {
            return false;
        };
        let certificate = base.join(&self.certificate);
        let directory = certificate.parent().unwrap_or(Path::new("."));
        let fits = store::is_ours(directory)
            && certificate == directory.join(store::CERTIFICATE)
            && base.join(&self.key) == directory.join(store::KEY);
        if !fits {
            faults.push(
                path,
                renew,
                "the agent renews only what `norma-agent enrol` got: `certificate` and `key` must be tls.crt and tls.key in \
                 its directory",
            );
        }
        fits
    }
}

/// How many small sampling units make a large one.
const UNITS_OF_LARGE: u32 = 4;

impl RawLearning {
    /// How long a new revision runs before it is reported what it does differently.
    pub fn release_after(&self, path: &Path, faults: &mut Faults) -> Option<Duration> {
        positive(path, self.release_after.as_ref()?, faults)
    }

    /// By evidence, or by the clock where a window is given. The default stands in for what is faulty.
    pub fn validate(&self, path: &Path, faults: &mut Faults) -> Learning {
        if let Some(window) = &self.window {
            let others = [
                self.budget.as_ref().map(|budget| ("budget", budget.referenced)),
                self.unit.as_ref().map(|unit| ("unit", unit.referenced)),
                self.observe
                    .as_ref()
                    .map(|observe| ("observe", observe.referenced)),
            ];
            for (name, at) in others.into_iter().flatten() {
                faults.push_at(
                    path,
                    at,
                    format!("`{name}` is for learning by evidence, and `window` for learning by the clock: drop one"),
                );
            }
            return positive(path, window, faults).map_or_else(Learning::default, Learning::Window);
        }
        let mut criteria = Criteria::default();
        if let Some(budget) = &self.budget {
            if budget.value > 0.0 && budget.value.is_finite() {
                criteria.budget = budget.value;
            } else {
                faults.push(
                    path,
                    budget,
                    "the budget is a number of new behaviours per day, more than 0",
                );
            }
        }
        if let Some(observe) = self
            .observe
            .as_ref()
            .and_then(|text| positive(path, text, faults))
        {
            criteria.observed = observe;
        }
        let mut sampling = Sampling::default();
        if let Some(text) = &self.unit
            && let Some(unit) = positive(path, text, faults)
        {
            match u32::try_from(unit.as_secs()) {
                Ok(small @ 1..=86_400) => {
                    sampling = Sampling::Hours {
                        small,
                        large: small * UNITS_OF_LARGE,
                    };
                }
                _ => faults.push(path, text, "a sampling unit takes from 1s to 24h"),
            }
        }
        Learning::ByEvidence { criteria, sampling }
    }
}

fn positive(path: &Path, text: &Spanned<String>, faults: &mut Faults) -> Option<Duration> {
    match norma_settings::duration(&text.value) {
        Ok(duration) if !duration.is_zero() => return Some(duration),
        Ok(_) => faults.push(path, text, "it must be longer than nothing"),
        Err(fault) => faults.push(path, text, fault),
    }
    None
}

impl RawOutbox {
    pub fn validate(&self, path: &Path, faults: &mut Faults) -> Limits {
        let segment_bytes = self
            .segment_bytes
            .as_ref()
            .map_or(DEFAULT_SEGMENT_BYTES, |given| given.value);
        let max_bytes = self
            .max_bytes
            .as_ref()
            .map_or(DEFAULT_OUTBOX_BYTES, |given| given.value);
        if let Some(given) = &self.segment_bytes
            && given.value < MIN_SEGMENT_BYTES
        {
            faults.push(
                path,
                given,
                format!("segment_bytes must be at least {MIN_SEGMENT_BYTES}"),
            );
        }
        if max_bytes < segment_bytes.saturating_mul(2)
            && let Some(at) = self.max_bytes.as_ref().or(self.segment_bytes.as_ref())
        {
            faults.push(
                path,
                at,
                "max_bytes must hold at least two segments (2 × segment_bytes)",
            );
        }
        Limits {
            max_bytes,
            segment_bytes,
            max_age: self.max_age(path, faults),
        }
    }
}

impl RawOutbox {
    fn max_age(&self, path: &Path, faults: &mut Faults) -> Duration {
        let Some(text) = &self.max_age else {
            return DEFAULT_OUTBOX_AGE;
        };
        match norma_settings::duration(&text.value) {
            Ok(age) if age >= MIN_OUTBOX_AGE => return age,
            Ok(_) => faults.push(
                path,
                text,
                format!(
                    "`{}` is less than {}: events would be dropped while a collector is being restarted",
                    text.value,
                    humantime::format_duration(MIN_OUTBOX_AGE)
                ),
            ),
            Err(fault) => faults.push(path, text, fault),
        }
        DEFAULT_OUTBOX_AGE
    }
}

impl RawIdentity {
    /// The label that names workloads, where it can be one's key: Kubernetes' own syntax, `PREFIX/NAME` or `NAME`.
    pub fn workload_label(&self, path: &Path, faults: &mut Faults) -> Option<String> {
        let label = self.workload_label.as_ref()?;
        let is_key = |text: &str, most: usize| {
            (1..=most).contains(&text.len())
                && text
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        };
        let fits = match label.value.split_once('/') {
            Some((prefix, name)) => is_key(prefix, 253) && is_key(name, 63),
            None => is_key(&label.value, 63),
        };
        if fits {
            return Some(label.value.clone());
        }
        faults.push(
            path,
            label,
            format!(
                "`{}` is no key of a label or annotation, such as `norma.dev/workload`",
                label.value
            ),
        );
        None
    }
}

impl RawRuntime {
    /// Whether a socket is there is seen when it is asked: it comes and goes with the runtime.
    pub fn cri_socket(&self, path: &Path, base: &Path, faults: &mut Faults) -> Option<PathBuf> {
        place(path, base, faults, ("cri_socket", self.cri_socket.as_ref()?))
    }

    /// Where Docker and podman are, at their usual places where nothing is said.
    pub fn engines(&self, path: &Path, base: &Path, faults: &mut Faults) -> Places {
        let mut places = Places::default();
        for (name, raw, target) in [
            ("docker_socket", &self.docker_socket, &mut places.docker_socket),
            ("docker_root", &self.docker_root, &mut places.docker_root),
            ("podman_socket", &self.podman_socket, &mut places.podman_socket),
            ("podman_root", &self.podman_root, &mut places.podman_root),
        ] {
            if let Some(raw) = raw
                && let Some(place) = place(path, base, faults, (name, raw))
            {
                *target = place;
            }
        }
        places
    }
}

/// A path that is neither empty nor a URL.
fn place(
    path: &Path,
    base: &Path,
    faults: &mut Faults,
    (name, raw): (&str, &Spanned<PathBuf>),
) -> Option<PathBuf> {
    let text = raw.value.to_string_lossy();
    if text.is_empty() {
        faults.push(
            path,
            raw,
            format!("{name} is empty: leave it out to have the usual places searched"),
        );
        return None;
    }
    if text.contains("://") {
        faults.push(path, raw, format!("`{text}` is a URL; {name} is a path alone"));
        return None;
    }
    Some(base.join(&raw.value))
}

impl RawPosture {
    pub fn validate(self, path: &Path, faults: &mut Faults) -> PostureConfig {
        let mut config = PostureConfig::default();
        for place in self.approved_registries.into_iter().flatten() {
            let host = place.value.split('/').next().unwrap_or_default();
            let fits = !host.is_empty()
                && !place.value.contains("://")
                && place
                    .value
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/[]".contains(&byte));
            if fits {
                config.approved_registries.push(place.value);
            } else {
                faults.push(
                    path,
                    &place,
                    format!(
                        "`{}` is no registry: write `HOST`, `HOST:PORT` or `HOST/PATH`, such as `docker.io/library`",
                        place.value
                    ),
                );
            }
        }
        config
    }
}
