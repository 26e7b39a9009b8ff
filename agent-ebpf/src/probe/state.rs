//! TCP connections and listeners, from the state of their sockets.

use crate::emit;
use crate::kernel::sock::{AF_INET, AF_INET6, IPPROTO_TCP, Sock, is_mapped};
use crate::known::connection::{self, Connection};
use crate::known::{Recognised, Words};
use crate::rules;
use crate::settings;
use crate::slot::{self, Hold, Slot};
use crate::turn::turns;
use aya_ebpf::macros::map;
use aya_ebpf::maps::PerCpuArray;
use aya_ebpf::programs::BtfTracePointContext;
use norma_abi::{
    ACTION_NONE, ConnectBody, Header, KIND_CONNECT, KIND_LISTEN, KIND_SOCKET, ListenBody, SCOPE_MUTE_SOCKET,
    SOCKET_CLOSED, SOCKET_ESTABLISHED, SOCKET_RESULT, SOCKET_WAS_ESTABLISHED, SocketBody, WANT_CLOSE,
};

const TCP_ESTABLISHED: u32 = 1;
const TCP_SYN_SENT: u32 = 2;
const TCP_SYN_RECV: u32 = 3;
const TCP_CLOSE: u32 = 7;
const TCP_LISTEN: u32 = 10;
/// Changes that may be described at once on one processor: packets come while others are.
const SLOTS: u32 = 4;
/// Multipath TCP also moves the TCP socket beneath it through the same states.
const IPPROTO_MPTCP: u16 = 262;

#[repr(C)]
struct Connect {
    header: Header,
    body: ConnectBody,
}

#[repr(C)]
struct Scratch {
    hold: Hold,
    words: Words,
    connect: Connect,
    listen: Listen,
    change: Change,
}

// SAFETY: it begins with its hold.
unsafe impl Slot for Scratch {}

#[map]
static STATE_SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(SLOTS, 0);

#[repr(C)]
struct Listen {
    header: Header,
    body: ListenBody,
}

#[repr(C)]
struct Change {
    header: Header,
    body: SocketBody,
}

turns! {
    3 for norma_abi::TURN_SOCKET, "inet_sock_set_state" => changed: 0 socket_state, 1 socket_state_second, 2 socket_state_third
}

/// `TP_PROTO(const struct sock *sk, const int oldstate, const int newstate)`
///
/// A socket begins to connect and to listen in the context of the process that asked for it. The other
/// changes come with packets, while anybody runs.
#[inline(always)]
fn changed(ctx: &BtfTracePointContext) {
    let (before, state) = (ctx.arg::<u64>(1) as u32, ctx.arg::<u64>(2) as u32);
    let begins = state == TCP_SYN_SENT || state == TCP_LISTEN;
    // What never came further than a half-open passive connection is nothing that a process did.
    let ends = state == TCP_CLOSE && !matches!(before, TCP_LISTEN | TCP_SYN_RECV | TCP_CLOSE);
    let established = state == TCP_ESTABLISHED && (before == TCP_SYN_SENT || before == TCP_SYN_RECV);
    if !begins && !((ends || established) && settings::wants(WANT_CLOSE)) {
        return;
    }
    let sock = Sock::<true>(ctx.arg::<*const u8>(0) as u64);
    let family = sock.family();
    if (family != AF_INET && family != AF_INET6) || sock.protocol() == IPPROTO_MPTCP {
        return;
    }
    if state == TCP_SYN_SENT {
        connect(sock);
    } else if state == TCP_LISTEN {
        listen(sock);
    } else if before == TCP_SYN_RECV {
        // Who accepts it is seen there; what it needs is a number, by which its end is put down to it.
        sock.cookie();
    } else if ends {
        let error = sock.error();
        let (mut flags, mut result) = (SOCKET_RESULT, 0);
        if before != TCP_SYN_SENT {
            flags |= SOCKET_WAS_ESTABLISHED;
        }
        if error != 0 {
            result = -error;
        } else if before == TCP_SYN_SENT {
            // Given up before anybody answered: the outcome is not an error of the connection.
            flags = 0;
        }
        change(sock, SOCKET_CLOSED, flags, result);
    } else {
        change(sock, SOCKET_ESTABLISHED, SOCKET_RESULT, 0);
    }
}

