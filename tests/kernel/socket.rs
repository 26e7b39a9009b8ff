//! The life of sockets: accept, end, bind, datagrams, special kinds, Unix sockets.

use crate::watch::{Watch, directory};
use norma_agent::observation::{
    Act, Connect, Endpoint, Name, Observation, Outcome, Protocol, Socket, SocketOp,
};
use norma_agent::sensor::Tier;
use norma_rig::skip::skipped;
use rustix::net::{AddressFamily, RawProtocol, SendFlags, SocketAddrUnix, SocketFlags, SocketType, netlink};
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;

const AF_UNIX: u16 = 1;
const EACCES: u32 = 13;
const ENOENT: u32 = 2;
const EADDRNOTAVAIL: u32 = 99;
const ECONNRESET: u32 = 104;
const ECONNREFUSED: u32 = 111;

/// Whether a capability is had; says what is skipped where it is not.
fn has(watch: &Watch, capability: &str) -> Option<Tier> {
    let report = watch
        .report
        .capabilities
        .iter()
        .find(|known| known.name == capability);
    let report = report.unwrap_or_else(|| panic!("there is no capability {capability}"));
    if report.tier.is_none() {
        skipped(
            "kernel",
            &format!("{capability}: {}", report.reason().unwrap_or_default()),
        );
    }
    report.tier
}

fn start() -> Option<Watch> {
    Watch::only(&[
        "connect",
        "close",
        "listen",
        "accept",
        "bind",
        "datagram",
        "network-failed",
        "unix",
        "socket-made",
        "raw-send",
        "unix-datagram",
    ])
}

fn is_own(seen: &Observation) -> bool {
    seen.actor.process.pid == std::process::id()
}

/// Waits for a record of a socket; those of this process, or of nobody.
fn find(watch: &mut Watch, what: &str, matches: impl Fn(&Socket) -> bool) -> (Observation, Socket) {
    watch.find(what, |seen| match &seen.act {
        Act::Socket(socket) if (is_own(seen) || seen.actor.process.pid == 0) && matches(socket) => {
            Some((seen.clone(), Socket::clone(socket)))
        }
        _ => None,
    })
}

fn find_connect(watch: &mut Watch, remote: SocketAddr) -> Connect {
    watch.find(&format!("connect to {remote}"), |seen| match &seen.act {
        Act::Connect(connect) if connect.remote == remote && is_own(seen) => Some(connect.clone()),
        _ => None,
    })
}

fn at(address: SocketAddr) -> Endpoint {
    Endpoint::Internet(address)
}

fn name(socket: &Socket) -> (&[u8], bool) {
    match &socket.path {
        Some(Name::Walked(path)) => (&path.bytes, false),
        Some(Name::Claimed(bytes)) => (bytes, true),
        None => (b"", false),
    }
}

#[test]
fn an_accepted_connection_has_both_ends_and_its_end_tells_the_bytes() {
    let Some(mut watch) = start() else { return };
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let Ok(listener) = TcpListener::bind(address) else {
            skipped("kernel", &format!("cannot listen on {address}"));
            continue;
        };
        let server = listener.local_addr().unwrap();
        let mut out = TcpStream::connect(server).unwrap();
        let client = out.local_addr().unwrap();
        let (mut incoming, _) = listener.accept().unwrap();
        out.write_all(b"hello").unwrap();
        out.shutdown(Shutdown::Write).unwrap();
        let mut text = Vec::new();
        incoming.read_to_end(&mut text).unwrap();
        incoming.write_all(b"bye").unwrap();
        drop(incoming);
        out.read_to_end(&mut text).unwrap();
        drop(out);

        let connect = find_connect(&mut watch, server);
        let (_, established) = find(&mut watch, "established", |socket| {
            socket.op == SocketOp::Established && socket.cookie == connect.cookie
        });
        assert_eq!((established.remote, established.local), (at(server), at(client)));
        let (seen, end) = find(&mut watch, "end of the client's", |socket| {
            socket.op == SocketOp::Closed && socket.cookie == connect.cookie
        });
        assert_eq!((end.remote, end.local), (at(server), at(client)));
        assert_eq!(
            (end.sent, end.received, end.was_established),
            (5, 3, true),
            "{end:?}"
        );
        assert_eq!(end.outcome, Outcome::Succeeded);
        assert_eq!(
            seen.actor.process.pid, 0,
            "who runs when it ends is nobody's business"
        );

        if has(&watch, "accept").is_none() {
            continue;
        }
        let (seen, accepted) = find(&mut watch, "accept", |socket| {
            socket.op == SocketOp::Accepted && socket.remote == at(client)
        });
        assert!(is_own(&seen));
        assert_eq!(accepted.local, at(server));
        let (_, end) = find(&mut watch, "end of the server's", |socket| {
            socket.op == SocketOp::Closed && socket.cookie == accepted.cookie
        });
        assert_eq!(
            (end.sent, end.received, end.was_established),
            (3, 5, true),
            "{end:?}"
        );
    }
}

