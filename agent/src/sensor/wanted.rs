//! Which capabilities somebody needs.

use super::table;
use norma_abi::{WANT_CLOSE, WANT_DATAGRAMS, WANT_PATH_OPENS, WANT_REFUSED_OPENS};
use std::collections::BTreeSet;

/// Names of all capabilities, in the order of reports.
pub fn capability_names() -> impl Iterator<Item = &'static str> {
    table::capabilities().map(|capability| capability.name)
}

/// The capabilities that a policy, a baseline or the configuration needs; no other hook is attached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Wanted {
    /// All of them.
    #[default]
    All,
    /// These.
    Only(BTreeSet<String>),
    /// All but these.
    Without(BTreeSet<String>),
}

impl Wanted {
    /// Whether the capability of this name is to be had.
    #[must_use]
    pub fn includes(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(names) => names.contains(name),
            Self::Without(names) => !names.contains(name),
        }
    }

    /// `norma_abi::WANT_*` bits of capabilities that share their programs with others.
    pub(super) fn bits(&self) -> u32 {
        [
            ("close", WANT_CLOSE),
            ("datagram", WANT_DATAGRAMS),
            ("open-failed", WANT_REFUSED_OPENS),
            ("open-path", WANT_PATH_OPENS),
        ]
        .into_iter()
        .filter(|(name, _)| self.includes(name))
        .fold(0, |bits, (_, bit)| bits | bit)
    }
}
