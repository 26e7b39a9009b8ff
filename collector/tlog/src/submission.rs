//! What a log asks of a witness: the body of `add-checkpoint` (c2sp.org/tlog-witness).

use crate::checkpoint::decimal;
use crate::hash::Hash;
use crate::note::{Note, NoteError};
use crate::tree::MAX_PROOF;
use std::fmt;

/// A checkpoint, and that it goes on from the one that the witness has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    /// Tree size that the witness cosigned last.
    pub old_size: u64,
    /// Proof that the checkpoint goes on from there.
    pub proof: Vec<Hash>,
    /// The checkpoint, signed by the log.
    pub checkpoint: Note,
}

/// Bytes that are not a submission.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmissionError {
    /// Not of the form.
    #[error("not `old SIZE`, at most 63 hashes, an empty line and a checkpoint")]
    Form,
    /// The checkpoint.
    #[error("the checkpoint cannot be read: {0}")]
    Note(#[from] NoteError),
}

impl Submission {
    /// Reads the body of a request.
    pub fn parse(body: &[u8]) -> Result<Self, SubmissionError> {
        let text = std::str::from_utf8(body).map_err(|_| SubmissionError::Form)?;
        let (head, note) = text.split_once("\n\n").ok_or(SubmissionError::Form)?;
        let mut lines = head.split('\n');
        let old_size = lines
            .next()
            .and_then(|line| decimal(line.strip_prefix("old ")?))
            .ok_or(SubmissionError::Form)?;
        let proof = lines
            .map(|line| line.parse().map_err(|_| SubmissionError::Form))
            .collect::<Result<Vec<_>, _>>()?;
        if proof.len() > MAX_PROOF {
            return Err(SubmissionError::Form);
        }
        Ok(Self {
            old_size,
            proof,
            checkpoint: Note::parse(note.as_bytes())?,
        })
    }
}

impl fmt::Display for Submission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "old {}", self.old_size)?;
        self.proof.iter().try_for_each(|hash| writeln!(f, "{hash}"))?;
        write!(f, "\n{}", self.checkpoint)
    }
}
