//! What a workload does again and again is counted in the kernel, and nothing else is.

use super::line::{LIMIT, Line, text};
use norma_rig::net::Peer;
use norma_rig::{AgentSettings, skip, wait_until};
use serde_json::Value;
use std::fs;
use std::time::Duration;

/// Repetitions by which whatever can be recognised has been.
const OFTEN: u64 = 20;

fn recognised(status: &Value) -> u64 {
    recognised_of(status, "open")
}

fn recognised_of(status: &Value, kind: &str) -> u64 {
    status["kernel"][kind]["recognised"].as_u64().unwrap()
}

/// A number of 64 bits, which may be text.
fn number(value: &Value) -> u64 {
    value
        .as_u64()
        .or_else(|| value.as_str()?.parse().ok())
        .unwrap_or_default()
}

/// How many opens a list of counts has.
fn opens(counts: &Value) -> u64 {
    let counts = counts.as_array().into_iter().flatten();
    counts
        .filter(|count| count["kind"] == "open")
        .map(|count| number(&count["count"]))
        .sum()
}

#[test]
fn what_is_known_is_recognised_and_what_is_sensitive_or_new_is_reported() {
    if !skip::unless_root("what_is_known_is_recognised_and_what_is_sensitive_or_new_is_reported") {
        return;
    }
    let settings = AgentSettings {
        learning: Duration::from_secs(3),
        ..AgentSettings::default()
    };
    let mut line = Line::start("known", &settings);
    // Learned, too, where it is done in time; it is reported all the same.
    for _ in 0..OFTEN {
        assert_eq!(line.order("cat /etc/shadow"), 0);
    }
    line.learn();
    wait_until("the workload's opens to be recognised", LIMIT, || {
        let status = line.agent.status()?;
        Ok((recognised(&status) > OFTEN && status["known"]["entries"].as_u64() > Some(0)).then_some(()))
    })
    .unwrap();

    let at = |path: &str| line.container.host_path(path);
    fs::rename(at("/etc/app.conf"), at("/etc/other.conf")).unwrap();
    assert_eq!(line.order("cat /etc/other.conf"), 0);
    line.alert(&["novel", "/usr/bin/cat", "/etc/other.conf"]);
    fs::hard_link(at("/etc/shadow"), at("/etc/app.conf")).unwrap();
    assert_eq!(line.order("cat /etc/app.conf"), 0);

    line.agent.stop().unwrap();
    let rollup = line.event("a roll-up with what was recognised", |event| {
        opens(&event["rollup"]["recognised"]) > 0
    });
    let rollup = &rollup["rollup"];
    assert!(
        opens(&rollup["counts"]) >= opens(&rollup["recognised"]),
        "{rollup}"
    );
    let told = line.collector.audit().events_of("open").unwrap();
    let shadow = told
        .iter()
        .filter(|event| text(event, "/open/path") == "/etc/shadow")
        .count();
    assert!(shadow as u64 >= OFTEN, "{shadow} of {OFTEN} and more");
    let linked = told.iter().any(|event| {
        text(event, "/open/path") == "/etc/app.conf" && text(event, "/open/sensitive") == "/etc/shadow"
    });
    assert!(linked, "a sensitive file by a known name is an event");
}

#[test]
fn what_is_known_is_recognised_again_after_a_restart() {
    if !skip::unless_root("what_is_known_is_recognised_again_after_a_restart") {
        return;
    }
    let settings = AgentSettings {
        learning: Duration::from_secs(3),
        ..AgentSettings::default()
    };
    let mut line = Line::start("known-again", &settings);
    line.learn();
    let opens_are_recognised = |line: &Line| {
        wait_until("the workload's opens to be recognised", LIMIT, || {
            let status = line.agent.status()?;
            Ok((recognised(&status) > OFTEN).then_some(()))
        })
        .unwrap();
    };
    opens_are_recognised(&line);
    line.agent.stop().unwrap();
    line.agent.run(&line.scratch).unwrap();
    opens_are_recognised(&line);
    // And those of the container: an open of every round is not told of any more.
    let told = || {
        let events = line.collector.audit().events_of("open").unwrap();
        events.len()
    };
    let before = told();
    let seen = recognised(&line.agent.status().unwrap());
    wait_until("further rounds of the workload", LIMIT, || {
        Ok((recognised(&line.agent.status()?) > seen + OFTEN).then_some(()))
    })
    .unwrap();
    let more = told() - before;
    assert!(
        (more as u64) < OFTEN,
        "{more} opens were told of while {OFTEN} and more were recognised"
    );
}

