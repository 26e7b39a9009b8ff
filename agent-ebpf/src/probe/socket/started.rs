//! Connections whose start no state of a socket tells of.

use super::address::Address;
use super::vsock;
use crate::emit;
use crate::kernel::read;
use crate::kernel::sock::{AF_INET, AF_INET6, AF_VSOCK, Sock, Socket};
use crate::probe::security::{Check, checks};
use core::mem::MaybeUninit;
use norma_abi::{ACTION_NONE, ConnectBody, Header, KIND_CONNECT};

const IPPROTO_SCTP: u16 = 132;
// `int optname` of `sctp_bind_connect` where it is about a connection: sctp_connectx(3) and its older form,
// and sending without connecting.
const CONNECTX_OLD: u32 = 107;
const CONNECTX: u32 = 110;
const SENDMSG_CONNECT: u32 = 126;
/// An association has several addresses; so many of those given at once are reported.
const ADDRESSES: u32 = 4;

#[repr(C)]
struct Connect {
    header: Header,
    body: ConnectBody,
}

checks! {
    lsm_connect_started, fexit_connect_started => connect_started;
    lsm_sctp_started, fexit_sctp_started => sctp_started;
}

/// `int socket_connect(struct socket *sock, struct sockaddr *address, int addrlen)`
#[inline(always)]
fn connect_started(check: &impl Check) {
    let socket = Socket::<true>(check.arg(0));
    let sock = socket.sock();
    // Newer verifiers want to see that there is one.
    if sock.0 == 0 {
        return;
    }
    match sock.family() {
        AF_VSOCK => vsock::connects(check, socket),
        AF_INET | AF_INET6 if sock.protocol() == IPPROTO_SCTP && is_permitted(check, 3) => {
            started(sock, check.arg(1));
        }
        _ => {}
    }
}

/// `int sctp_bind_connect(struct sock *sk, int optname, struct sockaddr *address, int addrlen)`
#[inline(always)]
fn sctp_started(check: &impl Check) {
    let sock = Sock::<true>(check.arg(0));
    let about = check.raw(1) as u32;
    if !matches!(about, CONNECTX | CONNECTX_OLD | SENDMSG_CONNECT) || !is_permitted(check, 4) {
        return;
    }
    // They follow one another without a gap.
    let (mut address, len) = (check.arg(2), check.raw(3) & u64::from(u32::MAX));
    let end = address.wrapping_add(len);
    for _ in 0..ADDRESSES {
        if address >= end {
            return;
        }
        let family = started(sock, address);
        address = address.wrapping_add(Address::len(family));
    }
}

/// Refused attempts are known from the return of the system call.
#[inline(always)]
fn is_permitted(check: &impl Check, arguments: usize) -> bool {
    !check.verdict(arguments).is_some_and(|verdict| verdict < 0)
}

/// The address is the kernel's copy. Gives its family.
#[inline(always)]
fn started(sock: Sock<true>, address: u64) -> u16 {
    let address: Address = read(address, 0);
    let family = address.family();
    // Another family stands for the end of a connection.
    if family != AF_INET && family != AF_INET6 {
        return family;
    }
    let mut record = MaybeUninit::<Connect>::zeroed();
    // SAFETY: integers only, for which zeros are values.
    let record = unsafe { record.assume_init_mut() };
    let (remote_addr, remote_port) = address.end(family);
    record.body = ConnectBody {
        remote_addr,
        local_addr: [0; 16],
        remote_port: remote_port as u16,
        local_port: sock.local_port(),
        family,
        protocol: IPPROTO_SCTP,
        action: ACTION_NONE,
        rule: 0,
        cookie: sock.cookie(),
        identity: 0,
    };
    if record.body.local_port != 0 {
        record.body.local_addr = sock.local(false);
    }
    emit::describe(&mut record.header, emit::current_cgroup_typed(), 0);
    emit::submit(&raw mut record.header, KIND_CONNECT, size_of::<Connect>() as u64);
    family
}
