//! The kernel and the machine.

use super::Capability;

/// Capabilities of this family.
pub const ALL: &[Capability] = &[];
