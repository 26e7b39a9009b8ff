//! Sockets that are neither TCP nor UDP.

use crate::deed::area::{Area, own_network};
use crate::deed::sys::network::{address, bind, connect, listen, sendto, socket, unix, vsock};
use crate::deed::technique::{RAW_SOCKET, UDP_UNCONNECTED};
use crate::deed::truth::{FileTruth, Truth, written};
use crate::deed::{Deed, deed, lacking};
use anyhow::{Context as _, Result};
use libc::{
    AF_INET, AF_NETLINK, AF_PACKET, AF_UNIX, AF_VSOCK, SOCK_CLOEXEC, SOCK_DGRAM, SOCK_RAW, SOCK_STREAM,
};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;

const VMADDR_CID_LOCAL: u32 = 1;
const VMADDR_CID_ANY: u32 = u32::MAX;
const PORT: u32 = 4_006;

pub const ALL: &[Deed] = &[
    made("socket-raw", RAW_SOCKET, "a raw socket for ICMP", |_| {
        new(AF_INET, SOCK_RAW, libc::IPPROTO_ICMP)
    }),
    made(
        "socket-packet",
        RAW_SOCKET,
        "a packet socket for all protocols",
        |_| {
            let all = u16::try_from(libc::ETH_P_ALL)?.to_be();
            new(AF_PACKET, SOCK_RAW, i32::from(all))
        },
    ),
    made(
        "socket-netlink-route",
        "",
        "a netlink socket that sets addresses and routes",
        |_| new(AF_NETLINK, SOCK_RAW, libc::NETLINK_ROUTE),
    ),
    made(
        "socket-netlink-netfilter",
        "",
        "a netlink socket that sets the firewall",
        |_| new(AF_NETLINK, SOCK_RAW, libc::NETLINK_NETFILTER),
    ),
    made("socket-vsock", "", "a vsock socket", |_| {
        new(AF_VSOCK, SOCK_STREAM, 0)
    }),
    deed(
        "raw-send",
        "socket.sent",
        RAW_SOCKET,
        "an echo request by a raw socket",
        |_| {
            own_network()?;
            let to = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            let socket = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, libc::IPPROTO_ICMP)?;
            // Type 8; the checksum of a message with nothing else in it.
            let bytes = sendto(&socket, &[8, 0, 0xf7, 0xff, 0, 0, 0, 0], 0, &address(to))?;
            Ok(Truth::here()
                .remote(&to)
                .fact("protocol", libc::IPPROTO_ICMP)
                .fact("bytes", bytes))
        },
    ),
    deed(
        "vsock-connect",
        "socket.connected",
        "",
        "connect(2) to this machine by vsock",
        |_| {
            let (_server, client) = vsock_pair()?;
            connect(&client, &vsock(VMADDR_CID_LOCAL, PORT))
                .map_err(|error| lacking(format!("vsock has no loopback here: {error}")))?;
            Ok(Truth::here()
                .remote(&format!("vsock:{VMADDR_CID_LOCAL}:{PORT}"))
                .fact("family", AF_VSOCK))
        },
    ),
    deed(
        "vsock-listen",
        "socket.listening",
        "",
        "listen(2) of a vsock socket",
        |_| {
            vsock_pair()?;
            Ok(Truth::here()
                .local(&format!("vsock:{VMADDR_CID_ANY}:{PORT}"))
                .fact("family", AF_VSOCK))
        },
    ),
    deed(
        "unix-stream",
        "socket.connected",
        "",
        "connect(2) to a Unix socket by its path",
        |area| {
            let name = path(area)?;
            let _server = unix_server(&name)?;
            let client = unix_socket(SOCK_STREAM)?;
            connect(&client, &unix(&name))?;
            Ok(unix_truth(area).remote(&format!("unix:{}", written(&name))))
        },
    ),
    deed(
        "unix-abstract",
        "socket.connected",
        "",
        "connect(2) to an abstract Unix socket",
        |_| {
            let name = abstract_name();
            let _server = unix_server(&name)?;
            let client = unix_socket(SOCK_STREAM)?;
            connect(&client, &unix(&name))?;
            Ok(Truth::here()
                .remote(&format!("abstract:{}", written(&name[1..])))
                .fact("family", AF_UNIX))
        },
    ),
    deed(
        "unix-listen",
        "socket.listening",
        "",
        "listen(2) of a Unix socket",
        |area| {
            let name = path(area)?;
            let _server = unix_server(&name)?;
            Ok(unix_truth(area).local(&format!("unix:{}", written(&name))))
        },
    ),
    deed(
        "unix-datagram",
        "socket.sent",
        UDP_UNCONNECTED,
        "sendto(2) to a Unix socket by its path",
        |area| {
            let name = path(area)?;
            let server = unix_socket(SOCK_DGRAM)?;
            bind(&server, &unix(&name))?;
            let client = unix_socket(SOCK_DGRAM)?;
            let bytes = sendto(&client, b"datagram", 0, &unix(&name))?;
            Ok(unix_truth(area)
                .remote(&format!("unix:{}", written(&name)))
                .fact("bytes", bytes))
        },
    ),
];

const fn made(
    name: &'static str,
    technique: &'static str,
    what: &'static str,
    act: fn(&Area) -> Result<Truth>,
) -> Deed {
    deed(name, "socket.made", technique, what, act)
}

fn new(family: i32, kind: i32, protocol: i32) -> Result<Truth> {
    let _socket = socket(family, kind | SOCK_CLOEXEC, protocol)?;
    Ok(Truth::here()
        .fact("family", family)
        .fact("type", kind)
        .fact("protocol", protocol))
}

fn vsock_pair() -> Result<(OwnedFd, OwnedFd)> {
    let new = || socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0).context("vsock");
    let server = new()?;
    bind(&server, &vsock(VMADDR_CID_ANY, PORT))
        .map_err(|error| lacking(format!("vsock has no transport here: {error}")))?;
    listen(&server, 8)?;
    Ok((server, new()?))
}

/// Short enough for a Unix address.
fn path(area: &Area) -> Result<Vec<u8>> {
    let path = area.path("socket");
    let name = path.as_os_str().as_bytes().to_vec();
    match name.len() {
        ..108 => Ok(name),
        _ => Err(lacking("the folder's path is too long for a Unix socket")),
    }
}

fn abstract_name() -> Vec<u8> {
    format!("\0norma-deed-{}", std::process::id()).into_bytes()
}

fn unix_socket(kind: i32) -> Result<OwnedFd> {
    socket(AF_UNIX, kind | SOCK_CLOEXEC, 0).context("socket")
}

fn unix_server(name: &[u8]) -> Result<OwnedFd> {
    let server = unix_socket(SOCK_STREAM)?;
    bind(&server, &unix(name))?;
    listen(&server, 8)?;
    Ok(server)
}

fn unix_truth(area: &Area) -> Truth {
    let path = area.path("socket");
    Truth::here()
        .path(FileTruth::at(&path, &path))
        .fact("family", AF_UNIX)
}
