//! What is left of a segment that policy removed, besides its manifest: a note beside it, signed by the log's key.
//!
//! ```text
//! norma.dev/audit-tombstone/v1
//! segment NUMBER
//! records FIRST LAST
//! manifest HASH                               SHA-256 of its manifest, as the tlog names it
//! removed TIME                                ns since 1970-01-01 UTC
//! after INDEX                                 newest record of the log then; the record of the removal comes later
//! reason TEXT                                 the policy
//! archive URL VERSION HASH TIME               where it is kept, SHA-256 of that, and locked until when (0: not locked)
//! ```
//!
//! The same text is in a record of the log that comes before the removal, so that who has the key cannot remove a
//! segment by a tombstone alone: witnesses have seen what the log says.

use super::entry::Sealed;
use super::key::{LogKey, TokenError};
use super::manifest::Manifest;
use super::segment::Segment;
use super::text::{Lines, Malformed};
use norma_tlog::{Hash, Note, VerifierKey};
use std::fmt;
use std::fs;
use std::io;

const TITLE: &str = "norma.dev/audit-tombstone/v1";

/// What a tombstone says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tombstone {
    /// Number of the segment.
    pub segment: u64,
    /// First and last record.
    pub records: (u64, u64),
    /// SHA-256 of its manifest.
    pub manifest: Hash,
    /// When, nanoseconds since 1970.
    pub removed_ns: u64,
    /// The newest record of the log then.
    pub after: u64,
    /// By which policy, on one line.
    pub reason: String,
    /// Where it is kept.
    pub archive: Option<Kept>,
}

/// A copy in an archive's store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Where, without spaces.
    pub url: String,
    /// The store's version of it, `-` where it has none.
    pub version: String,
    /// SHA-256 of the object.
    pub sha256: Hash,
    /// Locked until then, nanoseconds since 1970; 0 where it is not.
    pub retain_until_ns: u64,
}

impl Tombstone {
    /// Reads the text of one, which has one form only.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let mut lines = Lines::of(text.as_bytes())?;
        if lines.word()? != TITLE {
            return Err(lines.wrong(&format!("`{TITLE}`")));
        }
        let tombstone = Self {
            segment: lines.number("segment")?,
            records: lines.pair("records")?,
            manifest: lines.hash("manifest")?,
            removed_ns: lines.number("removed")?,
            after: lines.number("after")?,
            reason: {
                let line = lines.word()?;
                let reason = line.strip_prefix("reason ");
                reason
                    .ok_or_else(|| lines.wrong("`reason` and a text"))?
                    .to_owned()
            },
            archive: match lines.more("archive", 4)? {
                Some(values) => Some(Kept {
                    url: lines.parse(values.first().copied())?,
                    version: lines.parse(values.get(1).copied())?,
                    sha256: lines.parse(values.get(2).copied())?,
                    retain_until_ns: lines.parse(values.get(3).copied())?,
                }),
                None => None,
            },
        };
        lines.canonical(&tombstone)?;
        Ok(tombstone)
    }

    /// It, signed.
    pub fn sign(&self, key: &LogKey) -> Result<Note, TokenError> {
        let text = self.to_string();
        Ok(Note {
            signatures: vec![key.sign(&text)?],
            text,
        })
    }
}

/// The tombstone of a segment as it lies there, nothing of which is checked but its form.
pub fn read(segment: &Segment) -> io::Result<Option<(Note, Tombstone)>> {
    let bytes = match fs::read(segment.tombstone()) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let note = Note::parse(&bytes).map_err(|error| io::Error::other(error.to_string()))?;
    let tombstone = Tombstone::parse(&note.text).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(Some((note, tombstone)))
}

/// What proves that a segment was removed by policy: its tombstone and its manifest, held against what it was sealed as.
/// `None` where there is no tombstone, and what is wrong where there is one that proves nothing. Without keys nothing is
/// said of its signature.
pub fn examine(
    segment: &Segment,
    sealed: &Sealed,
    keys: &[VerifierKey],
) -> Option<Result<(Tombstone, Manifest), String>> {
    let (note, tombstone) = match read(segment) {
        Ok(None) => return None,
        Ok(Some(read)) => read,
        Err(error) => return Some(Err(format!("its tombstone cannot be read: {error}"))),
    };
    if (tombstone.segment, tombstone.records, tombstone.manifest)
        != (sealed.segment, sealed.records, sealed.manifest)
    {
        return Some(Err("its tombstone is that of another segment".to_owned()));
    }
    let is_signed_by = |key| matches!(note.verify(key), Ok(Some(_)));
    if !keys.is_empty() && !keys.iter().any(is_signed_by) {
        return Some(Err("its tombstone is not signed by the log's key".to_owned()));
    }
    let manifest = fs::read(segment.manifest()).map_err(|error| error.to_string());
    let manifest = manifest.and_then(|bytes| Manifest::parse(&bytes).map_err(|error| error.to_string()));
    Some(match manifest {
        Ok(manifest) if manifest.digest() == sealed.manifest => Ok((tombstone, manifest)),
        Ok(_) => Err("it has a tombstone, but its manifest is not the one that the tlog names".to_owned()),
        Err(error) => Err(format!(
            "it has a tombstone, but its manifest cannot be read: {error}"
        )),
    })
}

impl fmt::Display for Tombstone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{TITLE}\nsegment {}", self.segment)?;
        writeln!(f, "records {} {}", self.records.0, self.records.1)?;
        writeln!(f, "manifest {}\nremoved {}", self.manifest, self.removed_ns)?;
        writeln!(f, "after {}\nreason {}", self.after, self.reason)?;
        if let Some(kept) = &self.archive {
            writeln!(
                f,
                "archive {} {} {} {}",
                kept.url, kept.version, kept.sha256, kept.retain_until_ns
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tombstone_has_one_form() {
        let tombstone = Tombstone {
            segment: 3,
            records: (5, 9),
            manifest: Hash([7; 32]),
            removed_ns: 12,
            after: 40,
            reason: "retention.keep: 30d".to_owned(),
            archive: Some(Kept {
                url: "s3://bucket/a/b.parquet".to_owned(),
                version: "-".to_owned(),
                sha256: Hash([8; 32]),
                retain_until_ns: 0,
            }),
        };
        assert_eq!(Tombstone::parse(&tombstone.to_string()).as_ref(), Ok(&tombstone));
        let without = Tombstone {
            archive: None,
            ..tombstone
        };
        assert_eq!(Tombstone::parse(&without.to_string()).as_ref(), Ok(&without));
        assert!(Tombstone::parse(&format!("{without}more\n")).is_err());
    }
}
