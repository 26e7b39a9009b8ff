//! Ways to open and to accept a connection.

use super::local;
use crate::deed::area::{Area, known, own_network};
use crate::deed::sys::network::{accept, accept4, address, bind, connect, listen, socket};
use crate::deed::sys::{self, Errno};
use crate::deed::technique::{IO_URING_NETWORK, MAPPED_ADDRESS, MPTCP, TCP_FAST_OPEN, TOCTOU};
use crate::deed::truth::Truth;
use crate::deed::{Deed, deed, lacking};
use anyhow::{Context as _, Result, ensure};
use io_uring::{opcode, types};
use libc::{AF_INET, AF_INET6, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_STREAM};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

const IPPROTO_MPTCP: i32 = 262;
const IPPROTO_SCTP: i32 = 132;
const TCP_FASTOPEN: i32 = 23;
const TCP_FASTOPEN_CONNECT: i32 = 30;
const MSG_FASTOPEN: i32 = 0x2000_0000;
const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
/// Nobody listens there, in a network of one's own.
const SILENT: SocketAddr = SocketAddr::new(V4, 9);
/// Connections while the address changes.
const RACES: u32 = 200;

pub const ALL: &[Deed] = &[
    deed("connect", "connect", "", "connect(2) over IPv4", |_| {
        let server = server(V4)?;
        connected(AF_INET, 0, server.local_addr()?)
    }),
    deed("connect-ipv6", "connect", "", "connect(2) over IPv6", |_| {
        let server = server(V6)?;
        connected(AF_INET6, 0, server.local_addr()?)
    }),
    deed(
        "connect-non-blocking",
        "connect",
        "",
        "connect(2) that does not wait",
        |_| {
            let server = server(V4)?;
            let remote = server.local_addr()?;
            let client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)?;
            let result = connect(&client, &address(remote));
            ensure!(
                matches!(result, Ok(()) | Err(Errno::EINPROGRESS)),
                "connect gave {result:?}"
            );
            server.accept()?;
            Ok(ends(&client, remote)?.result(&result))
        },
    ),
    deed(
        "connect-refused",
        "connect",
        "",
        "connect(2) where nobody listens",
        |_| {
            own_network()?;
            let client = tcp(AF_INET, 0)?;
            let result = connect(&client, &address(SILENT));
            ensure!(result == Err(Errno::ECONNREFUSED), "connect gave {result:?}");
            Ok(Truth::here()
                .remote(&SILENT)
                .fact("protocol", libc::IPPROTO_TCP)
                .result(&result))
        },
    ),
    deed(
        "connect-mapped",
        "connect",
        MAPPED_ADDRESS,
        "connect(2) to an IPv4-mapped IPv6 address",
        |_| {
            let server = server(V4)?;
            let remote = server.local_addr()?;
            let mapped = SocketAddr::from((Ipv4Addr::LOCALHOST.to_ipv6_mapped(), remote.port()));
            let client = tcp(AF_INET6, 0)?;
            connect(&client, &address(mapped))?;
            Ok(Truth::here()
                .remote(&remote)
                .fact("protocol", libc::IPPROTO_TCP)
                .fact("given", mapped.to_string()))
        },
    ),
    deed(
        "connect-fast-open",
        "connect",
        TCP_FAST_OPEN,
        "sendto(MSG_FASTOPEN)",
        |_| {
            let server = fast_server()?;
            let remote = local(&server)?;
            let client = tcp(AF_INET, 0)?;
            let sent = sys::network::sendto(&client, b"early", MSG_FASTOPEN, &address(remote))
                .context("TCP Fast Open")?;
            Ok(ends(&client, remote)?.fact("bytes", sent))
        },
    ),
    deed(
        "connect-fast-open-option",
        "connect",
        TCP_FAST_OPEN,
        "TCP_FASTOPEN_CONNECT, connect(2), write(2)",
        |_| {
            let server = fast_server()?;
            let remote = local(&server)?;
            let client = tcp(AF_INET, 0)?;
            sys::network::set_option(
                &client,
                libc::IPPROTO_TCP,
                TCP_FASTOPEN_CONNECT,
                &1i32.to_ne_bytes(),
            )
            .context("TCP_FASTOPEN_CONNECT")?;
            connect(&client, &address(remote))?;
            let sent = rustix::io::write(&client, b"early")?;
            Ok(ends(&client, remote)?.fact("bytes", sent))
        },
    ),
    deed(
        "connect-mptcp",
        "connect",
        MPTCP,
        "connect(2) by Multipath TCP",
        |_| {
            let server = server(V4)?;
            let remote = server.local_addr()?;
            let client = multipath()?;
            connect(&client, &address(remote))?;
            Ok(ends(&client, remote)?.fact("protocol", IPPROTO_MPTCP))
        },
    ),
    deed(
        "connect-io-uring",
        "connect",
        IO_URING_NETWORK,
        "an io_uring connect request",
        |_| {
            let server = server(V4)?;
            let remote = server.local_addr()?;
            let client = tcp(AF_INET, 0)?;
            let to = address(remote);
            let length = u32::try_from(to.len())?;
            let entry =
                opcode::Connect::new(types::Fd(client.as_raw_fd()), to.as_ptr().cast(), length).build();
            sys::uring::request(&entry, "connect")?.context("connect")?;
            ends(&client, remote)
        },
    ),
    deed(
        "connect-toctou",
        "connect",
        TOCTOU,
        "a thread changes the address while another connects",
        toctou,
    ),
    deed("connect-sctp", "connect", "", "connect(2) by SCTP", |_| {
        own_network()?;
        let server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_SCTP).context("SCTP")?;
        bind(&server, &address(SocketAddr::new(V4, 0)))?;
        listen(&server, 8)?;
        let remote = local(&server)?;
        let client = tcp(AF_INET, IPPROTO_SCTP)?;
        connect(&client, &address(remote))?;
        Ok(ends(&client, remote)?.fact("protocol", IPPROTO_SCTP))
    }),
    deed("accept", "socket.accepted", "", "accept(2)", |_| {
        accepted(|server| accept(server, sys::Null, sys::Null).context("accept"))
    }),
    deed("accept4", "socket.accepted", "", "accept4(2)", |_| {
        accepted(|server| accept4(server, sys::Null, sys::Null, SOCK_CLOEXEC).context("accept4"))
    }),
    deed(
        "accept-io-uring",
        "socket.accepted",
        IO_URING_NETWORK,
        "an io_uring accept request",
        |_| {
            accepted(|server| {
                let entry = opcode::Accept::new(
                    types::Fd(server.as_raw_fd()),
                    std::ptr::null_mut(),
                    std::ptr::null_mut(),
                )
                .build();
                let descriptor = sys::uring::request(&entry, "accept")?.context("accept")?;
                Ok(sys::Answer::from_word(descriptor.into()))
            })
        },
    ),
    deed("bind-tcp", "socket.bound", "", "bind(2) to a port", |_| {
        own_network()?;
        let socket = tcp(AF_INET, 0)?;
        bind(&socket, &address(SocketAddr::new(V4, 4_001)))?;
        Ok(Truth::here()
            .local(&local(&socket)?)
            .fact("protocol", libc::IPPROTO_TCP))
    }),
    deed("listen", "listen", "", "bind(2), listen(2)", |_| {
        own_network()?;
        listening(&tcp(AF_INET, 0)?, Some(SocketAddr::new(V4, 4_002)))
    }),
    deed(
        "listen-ipv6",
        "listen",
        "",
        "bind(2), listen(2) on all IPv6 addresses",
        |_| {
            own_network()?;
            let all = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
            listening(&tcp(AF_INET6, 0)?, Some(SocketAddr::new(all, 4_003)))
        },
    ),
    deed(
        "listen-autobind",
        "listen",
        "",
        "listen(2) without bind(2)",
        |_| {
            own_network()?;
            listening(&tcp(AF_INET, 0)?, None)
        },
    ),
    deed(
        "listen-mptcp",
        "listen",
        MPTCP,
        "listen(2) by Multipath TCP",
        |_| {
            own_network()?;
            Ok(listening(&multipath()?, Some(SocketAddr::new(V4, 4_004)))?.fact("protocol", IPPROTO_MPTCP))
        },
    ),
    deed(
        "close-counted",
        "socket.closed",
        "",
        "close(2) after 1,000 bytes there and 5,000 back",
        counted,
    ),
    deed(
        "establish",
        "socket.established",
        "",
        "a connection is established",
        |_| {
            let server = server(V4)?;
            connected(AF_INET, 0, server.local_addr()?)
        },
    ),
];

