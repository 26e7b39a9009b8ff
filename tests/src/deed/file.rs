//! Files and mounts.

mod change;
mod mount;
mod open;
mod reach;
mod sensitive;

use super::Deed;

pub fn all() -> Vec<&'static [Deed]> {
    vec![open::ALL, reach::ALL, change::ALL, mount::ALL, sensitive::ALL]
}

/// Opens a file for reading.
pub fn openat_reading(path: &std::path::Path) -> anyhow::Result<super::Truth> {
    open::openat(path, libc::O_RDONLY | libc::O_NONBLOCK)
}