#[test]
fn the_end_is_of_the_control_group_and_the_network_that_opened_it() {
    let Some(mut watch) = start() else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = listener.local_addr().unwrap();
    drop(TcpStream::connect(server).unwrap());
    let (opened, cookie) = watch.find("connect", |seen| match &seen.act {
        Act::Connect(connect) if connect.remote == server => Some((seen.clone(), connect.cookie)),
        _ => None,
    });
    let (ended, _) = find(&mut watch, "end", |socket| {
        socket.op == SocketOp::Closed && socket.cookie == cookie
    });
    assert_eq!(ended.actor.cgroup, opened.actor.cgroup);
    assert_eq!(ended.actor.namespaces.net, opened.actor.namespaces.net);
}

#[test]
fn an_attempt_that_is_refused_ends_with_the_error() {
    let Some(mut watch) = start() else { return };
    let server = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    TcpStream::connect(server).unwrap_err();
    let connect = find_connect(&mut watch, server);
    let (_, end) = find(&mut watch, "failed attempt", |socket| {
        // Before 5.12 a later socket may have the number of an earlier one.
        socket.op == SocketOp::Closed
            && socket.cookie == connect.cookie
            && socket.remote == Endpoint::Internet(server)
    });
    assert_eq!(
        (end.outcome, end.was_established),
        (Outcome::Failed(ECONNREFUSED), false)
    );
}

#[test]
fn a_reset_is_told() {
    let Some(mut watch) = start() else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = listener.local_addr().unwrap();
    let out = TcpStream::connect(server).unwrap();
    let client = out.local_addr().unwrap();
    let (incoming, _) = listener.accept().unwrap();
    rustix::net::sockopt::set_socket_linger(&out, Some(std::time::Duration::ZERO)).unwrap();
    drop(out);
    let (_, end) = find(&mut watch, "reset", |socket| {
        socket.op == SocketOp::Closed && socket.local == at(server) && socket.remote == at(client)
    });
    assert_eq!(
        (end.outcome, end.was_established),
        (Outcome::Failed(ECONNRESET), true)
    );
    drop(incoming);
}

#[test]
fn a_bound_datagram_socket_is_seen_with_the_port_that_the_kernel_chose() {
    let Some(mut watch) = start() else { return };
    if has(&watch, "bind").is_none() {
        return;
    }
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let Ok(socket) = UdpSocket::bind(address) else {
            skipped("kernel", &format!("cannot bind {address}"));
            continue;
        };
        let local = socket.local_addr().unwrap();
        let (seen, bound) = find(&mut watch, "bind", |socket| {
            socket.op == SocketOp::Bound && socket.local == at(local)
        });
        assert!(is_own(&seen));
        assert_eq!((bound.protocol, bound.socket_type), (17, 2));
    }
}

#[test]
fn a_bind_that_fails_is_seen_with_its_error() {
    let Some(mut watch) = start() else { return };
    if has(&watch, "network-failed").is_none() {
        return;
    }
    // An address for documentation, which nobody has.
    let local: SocketAddr = "192.0.2.7:4242".parse().unwrap();
    UdpSocket::bind(local).unwrap_err();
    let (_, failed) = find(&mut watch, "failed bind", |socket| {
        socket.op == SocketOp::Bound && socket.local == at(local)
    });
    assert_eq!(failed.outcome, Outcome::Failed(EADDRNOTAVAIL));
    assert!(failed.address_claimed);
}

#[test]
fn datagrams_are_seen_once_for_each_peer() {
    let Some(mut watch) = start() else { return };
    if has(&watch, "datagram").is_none() {
        return;
    }
    let peers: Vec<UdpSocket> = (0..2).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
    let sender = UdpSocket::bind("0.0.0.0:0").unwrap();
    for _ in 0..3 {
        for peer in &peers {
            sender.send_to(b"x", peer.local_addr().unwrap()).unwrap();
        }
    }
    for peer in &peers {
        let remote = at(peer.local_addr().unwrap());
        find(&mut watch, "datagram", |socket| {
            socket.op == SocketOp::Sent && socket.remote == remote
        });
    }
    watch.drain();
    let sent = watch.seen.iter().filter(|seen| match &seen.act {
        Act::Socket(socket) => {
            is_own(seen) && socket.op == SocketOp::Sent && socket.remote == at(peers[0].local_addr().unwrap())
        }
        _ => false,
    });
    assert_eq!(sent.count(), 1);
}