fn tcp(family: i32, protocol: i32) -> Result<OwnedFd> {
    socket(family, SOCK_STREAM | SOCK_CLOEXEC, protocol).context("socket")
}

fn multipath() -> Result<OwnedFd> {
    match socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_MPTCP) {
        Err(Errno::ENOPROTOOPT) => Err(lacking("net.mptcp.enabled is 0")),
        other => known(other, "Multipath TCP"),
    }
}

/// A listener in a network of this process's own.
fn server(at: IpAddr) -> Result<TcpListener> {
    own_network()?;
    TcpListener::bind((at, 0)).map_err(|error| lacking(format!("cannot listen on {at}: {error}")))
}

/// A listener that takes Fast Open.
fn fast_server() -> Result<OwnedFd> {
    own_network()?;
    fs::write("/proc/sys/net/ipv4/tcp_fastopen", "519").context("net.ipv4.tcp_fastopen")?;
    let server = tcp(AF_INET, 0)?;
    bind(&server, &address(SocketAddr::new(V4, 0)))?;
    sys::network::set_option(&server, libc::IPPROTO_TCP, TCP_FASTOPEN, &8i32.to_ne_bytes())
        .context("TCP_FASTOPEN")?;
    listen(&server, 8)?;
    Ok(server)
}

/// The truth of a connected socket.
fn ends(client: &OwnedFd, remote: SocketAddr) -> Result<Truth> {
    Ok(Truth::here()
        .local(&local(client)?)
        .remote(&remote)
        .fact("protocol", libc::IPPROTO_TCP))
}

