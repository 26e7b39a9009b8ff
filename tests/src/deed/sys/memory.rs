//! Mapped memory.

use super::{Errno, Sys};
use std::ffi::c_void;
use std::os::fd::{AsRawFd as _, BorrowedFd};

/// Memory that nothing but this value knows of.
pub struct Mapping {
    address: *mut c_void,
    length: usize,
}

/// Maps so many bytes of the file, or of nothing.
pub fn map(length: usize, protection: i32, flags: i32, file: Option<BorrowedFd<'_>>) -> Sys<Mapping> {
    let descriptor = file.map_or(-1, |file| file.as_raw_fd());
    // SAFETY: The kernel chooses a free place, so that no memory in use is replaced.
    let address = unsafe { libc::mmap(std::ptr::null_mut(), length, protection, flags, descriptor, 0) };
    if address == libc::MAP_FAILED {
        return Err(Errno::last());
    }
    Ok(Mapping { address, length })
}

impl Mapping {
    pub fn address(&self) -> u64 {
        self.address as u64
    }

    /// Changes what may be done with it.
    pub fn protect(&self, protection: i32) -> Sys<()> {
        // SAFETY: The range is this mapping's, and nothing holds a reference into it.
        Errno::result(unsafe { libc::mprotect(self.address, self.length, protection) }).map(drop)
    }

    /// Writes to its beginning; it is writable, and long enough.
    pub fn fill(&mut self, bytes: &[u8]) {
        assert!(bytes.len() <= self.length, "{} bytes do not fit", bytes.len());
        // SAFETY: The range is this mapping's, which `bytes` is no part of.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.address.cast(), bytes.len()) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: The range is this mapping's, and nothing holds a reference into it.
        unsafe { libc::munmap(self.address, self.length) };
    }
}
