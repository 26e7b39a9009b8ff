//! TCP connections and listeners, from the state of their sockets.

use crate::emit;
use crate::kernel::sock::{AF_INET, AF_INET6, Sock, is_mapped};
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use core::mem::MaybeUninit;
use norma_abi::{ACTION_NONE, ConnectBody, Header, KIND_CONNECT, KIND_LISTEN, ListenBody};

const TCP_SYN_SENT: u32 = 2;
const TCP_LISTEN: u32 = 10;
const IPPROTO_TCP: u16 = 6;
/// Multipath TCP also moves the TCP socket beneath it through the same states.
const IPPROTO_MPTCP: u16 = 262;

#[repr(C)]
struct Connect {
    header: Header,
    body: ConnectBody,
}

#[repr(C)]
struct Listen {
    header: Header,
    body: ListenBody,
}

/// `TP_PROTO(const struct sock *sk, const int oldstate, const int newstate)`
///
/// A socket enters these two states in the context of the process that asked for it.
#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn socket_state(ctx: BtfTracePointContext) -> i32 {
    let state = ctx.arg::<u64>(2) as u32;
    if state != TCP_SYN_SENT && state != TCP_LISTEN {
        return 0;
    }
    let sock = Sock(ctx.arg::<*const u8>(0) as u64);
    let family = sock.family();
    let protocol = sock.protocol();
    if (family != AF_INET && family != AF_INET6) || protocol == IPPROTO_MPTCP {
        return 0;
    }
    let protocol = if protocol == 0 { IPPROTO_TCP } else { protocol };
    if state == TCP_SYN_SENT {
        connect(sock, family, protocol);
    } else {
        listen(sock, family, protocol);
    }
    0
}

#[inline(always)]
fn connect(sock: Sock, family: u16, protocol: u16) {
    let mut record = MaybeUninit::<Connect>::zeroed();
    // SAFETY: integers only, for which zeros are values.
    let record = unsafe { record.assume_init_mut() };
    let remote_addr = sock.remote();
    record.body = ConnectBody {
        remote_addr,
        local_addr: sock.local(is_mapped(&remote_addr)),
        remote_port: sock.remote_port(),
        local_port: sock.local_port(),
        family,
        protocol,
        action: ACTION_NONE,
        rule: 0,
    };
    emit::describe(&mut record.header, emit::current_cgroup(), 0);
    emit::submit(&raw mut record.header, KIND_CONNECT, size_of::<Connect>() as u64);
}

#[inline(always)]
fn listen(sock: Sock, family: u16, protocol: u16) {
    let mut record = MaybeUninit::<Listen>::zeroed();
    // SAFETY: integers only, for which zeros are values.
    let record = unsafe { record.assume_init_mut() };
    record.body = ListenBody {
        local_addr: sock.local(false),
        local_port: sock.local_port(),
        family,
        protocol,
        reserved: 0,
    };
    emit::describe(&mut record.header, emit::current_cgroup(), 0);
    emit::submit(&raw mut record.header, KIND_LISTEN, size_of::<Listen>() as u64);
}
