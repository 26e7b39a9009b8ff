//! Instructions that the agent completes before it loads the programs.
//!
//! The programs are compiled once and meet kernels that keep their fields in different places. An instruction whose
//! number depends on the kernel holds a mark instead, and the agent puts the number there. So a field
//! costs no more than one that was known to the compiler, and the verifier sees a constant.

/// Upper half of every mark; the lower half says which number belongs there.
pub const MARK: u32 = 0x4e6f_0000;
/// First mark of the fields of [`crate::Offsets`], in their order.
pub const OFFSET_MARK: u32 = MARK;
/// First mark of the fields of [`crate::Settings`], in their order.
pub const SETTING_MARK: u32 = MARK + 0x1000;
/// Mark of the type that a plain word is read as.
pub const WORD_MARK: u32 = MARK + 0x2000;
/// Mark in the call of the kernel function that makes a typed address of a number.
pub const CAST_MARK: u32 = MARK + 0x2001;

/// Operation code of `rX = imm`.
pub const MOVE_NUMBER: u8 = 0xb7;
/// Operation code of a call.
pub const CALL: u8 = 0x85;
/// Source register in the call of a kernel function (BPF_PSEUDO_KFUNC_CALL, 5.13).
pub const KERNEL_FUNCTION: u8 = 2;

/// The call that [`CAST_MARK`] stands in, as its eight bytes.
pub const CAST: u64 = (CAST_MARK as u64) << 32 | (KERNEL_FUNCTION as u64) << 12 | CALL as u64;
/// `r0 = r1`: takes the place of [`CAST`] where the kernel has no such function.
pub const NO_CAST: u64 = 0x10bf;
