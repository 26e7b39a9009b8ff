//! Records of the network beyond the start of a connection.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A socket of a kind that is worth knowing was made (raw, packet, vsock, netlink, AF_ALG, ...).
pub const SOCKET_MADE: u32 = 1;
/// A socket was bound to a local address.
pub const SOCKET_BOUND: u32 = 2;
/// A connection was accepted.
pub const SOCKET_ACCEPTED: u32 = 3;
/// A connection was established; follows the `KIND_CONNECT` record of the same `cookie`. The header names the
/// control group and the network namespace of the socket, and no process.
pub const SOCKET_ESTABLISHED: u32 = 4;
/// A connection ended, or an attempt failed. The header is as for [`SOCKET_ESTABLISHED`]: the last packet
/// of a connection arrives while anybody runs, and who opened it stands in the record that began it.
pub const SOCKET_CLOSED: u32 = 5;
/// Datagrams or packets were sent to a peer: once per program, peer and period.
pub const SOCKET_SENT: u32 = 6;
/// A connection to a Unix or vsock socket, or an attempt.
pub const SOCKET_CONNECTED: u32 = 7;
/// A Unix, vsock or datagram socket began to listen.
pub const SOCKET_LISTENING: u32 = 8;

/// [`SocketBody::result`] is what came of it: 0, or a negative errno.
pub const SOCKET_RESULT: u32 = 1 << 0;
/// The path is an abstract name of a Unix socket, with its leading NUL.
pub const SOCKET_ABSTRACT: u32 = 1 << 1;
/// The path is as the program gave it, not walked: `sun_path`, with what may follow its end.
pub const SOCKET_PATH_CLAIMED: u32 = 1 << 2;
/// The connection was once established.
pub const SOCKET_WAS_ESTABLISHED: u32 = 1 << 3;
/// Seen before the act, at the kernel's security check.
pub const SOCKET_PERMITTED: u32 = 1 << 4;
/// The addresses are as the program gave them.
pub const SOCKET_ADDRESS_CLAIMED: u32 = 1 << 5;

/// Body of [`crate::KIND_SOCKET`]. Tails: path (Unix sockets).
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct SocketBody {
    /// `SOCKET_MADE` ... `SOCKET_LISTENING`.
    pub op: u32,
    /// See [`SOCKET_RESULT`].
    pub result: i32,
    /// `SOCKET_*` bits.
    pub flags: u32,
    /// AF_*.
    pub family: u16,
    /// SOCK_* without its flags.
    pub socket_type: u16,
    /// Remote address; an IPv4 address as its IPv4-mapped IPv6 address; the context id for vsock (first four
    /// bytes, native order); zero where there is none.
    pub remote_addr: [u8; 16],
    /// Local address in the same form.
    pub local_addr: [u8; 16],
    /// Remote port in host byte order (vsock ports have 32 bits).
    pub remote_port: u32,
    /// Local port in host byte order.
    pub local_port: u32,
    /// IPPROTO_*, or the protocol of the family (netlink family, ethertype).
    pub protocol: u32,
    /// Length of the path tail in bytes.
    pub path_len: u32,
    /// The kernel's cookie of the socket, which no other socket gets until the next boot; before 5.12, where
    /// programs cannot ask for it, the address of the socket. 0 where unknown.
    pub cookie: u64,
    /// Payload bytes sent, without what was sent again.
    pub sent: u64,
    /// Payload bytes received.
    pub received: u64,
    /// Of a connection that was accepted, by which the same would be recognised, see [`crate::KnownBucket`]; 0 where it
    /// cannot be.
    pub identity: u64,
}

/// The message leaves the socket.
pub const DNS_SENT: u32 = 1;
/// The message reaches the socket.
pub const DNS_RECEIVED: u32 = 2;
/// Longest part of a DNS message that is carried, in bytes.
pub const DNS_MAX: usize = 1232;

/// Body of [`crate::KIND_DNS`]. Tails: the message.
///
/// The header's control group is that of the socket. What a received message is bound to is the socket, not
/// the thread that happened to run: the header's `pid` is 0 there.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct DnsBody {
    /// [`DNS_SENT`] or [`DNS_RECEIVED`].
    pub direction: u32,
    /// IPPROTO_*: 6 or 17.
    pub protocol: u32,
    /// The other end; an IPv4 address as its IPv4-mapped IPv6 address.
    pub remote_addr: [u8; 16],
    /// Its port in host byte order.
    pub remote_port: u32,
    /// Own port in host byte order.
    pub local_port: u32,
    /// Length of the message on the wire in bytes (of this segment, for TCP).
    pub total_len: u32,
    /// Length of the message tail in bytes.
    pub message_len: u32,
    /// As in [`SocketBody`].
    pub cookie: u64,
}

const _: () = assert!(size_of::<SocketBody>() == 96);
const _: () = assert!(size_of::<DnsBody>() == 48);
