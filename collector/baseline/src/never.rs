//! What is never learned as normal, however often it happens.
//!
//! A baseline that learns an intruder protects him. [`Circumstances::learnable`] is the one way to a
//! [`Learnable`], without which nothing is recorded.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Where an executed file comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// The image ships it, and it is unchanged.
    Image,
    /// It was made or changed in the running container.
    UpperLayer,
    /// It has no file: memory that was made executable by name (memfd).
    Memory,
    /// A file system in memory, such as `/dev/shm`.
    Tmpfs,
    /// A volume that is mounted into the container.
    Volume,
    /// Its name was taken away.
    Deleted,
    /// This kernel or runtime does not let it be told. It is learned, since otherwise nothing would be.
    #[default]
    Unknown,
}

impl Origin {
    /// It is known not to be what the image ships.
    #[must_use]
    pub const fn is_foreign(self) -> bool {
        !matches!(self, Self::Image | Self::Unknown)
    }

    /// In words that follow "a file".
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Image => "of the image",
            Self::UpperLayer => "that was made or changed in the running container",
            Self::Memory => "that exists in memory only",
            Self::Tmpfs => "on a file system in memory",
            Self::Volume => "on a mounted volume",
            Self::Deleted => "that was deleted",
            Self::Unknown => "of unknown origin",
        }
    }
}

/// Why a behaviour is not learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Never {
    /// The image did not ship what was executed.
    NotFromImage(Origin),
    /// It belongs to a session that the container runtime opened: `kubectl exec` and the like.
    ExecSession,
    /// A policy denies it or wants an alert.
    Violation,
    /// A person rejected it.
    Rejected,
    /// Of several replicas only one did it, and that in their first hours. Unlike the others this passes: as
    /// soon as a second replica does it too.
    LoneReplica,
}

/// In words that follow "not learned: ".
impl fmt::Display for Never {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFromImage(origin) => write!(out, "it executes a file {}", origin.words()),
            Self::ExecSession => out.write_str("it belongs to a session opened from outside the container"),
            Self::Violation => out.write_str("it violates a policy"),
            Self::Rejected => out.write_str("a person rejected it"),
            Self::LoneReplica => out.write_str("only one of several replicas did it in their first hours"),
        }
    }
}

/// What decides whether a behaviour may be learned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Circumstances {
    /// Origin of the acting executable; for an exec, of the new one.
    pub origin: Origin,
    /// The process descends from a session that the runtime opened.
    pub exec_session: bool,
    /// A policy denies it or wants an alert.
    pub violation: bool,
    /// A person rejected it: [`Overlay::rejects`](crate::overlay::Overlay::rejects).
    pub rejected: bool,
}

/// Leave to learn a behaviour.
#[derive(Clone, Copy, Debug)]
pub struct Learnable(());

impl Circumstances {
    /// Leave to learn, or the weightiest reason against it.
    pub const fn learnable(&self) -> Result<Learnable, Never> {
        if self.rejected {
            Err(Never::Rejected)
        } else if self.violation {
            Err(Never::Violation)
        } else if self.origin.is_foreign() {
            Err(Never::NotFromImage(self.origin))
        } else if self.exec_session {
            Err(Never::ExecSession)
        } else {
            Ok(Learnable(()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nothing_speaks_against_is_learned() {
        assert!(Circumstances::default().learnable().is_ok());
        let memory = Circumstances {
            origin: Origin::Memory,
            exec_session: true,
            ..Circumstances::default()
        };
        assert_eq!(
            memory.learnable().unwrap_err(),
            Never::NotFromImage(Origin::Memory)
        );
        let rejected = Circumstances {
            rejected: true,
            ..memory
        };
        assert_eq!(rejected.learnable().unwrap_err(), Never::Rejected);
    }
}
