//! Packets that programs make themselves.

use super::address::Address;
use super::{EMPTY, is_muted, outcome, report};
use crate::kernel::sock::{AF_INET, AF_INET6, Sock, Socket};
use crate::kernel::{field, offset, read};
use crate::probe::security::{Check, checks};
use crate::probe::sending::{self, Peer};
use norma_abi::{SOCKET_SENT, SocketBody};

const SOCK_DGRAM: u16 = 2;
const SOCK_RAW: u16 = 3;
/// Packet sockets of an older kind.
const SOCK_PACKET: u16 = 10;
const AF_NETLINK: u16 = 16;
const AF_PACKET: u16 = 17;
const IPPROTO_ICMP: u16 = 1;
const IPPROTO_ICMPV6: u16 = 58;

checks! {
    lsm_raw_sent, fexit_raw_sent => raw_sent;
}

/// `int socket_sendmsg(struct socket *sock, struct msghdr *msg, int size)`
///
/// All that any socket sends comes by here: a stream leaves after one load, a datagram of UDP after four.
#[inline(always)]
fn raw_sent(check: &impl Check) {
    let socket = Socket::<true>(check.arg(0));
    let kind = socket.kind();
    if !matches!(kind, SOCK_DGRAM | SOCK_RAW | SOCK_PACKET) {
        return;
    }
    let sock = socket.sock();
    // Newer verifiers want to see that there is one.
    if sock.0 == 0 {
        return;
    }
    let (family, protocol) = (sock.family(), sock.protocol());
    if !is_raw(family, kind, protocol) || is_muted() {
        return;
    }
    let internet = family == AF_INET || family == AF_INET6;
    let cookie = sock.cookie();
    let (remote_addr, peer) = if internet {
        let remote = remote(check, sock, family);
        (remote, Peer::Raw(remote, protocol))
    } else {
        ([0; 16], Peer::Socket(cookie))
    };
    if !sending::is_new(peer) {
        return;
    }
    let (flags, result) = outcome(check.outcome(3));
    report::<true>(&SocketBody {
        op: SOCKET_SENT,
        flags,
        result,
        family,
        socket_type: kind,
        remote_addr,
        protocol: u32::from(protocol),
        cookie,
        ..EMPTY
    });
}

/// Messages to the kernel are no packets. Echo requests can be sent by a datagram socket, too.
#[inline(always)]
fn is_raw(family: u16, kind: u16, protocol: u16) -> bool {
    match family {
        AF_NETLINK => false,
        AF_PACKET => true,
        AF_INET | AF_INET6 if kind == SOCK_DGRAM => matches!(protocol, IPPROTO_ICMP | IPPROTO_ICMPV6),
        _ => kind != SOCK_DGRAM,
    }
}

/// Where the kernel routes it: the address in its copy of the message, or the one that the socket is connected to.
#[inline(always)]
fn remote(check: &impl Check, sock: Sock<true>, family: u16) -> [u8; 16] {
    let name: u64 = field::<true, _>(check.arg(1), offset!(message_name));
    if name == 0 {
        sock.remote()
    } else {
        read::<Address>(name, 0).end(family).0
    }
}
