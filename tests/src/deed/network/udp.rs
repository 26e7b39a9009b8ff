//! Datagrams.

use super::local;
use crate::deed::area::{Area, own_network};
use crate::deed::sys::network::{address, bind, connect, message, sendmmsg, sendmsg, sendto, socket};
use crate::deed::sys::{self, From, Into};
use crate::deed::technique::{IO_URING_NETWORK, UDP_UNCONNECTED};
use crate::deed::truth::Truth;
use crate::deed::{Deed, deed};
use anyhow::{Context as _, Result, ensure};
use io_uring::{opcode, types};
use libc::{AF_INET, AF_INET6, SOCK_CLOEXEC, SOCK_DGRAM};
use std::io::IoSlice;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd as _, OwnedFd};

const BYTES: &[u8] = b"datagram";

pub const ALL: &[Deed] = &[
    deed(
        "udp-connected",
        "connect",
        "",
        "connect(2) and write(2) of a UDP socket",
        |_| {
            sent(AF_INET, |client, to| {
                connect(client, to)?;
                rustix::io::write(client, BYTES)?;
                Ok(())
            })
        },
    ),
    deed("udp-sendto", "socket.sent", UDP_UNCONNECTED, "sendto(2)", |_| {
        sent(AF_INET, |client, to| {
            sendto(client, BYTES, 0, to)?;
            Ok(())
        })
    }),
    deed(
        "udp-sendto-ipv6",
        "socket.sent",
        UDP_UNCONNECTED,
        "sendto(2) over IPv6",
        |_| {
            sent(AF_INET6, |client, to| {
                sendto(client, BYTES, 0, to)?;
                Ok(())
            })
        },
    ),
    deed(
        "udp-sendmsg",
        "socket.sent",
        UDP_UNCONNECTED,
        "sendmsg(2)",
        |_| {
            sent(AF_INET, |client, to| {
                let pieces = [IoSlice::new(BYTES)];
                sendmsg(client, From(&message(to, &pieces)), 0)?;
                Ok(())
            })
        },
    ),
    deed(
        "udp-sendmmsg",
        "socket.sent",
        UDP_UNCONNECTED,
        "sendmmsg(2)",
        |_| {
            sent(AF_INET, |client, to| {
                let pieces = [IoSlice::new(BYTES)];
                let mut messages = message(to, &pieces);
                messages.resize(64, 0);
                let count = sendmmsg(client, Into(&mut messages), 1, 0)?;
                ensure!(count == 1, "{count} messages were sent");
                Ok(())
            })
        },
    ),
    deed(
        "udp-io-uring",
        "socket.sent",
        IO_URING_NETWORK,
        "an io_uring sendmsg request",
        |_| {
            sent(AF_INET, |client, to| {
                let pieces = [IoSlice::new(BYTES)];
                let header = message(to, &pieces);
                let entry =
                    opcode::SendMsg::new(types::Fd(client.as_raw_fd()), header.as_ptr().cast()).build();
                sys::uring::request(&entry, "sendmsg")?.context("sendmsg")?;
                Ok(())
            })
        },
    ),
    deed("bind-udp", "socket.bound", "", "bind(2) of a UDP socket", bound),
];

fn bound(_: &Area) -> Result<Truth> {
    own_network()?;
    let server = udp(AF_INET)?;
    bind(&server, &address(SocketAddr::from((Ipv4Addr::LOCALHOST, 4_005))))?;
    Ok(Truth::here()
        .local(&local(&server)?)
        .fact("protocol", libc::IPPROTO_UDP))
}

fn udp(family: i32) -> Result<OwnedFd> {
    socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0).context("socket")
}

/// A datagram that has arrived.
fn sent(family: i32, send: impl FnOnce(&OwnedFd, &[u8]) -> Result<()>) -> Result<Truth> {
    own_network()?;
    let server = match family {
        AF_INET6 => UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)),
        _ => UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)),
    };
    let server =
        server.map_err(|error| crate::deed::lacking(format!("no address of that family: {error}")))?;
    server.set_read_timeout(Some(crate::deed::area::PATIENCE / 2))?;
    let remote = server.local_addr()?;
    let client = udp(family)?;
    send(&client, &address(remote))?;
    let (length, sender) = server.recv_from(&mut [0; 64])?;
    ensure!(length == BYTES.len(), "{length} bytes came");
    Ok(Truth::here()
        .local(&sender)
        .remote(&remote)
        .fact("protocol", libc::IPPROTO_UDP)
        .fact("bytes", length))
}
