//! The network, in a network namespace of the deed's own.

mod dns;
mod other;
mod refused;
mod tcp;
mod udp;

use super::Deed;
use anyhow::Result;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

pub fn all() -> Vec<&'static [Deed]> {
    vec![tcp::ALL, udp::ALL, dns::ALL, other::ALL, refused::ALL]
}

/// The own end of a socket.
fn local(socket: &OwnedFd) -> Result<SocketAddr> {
    Ok(SocketAddr::try_from(rustix::net::getsockname(socket)?)?)
}
