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
