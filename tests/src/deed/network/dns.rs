//! Asking for names.

use crate::deed::area::{Area, PATIENCE, own_network};
use crate::deed::technique::DNS_TUNNEL;
use crate::deed::truth::Truth;
use crate::deed::{Deed, deed};
use anyhow::{Context as _, Result, ensure};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};

const SERVER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 53);
const ANSWER: [u8; 4] = [192, 0, 2, 10];
const NAME: &str = "api.norma.test";

pub const ALL: &[Deed] = &[
    deed("dns-udp", "dns", "", "a query and its answer over UDP", |_| {
        udp(NAME)
    }),
    deed("dns-tcp", "dns", "", "a query and its answer over TCP", tcp),
    deed(
        "dns-tunnel",
        "dns",
        DNS_TUNNEL,
        "data is put into the name that is asked for",
        |_| {
            let data = "6e6f726d61".repeat(6);
            udp(&format!("{data}.{data}.{data}.norma.test"))
        },
    ),
];

/// A question for an address.
fn query(id: u16, name: &str) -> Vec<u8> {
    let mut message = id.to_be_bytes().to_vec();
    // Recursion is wanted; one question.
    message.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        message.push(u8::try_from(label.len()).unwrap_or(63));
        message.extend(label.as_bytes());
    }
    // The root; type A, class IN.
    message.extend([0, 0, 1, 0, 1]);
    message
}

/// The answer to a question.
fn answer(query: &[u8]) -> Vec<u8> {
    let mut message = query.to_vec();
    message[2..8].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 1]);
    // The name at offset 12, type A, class IN, 60 seconds, 4 bytes.
    message.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
    message.extend(ANSWER);
    message
}

fn truth(protocol: i32, own: SocketAddr, name: &str, id: u16) -> Truth {
    Truth::here()
        .local(&own)
        .remote(&SERVER)
        .fact("protocol", protocol)
        .fact("name", name)
        .fact("type", "A")
        .fact("id", id)
        .fact("answer", Ipv4Addr::from(ANSWER).to_string())
}

fn udp(name: &str) -> Result<Truth> {
    const ID: u16 = 0x1234;
    own_network()?;
    let server = UdpSocket::bind(SERVER).context("port 53")?;
    let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    for socket in [&server, &client] {
        socket.set_read_timeout(Some(PATIENCE / 2))?;
    }
    client.send_to(&query(ID, name), SERVER)?;
    let mut bytes = [0; 512];
    let (length, asker) = server.recv_from(&mut bytes)?;
    server.send_to(&answer(&bytes[..length]), asker)?;
    let length = client.recv(&mut bytes)?;
    ensure!(bytes[..length].ends_with(&ANSWER), "another answer came");
    Ok(truth(libc::IPPROTO_UDP, client.local_addr()?, name, ID))
}

fn tcp(_: &Area) -> Result<Truth> {
    const ID: u16 = 0x1235;
    own_network()?;
    let server = TcpListener::bind(SERVER).context("port 53")?;
    let mut client = TcpStream::connect(SERVER)?;
    let (mut connection, _) = server.accept()?;
    send(&mut client, &query(ID, NAME))?;
    let question = receive(&mut connection)?;
    send(&mut connection, &answer(&question))?;
    ensure!(receive(&mut client)?.ends_with(&ANSWER), "another answer came");
    Ok(truth(libc::IPPROTO_TCP, client.local_addr()?, NAME, ID))
}

/// A message with its length before it.
fn send(stream: &mut TcpStream, message: &[u8]) -> Result<()> {
    let mut framed = u16::try_from(message.len())?.to_be_bytes().to_vec();
    framed.extend(message);
    Ok(stream.write_all(&framed)?)
}

fn receive(stream: &mut TcpStream) -> Result<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message)?;
    Ok(message)
}
