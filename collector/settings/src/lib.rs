//! Strict reading of YAML configuration.
//!
//! [`read`] turns a file into a typed value or into an error that names the file, the line, the field and,
//! for a misspelt key or choice, the nearest valid one. Types should use `#[serde(deny_unknown_fields)]`.
//! Faults that only show once a value is understood are gathered in [`Faults`], so that one start reports
//! all of them.

use serde::de::DeserializeOwned;
use serde_saphyr::Error as YamlError;
pub use serde_saphyr::{Location, Spanned};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("cannot read {}: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        reason: std::io::Error,
    },
    /// The file was read and is wrong; every line is one fault.
    #[error("{0}")]
    Wrong(Faults),
}

/// One thing that is wrong with a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The file.
    pub path: PathBuf,
    /// Line, from 1; 0 where the fault is about the whole file.
    pub line: u64,
    /// Column, from 1.
    pub column: u64,
    /// What is wrong and, where that is known, how to mend it.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            write!(f, "{}: {}", self.path.display(), self.message)
        } else {
            write!(
                f,
                "{}:{}:{}: {}",
                self.path.display(),
                self.line,
                self.column,
                self.message
            )
        }
    }
}

/// All that is wrong with a set of configuration files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults(pub Vec<Fault>);

impl Faults {
    /// Notes a fault of the value at `at` in `path`.
    pub fn push<T>(&mut self, path: &Path, at: &Spanned<T>, message: impl Into<String>) {
        self.push_at(path, at.referenced, message);
    }

    /// Notes a fault at a location of `path`.
    pub fn push_at(&mut self, path: &Path, at: Location, message: impl Into<String>) {
        self.0.push(Fault {
            path: path.to_owned(),
            line: at.line(),
            column: at.column(),
            message: message.into(),
        });
    }

    /// `value` where there is no fault, all the faults otherwise.
    pub fn or<T>(self, value: T) -> Result<T, SettingsError> {
        if self.0.is_empty() {
            Ok(value)
        } else {
            Err(SettingsError::Wrong(self))
        }
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{fault}")?;
        }
        Ok(())
    }
}

/// Reads one YAML document from a file.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<T, SettingsError> {
    parse(path, &read_text(path)?)
}

/// Reads every YAML document of a file.
pub fn read_all<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, SettingsError> {
    serde_saphyr::from_multiple(&read_text(path)?).map_err(|error| wrong(path, &error))
}

/// Reads one YAML document from `text`; `path` is named in errors.
pub fn parse<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, SettingsError> {
    serde_saphyr::from_str(text).map_err(|error| wrong(path, &error))
}

/// A duration as people write it: `500ms`, `5 min`, `1h 30m`.
pub fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|error| format!("`{text}` is not a duration such as `30s` or `5m`: {error}"))
}

/// A duration as [`duration`] reads it.
pub fn words(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

/// The word of `known` that `word` was probably meant to be.
pub fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), *candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len().max(word.len()) / 2)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

fn read_text(path: &Path) -> Result<String, SettingsError> {
    std::fs::read_to_string(path).map_err(|reason| SettingsError::Unreadable {
        path: path.to_owned(),
        reason,
    })
}

fn wrong(path: &Path, error: &YamlError) -> SettingsError {
    let error = error.without_snippet();
    let message = match error {
        YamlError::SerdeUnknownField { field, expected, .. } => unknown("key", field, expected),
        YamlError::SerdeUnknownVariant {
            variant, expected, ..
        } => unknown("value", variant, expected),
        YamlError::SerdeMissingField { field, .. } => format!("key `{field}` is missing"),
        other => {
            let text = other.to_string();
            text.split(" at line ").next().unwrap_or(&text).trim().to_owned()
        }
    };
    let mut faults = Faults::default();
    faults.push_at(path, error.location().unwrap_or(Location::UNKNOWN), message);
    SettingsError::Wrong(faults)
}

fn unknown(what: &str, word: &str, known: &[&'static str]) -> String {
    let list = known
        .iter()
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ");
    match nearest(word, known) {
        Some(near) => format!("unknown {what} `{word}`; did you mean `{near}`? (valid here: {list})"),
        None => format!("unknown {what} `{word}` (valid here: {list})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only the reading matters")]
    struct Sample {
        node: String,
        inner: Option<Inner>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only the reading matters")]
    struct Inner {
        count: u32,
        mode: Option<Mode>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Mode {
        Alert,
        Deny,
    }

    fn fault(text: &str) -> String {
        parse::<Sample>(Path::new("a.yaml"), text)
            .map(|_| ())
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn misspelt_key_names_line_and_nearest() {
        let message = fault("node: x\ninner:\n  cuont: 3\n");
        assert!(
            message.starts_with("a.yaml:3:3: unknown key `cuont`; did you mean `count`?"),
            "{message}"
        );
    }

    #[test]
    fn misspelt_choice_names_line_and_nearest() {
        let message = fault("node: x\ninner:\n  count: 3\n  mode: alrt\n");
        assert!(
            message.starts_with("a.yaml:4:9: unknown value `alrt`; did you mean `alert`?"),
            "{message}"
        );
    }

    #[test]
    fn wrong_type_and_missing_key_name_the_line() {
        assert!(fault("node: x\ninner:\n  count: many\n").starts_with("a.yaml:3:10: "));
        assert!(fault("inner: null\n").contains("`node` is missing"));
    }

    #[test]
    fn far_words_get_no_suggestion() {
        assert_eq!(nearest("zzzzzzzz", &["node", "inner"]), None);
    }
}
