//! Sockets between a virtual machine and its host.
//!
//! They are a module on most kernels, whose structures the kernel's own BTF does not describe: addresses are
//! taken where they pass, from the kernel's copy at the security check or as the program gave them.

use super::address::Address;
use super::{EMPTY, is_muted, outcome, report};
use crate::kernel::read;
use crate::kernel::regs::Regs;
use crate::kernel::sock::{AF_VSOCK, Socket};
use crate::probe::security::{Check, checks};
use aya_ebpf::helpers::generated::bpf_probe_read_user;
use core::mem::MaybeUninit;
use norma_abi::{
    SOCKET_ADDRESS_CLAIMED, SOCKET_BOUND, SOCKET_CONNECTED, SOCKET_LISTENING, SOCKET_RESULT, SocketBody,
};

/// `sizeof(struct sockaddr_vm)`
const ADDRESS_LEN: u32 = 16;

checks! {
    lsm_vsock_bind, fexit_vsock_bind => vsock_bind;
    lsm_vsock_listen, fexit_vsock_listen => vsock_listen;
}

/// `int socket_connect(struct socket *sock, struct sockaddr *address, int addrlen)` of a vsock socket.
#[inline(always)]
pub fn connects(check: &impl Check, socket: Socket<true>) {
    if !is_muted() {
        checked(check, socket, SOCKET_CONNECTED);
    }
}

/// `int socket_bind(struct socket *sock, struct sockaddr *address, int addrlen)`
#[inline(always)]
fn vsock_bind(check: &impl Check) {
    let socket = Socket::<true>(check.arg(0));
    if is_vsock(socket) && !is_muted() {
        checked(check, socket, SOCKET_BOUND);
    }
}

/// `int socket_listen(struct socket *sock, int backlog)`
#[inline(always)]
fn vsock_listen(check: &impl Check) {
    let socket = Socket::<true>(check.arg(0));
    if is_vsock(socket) && !is_muted() {
        let (flags, result) = outcome(check.outcome(2));
        report::<true>(&body(SOCKET_LISTENING, socket.kind(), flags, result));
    }
}

#[inline(always)]
fn checked(check: &impl Check, socket: Socket<true>, op: u32) {
    let (flags, result) = outcome(check.outcome(3));
    let address: Address = read(check.arg(1), 0);
    report::<true>(&at(body(op, socket.kind(), flags, result), op, address));
}

/// Newer verifiers want to see that there is a socket of the network layer.
#[inline(always)]
fn is_vsock(socket: Socket<true>) -> bool {
    let sock = socket.sock();
    sock.0 != 0 && sock.family() == AF_VSOCK
}

#[inline(always)]
fn body(op: u32, kind: u16, flags: u32, result: i32) -> SocketBody {
    SocketBody {
        op,
        flags,
        result,
        family: AF_VSOCK,
        socket_type: kind,
        ..EMPTY
    }
}

/// A system call on such a socket that has succeeded.
#[inline(always)]
pub fn succeeded(regs: Regs, op: u32, kind: u16) {
    let body = SocketBody {
        op,
        flags: SOCKET_RESULT,
        family: AF_VSOCK,
        socket_type: kind,
        ..EMPTY
    };
    if op == SOCKET_LISTENING {
        report::<true>(&body);
        return;
    }
    let mut address = MaybeUninit::<Address>::zeroed();
    // SAFETY: the helper writes no more than that; zeros are a value.
    let address = unsafe {
        bpf_probe_read_user(address.as_mut_ptr().cast(), ADDRESS_LEN, regs.arg1() as *const _);
        address.assume_init()
    };
    let mut body = at(body, op, address);
    body.flags |= SOCKET_ADDRESS_CLAIMED;
    report::<true>(&body);
}

#[inline(always)]
fn at(mut body: SocketBody, op: u32, address: Address) -> SocketBody {
    let (cid, port) = address.end(AF_VSOCK);
    if op == SOCKET_CONNECTED {
        (body.remote_addr, body.remote_port) = (cid, port);
    } else {
        (body.local_addr, body.local_port) = (cid, port);
    }
    body
}
