//! Typed readers of kernel objects.
//!
//! An object is the address of a kernel structure. Reading a field never faults: what cannot be read, and
//! what this kernel does not have, is 0.

pub mod cgroup;
pub mod file;
pub mod sock;
pub mod task;

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
