//! Typed readers of kernel objects.
//!
//! An object is the address of a kernel structure. Reading a field never faults: what cannot be read, and
//! what this kernel does not have, is 0.
//!
//! An address is *typed* where the verifier knows what it points at: an argument of a BTF program, the
//! current task, and what is reached from them field by field without passing through memory. Such fields
//! are loaded directly, which costs a fraction of the helper call that any other address takes.

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
use core::mem::MaybeUninit;
use norma_abi::{ABSENT, Offsets};

/// Handed in at load time; the verifier then knows every value as a constant.
#[unsafe(no_mangle)]
pub(crate) static OFFSETS: Offsets = Offsets::UNRESOLVED;

/// Integers, for which all zeros is a value.
pub trait Integer: Copy {}
impl Integer for i32 {}
impl Integer for u8 {}
impl Integer for u16 {}
impl Integer for u32 {}
impl Integer for u64 {}
impl<const N: usize> Integer for [u8; N] {}
impl Integer for [u64; 3] {}

/// Integers that are one load.
pub trait Word: Integer {}
impl Word for i32 {}
impl Word for u8 {}
impl Word for u16 {}
impl Word for u32 {}
impl Word for u64 {}

/// Value of a global field of [`OFFSETS`], which must not be folded into the code by the compiler.
macro_rules! offset {
    ($field:ident) => {
        // SAFETY: a static that is always initialised.
        unsafe { core::ptr::read_volatile(&raw const $crate::kernel::OFFSETS.$field) }
    };
}
pub(crate) use offset;

/// Reads the integer that lies `offset` bytes into the object at `base`.
#[inline(always)]
pub fn read<T: Integer>(base: u64, offset: u32) -> T {
    let mut value = MaybeUninit::<T>::zeroed();
    if offset != ABSENT {
        let from = base.wrapping_add(u64::from(offset)) as *const core::ffi::c_void;
        // SAFETY: the helper checks the address and fills the value with zeros where it cannot be read.
        unsafe { bpf_probe_read_kernel(value.as_mut_ptr().cast(), size_of::<T>() as u32, from) };
    }
    // SAFETY: an `Integer` is valid with any bits, and they have been set.
    unsafe { value.assume_init() }
}

/// Reads the integer that lies `offset` bytes into the object at `base`, directly where the address is typed.
#[inline(always)]
pub fn field<const TYPED: bool, T: Word>(base: u64, offset: u32) -> T {
    if !TYPED || offset == ABSENT || !settings::typed_loads() {
        return read(base, offset);
    }
    let from = base.wrapping_add(u64::from(offset)) as *const T;
    // SAFETY: the verifier admits this load only where it knows the type at `base` and finds such a field
    // there; a fault is caught by the kernel and gives 0. Alignment is the field's own.
    unsafe { core::ptr::read_volatile(from) }
}
