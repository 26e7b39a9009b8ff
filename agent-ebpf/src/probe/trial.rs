//! Programs by which the agent finds out whether a kind of hook runs at all.

use aya_ebpf::macros::{fexit, lsm, map};
use aya_ebpf::maps::Array;
use aya_ebpf::programs::{FExitContext, LsmContext};

/// How often each has run; exact numbers do not matter.
#[map]
static TRIALS: Array<u64> = Array::with_max_entries(2, 0);

/// `int file_open(struct file *file)`
#[lsm]
pub fn trial_lsm(_ctx: LsmContext) -> i32 {
    hit(0);
    0
}

/// `int security_file_open(struct file *file)`
#[fexit]
pub fn trial_fexit(_ctx: FExitContext) -> i32 {
    hit(1);
    0
}

#[inline(always)]
fn hit(index: u32) {
    if let Some(hits) = TRIALS.get_ptr_mut(index) {
        // SAFETY: the verifier has seen the null check.
        unsafe { *hits = (*hits).wrapping_add(1) };
    }
}
