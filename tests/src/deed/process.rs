//! Processes, and what they may do.

mod exec;
mod life;
mod memory;
mod namespace;
mod other;
mod privilege;
mod refused;

use super::Deed;

pub fn all() -> Vec<&'static [Deed]> {
    vec![
        life::ALL,
        exec::ALL,
        privilege::ALL,
        refused::ALL,
        namespace::ALL,
        other::ALL,
        memory::ALL,
    ]
}
