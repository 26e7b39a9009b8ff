//! That another key follows a log's key: a note signed with both.
//!
//! C2SP leaves the change of a log's key to those who trust it: they list both keys. Whoever has nobody to ask (an agent
//! that took the key as it first saw it) follows such a statement. The signature of the old key says that the log's
//! owner meant it, that of the new one that they have it; two signatures under one checkpoint would not say the first.
//!
//! ```text
//! norma.dev/audit-key-rotation/v1
//! old VKEY
//! new VKEY
//! time SECONDS
//! ```

use crate::checkpoint::decimal;
use crate::key::{Use, VerifierKey};
use crate::note::{Note, NoteError};
use std::fmt;

const TITLE: &str = "norma.dev/audit-key-rotation/v1";

/// A change of a log's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// The key so far.
    pub old: VerifierKey,
    /// The one that follows it; of the same name.
    pub new: VerifierKey,
    /// When it was decided, in seconds since 1970.
    pub time: u64,
}

/// A note that changes no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRotation {
    /// Not a note.
    #[error("not a signed note: {0}")]
    Note(#[from] NoteError),
    /// Another text.
    #[error("not the text of a change of a log's key, or the keys are not two keys of one log")]
    Form,
    /// A signature is wrong or missing.
    #[error("the {0} key has not signed it")]
    Unsigned(&'static str),
}

impl Rotation {
    /// Reads a signed statement; gives it only where both keys have signed it. Whether the old key is to be believed
    /// is for the caller to know.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoRotation> {
        let note = Note::parse(bytes)?;
        let rotation = Self::of_text(&note.text).ok_or(NoRotation::Form)?;
        for (key, which) in [(&rotation.old, "old"), (&rotation.new, "new")] {
            if !matches!(note.verify(key), Ok(Some(_))) {
                return Err(NoRotation::Unsigned(which));
            }
        }
        Ok(rotation)
    }

    fn of_text(text: &str) -> Option<Self> {
        let lines: Vec<&str> = text.strip_suffix('\n')?.split('\n').collect();
        let [TITLE, old, new, time] = lines[..] else {
            return None;
        };
        let rotation = Self {
            old: old.strip_prefix("old ")?.parse().ok()?,
            new: new.strip_prefix("new ")?.parse().ok()?,
            time: decimal(time.strip_prefix("time ")?)?,
        };
        let (old, new) = (&rotation.old, &rotation.new);
        let fits =
            old != new && old.name() == new.name() && old.usage() == Use::Log && new.usage() == Use::Log;
        fits.then_some(rotation)
    }

    /// Whether statements, each in its signed form, lead from `old` to `new`.
    pub fn lead<'a>(
        statements: impl IntoIterator<Item = &'a [u8]>,
        old: &VerifierKey,
        new: &VerifierKey,
    ) -> bool {
        let mut believed = vec![old.clone()];
        for statement in statements {
            if let Ok(rotation) = Self::parse(statement)
                && believed.contains(&rotation.old)
            {
                believed.push(rotation.new);
            }
        }
        believed.contains(new)
    }
}

/// The text of its note.
impl fmt::Display for Rotation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{TITLE}\nold {}\nnew {}\ntime {}",
            self.old, self.new, self.time
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SigningKey;

    fn key(name: &str) -> SigningKey {
        SigningKey::generate(name).unwrap().0
    }

    fn statement(old: &SigningKey, new: &SigningKey, by: &[&SigningKey]) -> Vec<u8> {
        let rotation = Rotation {
            old: old.verifier(Use::Log),
            new: new.verifier(Use::Log),
            time: 1,
        };
        let text = rotation.to_string();
        let signatures = by.iter().map(|key| key.sign(&text)).collect();
        Note { text, signatures }.to_string().into_bytes()
    }

    #[test]
    fn only_both_keys_of_one_log_change_it() {
        let (a, b, other) = (key("log"), key("log"), key("another"));
        let made = statement(&a, &b, &[&a, &b]);
        assert_eq!(Rotation::parse(&made).unwrap().new, b.verifier(Use::Log));
        assert_eq!(
            Rotation::parse(&statement(&a, &b, &[&b])),
            Err(NoRotation::Unsigned("old"))
        );
        assert_eq!(
            Rotation::parse(&statement(&a, &b, &[&a])),
            Err(NoRotation::Unsigned("new"))
        );
        let foreign = statement(&a, &other, &[&a, &other]);
        assert_eq!(Rotation::parse(&foreign), Err(NoRotation::Form));
        let mut changed = made;
        let at = changed.windows(6).position(|word| word == b"time 1").unwrap();
        changed[at + 5] = b'2';
        assert!(matches!(Rotation::parse(&changed), Err(NoRotation::Unsigned(_))));
    }

    #[test]
    fn statements_lead_from_key_to_key_and_nowhere_else() {
        let keys: Vec<SigningKey> = (0..4).map(|_| key("log")).collect();
        let vkeys: Vec<VerifierKey> = keys.iter().map(|key| key.verifier(Use::Log)).collect();
        let step = |from: usize, to: usize| statement(&keys[from], &keys[to], &[&keys[from], &keys[to]]);
        let way = [step(0, 1), step(1, 2)];
        let lead =
            |from: usize, to: usize| Rotation::lead(way.iter().map(Vec::as_slice), &vkeys[from], &vkeys[to]);
        assert!(lead(0, 1) && lead(0, 2) && lead(1, 2) && lead(3, 3));
        assert!(!lead(1, 0) && !lead(2, 0) && !lead(0, 3));
    }
}
