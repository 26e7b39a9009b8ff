//! Since when a field is looked at.
//!
//! Not every agent sees every kind of behaviour: an older one does not, and neither does one on a kernel that cannot
//! tell. That nothing was seen of a field is evidence only where somebody would have seen it. So who looks at
//! capabilities puts that down as one more fact of each sampling unit. It merges like any other, is part of what older
//! versions can read, and is in no list: [`Evidence::watched`](crate::evidence::Evidence::watched) gives it.

use super::{Fact, Field};

/// No executable: paths of executables are absolute, or their names.
const SENSOR: &str = "<sensor>";
const WATCHED: &str = "watched";

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
}

impl<S: AsRef<str>> Fact<S> {
    /// It is one of [`Fact::watch`].
    pub fn is_watch(&self) -> bool {
        matches!(self, Self::Capability { exe, capability }
            if exe.as_ref() == SENSOR && capability.as_ref() == WATCHED)
    }
}
