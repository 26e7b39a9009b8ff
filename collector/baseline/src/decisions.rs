//! What people decided, as far as a program believes that they did.
//!
//! One file beside the baselines holds all decisions that were taken. A decision counts if a key signed it that the
//! program's own configuration trusts, wherever it came from; it is on stable storage before it is in force.

use crate::file::{self, FileError};
use crate::overlay::{DecisionError, Overlay, SignedDecision};
use crate::signature::TrustedKeys;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Name of the file in the directory of baselines.
pub const FILE: &str = "overlay";
/// Most decisions that are kept: more than people make, and few enough to be read at every start.
const KEPT_MAX: usize = 100_000;

/// Decisions that cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum DecisionsError {
    /// They cannot be written, so they are not in force.
    #[error("cannot keep what was decided: {0}")]
    Unwritten(#[from] FileError),
    /// There are more than are kept.
    #[error("{found} decisions are more than the {KEPT_MAX} that are kept")]
    TooMany {
        /// How many there would be.
        found: usize,
    },
}

/// What came of decisions that were offered.
#[derive(Debug, Default)]
pub struct Taken {
    /// In force from now on; those that were in force already are not here.
    pub new: Vec<SignedDecision>,
    /// Not in force, and why.
    pub refused: Vec<(SignedDecision, DecisionError)>,
}

/// Something that was decided and is not in force.
#[derive(Debug, thiserror::Error)]
pub enum Dropped {
    /// The file cannot be read; no decision is in force.
    #[error("what people decided cannot be read, none of it is in force: {0}")]
    Unreadable(FileError),
    /// The file is damaged; no decision is in force.
    #[error("what people decided is damaged and set aside as {}, none of it is in force: {reason}", aside.display())]
    Damaged {
        /// Where it lies now.
        aside: PathBuf,
        /// What is wrong.
        reason: FileError,
    },
    /// A key signed it that is not trusted any more. It stays in the file until the next decision.
    #[error("what {who} decided on {workload} is not in force, see baselines.trusted_keys: {reason}")]
    Untrusted {
        /// Who decided.
        who: Arc<str>,
        /// On what.
        workload: Arc<str>,
        /// Why it does not count.
        reason: DecisionError,
    },
}

/// All decisions that are in force.
#[derive(Debug)]
pub struct Decisions {
    path: PathBuf,
    keys: TrustedKeys,
    overlay: Overlay,
}

impl Decisions {
    /// Reads what was decided before from [`FILE`] in a directory, and what of it is not in force.
    #[must_use]
    pub fn open(directory: &Path, keys: TrustedKeys) -> (Self, Vec<Dropped>) {
        let path = directory.join(FILE);
        let mut dropped = Vec::new();
        let mut overlay = match file::read::<Overlay>(&path) {
            Ok(overlay) => overlay,
            Err(FileError::System { reason, .. }) if reason.kind() == std::io::ErrorKind::NotFound => {
                Overlay::new()
            }
            Err(reason @ FileError::System { .. }) => {
                dropped.push(Dropped::Unreadable(reason));
                Overlay::new()
            }
            Err(reason @ FileError::Format { .. }) => {
                let aside = path.with_extension("damaged");
                dropped.push(match std::fs::rename(&path, &aside) {
                    Ok(()) => Dropped::Damaged { aside, reason },
                    Err(_) => Dropped::Unreadable(reason),
                });
                Overlay::new()
            }
        };
        dropped.extend(
            overlay
                .retain_trusted(&keys)
                .into_iter()
                .map(|(decision, reason)| Dropped::Untrusted {
                    who: Arc::clone(&decision.decision().who),
                    workload: Arc::clone(&decision.decision().workload),
                    reason,
                }),
        );
        (Self { path, keys, overlay }, dropped)
    }

    /// Puts in force what is signed by a trusted key, and keeps it on stable storage before.
    pub fn take(&mut self, offered: &Overlay) -> Result<Taken, DecisionsError> {
        let mut taken = Taken::default();
        let mut overlay = self.overlay.clone();
        for decision in offered.decisions() {
            match overlay.add(decision.clone(), &self.keys) {
                Ok(true) => taken.new.push(decision.clone()),
                Ok(false) => {}
                Err(error) => taken.refused.push((decision.clone(), error)),
            }
        }
        if taken.new.is_empty() {
            return Ok(taken);
        }
        let found = overlay.decisions().count();
        if found > KEPT_MAX {
            return Err(DecisionsError::TooMany { found });
        }
        file::write(&self.path, &overlay)?;
        self.overlay = overlay;
        Ok(taken)
    }

    /// All that is in force.
    #[must_use]
    pub const fn overlay(&self) -> &Overlay {
        &self.overlay
    }
}
