//! DNS messages on their way: packets from and to port 53 of somebody else.
//!
//! The hooks run for every packet of every socket, so a connection to another port is let go at once. They
//! see packets as sockets do: before they are split into fragments, and after they were put together.

use crate::emit;
use crate::kernel::sock::mapped;
use crate::kernel::task::Task;
use crate::rules;
use crate::slot::{self, Hold, Slot};
use crate::verifier::load;
use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::helpers::generated::{bpf_get_socket_cookie, bpf_skb_cgroup_id, bpf_skb_load_bytes};
use aya_ebpf::macros::{cgroup_skb, map};
use aya_ebpf::maps::PerCpuArray;
use aya_ebpf::programs::SkBuffContext;
use core::mem::MaybeUninit;
use norma_abi::{DNS_MAX, DNS_RECEIVED, DNS_SENT, DnsBody, Header, KIND_DNS, SCOPE_MUTE_SOCKET};

/// The packet goes on, whatever it is.
const ALLOW: i32 = 1;
/// The port in network byte order.
const PORT: u16 = 53u16.to_be();
/// The same as the context has it, in the upper half of a word on little-endian machines.
const PEER_PORT: u32 = 53u32.to_be();
const ETH_P_IP: u32 = 0x0800u16.to_be() as u32;
const ETH_P_IPV6: u32 = 0x86ddu16.to_be() as u32;
const IPPROTO_TCP: u8 = 6;
const IPPROTO_UDP: u8 = 17;
const UDP_HEADER: u32 = 8;
const IPV6_HEADER: u32 = 40;
/// Most extension headers of IPv6 that are looked through.
const EXTENSIONS_MAX: u32 = 6;
/// Where a program may be interrupted by another: a system call, what preempts it, and the packets that
/// arrive meanwhile.
const SLOTS: u32 = 3;

#[repr(C)]
struct Scratch {
    hold: Hold,
    header: Header,
    body: DnsBody,
    message: [u8; DNS_MAX],
}

// SAFETY: it begins with its hold.
unsafe impl Slot for Scratch {}

#[map]
static DNS_SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(SLOTS, 0);

/// A packet leaves a socket.
#[cgroup_skb]
pub fn dns_egress(ctx: SkBuffContext) -> i32 {
    look(ctx.skb.skb, DNS_SENT);
    ALLOW
}

/// A packet reaches a socket.
#[cgroup_skb]
pub fn dns_ingress(ctx: SkBuffContext) -> i32 {
    look(ctx.skb.skb, DNS_RECEIVED);
    ALLOW
}

/// Where in a packet the transport header begins, and who is at the other end.
struct Network {
    at: u32,
    protocol: u8,
    source: [u8; 16],
    destination: [u8; 16],
}

#[inline(always)]
fn look(skb: *mut __sk_buff, direction: u32) -> Option<()> {
    // SAFETY: the verifier checks accesses to the context, here and below.
    let (peer, protocol) = unsafe { ((*skb).remote_port, (*skb).protocol) };
    // A socket that is not connected has no peer; the packet then tells.
    if peer != 0 && peer != PEER_PORT {
        return None;
    }
    let network = match protocol {
        ETH_P_IP => ipv4(skb)?,
        ETH_P_IPV6 => ipv6(skb)?,
        _ => return None,
    };
    let ports: [u16; 2] = take(skb, network.at)?;
    let (remote_addr, remote_port, local_port) = if direction == DNS_SENT {
        (network.destination, ports[1], ports[0])
    } else {
        (network.source, ports[0], ports[1])
    };
    if remote_port != PORT {
        return None;
    }
    let header_len = match network.protocol {
        IPPROTO_UDP => UDP_HEADER,
        IPPROTO_TCP => {
            let words: u8 = take(skb, network.at + 12)?;
            u32::from(words >> 4) * 4
        }
        _ => return None,
    };
    let at = network.at + header_len;
    // SAFETY: as above.
    let total_len = unsafe { (*skb).len }.wrapping_sub(at);
    // The handshake and acknowledgements carry nothing.
    if total_len == 0 || total_len > 0xffff {
        return None;
    }
    // SAFETY: the context is that of this program.
    let (cgroup, cookie) = unsafe { (bpf_skb_cgroup_id(skb), bpf_get_socket_cookie(skb.cast())) };
    if rules::is_muted(cgroup, SCOPE_MUTE_SOCKET) {
        return None;
    }
    let body = DnsBody {
        direction,
        protocol: u32::from(network.protocol),
        remote_addr,
        remote_port: u32::from(u16::from_be(remote_port)),
        local_port: u32::from(u16::from_be(local_port)),
        total_len,
        message_len: 0,
        cookie,
    };
    let slot = slot::claim(SLOTS, |number| DNS_SCRATCH.get_ptr_mut(number));
    emit::within(slot, cgroup, KIND_DNS, |scratch| {
        send(scratch, skb, at, cgroup, body)
    });
    Some(())
}

