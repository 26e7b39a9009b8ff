//! The one system call that no safe crate offers.

use std::io;
use std::mem::MaybeUninit;

/// What the kernel knows of the discipline of its clock.
pub struct Discipline {
    /// Something keeps it in step.
    pub synchronised: bool,
    /// Bound of the error, in microseconds.
    pub max_error_us: u64,
    /// Estimate of the error, in microseconds.
    pub estimated_error_us: u64,
    /// International Atomic Time minus UTC, in seconds; 0 where nobody told.
    pub tai_offset_s: i32,
    /// `insert`, `delete` or nothing.
    pub leap: &'static str,
}

/// Reads it; changes nothing, and needs no privilege.
pub fn discipline() -> io::Result<Discipline> {
    let mut timex = MaybeUninit::<libc::timex>::zeroed();
    // SAFETY: `timex` is a valid place for the call to read and write. It is all integers, for which zero is a value;
    // `modes` 0 asks to read only.
    #[expect(unsafe_code, reason = "adjtimex(2) has no safe wrapper")]
    let (state, timex) = unsafe { (libc::adjtimex(timex.as_mut_ptr()), timex.assume_init()) };
    if state < 0 {
        return Err(io::Error::last_os_error());
    }
    let unsigned = |value: libc::c_long| u64::try_from(value).unwrap_or(0);
    Ok(Discipline {
        synchronised: timex.status & libc::STA_UNSYNC == 0 && state != libc::TIME_ERROR,
        max_error_us: unsigned(timex.maxerror),
        estimated_error_us: unsigned(timex.esterror),
        tai_offset_s: timex.tai,
        leap: match timex.status & (libc::STA_INS | libc::STA_DEL) {
            libc::STA_INS => "insert",
            libc::STA_DEL => "delete",
            _ => "",
        },
    })
}
