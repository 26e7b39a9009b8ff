//! The baselines of a directory, as they are read from it.

use norma_baseline::decisions;
use norma_baseline::estimate::State;
use norma_baseline::evidence::{Evidence, Total};
use norma_baseline::file::{self, FileError};
use norma_baseline::norm::Norm;
use norma_baseline::overlay::{Overlay, Subject};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One workload at one revision.
#[derive(Clone, Debug)]
pub struct Kept {
    /// What is judged by; it says whose.
    pub norm: Norm,
    /// What that rests on.
    pub evidence: Evidence,
}

impl Kept {
    /// Whose.
    #[must_use]
    pub const fn subject(&self) -> &Subject {
        self.norm.subject()
    }

    /// How much was observed.
    #[must_use]
    pub fn total(&self) -> Total {
        self.evidence.total()
    }

    /// A person ended learning, or nothing is being learned any more.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.norm.survey().is_ready()
    }

    /// A field that is not judged by membership.
    #[must_use]
    pub fn has_open_field(&self) -> bool {
        let fields = &self.norm.survey().fields;
        fields
            .iter()
            .any(|estimate| matches!(estimate.state, State::Open { .. }))
    }
}

/// What was read.
#[derive(Clone, Debug, Default)]
pub struct Shelf {
    /// By workload, and then by when each revision was first seen.
    kept: Vec<Kept>,
    /// What people decided.
    pub overlay: Overlay,
    /// Files that cannot be read, each with the reason.
    pub faults: Vec<String>,
}

/// A directory that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the baselines in {}: {reason}; name the state directory with --state-dir, and read it as its owner", path.display())]
pub struct ShelfError {
    /// The directory.
    pub path: PathBuf,
    /// The operating system's answer.
    pub reason: io::Error,
}

/// What people decided, as it lies in a directory of baselines; a file that cannot be used is one of the faults.
#[must_use]
pub fn read_overlay(directory: &Path, faults: &mut Vec<String>) -> Overlay {
    match file::read::<Overlay>(&directory.join(decisions::FILE)) {
        Ok(overlay) => overlay,
        Err(FileError::System { reason, .. }) if reason.kind() == io::ErrorKind::NotFound => Overlay::new(),
        Err(error) => {
            faults.push(error.to_string());
            Overlay::new()
        }
    }
}

impl Shelf {
    /// Of what was read, in any order.
    #[must_use]
    pub fn new(mut kept: Vec<Kept>, overlay: Overlay, faults: Vec<String>) -> Self {
        kept.sort_by_cached_key(|kept| {
            let subject = kept.subject();
            (
                Arc::clone(&subject.workload),
                kept.total().from,
                Arc::clone(&subject.revision),
            )
        });
        Self {
            kept,
            overlay,
            faults,
        }
    }

    /// All of them; the newest revision of a workload comes last of its own.
    #[must_use]
    pub fn all(&self) -> &[Kept] {
        &self.kept
    }

    /// The revisions of a workload, the newest last.
    pub fn revisions<'a>(&'a self, workload: &'a str) -> impl DoubleEndedIterator<Item = &'a Kept> {
        self.kept
            .iter()
            .filter(move |kept| *kept.subject().workload == *workload)
    }

    /// The revision that another inherits from, where it is still there.
    #[must_use]
    pub fn predecessor(&self, of: &Kept) -> Option<&Kept> {
        let revision = of.norm.predecessor()?;
        self.kept.iter().find(|kept| {
            kept.subject().workload == of.subject().workload && kept.subject().revision == *revision
        })
    }
}
