//! Internet sockets that are bound to an address.

use super::{EMPTY, report};
use crate::emit;
use crate::kernel::sock::{AF_INET, AF_INET6, mapped};
use crate::rules;
use aya_ebpf::helpers::generated::bpf_get_socket_cookie;
use aya_ebpf::macros::cgroup_sock;
use aya_ebpf::programs::SockContext;
use norma_abi::{SCOPE_MUTE_SOCKET, SOCKET_BOUND, SOCKET_RESULT, SocketBody};

const ALLOW: i32 = 1;

/// After bind(2) to an IPv4 address; the port is chosen.
#[cgroup_sock(post_bind4)]
pub fn post_bind4(ctx: SockContext) -> i32 {
    // SAFETY: the verifier checks accesses to the context.
    let address = unsafe { (*ctx.sock).src_ip4 };
    bound(&ctx, AF_INET, mapped(address.to_ne_bytes()));
    ALLOW
}

/// After bind(2) to an IPv6 address; the port is chosen.
#[cgroup_sock(post_bind6)]
pub fn post_bind6(ctx: SockContext) -> i32 {
    let mut address = [0; 16];
    // SAFETY: the verifier checks accesses to the context; word by word, as it demands.
    let words = unsafe { &raw const (*ctx.sock).src_ip6 }.cast::<u32>();
    for index in 0..4 {
        // SAFETY: as above.
        let word = unsafe { core::ptr::read_volatile(words.add(index)) };
        address[4 * index..4 * index + 4].copy_from_slice(&word.to_ne_bytes());
    }
    bound(&ctx, AF_INET6, address);
    ALLOW
}

#[inline(always)]
fn bound(ctx: &SockContext, family: u16, local_addr: [u8; 16]) {
    if rules::is_muted(emit::current_cgroup(), SCOPE_MUTE_SOCKET) {
        return;
    }
    // SAFETY: the verifier checks accesses to the context. The port is in host byte order.
    let (port, kind, protocol, cookie) = unsafe {
        (
            (*ctx.sock).src_port,
            (*ctx.sock).type_,
            (*ctx.sock).protocol,
            bpf_get_socket_cookie(ctx.sock.cast()),
        )
    };
    report::<false>(&SocketBody {
        op: SOCKET_BOUND,
        flags: SOCKET_RESULT,
        family,
        socket_type: kind as u16,
        local_addr,
        local_port: port,
        protocol,
        cookie,
        ..EMPTY
    });
}
