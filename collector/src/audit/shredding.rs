//! What is left of the key of an encrypted segment that was destroyed: a note beside its manifest, signed by the log's
//! key.
//!
//! ```text
//! norma.dev/audit-shredding/v1
//! segment NUMBER
//! records FIRST LAST
//! manifest HASH                               SHA-256 of its manifest, as the tlog names it
//! shredded TIME                               ns since 1970-01-01 UTC
//! after INDEX                                 newest record of the log then; the record of the shredding comes later
//! uid NUMBER                                  user of the collector's host that handed it over
//! who TEXT                                    who wanted it, in their own words
//! reason TEXT                                 and why
//! ```
//!
//! The same text is in a record of the log that comes before the key is destroyed, as with tombstones.

use super::entry::Sealed;
use super::key::{LogKey, TokenError};
use super::segment::Segment;
use super::text::{Lines, Malformed};
use norma_tlog::{Hash, Note, VerifierKey};
use serde::Serialize;
use std::fmt;
use std::fs;
use std::io;

const TITLE: &str = "norma.dev/audit-shredding/v1";

/// What such a note says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shredding {
    /// Number of the segment.
    pub segment: u64,
    /// First and last record.
    pub records: (u64, u64),
    /// SHA-256 of its manifest.
    pub manifest: Hash,
    /// When, nanoseconds since 1970.
    pub shredded_ns: u64,
    /// The newest record of the log then.
    pub after: u64,
    /// Who handed it over.
    pub uid: u32,
    /// Who wanted it, on one line.
    pub who: String,
    /// And why, on one line.
    pub reason: String,
}

/// A segment whose contents were made unreadable, as reports have it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shredded {
    /// Its number.
    pub segment: u64,
    /// Its first and last record.
    pub records: (u64, u64),
    /// When, nanoseconds since 1970.
    pub shredded_ns: u64,
    /// Who wanted it.
    pub who: String,
    /// User of the collector's host that handed it over.
    pub uid: u32,
    /// Why.
    pub reason: String,
}

impl Shredding {
    /// Reads the text of one, which has one form only.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let mut lines = Lines::of(text.as_bytes())?;
        if lines.word()? != TITLE {
            return Err(lines.wrong(&format!("`{TITLE}`")));
        }
        let shredding = Self {
            segment: lines.number("segment")?,
            records: lines.pair("records")?,
            manifest: lines.hash("manifest")?,
            shredded_ns: lines.number("shredded")?,
            after: lines.number("after")?,
            uid: {
                let values = lines.values("uid", 1)?;
                lines.parse(values.first().copied())?
            },
            who: words(&mut lines, "who")?,
            reason: words(&mut lines, "reason")?,
        };
        lines.canonical(&shredding)?;
        Ok(shredding)
    }

    /// It, signed.
    pub fn sign(&self, key: &LogKey) -> Result<Note, TokenError> {
        let text = self.to_string();
        Ok(Note {
            signatures: vec![key.sign(&text)?],
            text,
        })
    }

    /// For a report.
    pub fn told(&self) -> Shredded {
        Shredded {
            segment: self.segment,
            records: self.records,
            shredded_ns: self.shredded_ns,
            who: self.who.clone(),
            uid: self.uid,
            reason: self.reason.clone(),
        }
    }
}

/// The note of a segment as it lies there, nothing of which is checked but its form.
pub fn read(segment: &Segment) -> io::Result<Option<(Note, Shredding)>> {
    let bytes = match fs::read(segment.shredding()) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let note = Note::parse(&bytes).map_err(|error| io::Error::other(error.to_string()))?;
    let shredding = Shredding::parse(&note.text).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(Some((note, shredding)))
}

/// What is stated of a segment that was sealed so: `None` where nothing is, and what is wrong where a note proves
/// nothing. Without keys nothing is said of its signature.
pub fn examine(
    segment: &Segment,
    sealed: &Sealed,
    keys: &[VerifierKey],
) -> Option<Result<Shredding, String>> {
    let (note, shredding) = match read(segment) {
        Ok(None) => return None,
        Ok(Some(read)) => read,
        Err(error) => return Some(Err(format!("the note of its shredding cannot be read: {error}"))),
    };
    if (shredding.segment, shredding.records, shredding.manifest)
        != (sealed.segment, sealed.records, sealed.manifest)
    {
        return Some(Err(
            "the note of its shredding is that of another segment".to_owned()
        ));
    }
    let is_signed_by = |key| matches!(note.verify(key), Ok(Some(_)));
    if !keys.is_empty() && !keys.iter().any(is_signed_by) {
        return Some(Err(
            "the note of its shredding is not signed by the log's key".to_owned()
        ));
    }
    Some(Ok(shredding))
}

fn words(lines: &mut Lines<'_>, name: &str) -> Result<String, Malformed> {
    let line = lines.word()?;
    let text = line.strip_prefix(name).and_then(|rest| rest.strip_prefix(' '));
    text.map(ToOwned::to_owned)
        .ok_or_else(|| lines.wrong(&format!("`{name}` and a text")))
}

impl fmt::Display for Shredding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{TITLE}\nsegment {}", self.segment)?;
        writeln!(f, "records {} {}", self.records.0, self.records.1)?;
        writeln!(f, "manifest {}\nshredded {}", self.manifest, self.shredded_ns)?;
        writeln!(
            f,
            "after {}\nuid {}\nwho {}\nreason {}",
            self.after, self.uid, self.who, self.reason
        )
    }
}

impl fmt::Display for Shredded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "segment {} (records {} to {}) by {} (uid {}) at {}: {}",
            self.segment,
            self.records.0,
            self.records.1,
            self.who,
            self.uid,
            super::show::time(self.shredded_ns),
            self.reason
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_one_form() {
        let shredding = Shredding {
            segment: 3,
            records: (5, 9),
            manifest: Hash([7; 32]),
            shredded_ns: 12,
            after: 40,
            uid: 0,
            who: "J. Doe".to_owned(),
            reason: "case 17".to_owned(),
        };
        assert_eq!(Shredding::parse(&shredding.to_string()).as_ref(), Ok(&shredding));
        assert!(Shredding::parse(&format!("{shredding}more\n")).is_err());
        let more = Shredding {
            reason: "two\nlines".to_owned(),
            ..shredding
        };
        assert!(Shredding::parse(&more.to_string()).is_err());
    }
}
