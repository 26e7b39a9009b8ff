//! Since when a field is looked at.
//!
//! Not every agent sees every kind of behaviour: an older one does not, and neither does one on a kernel that cannot
//! tell. That nothing was seen of a field is evidence only where somebody would have seen it. So who looks at
//! capabilities puts that down as one more fact of each sampling unit. It merges like any other, is part of what older
//! versions can read, and is in no list: [`Evidence::watched`](crate::evidence::Evidence::watched) gives it.
//!
//! The same goes for units in which events were lost that a field is learned of ([`Fact::loss`]).

use super::{Fact, Field};

/// No executable: paths of executables are absolute, or their names.
const SENSOR: &str = "<sensor>";
const WATCHED: &str = "watched";
/// In the order of [`Field::ALL`].
const LOST: [&str; 8] = [
    "lost-exec",
    "lost-file",
    "lost-connect",
    "lost-listen",
    "lost-dns",
    "lost-capability",
    "lost-privilege",
    "lost-library",
];

impl Fact<&'static str> {
    /// The fact that a field is looked at; `None` for one that always was.
    #[must_use]
    pub const fn watch(field: Field) -> Option<Self> {
        match field {
            Field::Capability => Some(Self::Capability {
                exe: SENSOR,
                capability: WATCHED,
            }),
            Field::Exec
            | Field::File
            | Field::Connect
            | Field::Listen
            | Field::Dns
            | Field::Privilege
            | Field::Library => None,
        }
    }

    /// The fact that events were lost that a field is learned of.
    #[must_use]
    pub const fn loss(field: Field) -> Self {
        Self::Capability {
            exe: SENSOR,
            capability: LOST[field.index()],
        }
    }
}

impl<S: AsRef<str>> Fact<S> {
    /// It is one of [`Fact::watch`] or [`Fact::loss`]: nothing that the workload did.
    pub fn is_of_sensor(&self) -> bool {
        matches!(self, Self::Capability { exe, .. } if exe.as_ref() == SENSOR)
    }
}
