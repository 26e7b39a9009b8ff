//! What the sensor is to see: the section `sensor` of the configuration.

use crate::hash::HashConfig;
use crate::judge::Sensitive;
use crate::sensor::{SensorConfig, Wanted, capability_names};
use norma_abi::{ARGV_MAX, WANT_ENVIRONMENT, WANT_FAILED_OPENS, WANT_KNOWN_CONNECTIONS};
use norma_settings::{Faults, Spanned};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::Path;

/// The section as typed.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSensor {
    ring_bytes: Option<Spanned<u32>>,
    reserved_ring_bytes: Option<Spanned<u32>>,
    argv_bytes: Option<Spanned<u32>>,
    known_behaviours: Option<Spanned<u32>>,
    known_connections: Option<KnownConnections>,
    environment: Option<bool>,
    failed_opens: Option<FailedOpens>,
    only: Option<Vec<Spanned<String>>>,
    off: Option<Vec<Spanned<String>>>,
    sensitive_files: Option<Vec<Spanned<String>>>,
    hash: Option<RawHash>,
}

/// Which files are hashed.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawHash {
    exec: Option<bool>,
    max_bytes: Option<Spanned<u64>>,
}

/// Largest file that is hashed where the configuration names no bound: most programs are smaller.
const DEFAULT_HASH_BYTES: u64 = 64 << 20;
/// The table for more would take half a gigabyte.
const MAX_KNOWN: u32 = 10_000_000;
/// A larger one would keep all others waiting for longer than an answer may take.
const MAX_HASH_BYTES: u64 = 4 << 30;

/// Which opens that fail are events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum FailedOpens {
    /// Those that are refused.
    #[default]
    Refused,
    /// Those of files that do not exist, too.
    All,
}

/// What becomes of TCP connections that are known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum KnownConnections {
    /// They are counted by peer, with their bytes.
    #[default]
    Counted,
    /// Each is an event.
    Reported,
}

impl RawSensor {
    /// Hashing of executed files, where it is wanted.
    pub fn hash(&self, path: &Path, faults: &mut Faults) -> Option<HashConfig> {
        let given = self.hash.as_ref()?;
        let max_bytes = given
            .max_bytes
            .as_ref()
            .map_or(DEFAULT_HASH_BYTES, |max| max.value);
        if let Some(max) = &given.max_bytes
            && !(1..=MAX_HASH_BYTES).contains(&max.value)
        {
            faults.push(
                path,
                max,
                format!(
                    "max_bytes must be 1 to {MAX_HASH_BYTES}: larger files keep the others waiting too long"
                ),
            );
        }
        if let (Some(max), None | Some(false)) = (&given.max_bytes, given.exec) {
            faults.push(
                path,
                max,
                "nothing is hashed: add `exec: true`, or take `max_bytes` out",
            );
        }
        (given.exec == Some(true)).then_some(HashConfig { max_bytes })
    }

    pub fn validate(&self, path: &Path, faults: &mut Faults) -> (SensorConfig, Sensitive) {
        let defaults = SensorConfig::default();
        let mut wants = 0;
        if self.environment == Some(true) {
            wants |= WANT_ENVIRONMENT;
        }
        if self.failed_opens == Some(FailedOpens::All) {
            wants |= WANT_FAILED_OPENS;
        }
        if self.known_connections.unwrap_or_default() == KnownConnections::Counted {
            wants |= WANT_KNOWN_CONNECTIONS;
        }
        let config = SensorConfig {
            ring_bytes: ring(
                "ring_bytes",
                self.ring_bytes.as_ref(),
                defaults.ring_bytes,
                path,
                faults,
            ),
            reserved_ring_bytes: ring(
                "reserved_ring_bytes",
                self.reserved_ring_bytes.as_ref(),
                defaults.reserved_ring_bytes,
                path,
                faults,
            ),
            argv_bytes: self.argv(path, faults),
            wants,
            known: self.known(path, faults),
            wanted: self.wanted(path, faults),
        };
        (config, self.sensitive(path, faults))
    }

    fn known(&self, path: &Path, faults: &mut Faults) -> u32 {
        let Some(given) = &self.known_behaviours else {
            return SensorConfig::default().known;
        };
        if given.value > MAX_KNOWN {
            faults.push(
                path,
                given,
                format!("known_behaviours can be at most {MAX_KNOWN}, and 0 to have every act reported"),
            );
        }
        given.value
    }

    fn argv(&self, path: &Path, faults: &mut Faults) -> u32 {
        let Some(given) = &self.argv_bytes else {
            return ARGV_MAX as u32;
        };
        if given.value as usize > ARGV_MAX {
            faults.push(path, given, format!("argv_bytes can be at most {ARGV_MAX}"));
        }
        given.value
    }

    fn wanted(&self, path: &Path, faults: &mut Faults) -> Wanted {
        if let (Some(_), Some(off)) = (&self.only, &self.off)
            && let Some(first) = off.first()
        {
            faults.push(
                path,
                first,
                "`only` and `off` exclude each other: give one of them",
            );
        }
        match (&self.only, &self.off) {
            (Some(only), _) => Wanted::Only(names(only, path, faults)),
            (None, Some(off)) => Wanted::Without(names(off, path, faults)),
            (None, None) => Wanted::All,
        }
    }

    fn sensitive(&self, path: &Path, faults: &mut Faults) -> Sensitive {
        let Some(given) = &self.sensitive_files else {
            return Sensitive::default();
        };
        for file in given {
            if !file.value.starts_with('/') {
                faults.push(
                    path,
                    file,
                    "an absolute path is wanted; `/dir/*` stands for all files of a directory",
                );
            }
        }
        Sensitive::new(given.iter().map(|file| file.value.clone()))
    }
}

fn ring(name: &str, given: Option<&Spanned<u32>>, default: u32, path: &Path, faults: &mut Faults) -> u32 {
    let Some(given) = given else { return default };
    if !given.value.is_power_of_two() || given.value < 4096 {
        faults.push(
            path,
            given,
            format!("{name} must be a power of two of at least 4096"),
        );
    }
    given.value
}

fn names(given: &[Spanned<String>], path: &Path, faults: &mut Faults) -> BTreeSet<String> {
    for name in given {
        if !capability_names().any(|known| known == name.value) {
            let known: Vec<&str> = capability_names().collect();
            let message = format!(
                "there is no capability `{}`; there are {}",
                name.value,
                known.join(", ")
            );
            faults.push(path, name, message);
        }
    }
    given.iter().map(|name| name.value.clone()).collect()
}
