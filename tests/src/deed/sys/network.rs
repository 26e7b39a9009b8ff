//! Sockets.

use super::{From, Into, Layout, Null, calls};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicU8;

calls! {
    socket = SYS_socket(family: i32, kind: i32, protocol: i32) -> OwnedFd;
    bind = SYS_bind(socket: &OwnedFd, address: &[u8]) -> ();
    listen = SYS_listen(socket: &OwnedFd, backlog: i32) -> ();
    connect = SYS_connect(socket: &OwnedFd, address: &[u8]) -> ();
    connect_changing = SYS_connect(socket: &OwnedFd, address: &[AtomicU8], length: usize) -> ();
    accept4 = SYS_accept4(socket: &OwnedFd, address: Null, length: Null, flags: i32) -> OwnedFd;
    accept = SYS_accept(socket: &OwnedFd, address: Null, length: Null) -> OwnedFd;
    sendto = SYS_sendto(socket: &OwnedFd, bytes: &[u8], flags: i32, address: &[u8]) -> usize;
    sendmsg = SYS_sendmsg(socket: &OwnedFd, message: From<'_>, flags: i32) -> usize;
    sendmmsg = SYS_sendmmsg(socket: &OwnedFd, messages: Into<'_>, count: u32, flags: i32) -> usize;
    set_option = SYS_setsockopt(socket: &OwnedFd, level: i32, name: i32, value: &[u8]) -> ();
}

fn family(number: i32) -> u16 {
    u16::try_from(number).unwrap_or(0)
}

/// An address as the kernel takes it.
pub fn address(of: SocketAddr) -> Vec<u8> {
    match of {
        SocketAddr::V4(of) => Layout::default()
            .u16(family(libc::AF_INET))
            .bytes(&of.port().to_be_bytes())
            .bytes(&of.ip().octets())
            .up_to(16),
        SocketAddr::V6(of) => Layout::default()
            .u16(family(libc::AF_INET6))
            .bytes(&of.port().to_be_bytes())
            .u32(of.flowinfo())
            .bytes(&of.ip().octets())
            .u32(of.scope_id()),
    }
    .end()
}

/// A Unix address; an abstract one begins with NUL.
pub fn unix(name: &[u8]) -> Vec<u8> {
    let address = Layout::default().u16(family(libc::AF_UNIX)).bytes(name);
    match name.first() {
        Some(0) => address,
        _ => address.bytes(&[0]),
    }
    .end()
}

/// A vsock address.
pub fn vsock(cid: u32, port: u32) -> Vec<u8> {
    Layout::default()
        .u16(family(libc::AF_VSOCK))
        .u16(0)
        .u32(port)
        .u32(cid)
        .up_to(16)
        .end()
}

/// A message header; all of it outlives the call.
pub fn message(to: &[u8], pieces: &[std::io::IoSlice<'_>]) -> Vec<u8> {
    Layout::default()
        .address(to)
        .u64(to.len() as u64)
        .address(pieces)
        .u64(pieces.len() as u64)
        .up_to(56)
        .end()
}
