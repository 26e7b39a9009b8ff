//! What the verifier forces on the code, each with the reason.

use core::intrinsics::{AtomicOrdering, atomic_xadd};
use core::ptr;

/// Reads loop state that lives in map memory.
///
/// A cursor kept in a register makes the verifier follow every combination of its values (16 steps of
/// the path walk load, 32 are "BPF program is too large. Processed 1000001 insn"). What comes back from
/// map memory is an unknown number, so that the states of two steps are equal and the walk is linear. The
/// volatile access keeps LLVM from holding the value in a register.
#[inline(always)]
pub fn load<T: Copy>(place: *const T) -> T {
    // SAFETY: callers pass pointers to fields of live map values.
    unsafe { ptr::read_volatile(place) }
}

/// Writes loop state that lives in map memory, see [`load`].
#[inline(always)]
pub fn store<T: Copy>(place: *mut T, value: T) {
    // SAFETY: callers pass pointers to fields of live map values.
    unsafe { ptr::write_volatile(place, value) }
}

/// Adds to a word that others add to at the same time.
///
/// The target has no `fetch_add`, because kernels before 5.12 only have the addition whose result nobody wants.
///
/// # Safety
/// `place` is a field of a live map value.
#[inline(always)]
pub unsafe fn add(place: *mut u64, number: u64) {
    // SAFETY: as the caller promises.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(place, number) };
}