fn connected(family: i32, protocol: i32, remote: SocketAddr) -> Result<Truth> {
    let client = tcp(family, protocol)?;
    connect(&client, &address(remote))?;
    ends(&client, remote)
}

fn accepted(accept: impl FnOnce(&OwnedFd) -> Result<OwnedFd>) -> Result<Truth> {
    let server = OwnedFd::from(server(V4)?);
    let own = local(&server)?;
    let client = TcpStream::connect(own)?;
    let _connection = accept(&server)?;
    Ok(Truth::here()
        .local(&own)
        .remote(&client.local_addr()?)
        .fact("protocol", libc::IPPROTO_TCP))
}

fn listening(socket: &OwnedFd, at: Option<SocketAddr>) -> Result<Truth> {
    if let Some(at) = at {
        bind(socket, &address(at)).map_err(|error| lacking(format!("cannot bind to {at}: {error}")))?;
    }
    listen(socket, 8)?;
    Ok(Truth::here()
        .local(&local(socket)?)
        .fact("protocol", libc::IPPROTO_TCP))
}

fn counted(_: &Area) -> Result<Truth> {
    const THERE: usize = 1_000;
    const BACK: usize = 5_000;
    let server = server(V4)?;
    let remote = server.local_addr()?;
    let mut client = TcpStream::connect(remote)?;
    let (mut connection, _) = server.accept()?;
    let own = client.local_addr()?;
    client.write_all(&[b'q'; THERE])?;
    connection.read_exact(&mut [0; THERE])?;
    connection.write_all(&[b'a'; BACK])?;
    client.read_exact(&mut [0; BACK])?;
    drop(client);
    // Until the other end's close has arrived.
    connection.read_to_end(&mut Vec::new())?;
    Ok(Truth::here()
        .local(&own)
        .remote(&remote)
        .fact("protocol", libc::IPPROTO_TCP)
        .fact("sent", THERE)
        .fact("received", BACK))
}

/// Which server was reached is told by the kernel for each connection.
fn toctou(_: &Area) -> Result<Truth> {
    own_network()?;
    // The ports differ in one byte of the address.
    let ports = [0x4001u16, 0x4002];
    let servers: Vec<TcpListener> = ports
        .iter()
        .map(|port| TcpListener::bind((V4, *port)))
        .collect::<Result<_, _>>()?;
    let to: Vec<AtomicU8> = address(SocketAddr::new(V4, ports[0]))
        .into_iter()
        .map(AtomicU8::new)
        .collect();
    let done = AtomicBool::new(false);
    let mut got = [0u32; 2];
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                to[3].store(2, Ordering::Relaxed);
                to[3].store(1, Ordering::Relaxed);
            }
        });
        let mut connections = || -> Result<()> {
            for _ in 0..RACES {
                let client = tcp(AF_INET, 0)?;
                sys::network::connect_changing(&client, &to, to.len())?;
                let peer = rustix::net::getpeername(&client)?.context("no peer")?;
                let peer = SocketAddr::try_from(peer)?;
                let which = usize::from(peer.port() == ports[1]);
                got[which] += 1;
                servers[which].accept()?;
            }
            Ok(())
        };
        let result = connections();
        done.store(true, Ordering::Relaxed);
        result
    })?;
    let counts: serde_json::Map<_, _> = ports
        .iter()
        .zip(got)
        .map(|(port, count)| (SocketAddr::new(V4, *port).to_string(), count.into()))
        .collect();
    Ok(Truth::here()
        .remote(&SocketAddr::new(V4, ports[0]))
        .fact("protocol", libc::IPPROTO_TCP)
        .fact("connected", counts))
}
