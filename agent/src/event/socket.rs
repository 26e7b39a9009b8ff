//! Sockets.

use super::operation;
use crate::observation::{BootTime, Endpoint, Name, Socket};
use norma_wire::pb;
use norma_wire::text::printable;
use rustix::net::{AddressFamily, Protocol, SocketType, ipproto, netlink};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::OnceLock;

pub fn detail(socket: &Socket, at: BootTime) -> pb::Socket {
    let (outcome, error) = operation::outcome(socket.outcome);
    let (remote_address, remote_port) = endpoint(socket.remote);
    let (local_address, local_port) = endpoint(socket.local);
    pb::Socket {
        name: socket.op.name().to_owned(),
        outcome: outcome as i32,
        error,
        family: family(socket.family),
        r#type: socket_type(socket.socket_type),
        protocol: protocol(socket.family, socket.protocol),
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
        cookie: cookie(socket.cookie),
        from_proc: socket.from_proc,
        address_claimed: socket.address_claimed,
    }
}

/// What stands for a socket in events. Where the kernel side could only give an address (before 5.12), the
/// address stays on the node: it would help whoever reads it to attack the kernel.
pub fn cookie(cookie: u64) -> u64 {
    static KEY: OnceLock<RandomState> = OnceLock::new();
    if cookie >> 63 == 0 {
        cookie
    } else {
        KEY.get_or_init(RandomState::new).hash_one(cookie)
    }
}

fn endpoint(endpoint: Endpoint) -> (String, u32) {
    match endpoint {
        Endpoint::None => (String::new(), 0),
        Endpoint::Internet(address) => (address.ip().to_string(), address.port().into()),
        Endpoint::Vsock { cid, port } => (cid.to_string(), port),
    }
}

/// AF_* without the prefix and in lower case.
pub fn family(family: u16) -> String {
    /// Those that rustix does not name: AF_ALG, AF_NFC, AF_KCM, AF_QIPCRTR, AF_SMC, AF_MCTP.
    const NEWER: &[(u16, &str)] = &[
        (38, "alg"),
        (39, "nfc"),
        (41, "kcm"),
        (42, "qipcrtr"),
        (43, "smc"),
        (45, "mctp"),
    ];
    const NAMES: &[(AddressFamily, &str)] = &[
        (AddressFamily::UNIX, "unix"),
        (AddressFamily::INET, "inet"),
        (AddressFamily::INET6, "inet6"),
        (AddressFamily::KEY, "key"),
        (AddressFamily::NETLINK, "netlink"),
        (AddressFamily::PACKET, "packet"),
        (AddressFamily::RDS, "rds"),
        (AddressFamily::PPPOX, "pppox"),
        (AddressFamily::LLC, "llc"),
        (AddressFamily::CAN, "can"),
        (AddressFamily::TIPC, "tipc"),
        (AddressFamily::BLUETOOTH, "bluetooth"),
        (AddressFamily::RXRPC, "rxrpc"),
        (AddressFamily::IEEE802154, "ieee802154"),
        (AddressFamily::VSOCK, "vsock"),
        (AddressFamily::XDP, "xdp"),
    ];
    NAMES
        .iter()
        .map(|(known, name)| (known.as_raw(), *name))
        .chain(NEWER.iter().copied())
        .find(|(known, _)| *known == family)
        .map_or_else(|| family.to_string(), |(_, name)| name.to_owned())
}

/// SOCK_* without the prefix and in lower case; empty where unknown.
fn socket_type(number: u16) -> String {
    const NAMES: &[(SocketType, &str)] = &[
        (SocketType::STREAM, "stream"),
        (SocketType::DGRAM, "dgram"),
        (SocketType::RAW, "raw"),
        (SocketType::RDM, "rdm"),
        (SocketType::SEQPACKET, "seqpacket"),
    ];
    match (
        number,
        NAMES
            .iter()
            .find(|(known, _)| known.as_raw() == u32::from(number)),
    ) {
        (0, _) => String::new(),
        (_, Some((_, name))) => (*name).to_owned(),
        (6, None) => "dccp".to_owned(),
        (other, None) => other.to_string(),
    }
}

/// Protocol of a socket of a family by name.
pub fn protocol(family: u16, number: u32) -> String {
    const INTERNET: &[(Protocol, &str)] = &[
        (ipproto::ICMP, "icmp"),
        (ipproto::TCP, "tcp"),
        (ipproto::UDP, "udp"),
        (ipproto::DCCP, "dccp"),
        (ipproto::GRE, "gre"),
        (ipproto::ESP, "esp"),
        (ipproto::AH, "ah"),
        (ipproto::ICMPV6, "icmpv6"),
        (ipproto::SCTP, "sctp"),
        (ipproto::UDPLITE, "udplite"),
        (ipproto::RAW, "raw"),
        (ipproto::MPTCP, "mptcp"),
    ];
    const NETLINK: &[(Protocol, &str)] = &[
        (netlink::USERSOCK, "usersock"),
        (netlink::SOCK_DIAG, "sock-diag"),
        (netlink::NFLOG, "nflog"),
        (netlink::XFRM, "xfrm"),
        (netlink::SELINUX, "selinux"),
        (netlink::ISCSI, "iscsi"),
        (netlink::AUDIT, "audit"),
        (netlink::FIB_LOOKUP, "fib-lookup"),
        (netlink::CONNECTOR, "connector"),
        (netlink::NETFILTER, "netfilter"),
        (netlink::KOBJECT_UEVENT, "kobject-uevent"),
        (netlink::GENERIC, "generic"),
        (netlink::SCSITRANSPORT, "scsi-transport"),
        (netlink::RDMA, "rdma"),
        (netlink::CRYPTO, "crypto"),
    ];
    const NETLINK_ROUTE: u32 = 0;
    let family = AddressFamily::from_raw(family);
    let names = match family {
        AddressFamily::INET | AddressFamily::INET6 => INTERNET,
        AddressFamily::NETLINK if number == NETLINK_ROUTE => return "route".to_owned(),
        AddressFamily::NETLINK => NETLINK,
        // The ethertype, in network byte order.
        AddressFamily::PACKET => return format!("{:#06x}", (number as u16).swap_bytes()),
        _ => &[],
    };
    names
        .iter()
        .find(|(known, _)| known.as_raw().get() == number)
        .map_or_else(|| number.to_string(), |(_, name)| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_named() {
        assert_eq!(
            (family(16).as_str(), protocol(16, 0).as_str()),
            ("netlink", "route")
        );
        assert_eq!(protocol(16, 12), "netfilter");
        assert_eq!(
            (family(17).as_str(), protocol(17, 0x0300).as_str()),
            ("packet", "0x0003")
        );
        assert_eq!(
            (family(2).as_str(), protocol(10, 58).as_str()),
            ("inet", "icmpv6")
        );
        assert_eq!(
            (family(99), protocol(1, 7), socket_type(3)),
            ("99".to_owned(), "7".to_owned(), "raw".to_owned())
        );
    }

    #[test]
    fn an_address_of_the_kernel_leaves_as_something_else() {
        let address = 0xffff_8880_1234_5600;
        assert_eq!(cookie(17), 17);
        assert_ne!(cookie(address), address);
        assert_eq!(cookie(address), cookie(address));
    }
}
