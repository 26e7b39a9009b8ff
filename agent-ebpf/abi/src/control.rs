//! Maps through which the agent steers the kernel programs and reads their counters.

use crate::record::KINDS;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Rules that hold for every container. They also hold in a control group that no entry of the scope map
/// names, for processes that are in another pid namespace than the host's.
pub const SCOPE_ANY: u32 = 0;

/// File opens of this control group are not reported.
pub const SCOPE_MUTE_OPEN: u32 = 1 << 0;
/// No rule is enforced in this control group, not even those of [`SCOPE_ANY`] (the host itself).
pub const SCOPE_EXEMPT: u32 = 1 << 1;

/// Operations on files of this control group are not reported.
pub const SCOPE_MUTE_FILE: u32 = 1 << 2;
/// What sockets of this control group do beyond connecting and listening is not reported.
pub const SCOPE_MUTE_SOCKET: u32 = 1 << 3;
/// What is known of this control group is recognised, and counted instead of reported.
pub const SCOPE_RECOGNISE: u32 = 1 << 4;

/// Value of the scope map, whose key is a control group id.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Scope {
    /// Set of rules that holds in this control group besides [`SCOPE_ANY`].
    pub id: u32,
    /// `SCOPE_*` bits.
    pub flags: u32,
}

/// Entries of the map in which the kernel side remembers what it looked up in the scope map; a power of two.
pub const SCOPE_MEMORY: u32 = 256;

/// Sets of uses of capabilities that are remembered as reported, a power of two.
pub const CAPABILITY_USES: u32 = 2048;
/// Uses in each of them, a power of two.
pub const CAPABILITY_WAYS: usize = 4;

/// Value of the rule maps: what to do, and why.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Rule {
    /// `ACTION_*`.
    pub action: u32,
    /// Number by which the agent knows the rule; never 0.
    pub rule: u32,
}

/// Value 0 of the rule count map: how many rules there are, so that nothing is looked up where there are none.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct RuleCounts {
    /// Entries of the path rule trie.
    pub paths: u32,
    /// Entries of the peer rule trie.
    pub peers: u32,
}

/// Facts about the running kernel and choices of the agent, with which the programs are completed.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Settings {
    /// The reader is woken only when a ring holds more bytes than this; otherwise it comes by itself.
    pub wakeup_bytes: u32,
    /// 1 where `sched_process_exit` says whether the thread group is dead (6.16), else 0.
    pub exit_tells_group_dead: u32,
    /// Inode number of the host's pid namespace, 0 where unknown.
    pub host_pid_ns: u32,
    /// 1 where the current task can be had as a typed address (5.11), else 0.
    pub typed_loads: u32,
    /// 1 where the saved registers of a task can be had from a helper (5.15), else 0.
    pub regs_helper: u32,
    /// Distance in bytes from the lower end of a kernel stack to the registers saved at the entry from user
    /// space; used where `regs_helper` is 0.
    pub regs_on_stack: u32,
    /// Process id of the agent in the initial pid namespace, 0 where unknown.
    pub agent_pid: u32,
    /// Number of event rings less one; a power of two less one.
    pub ring_mask: u32,
    /// Longest part of `argv` to report, in bytes; at most [`crate::ARGV_MAX`].
    pub argv_max: u32,
    /// `WANT_*` bits.
    pub wants: u32,
    /// 1 where tracing programs can ask for the cookie of a socket (5.12), else 0.
    pub socket_cookies: u32,
    /// How many parameters `inet_csk_accept` has: 4, or 2 from 6.10.
    pub accept_parameters: u32,
    /// Distance in bytes from an inode of an overlay to the address of the upper layer's name for it.
    pub overlay_upper: u32,
    /// 1 where `io_uring_submit_sqe` gives the opcode as an argument of its own (before 5.19), else 0.
    pub sqe_opcode: u32,
    /// 1 where the security check of a rename is told its flags (5.19), else 0.
    pub rename_flags: u32,
    /// 1 where security checks of attributes are told the mount's idmapping before the rest (5.12), else 0.
    pub attribute_idmap: u32,
    /// Number of buckets of the table of what is known, a power of two, less one; 0 where nothing is recognised.
    pub known_mask: u32,
    /// 1 where a number can be made a typed address (6.2), else 0.
    pub casts: u32,
}

