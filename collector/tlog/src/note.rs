//! Signed text: c2sp.org/signed-note.

use crate::key::{VerifierKey, WrongSignature};
use std::fmt;
use std::str::FromStr;

/// No note of this crate is anywhere near; bounds what is looked at.
pub const MAX_NOTE: usize = 64 << 10;

/// Text with signatures, none of which is verified yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The text, with the newline at its end.
    pub text: String,
    /// Its signatures.
    pub signatures: Vec<SignatureLine>,
}

/// One signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureLine {
    /// Name of the key.
    pub name: String,
    /// Id of the key, which is its hash's beginning.
    pub id: [u8; 4],
    /// What the kind of key signs with.
    pub signature: Vec<u8>,
}

/// Bytes that are not a note.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Longer than any.
    #[error("it is longer than a note can be")]
    Long,
    /// Not text.
    #[error("it is not UTF-8 text without control characters")]
    Text,
    /// Nobody signed.
    #[error("it has no signatures after an empty line")]
    Unsigned,
    /// A line that is no signature.
    #[error("`{0}` is not a signature line")]
    Signature(String),
}

impl Note {
    /// Reads a note.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        if bytes.len() > MAX_NOTE {
            return Err(NoteError::Long);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| NoteError::Text)?;
        if text.bytes().any(|byte| byte < 0x20 && byte != b'\n') {
            return Err(NoteError::Text);
        }
        let (text, signatures) = text
            .rfind("\n\n")
            .map(|at| (&text[..=at], &text[at + 2..]))
            .ok_or(NoteError::Unsigned)?;
        let lines = signatures.strip_suffix('\n').ok_or(NoteError::Unsigned)?;
        Ok(Self {
            text: text.to_owned(),
            signatures: lines
                .split('\n')
                .map(SignatureLine::from_str)
                .collect::<Result<_, _>>()?,
        })
    }

    /// The signature of `key`, if there is one: the time that a witness says. More than one of a key is one that is
    /// wrong.
    pub fn verify(&self, key: &VerifierKey) -> Result<Option<Verified>, WrongSignature> {
        let mut lines = self.signatures.iter().filter(|line| line.is_of(key));
        let Some(line) = lines.next() else {
            return Ok(None);
        };
        if lines.next().is_some() {
            return Err(WrongSignature);
        }
        let time = key.verify(&self.text, line)?;
        Ok(Some(Verified { time }))
    }
}

/// A signature that verifies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// When a witness saw it, in seconds since 1970.
    pub time: Option<u64>,
}

impl SignatureLine {
    /// Whether it says that it is by `key`.
    pub fn is_of(&self, key: &VerifierKey) -> bool {
        self.name == key.name() && self.id == key.id()
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|line| line.fmt(f))
    }
}
