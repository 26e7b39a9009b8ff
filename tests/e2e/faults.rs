//! Kills, absences and full disks: nothing lost, nothing doubled, or accounted for.

use super::line::{LIMIT, Line, text};
use norma_rig::net::Peer;
use norma_rig::{AgentSettings, skip, wait_until};
use rustix::process::Signal;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

fn learning() -> AgentSettings {
    AgentSettings {
        learning: Duration::from_secs(3600),
        ..AgentSettings::default()
    }
}

/// Waits until everything in the outbox is acknowledged.
fn shipped(line: &Line) {
    wait_until("the outbox to be empty", LIMIT, || {
        let status = line.agent.status()?;
        let outbox = &status["outbox"];
        let next = outbox["next_sequence"].as_u64().unwrap_or(u64::MAX);
        Ok((outbox["acknowledged"].as_u64().unwrap_or(0) + 1 >= next).then_some(()))
    })
    .unwrap();
}

/// Reads a file that nobody has read, so that each round is an event of its own.
fn mark(line: &Line, number: usize) -> String {
    let path = format!("/etc/mark-{number}");
    std::fs::write(line.container.host_path(&path), "x\n").unwrap();
    assert_eq!(line.order(&format!("cat {path}")), 0);
    path
}

fn opened_paths(line: &Line) -> Vec<String> {
    let events = line.collector.audit().events_of("open").unwrap();
    let paths = events.iter().map(|event| text(event, "/open/path"));
    paths
        .filter(|path| path.starts_with("/etc/mark-"))
        .map(str::to_owned)
        .collect()
}

/// Waits until a mark is in the audit log.
fn arrived(line: &Line, path: &String) {
    wait_until(&format!("{path} in the audit log"), LIMIT, || {
        Ok(opened_paths(line).contains(path).then_some(()))
    })
    .unwrap();
}

#[test]
fn sigkill_of_agent_and_collector_in_turn_loses_and_doubles_nothing() {
    if !skip::unless_root("sigkill_of_agent_and_collector_in_turn_loses_and_doubles_nothing") {
        return;
    }
    let mut line = Line::start("kills", &learning());
    line.container
        .order("(while :; do norma-load novel 0.01; norma-load exec 0.02; sleep 0.2; done) &")
        .unwrap();
    let mut expected = BTreeSet::new();
    // `NORMA_CYCLES` of them, or a few.
    let cycles = std::env::var("NORMA_CYCLES")
        .ok()
        .and_then(|text| text.parse().ok());
    for round in 0..cycles.unwrap_or(6) {
        if round % 2 == 0 {
            expected.insert(mark(&line, 2 * round));
            line.collector.kill().unwrap();
            // The agent watches on without a collector.
            expected.insert(mark(&line, 2 * round + 1));
            line.collector.run(&line.scratch).unwrap();
        } else {
            // What the agent has not read yet when it is killed is not observed, so the mark is awaited. Of what the
            // load does, some is not acknowledged at the kill: its sequences are checked below.
            let path = mark(&line, 2 * round);
            arrived(&line, &path);
            expected.insert(path);
            line.agent.kill().unwrap();
            line.agent.run(&line.scratch).unwrap();
            expected.insert(mark(&line, 2 * round + 1));
        }
    }
    let last = mark(&line, 99_999);
    expected.insert(last.clone());
    arrived(&line, &last);
    line.agent.stop().unwrap();
    line.collector.stop().unwrap();

    let found = opened_paths(&line);
    let distinct: BTreeSet<String> = found.iter().cloned().collect();
    assert_eq!(distinct, expected, "what was observed is in the log");
    assert_eq!(found.len(), distinct.len(), "and each of it once: {found:?}");
    let total = line.collector.audit().check_sequences().unwrap();
    let verdict = line.collector.audit().verify().unwrap();
    assert!(verdict.contains("intact"), "{verdict}");
    assert!(total > 100, "the load made only {total} events");
}

#[test]
fn an_agent_without_its_collector_goes_on_and_catches_up() {
    if !skip::unless_root("an_agent_without_its_collector_goes_on_and_catches_up") {
        return;
    }
    let mut line = Line::prepare("absent", &learning());
    line.collector.stop().unwrap();
    line.agent.run(&line.scratch).unwrap();
    let paths: BTreeSet<String> = (0..5).map(|number| mark(&line, number)).collect();
    line.collector.run(&line.scratch).unwrap();
    wait_until("all that happened in the audit log", LIMIT, || {
        let found: BTreeSet<String> = opened_paths(&line).into_iter().collect();
        Ok((found == paths).then_some(()))
    })
    .unwrap();
    shipped(&line);
    line.collector.audit().check_sequences().unwrap();
}

