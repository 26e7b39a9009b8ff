//! Where the running kernel keeps the fields that the programs read.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A field that this kernel does not have.
pub const ABSENT: u32 = u32::MAX;
