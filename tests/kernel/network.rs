//! Connections and listeners.

use crate::watch::Watch;
use norma_agent::observation::{Act, Connect, KernelAction, Listen, Protocol};
use norma_rig::skip::skipped;
use rustix::net::{AddressFamily, SendFlags, SocketType};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};

/// MSG_FASTOPEN of Linux.
const MSG_FASTOPEN: u32 = 0x2000_0000;

/// A listener, or `None` after saying that this machine lacks the address.
fn listen(address: &str) -> Option<(TcpListener, SocketAddr)> {
    match TcpListener::bind(address) {
        Ok(listener) => {
            let local = listener.local_addr().unwrap();
            Some((listener, local))
        }
        Err(error) => {
            skipped("kernel", &format!("cannot listen on {address}: {error}"));
            None
        }
    }
}

fn find_connect(watch: &mut Watch, remote: SocketAddr) -> Connect {
    watch.find(&format!("connect to {remote}"), |seen| match &seen.act {
        Act::Connect(connect) if connect.remote == remote && seen.actor.process.pid == std::process::id() => {
            Some(connect.clone())
        }
        _ => None,
    })
}

fn find_listen(watch: &mut Watch, port: u16) -> Listen {
    watch.find(&format!("listen on {port}"), |seen| match &seen.act {
        Act::Listen(listen)
            if listen.local.port() == port && seen.actor.process.pid == std::process::id() =>
        {
            Some(listen.clone())
        }
        _ => None,
    })
}

#[test]
fn listeners_and_connections_are_seen_on_both_families() {
    let Some(mut watch) = Watch::start() else { return };
    for address in ["127.0.0.1:0", "[::1]:0", "0.0.0.0:0"] {
        let Some((_listener, local)) = listen(address) else {
            continue;
        };
        let seen = find_listen(&mut watch, local.port());
        assert_eq!(
            seen,
            Listen {
                local,
                protocol: Protocol::Tcp
            }
        );
        let remote = match local.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => SocketAddr::from(([127, 0, 0, 1], local.port())),
            _ => local,
        };
        TcpStream::connect(remote).unwrap();
        let connect = find_connect(&mut watch, remote);
        assert_eq!(
            (connect.protocol, connect.action),
            (Protocol::Tcp, KernelAction::None)
        );
    }
}

#[test]
fn a_mapped_address_is_the_ipv4_address_that_it_is() {
    let Some(mut watch) = Watch::start() else { return };
    let Some((_listener, local)) = listen("127.0.0.1:0") else {
        return;
    };
    if listen("[::1]:0").is_none() {
        return;
    }
    TcpStream::connect(format!("[::ffff:127.0.0.1]:{}", local.port())).unwrap();
    assert_eq!(find_connect(&mut watch, local).action, KernelAction::None);
}

#[test]
fn a_connection_that_fails_is_seen_as_attempt() {
    let Some(mut watch) = Watch::start() else { return };
    let Some((listener, local)) = listen("127.0.0.1:0") else {
        return;
    };
    drop(listener);
    TcpStream::connect(local).unwrap_err();
    find_connect(&mut watch, local);
}

#[test]
fn fast_open_is_seen() {
    let Some(mut watch) = Watch::start() else { return };
    let Some((_listener, local)) = listen("127.0.0.1:0") else {
        return;
    };
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    match rustix::net::sendto(&socket, b"x", SendFlags::from_bits_retain(MSG_FASTOPEN), &local) {
        Ok(_) => {}
        Err(error) => {
            skipped("kernel", &format!("TCP Fast Open is off: {error}"));
            return;
        }
    }
    find_connect(&mut watch, local);
}