#[test]
fn a_connected_datagram_socket_and_a_mapped_peer_are_seen() {
    let Some(mut watch) = start() else { return };
    if has(&watch, "datagram").is_none() {
        return;
    }
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    UdpSocket::bind("127.0.0.1:0").unwrap().connect(peer).unwrap();
    assert_eq!(find_connect(&mut watch, peer).protocol, Protocol::Udp);

    let mapped = UdpSocket::bind("127.0.0.1:0").unwrap();
    let peer = mapped.local_addr().unwrap();
    let Ok(sender) = UdpSocket::bind("[::]:0") else {
        skipped("kernel", "no IPv6");
        return;
    };
    let spelling: SocketAddr = format!("[::ffff:127.0.0.1]:{}", peer.port()).parse().unwrap();
    sender.send_to(b"x", spelling).unwrap();
    find(&mut watch, "mapped peer", |socket| {
        socket.op == SocketOp::Sent && socket.remote == at(peer)
    });
}

#[test]
fn a_flood_of_raw_packets_is_told_once_for_each_peer() {
    let Some(mut watch) = start() else { return };
    if has(&watch, "raw-send").is_none() {
        return;
    }
    let icmp = Some(rustix::net::ipproto::ICMP);
    let socket =
        match rustix::net::socket_with(AddressFamily::INET, SocketType::RAW, SocketFlags::CLOEXEC, icmp) {
            Ok(socket) => socket,
            Err(error) => return skipped("kernel", &format!("no raw socket: {error}")),
        };
    let echo = [8, 0, 0xf7, 0xff, 0, 0, 0, 0];
    for peer in ["127.0.0.77:0", "127.0.0.78:0"] {
        let peer: SocketAddr = peer.parse().unwrap();
        for _ in 0..100 {
            rustix::net::sendto(&socket, &echo, SendFlags::empty(), &peer).unwrap();
        }
    }
    let is_raw = |socket: &Socket| socket.op == SocketOp::Sent && socket.socket_type == 3;
    for peer in ["127.0.0.77:0", "127.0.0.78:0"] {
        let peer = at(peer.parse().unwrap());
        let (_, sent) = find(&mut watch, "raw packet", |socket| {
            is_raw(socket) && socket.remote == peer
        });
        assert_eq!((sent.protocol, sent.outcome), (1, Outcome::Permitted));
        assert_ne!(sent.cookie, 0);
    }
    let told = watch.seen.iter().filter(|seen| match &seen.act {
        Act::Socket(socket) => is_own(seen) && is_raw(socket),
        _ => false,
    });
    assert_eq!(told.count(), 2);
}

#[test]
fn a_datagram_to_a_unix_socket_is_told_by_the_name_of_who_gets_it() {
    let Some(mut watch) = start() else { return };
    if has(&watch, "unix-datagram").is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (folder.path().join("one"), folder.path().join("other"));
    let _servers = [&one, &other].map(|path| UnixDatagram::bind(path).unwrap());
    let client = UnixDatagram::unbound().unwrap();
    // Nobody takes them, and there is not room for many.
    for _ in 0..5 {
        client.send_to(b"x", &one).unwrap();
    }
    // A connection is none, and neither is what it carries.
    client.connect(&other).unwrap();
    client.send(b"x").unwrap();
    std::fs::remove_file(&one).unwrap();
    let (_, sent) = find(&mut watch, "datagram", |socket| {
        socket.op == SocketOp::Sent && name(socket).0 == one.as_os_str().as_encoded_bytes()
    });
    assert_eq!((sent.family, sent.outcome), (AF_UNIX, Outcome::Permitted));
    assert!(!name(&sent).1, "the kernel's own name");
    find(&mut watch, "connection", |socket| {
        socket.op == SocketOp::Connected && name(socket).0 == other.as_os_str().as_encoded_bytes()
    });
    let told = watch.seen.iter().filter(|seen| match &seen.act {
        Act::Socket(socket) => is_own(seen) && socket.op == SocketOp::Sent && socket.family == AF_UNIX,
        _ => false,
    });
    assert_eq!(told.count(), 1);
}