/// Names of environment variables at exec.
pub const WANT_ENVIRONMENT: u32 = 1 << 0;
/// Opens that fail for another reason than a refusal, too (ENOENT and the like).
pub const WANT_FAILED_OPENS: u32 = 1 << 1;
/// Connections that are established and that end.
pub const WANT_CLOSE: u32 = 1 << 2;
/// Peers that datagrams are sent to.
pub const WANT_DATAGRAMS: u32 = 1 << 3;
/// Opens that are refused.
pub const WANT_REFUSED_OPENS: u32 = 1 << 4;
/// Opens without access to the content (O_PATH).
pub const WANT_PATH_OPENS: u32 = 1 << 5;
/// TCP connections that are known are recognised.
pub const WANT_KNOWN_CONNECTIONS: u32 = 1 << 6;

/// Most event rings that there can be, besides the reserved one.
pub const RINGS_MAX: usize = 16;

/// Key of the map of losses, which is written only where a record is lost.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct LossKey {
    /// Control group of the actor; 0 stands for all that found no room in this map.
    pub cgroup_id: u64,
    /// `KIND_*`.
    pub kind: u32,
    /// Zero.
    pub reserved: u32,
}

/// Longest path pattern that a rule can hold, in bytes, the terminator included.
pub const RULE_PATH_MAX: usize = 248;

/// Data of the path rule trie's key. Matching is by longest prefix.
///
/// An exact path is held with a NUL after it, a directory and everything under it with a `/` after it.
/// The kernel side looks up the absolute path followed by NUL, cut at [`RULE_PATH_MAX`].
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct PathRuleKey {
    /// Scope in native byte order.
    pub scope: [u8; 4],
    /// The path pattern.
    pub path: [u8; RULE_PATH_MAX],
}

/// Data of the peer rule trie's key. Matching is by longest prefix of the address.
///
/// The kernel side looks a peer up with its port and again with port 0, which stands for every port.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct PeerRuleKey {
    /// Scope in native byte order.
    pub scope: [u8; 4],
    /// Remote port in network byte order, 0 for every port.
    pub port: [u8; 2],
    /// 4 or 6, so that a network of one family never covers addresses of the other. An IPv4-mapped
    /// IPv6 address is of family 4.
    pub family: u8,
    /// Zero, reserved for the protocol.
    pub reserved: u8,
    /// Remote address; an IPv4 address as its IPv4-mapped IPv6 address.
    pub addr: [u8; 16],
}

/// Per-processor counters. Per kind, `seen` = delivered + `lost`; what was done = `seen` + `failed` + `recognised`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Counters {
    /// Records that this processor tried to emit.
    pub seq: u64,
    /// Records that it tried to emit, by kind.
    pub seen: [u64; KINDS],
    /// Records that could not be delivered because the ring was full, by kind.
    pub lost: [u64; KINDS],
    /// Acts that could not be described because a kernel object could not be read, by kind.
    pub failed: [u64; KINDS],
    /// Acts that were recognised, and for which no record was made, by kind.
    pub recognised: [u64; KINDS],
}

const _: () = assert!(size_of::<Scope>() == 8);
const _: () = assert!(size_of::<Rule>() == 8);
const _: () = assert!(size_of::<RuleCounts>() == 8);
const _: () = assert!(size_of::<Settings>() == 72);
const _: () = assert!(size_of::<LossKey>() == 16);
const _: () = assert!(size_of::<PathRuleKey>() == 252);
const _: () = assert!(size_of::<PeerRuleKey>() == 24);
const _: () = assert!(size_of::<Counters>() == 8 + 4 * 8 * KINDS);
