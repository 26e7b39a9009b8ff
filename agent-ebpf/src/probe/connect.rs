//! Refusal of forbidden peers, before a packet leaves, and the peers that datagrams go to.
//!
//! A connection that is allowed leaves no record here: the socket's state tells of it.

use crate::emit;
use crate::kernel::sock::{AF_INET, AF_INET6, mapped};
use crate::probe::sending::{self, Peer};
use crate::rules;
use crate::settings;
use aya_ebpf::helpers::generated::bpf_get_socket_cookie;
use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::programs::SockAddrContext;
use core::mem::MaybeUninit;
use norma_abi::{
    ACTION_DENIED, ACTION_NONE, ConnectBody, Header, KIND_CONNECT, KIND_SOCKET, Rule, SCOPE_MUTE_SOCKET,
    SOCKET_PERMITTED, SOCKET_SENT, SocketBody, WANT_DATAGRAMS,
};

const ALLOW: i32 = 1;
/// The system call then fails with EPERM.
const DENY: i32 = 0;
const SOCK_STREAM: u32 = 1;
const SOCK_SEQPACKET: u32 = 5;

#[repr(C)]
struct Connect {
    header: Header,
    body: ConnectBody,
}

#[repr(C)]
struct Sent {
    header: Header,
    body: SocketBody,
}

/// connect(2) to an IPv4 address, and TCP Fast Open.
#[cgroup_sock_addr(connect4)]
pub fn connect4(ctx: SockAddrContext) -> i32 {
    connects(remote4(&ctx), AF_INET, &ctx)
}

/// connect(2) to an IPv6 address, and TCP Fast Open.
#[cgroup_sock_addr(connect6)]
pub fn connect6(ctx: SockAddrContext) -> i32 {
    connects(remote6(&ctx), AF_INET6, &ctx)
}

/// sendto(2) and sendmsg(2) of a datagram to an IPv4 address.
#[cgroup_sock_addr(sendmsg4)]
pub fn sendmsg4(ctx: SockAddrContext) -> i32 {
    sends(remote4(&ctx), AF_INET, &ctx)
}

/// sendto(2) and sendmsg(2) of a datagram to an IPv6 address.
#[cgroup_sock_addr(sendmsg6)]
pub fn sendmsg6(ctx: SockAddrContext) -> i32 {
    sends(remote6(&ctx), AF_INET6, &ctx)
}

#[inline(always)]
fn remote4(ctx: &SockAddrContext) -> [u8; 16] {
    // SAFETY: the verifier checks accesses to the context.
    let addr = unsafe { (*ctx.sock_addr).user_ip4 };
    // The kernel takes the unspecified address for the loopback address.
    mapped(if addr == 0 {
        [127, 0, 0, 1]
    } else {
        addr.to_ne_bytes()
    })
}

#[inline(always)]
fn remote6(ctx: &SockAddrContext) -> [u8; 16] {
    let mut addr = [0; 16];
    // SAFETY: the verifier checks accesses to the context; word by word, as it demands.
    let words = unsafe { &raw const (*ctx.sock_addr).user_ip6 }.cast::<u32>();
    for index in 0..4 {
        // SAFETY: as above.
        let word = unsafe { core::ptr::read_volatile(words.add(index)) };
        addr[4 * index..4 * index + 4].copy_from_slice(&word.to_ne_bytes());
    }
    if addr == [0; 16] {
        // As for IPv4.
        addr[15] = 1;
    }
    addr
}

/// A stream leaves its record when its socket changes state; a datagram socket never does.
#[inline(always)]
fn connects(remote: [u8; 16], family: u16, ctx: &SockAddrContext) -> i32 {
    let attempt = Attempt::of(remote, family, ctx);
    if attempt.is_forbidden() {
        return DENY;
    }
    // SAFETY: the verifier checks accesses to the context.
    let kind = unsafe { (*ctx.sock_addr).type_ };
    if kind != SOCK_STREAM && kind != SOCK_SEQPACKET && settings::wants(WANT_DATAGRAMS) {
        attempt.report(ACTION_NONE, 0, cookie(ctx));
    }
    ALLOW
}

