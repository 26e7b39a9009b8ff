//! What people decided, as far as this node believes that they did.
//!
//! One file beside the baselines holds all decisions that were taken. A decision counts if a key signed it that this
//! node's own configuration trusts, wherever it came from; it is on stable storage before it is in force.

use norma_baseline::file::{self, FileError};
use norma_baseline::overlay::{DecisionError, Overlay, SignedDecision};
use norma_baseline::signature::TrustedKeys;
use std::path::{Path, PathBuf};

/// Name of the file in the directory of baselines.
const FILE: &str = "overlay";
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

/// All decisions that are in force on this node.
pub(super) struct Decisions {
    path: PathBuf,
    keys: TrustedKeys,
    overlay: Overlay,
}

impl Decisions {
    /// Reads what was decided before. A damaged file is set aside with a warning; what a key signed that is not
    /// trusted any more is left out, and stays in the file until the next decision.
    pub fn open(directory: &Path, keys: TrustedKeys) -> Self {
        let path = directory.join(FILE);
        let mut overlay = match file::read::<Overlay>(&path) {
            Ok(overlay) => overlay,
            Err(FileError::System { reason, .. }) if reason.kind() == std::io::ErrorKind::NotFound => {
                Overlay::new()
            }
            Err(error @ FileError::System { .. }) => {
                tracing::error!(%error, "what people decided cannot be read; no decision is in force");
                Overlay::new()
            }
            Err(error @ FileError::Format { .. }) => {
                tracing::error!(%error, "what people decided is damaged; it is set aside as overlay.damaged");
                if let Err(error) = std::fs::rename(&path, path.with_extension("damaged")) {
                    tracing::warn!(file = %path.display(), %error, "cannot set the damaged file aside");
                }
                Overlay::new()
            }
        };
        for (decision, error) in overlay.retain_trusted(&keys) {
            let decision = decision.decision();
            tracing::warn!(
                workload = %decision.workload,
                who = %decision.who,
                %error,
                "a decision is not in force: baselines.trusted_keys does not have its key"
            );
        }
        Self { path, keys, overlay }
    }

    /// Puts in force what is signed by a trusted key.
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

    pub const fn overlay(&self) -> &Overlay {
        &self.overlay
    }
}
