//! Where archive files lie: `cluster=NAME/day=YYYY-MM-DD/audit-<first record>.parquet`, below a directory or a prefix.

use crate::audit::Manifest;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::fmt;
use std::str::FromStr;

/// Ends the names of archive files.
pub const EXTENSION: &str = "parquet";
/// Longest name of a cluster, which is that of a label.
const NAME_MAX: usize = 63;

/// Name of a cluster, which is a folder's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster(String);

impl Cluster {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Where the file of a segment lies, with `/` between folders.
    pub fn object(&self, manifest: &Manifest) -> String {
        let first = Timestamp::from_nanosecond(i128::from(manifest.time_ns.0)).unwrap_or_default();
        format!(
            "cluster={}/day={}/audit-{:020}.{EXTENSION}",
            self.0,
            first.to_zoned(TimeZone::UTC).date(),
            manifest.records.0
        )
    }
}

impl FromStr for Cluster {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let valid = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
        let begins = text
            .bytes()
            .next()
            .is_some_and(|byte| byte.is_ascii_alphanumeric());
        if begins && text.len() <= NAME_MAX && text.bytes().all(valid) {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!(
                "`{text}` is not the name of a cluster: 1 to {NAME_MAX} lower-case letters, digits, `-`, `_` and `.`, \
                 beginning with a letter or digit"
            ))
        }
    }
}

impl fmt::Display for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
