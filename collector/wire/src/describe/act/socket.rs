//! Sockets and DNS, in words.

use super::endpoint;
use super::operation::ending;
use crate::pb::{Dns, Socket};

/// What happened to the socket, as a main clause.
pub fn words(exe: &str, socket: &Socket) -> String {
    let kind = format!("{} {} socket", socket.family, socket.r#type);
    let kind = kind.replace("  ", " ");
    let remote = remote(socket);
    let local = end(&socket.local_address, socket.local_port);
    let words = match socket.name.as_str() {
        "made" => format!("{exe} made a {kind} (protocol {})", socket.protocol),
        "bound" => format!("{exe} bound a {kind} to {local}"),
        "accepted" => format!("{exe} accepted a connection from {remote} on {local}"),
        "established" => format!("{exe} is connected to {remote}"),
        "closed" if socket.was_established => format!(
            "{exe} ended its connection with {remote}: {} bytes sent, {} received",
            socket.bytes_sent, socket.bytes_received
        ),
        "closed" => format!("{exe} did not get through to {remote}"),
        "sent" => format!("{exe} sent datagrams to {remote}"),
        "connected" => format!("{exe} connected a {kind} to {remote}"),
        "listening" => format!("{exe} listens on the {kind} {local}{}", path(socket)),
        other => format!("{exe} did {other} with a {kind}"),
    };
    words + &ending(socket.outcome, &socket.error)
}

/// A DNS message, as a main clause.
pub fn dns_words(exe: &str, dns: &Dns) -> String {
    let server = endpoint(&dns.server_address, dns.server_port);
    if !dns.malformed.is_empty() {
        return format!(
            "{exe} exchanged a DNS {} with {server} that cannot be understood: {}",
            dns.direction, dns.malformed
        );
    }
    let question = format!("{} {}", dns.name, dns.r#type);
    if dns.direction == "query" {
        return format!("{exe} asked {server} for {question}");
    }
    let answers: Vec<_> = dns.answers.iter().map(|answer| answer.value.as_str()).collect();
    format!(
        "{server} answered {question}: {} {}",
        dns.code,
        answers.join(", ")
    )
    .trim_end()
    .to_owned()
}

fn remote(socket: &Socket) -> String {
    if socket.path.is_some() {
        path(socket).trim().to_owned()
    } else {
        end(&socket.remote_address, socket.remote_port)
    }
}

fn path(socket: &Socket) -> String {
    socket
        .path
        .as_ref()
        .map(|path| format!(" {}", path.path))
        .unwrap_or_default()
}

fn end(address: &str, port: u32) -> String {
    if address.is_empty() && port == 0 {
        String::new()
    } else {
        endpoint(address, port)
    }
}
