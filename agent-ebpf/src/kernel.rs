//! Typed readers of kernel objects.
//!
//! An object is the address of a kernel structure. Reading a field never faults: what cannot be read, and
//! what this kernel does not have, is 0.
//!
//! An address is *typed* where the verifier knows what it points at: an argument of a BTF program, the
//! current task, and what is reached from them field by field without passing through memory. Such fields
//! are loaded directly. From any other address a word is loaded as one, where the kernel turns numbers into typed
//! addresses (6.2), and else read by a helper call, which costs many times as much.

pub mod cgroup;
pub mod exec;
pub mod file;
pub mod memory;
pub mod mounts;
pub mod regs;
pub mod sock;
pub mod task;
pub mod view;

use crate::settings;
use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use core::arch::asm;
use core::mem::MaybeUninit;

/// A field that this kernel does not have, see [`norma_abi::ABSENT`].
pub const ABSENT: u64 = u64::MAX;

/// Integers, for which all zeros is a value.
pub trait Integer: Copy {
    /// It is one load.
    const IS_WORD: bool;
}
impl Integer for i32 {
    const IS_WORD: bool = true;
}
impl Integer for u8 {
    const IS_WORD: bool = true;
}
impl Integer for u16 {
    const IS_WORD: bool = true;
}
impl Integer for u32 {
    const IS_WORD: bool = true;
}
impl Integer for u64 {
    const IS_WORD: bool = true;
}
impl<const N: usize> Integer for [u8; N] {
    const IS_WORD: bool = false;
}
impl Integer for [u64; 3] {
    const IS_WORD: bool = false;
}

/// Integers that are one load.
pub trait Word: Integer {}
impl Word for i32 {}
impl Word for u8 {}
impl Word for u16 {}
impl Word for u32 {}
impl Word for u64 {}

/// A number that the agent puts in place of a mark, see [`norma_abi::fixup`].
macro_rules! completed {
    ($mark:expr) => {{
        let number: u64;
        // SAFETY: the instruction sets a register, and nothing else.
        unsafe {
            core::arch::asm!(
                "{number} = {mark}",
                number = lateout(reg) number,
                mark = const $mark,
                options(nomem, nostack, preserves_flags),
            );
        }
        number
    }};
}
pub(crate) use completed;

/// Where in its structure the running kernel keeps a field of [`norma_abi::Offsets`], in bytes; [`ABSENT`] where it
/// has none.
macro_rules! offset {
    ($field:ident) => {
        $crate::kernel::completed!(
            norma_abi::fixup::OFFSET_MARK + (core::mem::offset_of!(norma_abi::Offsets, $field) / 4) as u32
        )
    };
}
pub(crate) use offset;

/// The number as an address that the verifier takes for one of a plain word: a load from it gives what is there, and
/// 0 where that cannot be read.
#[inline(always)]
fn as_word(address: u64) -> u64 {
    let kind = completed!(norma_abi::fixup::WORD_MARK);
    let word: u64;
    // SAFETY: the function gives its first argument back. `settings::casts` says whether it is there.
    unsafe {
        asm!(
            ".quad {call}",
            call = const norma_abi::fixup::CAST,
            inlateout("r1") address => _,
            inlateout("r2") kind => _,
            lateout("r3") _,
            lateout("r4") _,
            lateout("r5") _,
            lateout("r0") word,
            options(nomem, nostack),
        );
    }
    word
}

/// Reads the integer that lies `offset` bytes into the object at `base`.
#[inline(always)]
pub fn read<T: Integer>(base: u64, offset: u64) -> T {
    let from = base.wrapping_add(offset);
    if T::IS_WORD && offset != ABSENT && settings::casts() {
        // SAFETY: the verifier admits no longer a load than that of a word; a fault is caught by the kernel and gives
        // 0. Alignment is the field's own.
        return unsafe { core::ptr::read_volatile(as_word(from) as *const T) };
    }
    let mut value = MaybeUninit::<T>::zeroed();
    if offset != ABSENT {
        // SAFETY: the helper checks the address and fills the value with zeros where it cannot be read.
        unsafe { bpf_probe_read_kernel(value.as_mut_ptr().cast(), size_of::<T>() as u32, from as *const _) };
    }
    // SAFETY: an `Integer` is valid with any bits, and they have been set.
    unsafe { value.assume_init() }
}

/// Reads the integer that lies `offset` bytes into the object at `base`, directly where the address is typed.
#[inline(always)]
pub fn field<const TYPED: bool, T: Word>(base: u64, offset: u64) -> T {
    if !TYPED || offset == ABSENT || !settings::typed_loads() {
        return read(base, offset);
    }
    let from = base.wrapping_add(offset) as *const T;
    // SAFETY: the verifier admits this load only where it knows the type at `base` and finds such a field
    // there; a fault is caught by the kernel and gives 0. Alignment is the field's own.
    unsafe { core::ptr::read_volatile(from) }
}