#[inline(always)]
fn ipv4(skb: *mut __sk_buff) -> Option<Network> {
    let header: [u8; 20] = take(skb, 0)?;
    // Of a raw socket a packet may come in fragments; only the first has ports.
    let is_later_fragment = header[6] & 0x1f != 0 || header[7] != 0;
    if is_later_fragment {
        return None;
    }
    Some(Network {
        at: u32::from(header[0] & 0xf) * 4,
        protocol: header[9],
        source: mapped([header[12], header[13], header[14], header[15]]),
        destination: mapped([header[16], header[17], header[18], header[19]]),
    })
}

#[inline(always)]
fn ipv6(skb: *mut __sk_buff) -> Option<Network> {
    const HOP_BY_HOP: u8 = 0;
    const ROUTING: u8 = 43;
    const FRAGMENT: u8 = 44;
    const AUTHENTICATION: u8 = 51;
    const DESTINATION: u8 = 60;
    let mut protocol: u8 = take(skb, 6)?;
    let source = take(skb, 8)?;
    let destination = take(skb, 24)?;
    let mut at = IPV6_HEADER;
    for _ in 0..EXTENSIONS_MAX {
        let units = match protocol {
            HOP_BY_HOP | ROUTING | DESTINATION | FRAGMENT | AUTHENTICATION => take::<[u8; 4]>(skb, at)?,
            _ => break,
        };
        let len = match protocol {
            FRAGMENT if units[2] != 0 || units[3] & 0xf8 != 0 => return None,
            FRAGMENT => 8,
            AUTHENTICATION => (u32::from(units[1]) + 2) * 4,
            _ => (u32::from(units[1]) + 1) * 8,
        };
        protocol = units[0];
        at += len;
    }
    Some(Network {
        at,
        protocol,
        source,
        destination,
    })
}

/// So many bytes of the packet from there on.
#[inline(always)]
fn take<T: Copy>(skb: *mut __sk_buff, at: u32) -> Option<T> {
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: the helper fills the whole value or fails; callers ask for integers and arrays of them.
    unsafe {
        let result = bpf_skb_load_bytes(skb.cast(), at, value.as_mut_ptr().cast(), size_of::<T>() as u32);
        (result == 0).then(|| value.assume_init())
    }
}

#[inline(always)]
fn send(scratch: &mut Scratch, skb: *mut __sk_buff, at: u32, cgroup: u64, body: DnsBody) -> Option<()> {
    scratch.body = body;
    // Bounded from above and then raised by one: older verifiers do not learn from a comparison with zero.
    let mut beyond_first = load(&scratch.body.total_len).wrapping_sub(1);
    if beyond_first >= DNS_MAX as u32 {
        beyond_first = DNS_MAX as u32 - 1;
    }
    let len = beyond_first + 1;
    // SAFETY: the helper writes as much as there is room for, or fails.
    let result = unsafe { bpf_skb_load_bytes(skb.cast(), at, (&raw mut scratch.message).cast(), len) };
    if result != 0 {
        return None;
    }
    scratch.body.message_len = len;
    let task = Task::untyped();
    // A packet leaves in the context of who sends it, unless it waited; it arrives while anybody runs.
    if body.direction == DNS_SENT && task.cgroup() == cgroup {
        emit::describe_by_reading(&mut scratch.header, task, cgroup);
    } else {
        emit::stamp_nobody(&mut scratch.header, cgroup);
    }
    let fixed = (size_of::<Header>() + size_of::<DnsBody>()) as u64;
    emit::submit(&raw mut scratch.header, KIND_DNS, fixed + u64::from(len));
    Some(())
}