/// IPPROTO_*; of TCP, some kernels do not tell.
#[inline(always)]
fn protocol(sock: Sock<true>) -> u16 {
    match sock.protocol() {
        0 => IPPROTO_TCP,
        protocol => protocol,
    }
}

// A call of its own each, as what the three need on the stack is together more than there is.

#[inline(never)]
fn connect(sock: Sock<true>) {
    let cgroup = emit::current_cgroup_typed();
    let slot = slot::claim(SLOTS, |number| STATE_SCRATCH.get_ptr_mut(number));
    emit::within(slot, cgroup, KIND_CONNECT, |scratch| {
        let remote_addr = sock.remote();
        let (remote_port, cookie) = (sock.remote_port(), sock.cookie());
        let connection = Connection {
            remote: remote_addr,
            port: remote_port,
            protocol: protocol(sock),
            cookie,
            socket_cgroup: sock.cgroup(),
        };
        let alone = scratch.hold.is_first();
        let identity = match connection.connects(&mut scratch.words, cgroup, alone) {
            Recognised::Yes(_) => return Some(()),
            Recognised::No(identity) => identity,
        };
        scratch.connect.body = ConnectBody {
            remote_addr,
            local_addr: sock.local(is_mapped(&remote_addr)),
            remote_port,
            local_port: sock.local_port(),
            family: sock.family(),
            protocol: protocol(sock),
            action: ACTION_NONE,
            rule: 0,
            cookie,
            identity,
        };
        emit::describe(&mut scratch.connect.header, cgroup, 0);
        let len = size_of::<Connect>() as u64;
        emit::submit(&raw mut scratch.connect.header, KIND_CONNECT, len);
        Some(())
    });
}

#[inline(never)]
fn listen(sock: Sock<true>) {
    let cgroup = emit::current_cgroup_typed();
    let slot = slot::claim(SLOTS, |number| STATE_SCRATCH.get_ptr_mut(number));
    emit::within(slot, cgroup, KIND_LISTEN, |scratch| {
        let record = &mut scratch.listen;
        record.body = ListenBody {
            local_addr: sock.local(false),
            local_port: sock.local_port(),
            family: sock.family(),
            protocol: protocol(sock),
            reserved: 0,
        };
        emit::describe(&mut record.header, cgroup, 0);
        emit::submit(&raw mut record.header, KIND_LISTEN, size_of::<Listen>() as u64);
        Some(())
    });
}

#[inline(never)]
fn change(sock: Sock<true>, op: u32, flags: u32, result: i32) {
    let cgroup = sock.cgroup();
    if rules::is_muted(cgroup, SCOPE_MUTE_SOCKET) {
        return;
    }
    let cookie = sock.cookie();
    if op == SOCKET_ESTABLISHED && connection::is_established(cgroup, cookie) {
        return;
    }
    let stream = sock.stream();
    let was_established = flags & SOCKET_WAS_ESTABLISHED != 0;
    if op == SOCKET_CLOSED && connection::is_over(cgroup, cookie, was_established, &stream) {
        return;
    }
    let slot = slot::claim(SLOTS, |number| STATE_SCRATCH.get_ptr_mut(number));
    emit::within(slot, cgroup, KIND_SOCKET, |scratch| {
        let remote_addr = sock.remote();
        let record = &mut scratch.change;
        record.body = SocketBody {
            op,
            result,
            flags,
            family: sock.family(),
            socket_type: sock.kind(),
            remote_addr,
            local_addr: sock.local(is_mapped(&remote_addr)),
            remote_port: u32::from(sock.remote_port()),
            local_port: u32::from(stream.local_port),
            protocol: u32::from(protocol(sock)),
            path_len: 0,
            cookie,
            sent: stream.sent,
            received: stream.received,
            identity: 0,
        };
        emit::stamp_nobody(&mut record.header, cgroup);
        record.header.net_ns = sock.net_ns();
        emit::submit(&raw mut record.header, KIND_SOCKET, size_of::<Change>() as u64);
        Some(())
    });
}
