//! Each kind of event, from a system call in a container to the collector's audit log.

use super::line::{LIMIT, Line, lineage, text};
use norma_rig::net::{Peer, free_port};
use norma_rig::{AgentSettings, skip, wait_until};
use serde_json::json;
use std::time::Duration;

/// While the baseline is learned, each behaviour that is new to it is an event of its own.
fn learning() -> AgentSettings {
    AgentSettings {
        learning: Duration::from_secs(3600),
        ..AgentSettings::default()
    }
}

#[test]
fn every_kind_reaches_the_audit_log_with_who_did_it_and_where() {
    if !skip::unless_root("every_kind_reaches_the_audit_log_with_who_did_it_and_where") {
        return;
    }
    let line = Line::start("events", &learning());
    let (stranger, stranger_v6) = (Peer::start().unwrap(), Peer::start_v6().unwrap());

    assert_eq!(line.order("stat -c %n /etc/shadow"), 0);
    let exec = line.event("the exec of stat", |event| {
        event["kind"] == "exec" && text(event, "/process/exe") == "/usr/bin/stat"
    });
    assert_eq!(
        exec["process"]["argv"],
        json!(["stat", "-c", "%n", "/etc/shadow"]),
        "{exec:#}"
    );
    assert_eq!(lineage(&exec), ["/usr/bin/stat", "/usr/bin/bash"], "{exec:#}");
    assert_eq!(exec["process"]["uid"].as_u64().unwrap_or(0), 0);
    assert_eq!(
        text(&exec, "/container/cgroup_path"),
        line.container.cgroup_path()
    );
    assert_eq!(text(&exec, "/container/runtime"), "runc", "{exec:#}");

    let exit = line.event("the exit of stat", |event| {
        event["kind"] == "exit" && event["process"]["pid"] == exec["process"]["pid"]
    });
    assert_eq!(exit.pointer("/exit/code"), Some(&json!(0)), "{exit:#}");

    assert_eq!(line.order("cat ../etc/./shadow > /dev/null"), 0);
    let open = line.event("the open of /etc/shadow", |event| {
        text(event, "/open/path") == "/etc/shadow"
    });
    assert_eq!(lineage(&open), ["/usr/bin/cat", "/usr/bin/bash"], "{open:#}");

    line.order(&format!("(exec 4<>/dev/tcp/127.0.0.1/{})", stranger.port()));
    let connect = line.event("the connection over IPv4", |event| {
        event["connect"]["remote_port"] == stranger.port()
    });
    assert_eq!(
        text(&connect, "/connect/remote_address"),
        "127.0.0.1",
        "{connect:#}"
    );
    assert_eq!(text(&connect, "/process/exe"), "/usr/bin/bash");

    line.order(&format!("(exec 4<>/dev/tcp/::1/{})", stranger_v6.port()));
    let connect = line.event("the connection over IPv6", |event| {
        event["connect"]["remote_port"] == stranger_v6.port()
    });
    assert_eq!(text(&connect, "/connect/remote_address"), "::1", "{connect:#}");

    line.order("norma-load listen 0.01");
    let listen = line.event("the listening socket", |event| event["kind"] == "listen");
    assert_eq!(text(&listen, "/process/exe"), "/usr/bin/norma-load");
    assert_eq!(lineage(&listen), ["/usr/bin/norma-load", "/usr/bin/bash"]);
    line.collector.audit().verify().unwrap();
}

#[test]
fn a_container_that_starts_after_the_agent_is_known_by_its_first_event() {
    if !skip::unless_root("a_container_that_starts_after_the_agent_is_known_by_its_first_event") {
        return;
    }
    let line = Line::start("late", &learning());
    let port = free_port().unwrap();
    let script = format!("cat /etc/app.conf; (exec 4<>/dev/tcp/127.0.0.1/{port}); sleep 600");
    let spec = norma_rig::ContainerSpec::script("late", &script);
    let late = norma_rig::Container::start(&line.scratch, &spec).unwrap();
    let event = line
        .collector
        .audit()
        .wait_for("the first program of the late container", LIMIT, |event| {
            event["kind"] == "exec"
                && text(event, "/container/id") == late.id()
                && text(event, "/process/exe") == "/usr/bin/cat"
        })
        .unwrap();
    assert_eq!(text(&event, "/container/cgroup_path"), late.cgroup_path());
    assert_eq!(
        event["container"]["cgroup_id"].to_string().trim_matches('"'),
        late.cgroup_id().unwrap().to_string()
    );
    // No event of one container may ever carry the name of the other.
    let wrong = line
        .collector
        .audit()
        .events()
        .unwrap()
        .into_iter()
        .find(|event| {
            let container = text(event, "/container/id");
            (container == late.id() && text(event, "/container/cgroup_path") != late.cgroup_path())
                || (container == line.container.id() && event.to_string().contains(&format!(":{port}")))
        });
    assert_eq!(wrong, None);
}

#[test]
fn counters_of_the_kernel_are_in_the_status() {
    if !skip::unless_root("counters_of_the_kernel_are_in_the_status") {
        return;
    }
    let line = Line::start("status", &learning());
    wait_until("opens in the status", LIMIT, || {
        let status = line.agent.status()?;
        Ok(status["kernel"]["open"]["seen"].as_u64().filter(|seen| *seen > 0))
    })
    .unwrap();
}
