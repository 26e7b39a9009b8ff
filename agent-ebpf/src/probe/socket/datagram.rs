//! Datagrams that Unix sockets send by name.

use super::{is_muted, outcome, report_named};
use crate::kernel::sock::{Socket, Unix};
use crate::probe::security::{Check, checks};
use crate::probe::sending::{self, Peer};
use aya_ebpf::helpers::generated::bpf_get_current_pid_tgid;
use aya_ebpf::macros::{fentry, fexit, map};
use aya_ebpf::maps::LruHashMap;
use aya_ebpf::programs::{FEntryContext, FExitContext};
use norma_abi::SOCKET_SENT;

const BPF_ANY: u64 = 0;

/// Threads within connect(2), which asks for the same permission as a datagram does.
#[map]
static CONNECTING: LruHashMap<u64, u8> = LruHashMap::with_max_entries(1_024, 0);

checks! {
    lsm_unix_sent, fexit_unix_sent => unix_sent;
}

/// `int unix_dgram_connect(struct socket *sock, struct sockaddr *addr, int alen, int flags)`
#[fentry]
pub fn fentry_unix_dgram_connect(_ctx: FEntryContext) -> i32 {
    // Where that fails, a connection is reported as a datagram as well.
    let _ = CONNECTING.insert(&thread(), &1, BPF_ANY);
    0
}

/// As [`fentry_unix_dgram_connect`], which it ends.
#[fexit]
pub fn fexit_unix_dgram_connected(_ctx: FExitContext) -> i32 {
    let _ = CONNECTING.remove(&thread());
    0
}

#[inline(always)]
fn thread() -> u64 {
    // SAFETY: the helper takes nothing.
    unsafe { bpf_get_current_pid_tgid() }
}

/// `int unix_may_send(struct socket *sock, struct socket *other)`
///
/// What is connected was told when it was connected.
#[inline(always)]
fn unix_sent(check: &impl Check) {
    let (own, other) = (Socket::<true>(check.arg(0)), Socket::<true>(check.arg(1)));
    let (from, to) = (own.sock(), other.sock());
    // Newer verifiers want to see that there are such.
    if from.0 == 0 || to.0 == 0 {
        return;
    }
    let connected = Unix(from.0).peer().is_some_and(|peer| peer.0 == to.0);
    if connected || CONNECTING.get_ptr(&thread()).is_some() || is_muted() {
        return;
    }
    if !sending::is_new(Peer::Socket(to.cookie())) {
        return;
    }
    let (flags, result) = outcome(check.outcome(2));
    report_named(|named| {
        named.begin(SOCKET_SENT, own.kind(), 0);
        (named.body.flags, named.body.result) = (flags, result);
        named.end(Unix(to.0))
    });
}
