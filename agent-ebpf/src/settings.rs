//! Facts about the running kernel and choices of the agent, handed in at load time.

use crate::kernel::completed;
use crate::verifier::load;
use norma_abi::Settings;
use norma_abi::fixup::SETTING_MARK;

/// Key of identities.
#[unsafe(no_mangle)]
static SECRET: [u64; 3] = [0; 3];

macro_rules! setting {
    ($field:ident) => {
        completed!(SETTING_MARK + (core::mem::offset_of!(Settings, $field) / 4) as u32)
    };
}

/// Whether the current task can be had as a typed address (5.11).
#[inline(always)]
pub fn typed_loads() -> bool {
    setting!(typed_loads) != 0
}

/// Whether a number can be made a typed address (6.2).
#[inline(always)]
pub fn casts() -> bool {
    setting!(casts) != 0
}

/// Whether the registers of a task can be had from a helper (5.15).
#[inline(always)]
pub fn regs_helper() -> bool {
    setting!(regs_helper) != 0
}

/// Distance from the lower end of a kernel stack to the registers saved at the entry from user space.
#[inline(always)]
pub fn regs_on_stack() -> u32 {
    setting!(regs_on_stack) as u32
}

/// Inode number of the host's pid namespace, 0 where unknown.
#[inline(always)]
pub fn host_pid_ns() -> u32 {
    setting!(host_pid_ns) as u32
}

/// Process id of the agent in the initial pid namespace, 0 where unknown.
#[inline(always)]
pub fn agent_pid() -> u32 {
    setting!(agent_pid) as u32
}

/// Whether `sched_process_exit` has its second argument on this kernel (6.16).
#[inline(always)]
pub fn exit_tells_group_dead() -> bool {
    setting!(exit_tells_group_dead) != 0
}

/// The reader is woken only when a ring holds more bytes than this.
#[inline(always)]
pub fn wakeup_bytes() -> u64 {
    setting!(wakeup_bytes)
}

/// Which bits of a processor's number choose its ring.
#[inline(always)]
pub fn ring_mask() -> u32 {
    setting!(ring_mask) as u32
}

/// Longest part of `argv` to report, in bytes.
#[inline(always)]
pub fn argv_max() -> u32 {
    setting!(argv_max) as u32
}

/// Whether a bit of `norma_abi::WANT_*` is set.
#[inline(always)]
pub fn wants(bit: u32) -> bool {
    setting!(wants) & u64::from(bit) != 0
}

/// Whether tracing programs can ask for the cookie of a socket (5.12).
#[inline(always)]
pub fn socket_cookies() -> bool {
    setting!(socket_cookies) != 0
}

/// How many parameters `inet_csk_accept` has.
#[inline(always)]
pub fn accept_parameters() -> u32 {
    setting!(accept_parameters) as u32
}

/// Distance from an inode of an overlay to the address of the upper layer's name for it.
#[inline(always)]
pub fn overlay_upper() -> u64 {
    setting!(overlay_upper)
}

/// Whether `io_uring_submit_sqe` gives the opcode as an argument of its own (before 5.19).
#[inline(always)]
pub fn sqe_opcode() -> bool {
    setting!(sqe_opcode) != 0
}

/// Whether the security check of a rename is told its flags (5.19).
#[inline(always)]
pub fn rename_flags() -> bool {
    setting!(rename_flags) != 0
}

/// Whether security checks of attributes are told the mount's idmapping first (5.12).
#[inline(always)]
pub fn attribute_idmap() -> bool {
    setting!(attribute_idmap) != 0
}

/// Key of identities: two words for the hash, and an odd factor.
#[inline(always)]
pub fn secret() -> [u64; 3] {
    load(&raw const SECRET)
}

/// Number of buckets of the table of what is known, a power of two, less one; 0 where nothing is recognised.
#[inline(always)]
pub fn known_mask() -> u32 {
    setting!(known_mask) as u32
}