#[test]
fn connections_with_known_peers_are_counted_and_others_are_alerts() {
    if !skip::unless_root("connections_with_known_peers_are_counted_and_others_are_alerts") {
        return;
    }
    let settings = AgentSettings {
        learning: Duration::from_secs(3),
        ..AgentSettings::default()
    };
    let mut line = Line::start("known-peers", &settings);
    let stranger = Peer::start().unwrap();
    line.learn();
    wait_until("the workload's connections to be recognised", LIMIT, || {
        let status = line.agent.status()?;
        Ok((recognised_of(&status, "connect") > OFTEN).then_some(()))
    })
    .unwrap();
    let friend = line.friend.port();
    let reported = |line: &Line| {
        let events = line.collector.audit().events_of("connect").unwrap();
        let with_friend = |event: &&Value| {
            text(event, "/container/id") == line.container.id()
                && number(&event["connect"]["remote_port"]) == u64::from(friend)
        };
        events.iter().filter(with_friend).count() as u64
    };
    let (before, counted) = (
        reported(&line),
        recognised_of(&line.agent.status().unwrap(), "connect"),
    );
    assert!(before > 0, "what is learned is reported");
    wait_until("further rounds of the workload", LIMIT, || {
        let status = line.agent.status()?;
        Ok((recognised_of(&status, "connect") > counted + OFTEN).then_some(()))
    })
    .unwrap();
    assert_eq!(reported(&line), before, "what is known is not");

    let order = format!("(exec 4<>/dev/tcp/127.0.0.1/{})", stranger.port());
    assert_eq!(line.order(&order), 0);
    line.alert(&["novel", "/usr/bin/bash", &stranger.port().to_string()]);

    line.agent.stop().unwrap();
    let rollup = line.event("a roll-up with the peer", |event| {
        let connections = event["rollup"]["connections"].as_array();
        connections.is_some_and(|connections| !connections.is_empty())
    });
    let connections = rollup["rollup"]["connections"].as_array().unwrap();
    let [with_friend] = connections.as_slice() else {
        panic!("one peer is known: {connections:?}");
    };
    assert_eq!(text(with_friend, "/exe"), "/usr/bin/bash");
    assert_eq!(text(with_friend, "/remote_address"), "127.0.0.1");
    assert_eq!(number(&with_friend["port"]), u64::from(friend));
    assert!(number(&with_friend["begun"]) > OFTEN, "{with_friend}");
    assert!(number(&with_friend["ended"]) > OFTEN, "{with_friend}");
    assert_eq!(number(&with_friend["failed"]), 0);
}

#[test]
fn each_connection_is_an_event_where_that_is_wanted() {
    if !skip::unless_root("each_connection_is_an_event_where_that_is_wanted") {
        return;
    }
    let settings = AgentSettings {
        learning: Duration::from_secs(3),
        extra: "sensor: {known_connections: reported}\n".to_owned(),
        ..AgentSettings::default()
    };
    let line = Line::start("known-told", &settings);
    line.learn();
    wait_until("the workload's opens to be recognised", LIMIT, || {
        let status = line.agent.status()?;
        Ok((recognised(&status) > 4 * OFTEN).then_some(()))
    })
    .unwrap();
    assert_eq!(recognised_of(&line.agent.status().unwrap(), "connect"), 0);
}
