//! Sockets of kinds that see or send packets past the rules for connections, or steer the kernel.

use super::{EMPTY, is_muted, outcome, report, result};
use crate::kernel::regs::Regs;
use crate::kernel::sock::{AF_INET, AF_INET6, AF_UNIX, IPPROTO_TCP};
use crate::probe::security::{Check, checks};
use crate::probe::syscall;
use aya_ebpf::macros::tracepoint;
use aya_ebpf::programs::TracePointContext;
use norma_abi::{SOCKET_MADE, SOCKET_RESULT, SocketBody};

const SOCK_STREAM: u16 = 1;
const SOCK_DGRAM: u16 = 2;
/// Bits of the type that are flags.
const TYPE_MASK: u64 = 0xf;
const IPPROTO_UDP: u32 = 17;
const IPPROTO_MPTCP: u32 = 262;

checks! {
    lsm_socket_made, fexit_socket_made => socket_made;
}

/// Streams and datagrams of the internet, and Unix sockets, are what everybody makes.
#[inline(always)]
fn is_usual(family: u16, kind: u16, protocol: u32) -> bool {
    match family {
        AF_UNIX => true,
        AF_INET | AF_INET6 => match kind {
            SOCK_STREAM => matches!(protocol, 0 | IPPROTO_MPTCP) || protocol == u32::from(IPPROTO_TCP),
            // Datagram sockets of ICMP ping.
            SOCK_DGRAM => matches!(protocol, 0 | IPPROTO_UDP),
            _ => false,
        },
        _ => false,
    }
}

/// `int socket_post_create(struct socket *sock, int family, int type, int protocol, int kern)`
#[inline(always)]
fn socket_made(check: &impl Check) {
    let (family, kind, protocol) = (check.arg(1) as u16, check.arg(2) as u16, check.arg(3) as u32);
    // What the kernel makes for itself is nobody's act.
    if is_usual(family, kind, protocol) || check.arg(4) as u32 != 0 || is_muted() {
        return;
    }
    let (flags, result) = outcome(check.outcome(5));
    report::<true>(&SocketBody {
        op: SOCKET_MADE,
        flags,
        result,
        family,
        socket_type: kind,
        protocol,
        ..EMPTY
    });
}

/// `syscalls/sys_exit_socket`: `int family, int type, int protocol`
#[tracepoint]
pub fn exit_socket(ctx: TracePointContext) -> u32 {
    let regs = Regs::current();
    let (family, kind) = (regs.arg0() as u16, (regs.arg1() & TYPE_MASK) as u16);
    let protocol = regs.arg2() as u32;
    if !is_usual(family, kind, protocol) && !is_muted() {
        report::<true>(&SocketBody {
            op: SOCKET_MADE,
            flags: SOCKET_RESULT,
            result: result(syscall::result(&ctx)),
            family,
            socket_type: kind,
            protocol,
            ..EMPTY
        });
    }
    0
}
