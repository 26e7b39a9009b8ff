//! Sockets.

use super::{attribute, operation};
use crate::observation::{BootTime, Endpoint, Name, Socket};
use norma_wire::pb;
use norma_wire::text::printable;

pub fn detail(socket: &Socket, at: BootTime) -> pb::Socket {
    let (outcome, error) = operation::outcome(socket.outcome);
    let (remote_address, remote_port) = endpoint(socket.remote);
    let (local_address, local_port) = endpoint(socket.local);
    pb::Socket {
        name: socket.op.name().to_owned(),
        outcome: outcome as i32,
        error,
        family: attribute::address_family(socket.family.into()),
        r#type: attribute::socket_type(socket.socket_type),
        protocol: attribute::protocol(socket.family, socket.protocol),
        remote_address,
        remote_port,
        local_address,
        local_port,
        path: socket.path.as_ref().map(|path| match path {
            Name::Claimed(name) if socket.abstract_name => pb::Path {
                path: format!("@{}", printable(name)),
                ..pb::Path::default()
            },
            path => operation::path(path),
        }),
        bytes_sent: socket.sent,
        bytes_received: socket.received,
        duration_ns: socket.opened.map_or(0, |opened| at.0.saturating_sub(opened.0)),
        was_established: socket.was_established,
        cookie: socket.cookie,
        from_proc: false,
    }
}

fn endpoint(endpoint: Endpoint) -> (String, u32) {
    match endpoint {
        Endpoint::None => (String::new(), 0),
        Endpoint::Internet(address) => (address.ip().to_string(), address.port().into()),
        Endpoint::Vsock { cid, port } => (cid.to_string(), port),
    }
}
