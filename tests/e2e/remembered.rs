//! What the agent finds again after it was restarted.

use super::line::{LIMIT, Line, text};
use norma_rig::{AgentSettings, skip};
use serde_json::Value;
use std::net::{IpAddr, UdpSocket};
use std::thread;
use std::time::Duration;

fn short() -> AgentSettings {
    AgentSettings {
        learning: Duration::from_secs(3),
        ..AgentSettings::default()
    }
}

fn incident(event: &Value) -> String {
    text(event, "/incident/id").to_owned()
}

/// A question for the address of `db.example`.
const QUESTION: &str = "\\x00\\x01\\x01\\x00\\x00\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x02db\\x07example\\x00\\x00\\x01\\x00\\x01";

/// Answers one question with an address, which is not one of this machine.
fn answer(server: &UdpSocket, address: [u8; 4]) {
    let mut question = [0; 512];
    let (len, from) = server.recv_from(&mut question).unwrap();
    let mut message = question[..len].to_vec();
    (message[2], message[3], message[7]) = (0x81, 0x80, 1);
    // The name of the question, an address, for a minute.
    message.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
    message.extend(address);
    server.send_to(&message, from).unwrap();
}

#[test]
fn names_and_incidents_outlive_the_agent() {
    const NAME: &str = "names_and_incidents_outlive_the_agent";
    if !skip::unless_root(NAME) {
        return;
    }
    let server = match UdpSocket::bind("127.0.0.77:53") {
        Ok(server) => server,
        Err(error) => return skip::skipped(NAME, &format!("cannot serve on 127.0.0.77:53: {error}")),
    };
    let peer: IpAddr = [198, 51, 100, 7].into();
    let reachable = UdpSocket::bind("0.0.0.0:0").and_then(|socket| socket.connect((peer, 9)));
    if let Err(error) = reachable {
        return skip::skipped(NAME, &format!("there is no way to any address: {error}"));
    }
    let mut line = Line::start("remembered", &short());
    // While it is learned: who is asked is expected to be.
    let answering = thread::spawn(move || answer(&server, [198, 51, 100, 7]));
    line.order(&format!(
        "exec 5<>/dev/udp/127.0.0.77/53; printf '{QUESTION}' >&5; read -r -t 20 -N 4 <&5; exec 5>&-"
    ));
    answering.join().unwrap();
    line.event("the answer", |event| {
        event["kind"] == "dns" && text(event, "/dns/name") == "db.example"
    });
    line.learn();
    assert_eq!(line.order("id > /dev/null"), 0);
    let first = line.event("a finding", |event| text(event, "/process/exe") == "/usr/bin/id");

    line.agent.stop().unwrap();
    line.agent.run(&line.scratch).unwrap();
    assert_eq!(line.order("ls / > /dev/null"), 0);
    let second = line.event("a finding after the restart", |event| {
        event["kind"] == "exec" && text(event, "/process/exe") == "/usr/bin/ls"
    });
    assert_eq!(incident(&second), incident(&first), "{second:#}");
    assert_ne!(incident(&second), "");

    line.order("echo x > /dev/udp/198.51.100.7/9");
    let connected = line
        .collector
        .audit()
        .wait_for("a connection to what was resolved", LIMIT, |event| {
            event["container"]["id"] == line.container.id()
                && [
                    text(event, "/connect/remote_address"),
                    text(event, "/socket/remote_address"),
                ]
                .contains(&"198.51.100.7")
        })
        .unwrap();
    assert!(
        connected.to_string().contains("db.example"),
        "by its name: {connected:#}"
    );
}
