//! Unix sockets by name.

use super::{Named, is_muted, report_named, result};
use crate::kernel::regs::Regs;
use crate::kernel::sock::{AF_UNIX, AF_VSOCK, Socket, Unix};
use crate::kernel::task::Task;
use crate::probe::{socket::vsock, syscall};
use aya_ebpf::macros::{fexit, tracepoint};
use aya_ebpf::programs::{FExitContext, TracePointContext};
use norma_abi::{SOCKET_BOUND, SOCKET_CONNECTED, SOCKET_LISTENING, SOCKET_RESULT};

/// `int unix_stream_connect(struct socket *sock, struct sockaddr *uaddr, int addr_len, int flags)`
#[fexit]
pub fn fexit_unix_stream_connect(ctx: FExitContext) -> i32 {
    returned(&ctx, 4, SOCKET_CONNECTED, |named, own| named.peer(own));
    0
}

/// `int unix_dgram_connect(struct socket *sock, struct sockaddr *addr, int alen, int flags)`
#[fexit]
pub fn fexit_unix_dgram_connect(ctx: FExitContext) -> i32 {
    returned(&ctx, 4, SOCKET_CONNECTED, |named, own| named.peer(own));
    0
}

/// `int unix_bind(struct socket *sock, struct sockaddr *uaddr, int addr_len)`
#[fexit]
pub fn fexit_unix_bind(ctx: FExitContext) -> i32 {
    returned(&ctx, 3, SOCKET_BOUND, |named, own| named.end(own));
    0
}

/// `int unix_listen(struct socket *sock, int backlog)`
#[fexit]
pub fn fexit_unix_listen(ctx: FExitContext) -> i32 {
    let outcome = ctx.arg::<u64>(2) as i32;
    let own = Socket::<true>(ctx.arg::<*const u8>(0) as u64);
    if outcome == 0 && !is_muted() {
        report_named(|named| {
            named.begin(SOCKET_LISTENING, own.kind(), 0);
            named.end(Unix(own.sock().0))
        });
    }
    0
}

/// What came of a function of so many parameters, the first three of which are the socket, an address in the
/// kernel and its length. Without success there is no more than that address.
#[inline(always)]
fn returned(
    ctx: &FExitContext,
    parameters: usize,
    op: u32,
    name: impl FnOnce(&mut Named, Unix) -> Option<()>,
) {
    if is_muted() {
        return;
    }
    let outcome = ctx.arg::<u64>(parameters) as i32;
    let own = Socket::<true>(ctx.arg::<*const u8>(0) as u64);
    let (address, len) = (ctx.arg::<*const u8>(1) as u64, ctx.arg::<u64>(2) as u32);
    report_named(|named| {
        named.begin(op, own.kind(), i64::from(outcome));
        if outcome == 0 {
            name(named, Unix(own.sock().0))
        } else {
            named.name(address, len)
        }
    });
}

/// `syscalls/sys_exit_connect`: `int fd, struct sockaddr *uservaddr, int addrlen`
///
/// Only what succeeds: the name is that of the socket at the other end.
#[tracepoint]
pub fn exit_connect(ctx: TracePointContext) -> u32 {
    if syscall::result(&ctx) == 0 {
        let regs = Regs::current();
        succeeded(regs, SOCKET_CONNECTED, |named, own| named.peer(own));
    }
    0
}

/// `syscalls/sys_exit_bind`: `int fd, struct sockaddr *umyaddr, int addrlen`
#[tracepoint]
pub fn exit_bind(ctx: TracePointContext) -> u32 {
    if syscall::result(&ctx) == 0 {
        let regs = Regs::current();
        succeeded(regs, SOCKET_BOUND, |named, own| named.end(own));
    }
    0
}

/// `syscalls/sys_exit_listen`: `int fd, int backlog`
#[tracepoint]
pub fn exit_listen(ctx: TracePointContext) -> u32 {
    if syscall::result(&ctx) == 0 {
        let regs = Regs::current();
        succeeded(regs, SOCKET_LISTENING, |named, own| named.end(own));
    }
    0
}

/// The descriptor leads to the socket; another thread may have put something else in its place, which is
/// then no socket or not this one.
#[inline(always)]
fn succeeded(regs: Regs, op: u32, name: impl FnOnce(&mut Named, Unix) -> Option<()>) {
    let Some(file) = Task::current().file(regs.arg0() as u32) else {
        return;
    };
    let socket = Socket::of(file);
    let sock = socket.sock();
    let family = sock.family();
    // Most connections are of the internet and end here, before anything else is looked up.
    if (family != AF_UNIX && family != AF_VSOCK) || !socket.belongs_to(file) || is_muted() {
        return;
    }
    if family == AF_VSOCK {
        vsock::succeeded(regs, op, socket.kind());
        return;
    }
    report_named(|named| {
        named.begin(op, socket.kind(), 0);
        name(named, Unix(sock.0))
    });
}

impl Named {
    #[inline(always)]
    pub(super) fn begin(&mut self, op: u32, kind: u16, outcome: i64) {
        self.body.op = op;
        self.body.flags = SOCKET_RESULT;
        self.body.result = result(outcome);
        self.body.family = AF_UNIX;
        self.body.socket_type = kind;
    }

    /// The name of the socket at the other end. One that is gone again has no name that could be told.
    #[inline(always)]
    fn peer(&mut self, own: Unix) -> Option<()> {
        match own.peer() {
            Some(peer) => self.end(peer),
            None => Some(()),
        }
    }

    /// The name of this socket: a place in the file tree, or an abstract name.
    #[inline(always)]
    pub(super) fn end(&mut self, unix: Unix) -> Option<()> {
        if let Some(place) = unix.place() {
            return self.walk(place);
        }
        match unix.address() {
            Some((address, len)) => self.name(address, len),
            None => Some(()),
        }
    }
}
