//! Connections that are accepted.

use super::{EMPTY, is_muted, report};
use crate::emit;
use crate::kernel::sock::{AF_INET, AF_INET6, AF_VSOCK, IPPROTO_TCP, Sock, Socket, is_mapped};
use crate::kernel::task::Task;
use crate::kernel::view::View;
use crate::probe::syscall;
use crate::settings;
use crate::verifier::store;
use aya_ebpf::macros::{fexit, tracepoint};
use aya_ebpf::programs::{FExitContext, TracePointContext};
use core::mem::MaybeUninit;
use norma_abi::{KIND_SOCKET, SOCKET_ACCEPTED, SOCKET_RESULT, SocketBody};

const SOCK_STREAM: u16 = 1;
/// Addresses from here on stand for errors.
const ERRORS: u64 = 0xffff_ffff_ffff_f000;

/// `struct sock *inet_csk_accept(struct sock *sk, int flags, int *err, bool kern)`;
/// from 6.10 `struct sock *inet_csk_accept(struct sock *sk, struct proto_accept_arg *arg)`
#[fexit]
pub fn fexit_accept(ctx: FExitContext) -> i32 {
    let mut accepted = 0;
    match settings::accept_parameters() {
        2 => accepted = ctx.arg::<*const u8>(2) as u64,
        // Through memory, for otherwise LLVM makes one load of both, at an offset that is not constant, which
        // the verifier does not admit for arguments.
        4 => store(&mut accepted, ctx.arg::<*const u8>(4) as u64),
        _ => return 0,
    }
    if accepted == 0 || accepted >= ERRORS || is_muted() {
        return 0;
    }
    let sock = Sock::<true>(accepted);
    let remote_addr = sock.remote();
    report::<true>(&SocketBody {
        op: SOCKET_ACCEPTED,
        flags: SOCKET_RESULT,
        family: sock.family(),
        socket_type: SOCK_STREAM,
        remote_addr,
        local_addr: sock.local(is_mapped(&remote_addr)),
        remote_port: u32::from(sock.remote_port()),
        local_port: u32::from(sock.local_port()),
        protocol: u32::from(IPPROTO_TCP),
        cookie: sock.cookie(),
        ..EMPTY
    });
    0
}

/// `syscalls/sys_exit_accept4` and `syscalls/sys_exit_accept`: `long ret` is the new descriptor.
#[tracepoint]
pub fn exit_accept(ctx: TracePointContext) -> u32 {
    let result = syscall::result(&ctx);
    if result < 0 || is_muted() {
        return 0;
    }
    if accepted(result as u32).is_none() {
        emit::failed(KIND_SOCKET);
    }
    0
}

#[inline(always)]
fn accepted(descriptor: u32) -> Option<()> {
    let file = Task::current().file(descriptor)?;
    let socket = Socket::of(file);
    let mut view = MaybeUninit::<View>::uninit();
    // SAFETY: nothing is read of it before it is filled.
    let view = unsafe { view.assume_init_mut() };
    let sock = socket.sock();
    let ends = sock.look(view)?;
    let body = SocketBody {
        op: SOCKET_ACCEPTED,
        flags: SOCKET_RESULT,
        family: ends.family,
        socket_type: socket.kind(),
        ..EMPTY
    };
    if ends.family == AF_INET || ends.family == AF_INET6 {
        report::<true>(&SocketBody {
            remote_addr: ends.remote,
            local_addr: ends.local,
            remote_port: u32::from(ends.remote_port),
            local_port: u32::from(ends.local_port),
            protocol: u32::from(sock.protocol()),
            cookie: ends.cookie,
            ..body
        });
    } else if ends.family == AF_VSOCK {
        // Where vsock is a module, the kernel does not describe its addresses.
        report::<true>(&body);
    }
    Some(())
}
