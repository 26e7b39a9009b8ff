//! Requests by io_uring.

use super::{Errno, Sys};
use crate::deed::lacking;
use anyhow::{Context as _, Result};
use io_uring::{IoUring, squeue::Entry};

/// Submits a request whose addresses outlive this call, and waits until it is done.
pub fn request(entry: &Entry, what: &str) -> Result<Sys<i32>> {
    let mut ring = ring()?;
    // SAFETY: What the entry points to is borrowed by the caller until the request is done.
    unsafe { ring.submission().push(entry) }.context("an empty ring is full")?;
    ring.submit_and_wait(1).context("io_uring_enter")?;
    let done = ring
        .completion()
        .next()
        .context("no completion after waiting for one")?;
    match done.result() {
        result if result == -libc::EINVAL => {
            Err(lacking(format!("this kernel's io_uring does not know {what}")))
        }
        result => Ok(match result {
            0.. => Ok(result),
            errno => Err(Errno::from_raw(-errno)),
        }),
    }
}

/// A ring of this process.
fn ring() -> Result<IoUring> {
    IoUring::new(4).map_err(|error| match error.raw_os_error().map(Errno::from_raw) {
        Some(errno) => anyhow::Error::from(errno).context("io_uring_setup"),
        None => error.into(),
    })
}
