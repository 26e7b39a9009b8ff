//! Attempts to connect and to bind that fail at once.
//!
//! They leave no kernel object that could be asked for the address, which is told as the program gave it.

use super::address::Address;
use super::{Named, is_muted, report_named, result};
use crate::kernel::sock::{AF_INET, AF_INET6, AF_UNIX, AF_VSOCK};
use crate::probe::syscall::{Return, returns};
use aya_ebpf::helpers::generated::bpf_probe_read_user;
use core::mem::MaybeUninit;
use norma_abi::{SOCKET_ADDRESS_CLAIMED, SOCKET_BOUND, SOCKET_CONNECTED, SOCKET_RESULT};

const EINTR: i64 = -4;
const EALREADY: i64 = -114;
const EINPROGRESS: i64 = -115;
const EISCONN: i64 = -106;
const ECONNRESET: i64 = -104;
const ETIMEDOUT: i64 = -110;
const ECONNREFUSED: i64 = -111;
/// Address families that this is about.
const KNOWN: [u16; 4] = [AF_UNIX, AF_INET, AF_INET6, AF_VSOCK];

returns! {
    connect_failed => exit exit_connect_failed, shared shared_connect_failed of 3;
    bind_failed => exit exit_bind_failed, shared shared_bind_failed of 3;
}

/// `connect`: `int fd, struct sockaddr *uservaddr, int addrlen`
#[inline(always)]
fn connect_failed(call: &impl Return) {
    let outcome = call.result();
    // What is under way, or over already, is no failure.
    if outcome >= 0 || matches!(outcome, EINTR | EALREADY | EINPROGRESS | EISCONN) {
        return;
    }
    // The state of a TCP socket tells of these; a Unix socket has no such state.
    let stateful = matches!(outcome, ECONNRESET | ETIMEDOUT | ECONNREFUSED);
    failed(call, SOCKET_CONNECTED, stateful);
}

/// `bind`: `int fd, struct sockaddr *umyaddr, int addrlen`
#[inline(always)]
fn bind_failed(call: &impl Return) {
    if call.result() < 0 {
        failed(call, SOCKET_BOUND, false);
    }
}

#[inline(always)]
fn failed(call: &impl Return, op: u32, known_from_state: bool) {
    if is_muted() {
        return;
    }
    let (user, len) = (call.arg1(), call.arg2() as u32);
    let mut address = MaybeUninit::<Address>::zeroed();
    // SAFETY: the helper writes no more than that; zeros are a value.
    let address = unsafe {
        bpf_probe_read_user(address.as_mut_ptr().cast(), 16, user as *const _);
        if len >= size_of::<Address>() as u32 {
            bpf_probe_read_user(
                address.as_mut_ptr().cast(),
                size_of::<Address>() as u32,
                user as *const _,
            );
        }
        address.assume_init()
    };
    let family = address.family();
    if !KNOWN.contains(&family) || (known_from_state && (family == AF_INET || family == AF_INET6)) {
        return;
    }
    report_named(|named| {
        named.body.op = op;
        named.body.flags = SOCKET_RESULT | SOCKET_ADDRESS_CLAIMED;
        named.body.result = result(call.result());
        named.body.family = family;
        if family == AF_UNIX {
            // An address that cannot be read is one of the failures.
            let _ = named.user_name(user, len);
        } else {
            named.address(op, family, address);
        }
        Some(())
    });
}

impl Named {
    #[inline(always)]
    fn address(&mut self, op: u32, family: u16, address: Address) {
        let (bytes, port) = address.end(family);
        if op == SOCKET_CONNECTED {
            self.body.remote_addr = bytes;
            self.body.remote_port = port;
        } else {
            self.body.local_addr = bytes;
            self.body.local_port = port;
        }
    }
}