#[test]
fn a_full_disk_under_the_outbox_is_survived_and_accounted_for() {
    if !skip::unless_root("a_full_disk_under_the_outbox_is_survived_and_accounted_for") {
        return;
    }
    let holder = norma_rig::Scratch::new("disk").unwrap();
    let disk = holder.small_disk("state", 2 << 20).unwrap();
    let settings = AgentSettings {
        state: Some(disk.clone()),
        // The bound is far above what the disk holds: the disk is what runs out.
        outbox: Some((64 << 20, 1 << 20)),
        ..learning()
    };
    let mut line = Line::prepare("full", &settings);
    line.collector.stop().unwrap();
    line.agent.run(&line.scratch).unwrap();
    let free = || -> anyhow::Result<u64> {
        let disk = rustix::fs::statvfs(&disk)?;
        Ok(disk.f_bavail * disk.f_frsize)
    };
    // Each new file is an event, and nobody takes them. The status file is on the full disk as well, so the
    // disk itself is asked.
    wait_until("the disk to be full", LIMIT, || {
        line.order("norma-load novel 0.3");
        Ok((free()? < 64 << 10).then_some(()))
    })
    .unwrap();
    line.order("norma-load novel 0.3");
    assert!(
        line.agent.daemon().unwrap().try_wait().unwrap().is_none(),
        "the agent ended"
    );
    line.collector.run(&line.scratch).unwrap();
    let loss = line
        .collector
        .audit()
        .wait_for("the loss", LIMIT, |event| {
            event["kind"] == "loss" && event.to_string().contains("outbox_write")
        })
        .unwrap();
    let counted: u64 = loss["loss"]["counts"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|kind| norma_rig::audit::number(&kind["count"]))
        .sum();
    assert!(counted > 0, "{loss:#}");
    // One that comes while the disk is still full is counted as lost, so each look makes another.
    let mut number = 0;
    wait_until("events to flow again", LIMIT, || {
        number += 1;
        mark(&line, number);
        Ok((!opened_paths(&line).is_empty()).then_some(()))
    })
    .unwrap();
    // An alert may have taken the room of older events; what says so may come after it.
    wait_until("each gap to be accounted for", LIMIT, || {
        Ok(line.collector.audit().check_accounted().ok())
    })
    .unwrap();
}

#[test]
fn a_flood_is_delivered_or_counted() {
    if !skip::unless_root("a_flood_is_delivered_or_counted") {
        return;
    }
    let settings = AgentSettings {
        extra: "sensor:\n  ring_bytes: 65536\n".to_owned(),
        ..learning()
    };
    let line = Line::start("flood", &settings);
    let peer = Peer::start().unwrap();
    line.order(&format!(
        "norma-load novel 1 & norma-load connect 1 {}; wait",
        peer.port()
    ));
    let kernel = wait_until("losses in the status", LIMIT, || {
        line.order("norma-load novel 0.5 & norma-load open 0.5; wait");
        let status = line.agent.status()?;
        let lost = |kind: &serde_json::Value| kind["lost"].as_u64().unwrap_or(0);
        let total: u64 = status["kernel"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(_, kind)| lost(kind))
            .sum();
        Ok((total > 0).then_some(total))
    })
    .unwrap();
    let loss = line
        .collector
        .audit()
        .wait_for("the loss", LIMIT, |event| {
            event["kind"] == "loss" && event.to_string().contains("ring_full")
        })
        .unwrap();
    assert!(kernel > 0 && !text(&loss, "/kind").is_empty());
}

#[test]
fn a_use_of_a_capability_whose_record_was_lost_is_told_when_it_is_used_again() {
    if !skip::unless_root("a_use_of_a_capability_whose_record_was_lost_is_told_when_it_is_used_again") {
        return;
    }
    let settings = AgentSettings {
        extra: "sensor:\n  reserved_ring_bytes: 16384\n".to_owned(),
        ..learning()
    };
    let mut line = Line::start("lost-use", &settings);
    line.event("something of the workload", |event| event["kind"] == "exec");
    let locked = line.container.host_path("/etc/app.conf");
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o400)).unwrap();
    let lost = |status: &Value| status["kernel"]["privilege"]["lost"].as_u64().unwrap_or(0);
    let before = lost(&line.agent.status().unwrap());

    // Nobody empties the ring meanwhile, and the programs that are started here fill it.
    line.agent.daemon().unwrap().signal(Signal::STOP).unwrap();
    line.order("for round in {1..100}; do cat /etc/hostname > /dev/null; done");
    line.order("echo once > /etc/app.conf");
    line.agent.daemon().unwrap().signal(Signal::CONT).unwrap();
    wait_until("the loss in the status", LIMIT, || {
        Ok((lost(&line.agent.status()?) > before).then_some(()))
    })
    .unwrap();

    // Sooner than a use is reported again that was remembered.
    wait_until("the use to be told", Duration::from_secs(60), || {
        line.order("echo again > /etc/app.conf");
        let events = line.collector.audit().events_of("privilege")?;
        let told = |event: &Value| {
            let id = text(event, "/container/id") == line.container.id();
            id && event["operation"]["name"] == "privilege.capability-use"
                && event.to_string().contains("CAP_DAC_OVERRIDE")
        };
        Ok(events.iter().any(told).then_some(()))
    })
    .unwrap();
}
