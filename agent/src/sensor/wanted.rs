//! Which capabilities somebody needs.

use super::table;
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
}
