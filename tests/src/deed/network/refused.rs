//! Attempts to connect and to bind that fail at once.

use crate::deed::area::own_network;
use crate::deed::sys::network::{address, bind, connect, socket};
use crate::deed::sys::{self, Errno, Sys};
use crate::deed::technique::COMPAT;
use crate::deed::truth::Truth;
use crate::deed::{Deed, deed};
use anyhow::{Context as _, Result, ensure};
use libc::{AF_INET, SOCK_CLOEXEC, SOCK_STREAM};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;

/// No connection goes to everybody.
const EVERYBODY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::BROADCAST), 9);
/// An address of documentation, which this machine does not have.
const ELSEWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 4_007);

pub const ALL: &[Deed] = &[
    deed(
        "refused-connect",
        "socket.connected",
        "",
        "connect(2) to an address that cannot be reached",
        |_| connected(connect),
    ),
    deed(
        "refused-connect-compat",
        "socket.connected",
        COMPAT,
        "connect(2) of the 32-bit interface",
        |_| {
            sys::compat::usable().context("the 32-bit interface of this kernel")?;
            connected(sys::compat::connect)
        },
    ),
    deed(
        "refused-connect-socketcall",
        "socket.connected",
        COMPAT,
        "connect(2) by socketcall(2) of the 32-bit interface",
        |_| {
            sys::compat::usable().context("the 32-bit interface of this kernel")?;
            connected(sys::compat::socketcall_connect)
        },
    ),
    deed(
        "refused-bind",
        "socket.bound",
        "",
        "bind(2) to an address of another machine",
        |_| bound(bind),
    ),
    deed(
        "refused-bind-compat",
        "socket.bound",
        COMPAT,
        "bind(2) of the 32-bit interface",
        |_| {
            sys::compat::usable().context("the 32-bit interface of this kernel")?;
            bound(sys::compat::bind)
        },
    ),
    deed(
        "refused-bind-socketcall",
        "socket.bound",
        COMPAT,
        "bind(2) by socketcall(2) of the 32-bit interface",
        |_| {
            sys::compat::usable().context("the 32-bit interface of this kernel")?;
            bound(sys::compat::socketcall_bind)
        },
    ),
];

fn connected(attempt: impl FnOnce(&OwnedFd, &[u8]) -> Sys<()>) -> Result<Truth> {
    own_network()?;
    let socket = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)?;
    let result = attempt(&socket, &address(EVERYBODY));
    ensure!(result == Err(Errno::ENETUNREACH), "connect gave {result:?}");
    Ok(Truth::here()
        .remote(&EVERYBODY)
        .fact("family", AF_INET)
        .result(&result))
}

fn bound(attempt: impl FnOnce(&OwnedFd, &[u8]) -> Sys<()>) -> Result<Truth> {
    own_network()?;
    let socket = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)?;
    let result = attempt(&socket, &address(ELSEWHERE));
    ensure!(result == Err(Errno::EADDRNOTAVAIL), "bind gave {result:?}");
    Ok(Truth::here()
        .local(&ELSEWHERE)
        .fact("family", AF_INET)
        .result(&result))
}
