//! Peers that a program sends datagrams or packets to, each of which is reported once in a while.

use crate::kernel::task::Task;
use crate::verifier::load;
use aya_ebpf::helpers::generated::{bpf_get_current_pid_tgid, bpf_ktime_get_boot_ns};
use aya_ebpf::macros::map;
use aya_ebpf::maps::LruHashMap;

/// What a program sends to a peer is reported again after so long.
const PERIOD_NS: u64 = 30_000_000_000;
const BPF_ANY: u64 = 0;

/// A program and a peer that it sends to.
#[repr(C)]
#[derive(Clone, Copy)]
struct Sending {
    pid: u32,
    /// The port in the lower half, the kind of peer in the upper one.
    port: u32,
    /// Address space, so that another program of the same process counts by itself.
    memory: u64,
    remote: [u8; 16],
}

/// When it was last reported. The oldest entries make room for new ones; what is forgotten early is only
/// reported once more.
#[map]
static SENDINGS: LruHashMap<Sending, u64> = LruHashMap::with_max_entries(16_384, 0);

/// What a program sends to.
#[derive(Clone, Copy)]
pub enum Peer {
    /// Datagrams to this address and port (in network byte order).
    Datagram([u8; 16], u16),
    /// Packets of this protocol to this address.
    Raw([u8; 16], u16),
    /// Whatever the socket of this cookie reaches.
    Socket(u64),
}

/// Whether the current program has not sent to this peer for a while, which is noted.
#[inline(always)]
pub fn is_new(peer: Peer) -> bool {
    let (port, remote) = match peer {
        Peer::Datagram(remote, port) => (u32::from(port), remote),
        Peer::Raw(remote, protocol) => (1 << 16 | u32::from(protocol), remote),
        Peer::Socket(cookie) => {
            let mut remote = [0; 16];
            remote[..8].copy_from_slice(&cookie.to_ne_bytes());
            (2 << 16, remote)
        }
    };
    // SAFETY: the helpers take nothing.
    let (ids, now) = unsafe { (bpf_get_current_pid_tgid(), bpf_ktime_get_boot_ns()) };
    let sending = Sending {
        pid: (ids >> 32) as u32,
        port,
        memory: Task::untyped().memory(),
        remote,
    };
    if let Some(last) = SENDINGS.get_ptr(&sending)
        && now.wrapping_sub(load(last)) < PERIOD_NS
    {
        return false;
    }
    // Where that fails, the next one is reported as well.
    let _ = SENDINGS.insert(&sending, &now, BPF_ANY);
    true
}
