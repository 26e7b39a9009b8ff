//! Programs that stand in for others.
//!
//! The kernel passes over a program that is wanted on a processor where it is in the middle of a run already (since 6.1 for
//! tracepoints with typed arguments, `recursion_misses`). That happens when a packet that comes in changes a socket
//! while another change is described; and, where the kernel may preempt such programs (7.0), to the acts of all tasks
//! that come while one of them waits in the middle of its own. Copies of the program are attached after it. Each does the
//! work if all before it are in the middle of something and none has done it for this act. (To turn preemption off while
//! a program runs is no help: what was put off happens when it is turned on again, which is still in the middle.)
//!
//! What nobody sees to is known as well: the kernel counts how often it passed the first program over, and
//! [`Turns::stood_in`] how often another did its work.

use crate::kernel::task::Task;
use crate::verifier::{add, load, store};
use aya_ebpf::macros::map;
use aya_ebpf::maps::PerCpuArray;
use norma_abi::{TURNS, Turns};

#[map]
static TURNS_TAKEN: PerCpuArray<Turns> = PerCpuArray::with_max_entries(TURNS, 0);

/// Has the `number`th of `count` programs do `work`, if it is its turn. `act` is the index of the act in the map.
///
/// A task that is preempted or interrupted between two programs, where it stays for some nanoseconds, may find another in
/// the middle of the act when it comes to the second; `done` then tells that its own was seen to.
#[inline(always)]
pub fn take(act: u32, number: usize, count: usize, work: impl FnOnce()) {
    let Some(turns) = TURNS_TAKEN.get_ptr_mut(act) else {
        return;
    };
    // SAFETY: a live map value, for the verifier has seen the null check; the indices are constants within the array.
    let (busy, done) = unsafe { ((&raw mut (*turns).busy).cast::<u64>(), &raw mut (*turns).done) };
    if number > 0 {
        if load(done) == Task::current().0 {
            if number + 1 == count {
                store(done, 0);
            }
            return;
        }
        for before in 0..number {
            // SAFETY: as above.
            if load(unsafe { busy.add(before) }) == 0 {
                return;
            }
        }
    }
    // SAFETY: as above.
    let own = unsafe { busy.add(number) };
    // Where the kernel would run this program again, the next stands in for it too.
    if load(own) != 0 {
        return;
    }
    store(own, 1);
    work();
    store(own, 0);
    if number > 0 {
        // SAFETY: as above.
        unsafe { add(&raw mut (*turns).stood_in, 1) };
    }
    if number + 1 < count {
        store(done, Task::current().0);
    }
}

/// Makes so many programs, the first and its stand-ins, for a tracepoint, of a function over its context.
macro_rules! turns {
    ($count:literal for $act:path, $tracepoint:literal => $body:ident: $($number:literal $name:ident),+) => {$(
        #[doc = concat!("See [`", stringify!($body), "`].")]
        #[aya_ebpf::macros::btf_tracepoint(function = $tracepoint)]
        pub fn $name(ctx: aya_ebpf::programs::BtfTracePointContext) -> i32 {
            $crate::turn::take($act, $number, $count, || $body(&ctx));
            0
        }
    )+};
}
pub(crate) use turns;
