//! Processes, and what they may do.

mod exec;
mod life;
mod memory;
mod namespace;
mod other;
mod privilege;

use super::Deed;

pub fn all() -> Vec<&'static [Deed]> {
    vec![
        life::ALL,
        exec::ALL,
        privilege::ALL,
        namespace::ALL,
        other::ALL,
        memory::ALL,
    ]
}
