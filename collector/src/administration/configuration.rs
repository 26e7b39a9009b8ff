//! Which configuration the collector works by, and what is other than when it ran last.

use super::{fact, own};
use crate::durable::{self, Sync};
use norma_wire::audit::{Administration, AdministrativeAct as Act};
use norma_wire::text::Hex;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// Below the state directory: the settings of the last start.
pub const KEPT: &str = "configuration";
/// Values of settings with these in their names are not recorded.
const SECRET: [&str; 4] = ["pin", "password", "secret", "token"];
/// More is told by number.
const MOST_CHANGES: usize = 50;

/// A configuration as it was given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Given {
    /// The file.
    pub file: PathBuf,
    /// SHA-256 of its bytes, in hex.
    pub sha256: String,
    /// Each setting by its path, such as `audit.segment_bytes`.
    pub settings: BTreeMap<String, String>,
}

impl Given {
    /// What the file at `path` with this content gives; `parsed` is that content.
    pub fn new(path: &Path, bytes: &[u8], parsed: &Value) -> Self {
        let mut settings = BTreeMap::new();
        flatten(parsed, String::new(), &mut settings);
        Self {
            file: path.to_owned(),
            sha256: Hex(&Sha256::digest(bytes)).to_string(),
            settings,
        }
    }
}

fn flatten(value: &Value, path: String, into: &mut BTreeMap<String, String>) {
    let below = |name: &str| match path.as_str() {
        "" => name.to_owned(),
        path => format!("{path}.{name}"),
    };
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                flatten(value, below(name), into);
            }
        }
        Value::Array(values) => {
            for (number, value) in values.iter().enumerate() {
                flatten(value, below(&number.to_string()), into);
            }
        }
        Value::String(text) => drop(into.insert(path, text.clone())),
        other => drop(into.insert(path, other.to_string())),
    }
}

/// The settings of the last start; `None` where there are none that can be read.
pub fn read(kept: &Path) -> Option<Given> {
    serde_json::from_slice(&std::fs::read(kept).ok()?).ok()
}

/// Keeps the settings for the next start.
pub fn keep(kept: &Path, given: &Given) -> io::Result<()> {
    let bytes = serde_json::to_vec(given).map_err(io::Error::other)?;
    durable::replace(kept, &bytes, Sync::Now)
}

/// The record of a start with this configuration.
pub fn record(given: &Given, before: Option<&Given>) -> Administration {
    let mut facts = vec![
        fact("sha256", &given.sha256),
        fact("collector", env!("CARGO_PKG_VERSION")),
    ];
    match program_sha256() {
        Ok(hash) => facts.push(fact("program sha256", hash)),
        Err(error) => facts.push(fact("program sha256", format!("unknown: {error}"))),
    }
    match before {
        None => facts.push(fact(
            "changed",
            "unknown: no configuration of an earlier start is kept",
        )),
        Some(before) => {
            let changes = changes(&before.settings, &given.settings);
            if changes.is_empty() {
                facts.push(fact("changed", "nothing"));
            }
            let more = changes.len().saturating_sub(MOST_CHANGES);
            facts.extend(
                changes
                    .iter()
                    .take(MOST_CHANGES)
                    .map(|change| fact("changed", change)),
            );
            if more > 0 {
                facts.push(fact("changed", format!("and {more} more")));
            }
        }
    }
    own(Act::Configuration, given.file.display().to_string(), facts)
}

fn changes(before: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> Vec<String> {
    let mut names: Vec<&String> = before.keys().chain(now.keys()).collect();
    names.sort_unstable();
    names.dedup();
    names
        .into_iter()
        .filter(|name| before.get(*name) != now.get(*name))
        .map(|name| {
            if SECRET.iter().any(|secret| name.contains(secret)) {
                return format!("{name} (its values are not recorded)");
            }
            match (before.get(name), now.get(name)) {
                (Some(before), Some(now)) => format!("{name} from `{before}` to `{now}`"),
                (None, Some(now)) => format!("{name} to `{now}`, which was not set"),
                (before, None) => format!(
                    "{name}, which is not set any more and was `{}`",
                    before.map(String::as_str).unwrap_or_default()
                ),
            }
        })
        .collect()
}

/// SHA-256 of the running program's file, in hex.
fn program_sha256() -> io::Result<String> {
    let mut file = std::fs::File::open("/proc/self/exe")?;
    let mut hash = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(Hex(hash.finish().as_ref()).to_string()),
            read => hash.update(&buffer[..read]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(yaml: &str) -> Given {
        let path = Path::new("c.yaml");
        let parsed: Value = norma_settings::parse(path, yaml).unwrap();
        Given::new(path, yaml.as_bytes(), &parsed)
    }

    fn changed(before: &str, now: &str) -> Vec<String> {
        let record = record(&given(now), Some(&given(before)));
        let facts = record.facts.into_iter();
        facts
            .filter(|fact| fact.name == "changed")
            .map(|fact| fact.value)
            .collect()
    }

    #[test]
    fn each_setting_that_changed_is_named_with_both_values_but_secrets() {
        let before =
            "listen: a\naudit: {segment_bytes: 65536}\nsinks: [{name: x}]\npkcs11: {pin: \"1234\"}\n";
        assert_eq!(changed(before, before), ["nothing"]);
        let now = "listen: b\nsinks: [{name: x}, {name: other}]\npkcs11: {pin: \"9876\"}\n";
        assert_eq!(
            changed(before, now),
            [
                "audit.segment_bytes, which is not set any more and was `65536`",
                "listen from `a` to `b`",
                "pkcs11.pin (its values are not recorded)",
                "sinks.1.name to `other`, which was not set",
            ]
        );
    }

    #[test]
    fn what_is_kept_is_read_again_and_what_is_damaged_is_unknown() {
        let folder = tempfile::tempdir().unwrap();
        let kept = folder.path().join(KEPT);
        assert_eq!(read(&kept), None);
        let given = given("listen: a\n");
        keep(&kept, &given).unwrap();
        assert_eq!(read(&kept).as_ref(), Some(&given));
        std::fs::write(&kept, "{").unwrap();
        assert_eq!(read(&kept), None);
        let record = record(&given, None);
        assert!(
            record
                .facts
                .iter()
                .any(|fact| fact.value.starts_with("unknown: no "))
        );
        assert_eq!(
            record
                .facts
                .iter()
                .find(|fact| fact.name == "sha256")
                .map(|fact| fact.value.as_str()),
            // As `printf 'listen: a\n' | sha256sum` gives it.
            Some("b81b84ce712df26be9830842439235359bedb7954dff4cc5915b55eb8ddd0e6a")
        );
    }
}