#[test]
fn sockets_of_special_kinds_are_seen_when_they_are_made() {
    let Some(mut watch) = start() else { return };
    if has(&watch, "socket-made").is_none() {
        return;
    }
    let packets = RawProtocol::new(u32::from(0x0003u16.to_be()));
    let icmp = RawProtocol::new(1);
    let kinds: [(AddressFamily, SocketType, Option<RawProtocol>, u32); 4] = [
        (
            AddressFamily::PACKET,
            SocketType::RAW,
            packets,
            u32::from(0x0003u16.to_be()),
        ),
        (AddressFamily::INET, SocketType::RAW, icmp, 1),
        (AddressFamily::NETLINK, SocketType::RAW, None, 0),
        (
            AddressFamily::NETLINK,
            SocketType::DGRAM,
            Some(netlink::GENERIC.as_raw()),
            16,
        ),
    ];
    for (family, kind, protocol, number) in kinds {
        let protocol = protocol.map(rustix::net::Protocol::from_raw);
        if let Err(error) = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, protocol) {
            skipped("kernel", &format!("{family:?} {kind:?}: {error}"));
            continue;
        }
        let (seen, made) = find(&mut watch, &format!("{family:?} {kind:?}"), |socket| {
            socket.op == SocketOp::Made && socket.family == family.as_raw() && socket.protocol == number
        });
        assert!(is_own(&seen));
        assert_eq!(u32::from(made.socket_type), kind.as_raw());
        assert!(matches!(made.outcome, Outcome::Succeeded | Outcome::Permitted));
    }
    let usual: Vec<_> = watch
        .seen
        .iter()
        .filter(|seen| match &seen.act {
            Act::Socket(socket) => socket.op == SocketOp::Made && socket.family == AF_UNIX,
            _ => false,
        })
        .collect();
    assert!(usual.is_empty(), "{usual:?}");
}

#[test]
fn a_unix_socket_is_named_by_its_file_however_it_is_reached() {
    let Some(mut watch) = start() else { return };
    if has(&watch, "unix").is_none() {
        return;
    }
    let (_directory, place) = directory();
    let file = place.join("server.sock");
    let listener = UnixListener::bind(&file).unwrap();
    let by_name = |op: SocketOp, path: &Path| {
        let path = path.to_owned();
        move |socket: &Socket| {
            socket.op == op
                && socket.family == AF_UNIX
                && name(socket) == (path.as_os_str().as_bytes(), false)
        }
    };
    find(&mut watch, "bind", by_name(SocketOp::Bound, &file));
    find(&mut watch, "listen", by_name(SocketOp::Listening, &file));
    let link = place.join("link");
    std::os::unix::fs::symlink(&place, &link).unwrap();
    let spelling = link
        .join("..")
        .join(place.file_name().unwrap())
        .join("server.sock");
    let client = UnixStream::connect(&spelling).unwrap();
    let (_, connected) = find(&mut watch, "connect", by_name(SocketOp::Connected, &file));
    assert_eq!(connected.outcome, Outcome::Succeeded);
    drop((client, listener));
}

#[test]
fn an_abstract_name_is_told_apart_from_a_path() {
    let Some(mut watch) = start() else { return };
    if has(&watch, "unix").is_none() {
        return;
    }
    let own_name = format!("norma\n{}", std::process::id());
    let address = SocketAddrUnix::new_abstract_name(own_name.as_bytes()).unwrap();
    let stream = || -> OwnedFd {
        rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        )
        .unwrap()
    };
    let (server, client) = (stream(), stream());
    rustix::net::bind(&server, &address).unwrap();
    rustix::net::listen(&server, 1).unwrap();
    rustix::net::connect(&client, &address).unwrap();
    let (_, connected) = find(&mut watch, "connect", |socket| {
        socket.op == SocketOp::Connected && name(socket).0 == own_name.as_bytes()
    });
    assert!(connected.abstract_name);
}

#[test]
fn attempts_on_unix_sockets_that_fail_are_seen_as_they_were_spelled() {
    let Some(mut watch) = start() else { return };
    if has(&watch, "network-failed").is_none() {
        return;
    }
    let (_directory, place) = directory();
    let (nothing, dead) = (place.join("nothing"), place.join("dead"));
    drop(UnixListener::bind(&dead).unwrap());
    for (path, error) in [(&nothing, ENOENT), (&dead, ECONNREFUSED)] {
        UnixStream::connect(path).unwrap_err();
        let (_, failed) = find(&mut watch, "failed connect", |socket| {
            socket.op == SocketOp::Connected && name(socket) == (path.as_os_str().as_bytes(), true)
        });
        assert_eq!(failed.outcome, Outcome::Failed(error));
        assert_ne!(failed.outcome, Outcome::Failed(EACCES));
    }
}
