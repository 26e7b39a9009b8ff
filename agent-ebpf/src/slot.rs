//! Memory in which one program at a time makes its record.
//!
//! Where the kernel may preempt a program (LSM hooks, fentry and fexit on preemptible kernels), others run on the same
//! processor before it goes on. Each finds a slot of its own, or none: then its record is lost, and counted as that.

use crate::verifier::{add, load, store};

/// Begins the memory of a slot.
#[repr(C)]
pub struct Hold {
    /// Programs that have it or are about to find that they may not.
    holders: u64,
    number: u64,
}

impl Hold {
    /// Whether it is the first of its slots, which hardly anybody ever finds taken.
    #[inline(always)]
    pub fn is_first(&self) -> bool {
        load(&self.number) == 0
    }
}

/// Memory that begins with a [`Hold`].
///
/// # Safety
/// The type is `repr(C)` and its first field is a [`Hold`].
pub unsafe trait Slot {}

/// Takes the first of `slots` that is free; `None` where there is none. It is given back by [`release`].
///
/// An exchange would say in one step who was first, and kernels before 5.12 have none. So everybody adds to the number of
/// holders, and who then reads one is alone: whoever comes later finds that one, and adds to it.
#[inline(always)]
pub fn claim<T: Slot>(slots: u32, get: impl Fn(u32) -> Option<*mut T>) -> Option<*mut T> {
    for number in 0..slots {
        let slot = get(number)?;
        let hold = slot.cast::<Hold>();
        // SAFETY: a live map value, for the verifier has seen the null check, and it begins with a hold.
        unsafe {
            add(&raw mut (*hold).holders, 1);
            if load(&raw const (*hold).holders) == 1 {
                store(&raw mut (*hold).number, u64::from(number));
                return Some(slot);
            }
            add(&raw mut (*hold).holders, u64::MAX);
        }
    }
    None
}

/// Gives a slot back.
#[inline(always)]
pub fn release<T: Slot>(slot: *mut T) {
    let hold = slot.cast::<Hold>();
    // SAFETY: as above.
    unsafe { add(&raw mut (*hold).holders, u64::MAX) };
}
