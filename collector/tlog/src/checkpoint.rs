//! The head of a tree at one size: c2sp.org/tlog-checkpoint.

use crate::hash::Hash;
use std::fmt;
use std::str::FromStr;

/// What a log says of its tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log.
    pub origin: String,
    /// How many entries.
    pub size: u64,
    /// Root of the tree over them.
    pub root: Hash,
}

/// The text of a note that is no checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not a checkpoint: a line with the origin, one with the tree size, one with the root hash")]
pub struct NotACheckpoint;

/// The text of its note. There are no extension lines: nobody could check what they say.
impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n{}\n{}", self.origin, self.size, self.root)
    }
}

/// Extension lines of other logs are passed over.
impl FromStr for Checkpoint {
    type Err = NotACheckpoint;

    fn from_str(text: &str) -> Result<Self, NotACheckpoint> {
        let text = text.strip_suffix('\n').ok_or(NotACheckpoint)?;
        let lines: Vec<&str> = text.split('\n').collect();
        let [origin, size, root, ..] = lines.as_slice() else {
            return Err(NotACheckpoint);
        };
        if lines.iter().any(|line| line.is_empty()) {
            return Err(NotACheckpoint);
        }
        Ok(Self {
            origin: (*origin).to_owned(),
            size: decimal(size).ok_or(NotACheckpoint)?,
            root: root.parse().map_err(|_| NotACheckpoint)?,
        })
    }
}

/// A number as these formats write it: digits alone, no leading zeroes.
pub(crate) fn decimal(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}
