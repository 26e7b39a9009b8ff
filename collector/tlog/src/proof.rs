//! An entry with all that proves it: c2sp.org/tlog-proof.

use crate::checkpoint::decimal;
use crate::hash::Hash;
use crate::note::{Note, NoteError};
use crate::tree::MAX_PROOF;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::fmt;

/// First line of a file.
const MAGIC: &str = "c2sp.org/tlog-proof@v1";

/// A proof that an entry is in a log, which holds where the checkpoint's signatures count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// What the application needs to work out the entry; not to be believed by itself.
    pub extra: Option<Vec<u8>>,
    /// Index of the entry.
    pub index: u64,
    /// Proof of its inclusion.
    pub path: Vec<Hash>,
    /// The checkpoint with its signatures.
    pub checkpoint: Note,
}

/// Bytes that are not a proof.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// Something else.
    #[error("it does not begin with the line `{MAGIC}`")]
    Magic,
    /// A line is not what it has to be.
    #[error("line {line} is not {expected}")]
    Line {
        /// From 1.
        line: usize,
        /// What it should be.
        expected: &'static str,
    },
    /// The checkpoint.
    #[error("the checkpoint cannot be read: {0}")]
    Note(#[from] NoteError),
}

impl Proof {
    /// Reads a proof.
    pub fn parse(text: &str) -> Result<Self, ProofError> {
        let (head, note) = text.split_once("\n\n").ok_or(ProofError::Line {
            line: text.lines().count() + 1,
            expected: "an empty line before the checkpoint",
        })?;
        let mut lines = head.split('\n').enumerate().peekable();
        if lines.next().is_none_or(|(_, line)| line != MAGIC) {
            return Err(ProofError::Magic);
        }
        let wrong = |at: usize, expected| ProofError::Line {
            line: at + 1,
            expected,
        };
        let mut extra = None;
        if let Some((at, line)) = lines.next_if(|(_, line)| line.starts_with("extra ")) {
            let bytes = STANDARD.decode(&line["extra ".len()..]);
            extra = Some(bytes.map_err(|_| wrong(at, "`extra` and base64"))?);
        }
        let index = lines
            .next()
            .and_then(|(_, line)| decimal(line.strip_prefix("index ")?))
            .ok_or_else(|| wrong(1 + usize::from(extra.is_some()), "`index` and a number"))?;
        let mut path = Vec::new();
        for (at, line) in lines {
            if path.len() == MAX_PROOF {
                return Err(wrong(at, "part of a proof, which has at most 63 hashes"));
            }
            path.push(line.parse().map_err(|_| wrong(at, "a hash in base64"))?);
        }
        Ok(Self {
            extra,
            index,
            path,
            checkpoint: Note::parse(note.as_bytes())?,
        })
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{MAGIC}")?;
        if let Some(extra) = &self.extra {
            writeln!(f, "extra {}", STANDARD.encode(extra))?;
        }
        writeln!(f, "index {}", self.index)?;
        self.path.iter().try_for_each(|hash| writeln!(f, "{hash}"))?;
        write!(f, "\n{}", self.checkpoint)
    }
}
