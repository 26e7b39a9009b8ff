//! Refusal of forbidden peers, before a packet leaves.
//!
//! What is allowed leaves no record here: the socket's state tells of it.

use crate::emit;
use crate::kernel::sock::{AF_INET, AF_INET6, mapped};
use crate::rules;
use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::programs::SockAddrContext;
use core::mem::MaybeUninit;
use norma_abi::{ACTION_DENIED, ConnectBody, Header, KIND_CONNECT, Rule};

const ALLOW: i32 = 1;
/// The system call then fails with EPERM.
const DENY: i32 = 0;

#[repr(C)]
struct Connect {
    header: Header,
    body: ConnectBody,
}

/// connect(2) to an IPv4 address, and TCP Fast Open.
#[cgroup_sock_addr(connect4)]
pub fn connect4(ctx: SockAddrContext) -> i32 {
    check(remote4(&ctx), AF_INET, &ctx)
}

/// connect(2) to an IPv6 address, and TCP Fast Open.
#[cgroup_sock_addr(connect6)]
pub fn connect6(ctx: SockAddrContext) -> i32 {
    check(remote6(&ctx), AF_INET6, &ctx)
}

/// sendto(2) and sendmsg(2) of a datagram to an IPv4 address.
#[cgroup_sock_addr(sendmsg4)]
pub fn sendmsg4(ctx: SockAddrContext) -> i32 {
    check(remote4(&ctx), AF_INET, &ctx)
}

/// sendto(2) and sendmsg(2) of a datagram to an IPv6 address.
#[cgroup_sock_addr(sendmsg6)]
pub fn sendmsg6(ctx: SockAddrContext) -> i32 {
    check(remote6(&ctx), AF_INET6, &ctx)
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

#[inline(always)]
fn check(remote: [u8; 16], family: u16, ctx: &SockAddrContext) -> i32 {
    let cgroup = emit::current_cgroup();
    let scope = rules::scope(cgroup);
    if !rules::any_peer(scope) {
        return ALLOW;
    }
    // SAFETY: the verifier checks accesses to the context. The port is in network byte order.
    let port = unsafe { (*ctx.sock_addr).user_port } as u16;
    let Some(rule) = rules::peer(scope, port.to_ne_bytes(), remote) else {
        return ALLOW;
    };
    // SAFETY: as above.
    let protocol = unsafe { (*ctx.sock_addr).protocol } as u16;
    report(cgroup, remote, u16::from_be(port), family, protocol, rule);
    DENY
}

/// The record lies on the stack: control group programs may be preempted, so scratch memory of the
/// processor would not be this program's alone.
#[inline(always)]
fn report(cgroup: u64, remote_addr: [u8; 16], remote_port: u16, family: u16, protocol: u16, rule: Rule) {
    let mut record = MaybeUninit::<Connect>::zeroed();
    // SAFETY: integers only, for which zeros are values.
    let record = unsafe { record.assume_init_mut() };
    record.body = ConnectBody {
        remote_addr,
        local_addr: [0; 16],
        remote_port,
        local_port: 0,
        family,
        protocol,
        action: ACTION_DENIED,
        rule: rule.rule,
    };
    emit::describe_untyped(&mut record.header, cgroup, 0);
    emit::submit(&raw mut record.header, KIND_CONNECT, size_of::<Connect>() as u64);
}
