//! Test rig.
pub mod interrupt;
