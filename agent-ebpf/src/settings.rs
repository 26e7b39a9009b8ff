//! Facts about the running kernel and choices of the agent, handed in at load time.

use crate::verifier::load;
use norma_abi::Settings;

#[unsafe(no_mangle)]
static SETTINGS: Settings = Settings::NONE;

/// Whether the current task can be had as a typed address (5.11).
#[inline(always)]
pub fn typed_loads() -> bool {
    load(&raw const SETTINGS.typed_loads) != 0
}

/// Whether the registers of a task can be had from a helper (5.15).
#[inline(always)]
pub fn regs_helper() -> bool {
    load(&raw const SETTINGS.regs_helper) != 0
}

/// Distance from the lower end of a kernel stack to the registers saved at the entry from user space.
#[inline(always)]
pub fn regs_on_stack() -> u32 {
    load(&raw const SETTINGS.regs_on_stack)
}

/// Inode number of the host's pid namespace, 0 where unknown.
#[inline(always)]
pub fn host_pid_ns() -> u32 {
    load(&raw const SETTINGS.host_pid_ns)
}

/// Process id of the agent in the initial pid namespace, 0 where unknown.
#[inline(always)]
pub fn agent_pid() -> u32 {
    load(&raw const SETTINGS.agent_pid)
}

/// Whether `sched_process_exit` has its second argument on this kernel (6.16).
#[inline(always)]
pub fn exit_tells_group_dead() -> bool {
    load(&raw const SETTINGS.exit_tells_group_dead) != 0
}

/// The reader is woken only when a ring holds more bytes than this.
#[inline(always)]
pub fn wakeup_bytes() -> u64 {
    u64::from(load(&raw const SETTINGS.wakeup_bytes))
}

/// Which bits of a processor's number choose its ring.
#[inline(always)]
pub fn ring_mask() -> u32 {
    load(&raw const SETTINGS.ring_mask)
}

/// Longest part of `argv` to report, in bytes.
#[inline(always)]
pub fn argv_max() -> u32 {
    load(&raw const SETTINGS.argv_max)
}

/// Whether a bit of `norma_abi::WANT_*` is set.
#[inline(always)]
pub fn wants(bit: u32) -> bool {
    load(&raw const SETTINGS.wants) & bit != 0
}

/// Whether tracing programs can ask for the cookie of a socket (5.12).
#[inline(always)]
pub fn socket_cookies() -> bool {
    load(&raw const SETTINGS.socket_cookies) != 0
}

/// How many parameters `inet_csk_accept` has.
#[inline(always)]
pub fn accept_parameters() -> u32 {
    load(&raw const SETTINGS.accept_parameters)
}

/// Distance from an inode of an overlay to the address of the upper layer's name for it.
#[inline(always)]
pub fn overlay_upper() -> u32 {
    load(&raw const SETTINGS.overlay_upper)
}

/// Whether `io_uring_submit_sqe` gives the opcode as an argument of its own (before 5.19).
#[inline(always)]
pub fn sqe_opcode() -> bool {
    load(&raw const SETTINGS.sqe_opcode) != 0
}

/// Whether the security check of a rename is told its flags (5.19).
#[inline(always)]
pub fn rename_flags() -> bool {
    load(&raw const SETTINGS.rename_flags) != 0
}

/// Whether security checks of attributes are told the mount's idmapping first (5.12).
#[inline(always)]
pub fn attribute_idmap() -> bool {
    load(&raw const SETTINGS.attribute_idmap) != 0
}

/// Key of identities: two words for the hash, and an odd factor.
#[inline(always)]
pub fn secret() -> [u64; 3] {
    load(&raw const SETTINGS.secret)
}

/// Number of buckets of the table of what is known, a power of two, less one; 0 where nothing is recognised.
#[inline(always)]
pub fn known_mask() -> u32 {
    load(&raw const SETTINGS.known_mask)
}
