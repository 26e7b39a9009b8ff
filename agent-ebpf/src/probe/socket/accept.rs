//! Connections that are accepted.

use super::{EMPTY, Plain, is_muted, report};
use crate::emit;
use crate::kernel::sock::{AF_INET, AF_INET6, AF_VSOCK, IPPROTO_TCP, Sock, Socket, is_mapped};
use crate::kernel::task::Task;
use crate::kernel::view::View;
use crate::known::connection::Connection;
use crate::known::{Recognised, Words};
use crate::probe::syscall;
use crate::settings;
use crate::slot::{self, Hold, Slot};
use crate::verifier::store;
use aya_ebpf::macros::{fexit, map, tracepoint};
use aya_ebpf::maps::PerCpuArray;
use aya_ebpf::programs::{FExitContext, TracePointContext};
use norma_abi::{KIND_SOCKET, SOCKET_ACCEPTED, SOCKET_RESULT, SocketBody};

const SOCK_STREAM: u16 = 1;
/// Tasks of one processor that may be in the middle of an accept at once.
const SLOTS: u32 = 4;
/// Addresses from here on stand for errors.
const ERRORS: u64 = 0xffff_ffff_ffff_f000;

#[repr(C)]
struct Scratch {
    hold: Hold,
    view: View,
    words: Words,
    record: Plain,
}

// SAFETY: it begins with its hold.
unsafe impl Slot for Scratch {}

#[map]
static ACCEPT_SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(SLOTS, 0);

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
    tell(|_| {
        let sock = Sock::<true>(accepted);
        let remote_addr = sock.remote();
        let body = SocketBody {
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
        };
        Some((body, sock.cgroup()))
    });
    0
}

/// `syscalls/sys_exit_accept4` and `syscalls/sys_exit_accept`: `long ret` is the new descriptor.
#[tracepoint]
pub fn exit_accept(ctx: TracePointContext) -> u32 {
    let result = syscall::result(&ctx);
    if result >= 0 && !is_muted() {
        tell(|view| accepted(result as u32, view));
    }
    0
}

/// The record, and the control group of the socket.
#[inline(always)]
fn accepted(descriptor: u32, view: &mut View) -> Option<(SocketBody, u64)> {
    let file = Task::current().file(descriptor)?;
    let socket = Socket::of(file);
    let sock = socket.sock();
    let ends = sock.look(view)?;
    let body = SocketBody {
        op: SOCKET_ACCEPTED,
        flags: SOCKET_RESULT,
        family: ends.family,
        socket_type: socket.kind(),
        ..EMPTY
    };
    match ends.family {
        AF_INET | AF_INET6 => {
            let body = SocketBody {
                remote_addr: ends.remote,
                local_addr: ends.local,
                remote_port: u32::from(ends.remote_port),
                local_port: u32::from(ends.local_port),
                protocol: u32::from(sock.protocol()),
                cookie: ends.cookie,
                ..body
            };
            Some((body, sock.cgroup()))
        }
        // Where vsock is a module, the kernel does not describe its addresses.
        AF_VSOCK => Some((body, 0)),
        _ => Some((EMPTY, 0)),
    }
}

/// Reports a connection that was accepted, unless it is known. `look` gives the record and the control group of the
/// socket; without an operation it is no event.
#[inline(always)]
fn tell(look: impl FnOnce(&mut View) -> Option<(SocketBody, u64)>) {
    let cgroup = emit::current_cgroup_typed();
    let slot = slot::claim(SLOTS, |number| ACCEPT_SCRATCH.get_ptr_mut(number));
    emit::within(slot, cgroup, KIND_SOCKET, |scratch| {
        let (body, socket_cgroup) = look(&mut scratch.view)?;
        if body.op == 0 {
            return Some(());
        }
        let connection = Connection {
            remote: body.remote_addr,
            port: body.local_port as u16,
            protocol: body.protocol as u16,
            cookie: body.cookie,
            socket_cgroup,
        };
        let alone = scratch.hold.is_first();
        let Recognised::No(identity) = connection.is_accepted(&mut scratch.words, cgroup, alone) else {
            return Some(());
        };
        scratch.record.body = SocketBody { identity, ..body };
        emit::describe(&mut scratch.record.header, cgroup, 0);
        emit::submit(
            &raw mut scratch.record.header,
            KIND_SOCKET,
            size_of::<Plain>() as u64,
        );
        Some(())
    });
}
