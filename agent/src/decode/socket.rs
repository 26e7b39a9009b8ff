//! Sockets and DNS messages.

use super::dns::message;
use super::operation::{name, outcome};
use super::tail::{Tail, until_nul};
use super::{DecodeError, act_id, address, protocol};
use crate::observation::{Dns, Endpoint, Protocol, Socket, SocketOp};
use norma_abi::{
    DNS_RECEIVED, DNS_SENT, DnsBody, Header, SOCKET_ABSTRACT, SOCKET_ACCEPTED, SOCKET_ADDRESS_CLAIMED,
    SOCKET_BOUND, SOCKET_CLOSED, SOCKET_CONNECTED, SOCKET_ESTABLISHED, SOCKET_LISTENING, SOCKET_MADE,
    SOCKET_PATH_CLAIMED, SOCKET_RESULT, SOCKET_SENT, SOCKET_WAS_ESTABLISHED, SocketBody,
};

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const AF_VSOCK: u16 = 40;

pub fn socket(header: &Header, tail: &mut Tail<'_>) -> Result<Socket, DecodeError> {
    let body: SocketBody = tail.body()?;
    let op = match body.op {
        SOCKET_MADE => SocketOp::Made,
        SOCKET_BOUND => SocketOp::Bound,
        SOCKET_ACCEPTED => SocketOp::Accepted,
        SOCKET_ESTABLISHED => SocketOp::Established,
        SOCKET_CLOSED => SocketOp::Closed,
        SOCKET_SENT => SocketOp::Sent,
        SOCKET_CONNECTED => SocketOp::Connected,
        SOCKET_LISTENING => SocketOp::Listening,
        value => {
            return Err(DecodeError::Value {
                field: "socket operation",
                value,
            });
        }
    };
    let flag = |bit: u32| body.flags & bit != 0;
    let path = tail.take(body.path_len, "path")?;
    let claimed = flag(SOCKET_PATH_CLAIMED) || flag(SOCKET_ABSTRACT);
    let path = match (claimed, path.strip_prefix(b"\0")) {
        // Each byte of an abstract name counts, NUL too.
        (true, Some(name)) => name,
        (true, None) => until_nul(path),
        (false, _) => path,
    };
    Ok(Socket {
        op,
        outcome: outcome(flag(SOCKET_RESULT), body.result),
        family: body.family,
        socket_type: body.socket_type,
        protocol: body.protocol,
        remote: endpoint(body.family, body.remote_addr, body.remote_port),
        local: endpoint(body.family, body.local_addr, body.local_port),
        path: if path.is_empty() {
            None
        } else {
            name(path, claimed, header.flags)
        },
        abstract_name: flag(SOCKET_ABSTRACT),
        cookie: body.cookie,
        opened: None,
        sent: body.sent,
        received: body.received,
        was_established: flag(SOCKET_WAS_ESTABLISHED),
        address_claimed: flag(SOCKET_ADDRESS_CLAIMED),
        from_proc: false,
        id: act_id(body.identity),
    })
}

fn endpoint(family: u16, addr: [u8; 16], port: u32) -> Endpoint {
    match family {
        AF_INET | AF_INET6 if addr == [0; 16] && port == 0 => Endpoint::None,
        AF_INET | AF_INET6 => Endpoint::Internet(address(addr, port as u16)),
        AF_VSOCK => {
            let [a, b, c, d, ..] = addr;
            Endpoint::Vsock {
                cid: u32::from_ne_bytes([a, b, c, d]),
                port,
            }
        }
        _ => Endpoint::None,
    }
}

pub fn dns(tail: &mut Tail<'_>) -> Result<Dns, DecodeError> {
    let body: DnsBody = tail.body()?;
    let sent = match body.direction {
        DNS_SENT => true,
        DNS_RECEIVED => false,
        value => {
            return Err(DecodeError::Value {
                field: "direction",
                value,
            });
        }
    };
    let protocol = protocol(body.protocol as u16);
    let bytes = tail.take(body.message_len, "message")?;
    let cut = body.message_len < body.total_len;
    Ok(Dns {
        sent,
        protocol,
        remote: address(body.remote_addr, body.remote_port as u16),
        local_port: body.local_port as u16,
        total_len: body.total_len,
        cookie: body.cookie,
        cut,
        message: message(bytes, protocol == Protocol::Tcp, cut),
    })
}
