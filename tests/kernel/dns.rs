//! DNS messages on their way.

use crate::watch::Watch;
use norma_agent::observation::{Act, Dns, Observation, Protocol};
use norma_rig::skip::skipped;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};

/// A query for a name of one label below `example`, type A.
fn query(label: &str) -> Vec<u8> {
    let mut bytes = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00".to_vec();
    bytes.push(label.len() as u8);
    bytes.extend(label.as_bytes());
    bytes.extend(b"\x07example\x00\x00\x01\x00\x01");
    bytes
}

/// The answer to it: one address that lives for a minute.
fn answer(query: &[u8]) -> Vec<u8> {
    let mut bytes = query.to_vec();
    bytes[2] = 0x81;
    bytes[7] = 1;
    bytes.extend(b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\xc0\x00\x02\x0a");
    bytes
}

fn start() -> Option<Watch> {
    let watch = Watch::only(&["dns"])?;
    let report = watch
        .report
        .capabilities
        .iter()
        .find(|known| known.name == "dns")?;
    if report.tier.is_none() {
        skipped("kernel", &format!("dns: {}", report.reason().unwrap_or_default()));
        return None;
    }
    Some(watch)
}

/// A test's own address on the loopback interface, so that each has port 53 to itself.
fn server(address: &str) -> Option<UdpSocket> {
    match UdpSocket::bind((address, 53)) {
        Ok(socket) => Some(socket),
        Err(error) => {
            skipped("kernel", &format!("cannot serve on {address}:53: {error}"));
            None
        }
    }
}

fn find(watch: &mut Watch, what: &str, matches: impl Fn(&Dns) -> bool) -> (Observation, Dns) {
    watch.find(what, |seen| match &seen.act {
        Act::Dns(dns) if matches(dns) => Some((seen.clone(), Dns::clone(dns))),
        _ => None,
    })
}

#[test]
fn a_query_and_its_answer_are_seen_where_they_are_asked() {
    let Some(mut watch) = start() else { return };
    for address in ["127.0.0.53", "::1"] {
        let Some(server) = server(address) else { continue };
        let at = server.local_addr().unwrap();
        let client = UdpSocket::bind(if at.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" }).unwrap();
        let query = query(&format!("udp{}", u8::from(at.is_ipv4())));
        client.send_to(&query, at).unwrap();
        let mut buffer = [0; 512];
        let (len, from) = server.recv_from(&mut buffer).unwrap();
        server.send_to(&answer(&buffer[..len]), from).unwrap();
        client.recv_from(&mut buffer).unwrap();

        let port = client.local_addr().unwrap().port();
        let (seen, asked) = find(&mut watch, "query", |dns| dns.sent && dns.local_port == port);
        assert_eq!(seen.actor.process.pid, std::process::id());
        assert_eq!((asked.remote, asked.protocol), (at, Protocol::Udp));
        let message = asked.message.unwrap();
        assert!(!message.answer);
        assert!(
            message.name.starts_with("udp") && message.name.ends_with(".example"),
            "{message:?}"
        );
        assert_eq!(message.record_type, "A");

        let (seen, answered) = find(&mut watch, "answer", |dns| !dns.sent && dns.local_port == port);
        assert_eq!(seen.actor.process.pid, 0);
        assert_eq!((answered.remote, answered.cookie), (at, asked.cookie));
        assert_ne!(answered.cookie, 0);
        let message = answered.message.unwrap();
        assert_eq!(
            (message.code.as_str(), message.answers[0].value.as_str()),
            ("NOERROR", "192.0.2.10")
        );
        assert_eq!(message.answers[0].ttl, 60);
    }
}

#[test]
fn a_query_by_tcp_is_seen() {
    let Some(mut watch) = start() else { return };
    let listener = match TcpListener::bind("127.0.0.54:53") {
        Ok(listener) => listener,
        Err(error) => return skipped("kernel", &format!("cannot serve on port 53: {error}")),
    };
    let at = listener.local_addr().unwrap();
    let mut client = TcpStream::connect(at).unwrap();
    let (mut incoming, _) = listener.accept().unwrap();
    let framed = |message: &[u8]| [&(message.len() as u16).to_be_bytes()[..], message].concat();
    let query = query("tcp");
    client.write_all(&framed(&query)).unwrap();
    let mut buffer = vec![0; 2 + query.len()];
    incoming.read_exact(&mut buffer).unwrap();
    incoming.write_all(&framed(&answer(&buffer[2..]))).unwrap();
    client.read_exact(&mut buffer).unwrap();
    let (_, asked) = find(&mut watch, "query", |dns| dns.sent && dns.remote == at);
    assert_eq!(asked.protocol, Protocol::Tcp);
    assert_eq!(asked.message.unwrap().name, "tcp.example");
    let (_, answered) = find(&mut watch, "answer", |dns| !dns.sent && dns.remote == at);
    assert_eq!(answered.message.unwrap().answers.len(), 1);
    assert_eq!(answered.cookie, asked.cookie);
}

#[test]
fn what_is_no_dns_is_seen_with_the_reason_and_names_cannot_break_a_line() {
    let Some(mut watch) = start() else { return };
    let Some(server) = server("127.0.0.55") else {
        return;
    };
    let at: SocketAddr = server.local_addr().unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.connect(at).unwrap();
    client
        .send(b"not a message at all, but longer than a header")
        .unwrap();
    let (_, garbage) = find(&mut watch, "garbage", |dns| dns.sent && dns.remote == at);
    assert!(!garbage.message.unwrap_err().is_empty());
    client.send(&query("a\nb")).unwrap();
    let (_, odd) = find(&mut watch, "odd name", |dns| {
        dns.sent && dns.remote == at && dns.message.is_ok()
    });
    assert_eq!(odd.message.unwrap().name, r"a\x0Ab.example");
}
