//! Calls for which there is no safe interface.

use anyhow::{Context as _, Result, ensure};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use rustix::time::ClockId;
use std::fs::File;
use std::time::Duration;

/// Processor time of this process, to the nanosecond, and of its children that it has waited for, to the
/// microsecond.
pub fn cpu_time() -> Result<Duration> {
    let own = rustix::time::clock_gettime(ClockId::ProcessCPUTime);
    let own = Duration::new(
        u64::try_from(own.tv_sec).unwrap_or(0),
        u32::try_from(own.tv_nsec).unwrap_or(0),
    );
    Ok(own + children()?)
}

#[expect(unsafe_code, reason = "getrusage(2) fills a structure that is handed to it")]
fn children() -> Result<Duration> {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the pointer is to memory of the size and alignment of the structure, and all zeroes is a valid
    // value of it, so that it is initialised whatever the call does.
    let usage = unsafe {
        ensure!(
            libc::getrusage(libc::RUSAGE_CHILDREN, usage.as_mut_ptr()) == 0,
            "getrusage"
        );
        usage.assume_init()
    };
    let duration = |time: libc::timeval| {
        Duration::from_secs(time.tv_sec.unsigned_abs()) + Duration::from_micros(time.tv_usec.unsigned_abs())
    };
    Ok(duration(usage.ru_utime) + duration(usage.ru_stime))
}

/// Maps a page of a file as code, and unmaps it.
#[expect(unsafe_code, reason = "mapping memory is unsafe by its nature")]
pub fn map_code(file: &File) -> Result<()> {
    const PAGE: usize = 4096;
    let protection = ProtFlags::READ | ProtFlags::EXEC;
    // SAFETY: the kernel chooses a free place, nothing reads or runs what lies there, and nothing else knows
    // the address by the time that it is unmapped.
    unsafe {
        let address =
            mmap(std::ptr::null_mut(), PAGE, protection, MapFlags::PRIVATE, file, 0).context("mmap")?;
        munmap(address, PAGE).context("munmap")
    }
}
