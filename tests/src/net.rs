//! Ports of the loopback interface, and a peer that takes connections.

use anyhow::{Context as _, Result, ensure};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

/// A port that nothing uses now.
pub fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot bind a loopback port")?;
    Ok(listener.local_addr().context("no local address")?.port())
}

/// Whether something listens on a port, found without connecting to it.
pub fn is_listening(port: u16) -> Result<bool> {
    let hex = format!(":{port:04X} ");
    // Those of the calling thread, which may have a network of its own.
    for table in ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"] {
        let text = fs::read_to_string(table).with_context(|| table.to_owned())?;
        // State 0A is TCP_LISTEN.
        let listening = |line: &str| {
            let mut words = line.split_whitespace();
            let local = words.nth(1).map(|word| format!("{word} "));
            local.is_some_and(|local| local.ends_with(&hex)) && words.nth(1) == Some("0A")
        };
        if text.lines().any(listening) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The page of metrics that a program of ours serves on this port of the loopback interface.
pub fn scrape(port: u16) -> Result<String> {
    let mut stream =
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).context("nothing serves metrics there")?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, page) = answer.split_once("\r\n\r\n").context("no answer of HTTP")?;
    ensure!(head.contains(" 200 ") && head.contains("openmetrics"), "{head}");
    Ok(page.to_owned())
}

/// Takes connections on the loopback interface and closes them at once, until the process ends.
#[derive(Debug)]
pub struct Peer {
    address: SocketAddr,
}

impl Peer {
    /// Starts one on a free port.
    pub fn start() -> Result<Self> {
        Self::listen(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot bind a loopback port")?)
    }

    /// Starts one on the IPv6 loopback address.
    pub fn start_v6() -> Result<Self> {
        Self::listen(TcpListener::bind((std::net::Ipv6Addr::LOCALHOST, 0)).context("cannot bind ::1")?)
    }

    fn listen(listener: TcpListener) -> Result<Self> {
        let address = listener.local_addr().context("no local address")?;
        std::thread::spawn(move || listener.incoming().for_each(drop));
        Ok(Self { address })
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }
}
