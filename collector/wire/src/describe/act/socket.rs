//! Sockets and DNS, in words.

use super::endpoint;
use super::operation::ending;
use crate::pb::{Dns, Outcome, Socket};
use std::time::Duration;

/// What happened to the socket, as a main clause.
pub fn words(exe: &str, socket: &Socket) -> String {
    let kind = [&socket.family, &socket.r#type]
        .into_iter()
        .filter(|word| !word.is_empty())
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(" ");
    let kind = format!("{kind} socket");
    let remote = remote(socket);
    let local = local(socket);
    let tried = matches!(
        Outcome::try_from(socket.outcome),
        Ok(Outcome::Denied | Outcome::Failed)
    );
    let words = match (socket.name.as_str(), tried) {
        ("made", false) => format!("{exe} made a {kind} (protocol {})", socket.protocol),
        ("made", true) => format!("{exe} tried to make a {kind} (protocol {})", socket.protocol),
        ("bound", false) => format!("{exe} bound a {kind} to {local}"),
        ("bound", true) => format!("{exe} tried to bind a {kind} to {local}"),
        ("accepted", _) => format!("{exe} accepted a connection from {remote} on {local}"),
        ("established", _) => format!("{exe} is connected to {remote}"),
        ("closed", _) if socket.was_established => closed(exe, &remote, socket),
        ("closed", _) => format!("{exe} did not get through to {remote}"),
        ("sent", _) => format!("{exe} sent datagrams to {remote}"),
        ("connected", false) => format!("{exe} connected a {kind} to {remote}"),
        ("connected", true) => format!("{exe} tried to connect a {kind} to {remote}"),
        ("listening", _) => format!("{exe} listens on the {kind} {local}"),
        (other, _) => format!("{exe} did {other} with a {kind}"),
    };
    words.trim_end().to_owned() + &ending(socket.outcome, &socket.error)
}

fn closed(exe: &str, remote: &str, socket: &Socket) -> String {
    let lasted = match socket.duration_ns {
        0 => String::new(),
        ns => format!(" after {:?}", Duration::from_millis(ns / 1_000_000)),
    };
    format!(
        "{exe}'s connection with {remote} ended{lasted}: {} bytes sent, {} received",
        socket.bytes_sent, socket.bytes_received
    )
}

/// A DNS message, as a main clause.
pub fn dns_words(exe: &str, dns: &Dns) -> String {
    let server = endpoint(&dns.server_address, dns.server_port);
    if !dns.malformed.is_empty() {
        return if dns.direction == "query" {
            format!(
                "{exe} sent {server} something that is no DNS message: {}",
                dns.malformed
            )
        } else {
            format!(
                "{server} sent {exe} something that is no DNS message: {}",
                dns.malformed
            )
        };
    }
    let question = format!("{} {}", dns.name, dns.r#type);
    if dns.direction == "query" {
        return format!("{exe} asked {server} for {question}");
    }
    let answers: Vec<_> = dns.answers.iter().map(|answer| answer.value.as_str()).collect();
    format!(
        "{server} answered {exe} about {question}: {} {}",
        dns.code,
        answers.join(", ")
    )
    .trim_end()
    .to_owned()
}

fn remote(socket: &Socket) -> String {
    if socket.path.is_some() {
        path(socket)
    } else {
        end(&socket.remote_address, socket.remote_port)
    }
}

fn local(socket: &Socket) -> String {
    if socket.path.is_some() {
        path(socket)
    } else {
        end(&socket.local_address, socket.local_port)
    }
}

fn path(socket: &Socket) -> String {
    socket.path.as_ref().map_or_else(String::new, |path| {
        let note = if path.claimed { " (as given)" } else { "" };
        format!("{}{note}", path.path)
    })
}

fn end(address: &str, port: u32) -> String {
    if address.is_empty() && port == 0 {
        String::new()
    } else {
        endpoint(address, port)
    }
}