#[inline(always)]
fn sends(remote: [u8; 16], family: u16, ctx: &SockAddrContext) -> i32 {
    let attempt = Attempt::of(remote, family, ctx);
    if attempt.is_forbidden() {
        return DENY;
    }
    if settings::wants(WANT_DATAGRAMS) && attempt.is_new_sending() {
        // SAFETY: the verifier checks accesses to the context.
        let kind = unsafe { (*ctx.sock_addr).type_ } as u16;
        attempt.report_sending(kind, cookie(ctx));
    }
    ALLOW
}

#[inline(always)]
fn cookie(ctx: &SockAddrContext) -> u64 {
    // SAFETY: the context is that of this program.
    unsafe { bpf_get_socket_cookie(ctx.sock_addr.cast()) }
}

/// An attempt to reach a peer.
struct Attempt {
    remote: [u8; 16],
    /// In network byte order.
    port: u16,
    family: u16,
    protocol: u16,
}

impl Attempt {
    #[inline(always)]
    fn of(remote: [u8; 16], family: u16, ctx: &SockAddrContext) -> Self {
        // SAFETY: the verifier checks accesses to the context.
        let (port, protocol) = unsafe { ((*ctx.sock_addr).user_port, (*ctx.sock_addr).protocol) };
        Self {
            remote,
            port: port as u16,
            family,
            protocol: protocol as u16,
        }
    }

    /// Whether a rule refuses it, which is then reported.
    #[inline(always)]
    fn is_forbidden(&self) -> bool {
        if !rules::has_peers() {
            return false;
        }
        let scope = rules::scope(emit::current_cgroup());
        if !rules::any_peer(scope) {
            return false;
        }
        let Some(Rule { rule, .. }) = rules::peer(scope, self.port.to_ne_bytes(), self.remote) else {
            return false;
        };
        self.report(ACTION_DENIED, rule, 0);
        true
    }

    /// Whether this program has not sent to this peer for a while, which is noted.
    #[inline(always)]
    fn is_new_sending(&self) -> bool {
        if rules::is_muted(emit::current_cgroup(), SCOPE_MUTE_SOCKET) {
            return false;
        }
        sending::is_new(Peer::Datagram(self.remote, self.port))
    }

    /// The record lies on the stack: control group programs may be preempted, so scratch memory of the
    /// processor would not be this program's alone.
    #[inline(always)]
    fn report(&self, action: u32, rule: u32, cookie: u64) {
        let mut record = MaybeUninit::<Connect>::zeroed();
        // SAFETY: integers only, for which zeros are values.
        let record = unsafe { record.assume_init_mut() };
        record.body = ConnectBody {
            remote_addr: self.remote,
            local_addr: [0; 16],
            remote_port: u16::from_be(self.port),
            local_port: 0,
            family: self.family,
            protocol: self.protocol,
            action,
            rule,
            cookie,
            identity: 0,
        };
        emit::describe_untyped(&mut record.header, emit::current_cgroup(), 0);
        emit::submit(&raw mut record.header, KIND_CONNECT, size_of::<Connect>() as u64);
    }

    #[inline(always)]
    fn report_sending(&self, kind: u16, cookie: u64) {
        let mut record = MaybeUninit::<Sent>::zeroed();
        // SAFETY: integers only, for which zeros are values.
        let record = unsafe { record.assume_init_mut() };
        record.body = SocketBody {
            op: SOCKET_SENT,
            result: 0,
            flags: SOCKET_PERMITTED,
            family: self.family,
            socket_type: kind,
            remote_addr: self.remote,
            local_addr: [0; 16],
            remote_port: u32::from(u16::from_be(self.port)),
            local_port: 0,
            protocol: u32::from(self.protocol),
            path_len: 0,
            cookie,
            sent: 0,
            received: 0,
            identity: 0,
        };
        emit::describe_untyped(&mut record.header, emit::current_cgroup(), 0);
        emit::submit(&raw mut record.header, KIND_SOCKET, size_of::<Sent>() as u64);
    }
}
