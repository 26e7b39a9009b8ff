//! What a workload does again and again is counted in the kernel, and nothing else is.

use super::line::{LIMIT, Line, text};
use norma_rig::{AgentSettings, skip, wait_until};
use serde_json::Value;
use std::fs;
use std::time::Duration;

/// Repetitions by which whatever can be recognised has been.
const OFTEN: u64 = 20;

fn recognised(status: &Value) -> u64 {
    status["kernel"]["open"]["recognised"].as_u64().unwrap()
}

/// How many opens a list of counts has.
fn opens(counts: &Value) -> u64 {
    let counts = counts.as_array().into_iter().flatten();
    counts
        .filter(|count| count["kind"] == "open")
        .filter_map(|count| {
            count["count"]
                .as_u64()
                .or_else(|| count["count"].as_str()?.parse().ok())
        })
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
