//! Records that are lost: what they would have told is found, and said to be found.
//!
//! The agent is stopped, so that nobody empties its smallest possible ring, and programs are started until that is full.

use super::line::{LIMIT, Line, text};
use norma_rig::net::{free_port, scrape};
use norma_rig::{AgentSettings, Container, ContainerSpec, Programs, skip, wait_until};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// Well below the time after which the tree of control groups is read where no loss is known.
const BY_THE_LOSS: Duration = Duration::from_secs(40);

fn settings(sensor: &str) -> AgentSettings {
    AgentSettings {
        learning: Duration::from_secs(3600),
        extra: format!("sensor:\n  {sensor}\n"),
        ..AgentSettings::default()
    }
}

fn lost(line: &Line, kind: &str) -> u64 {
    let status = line.agent.status().unwrap();
    status["kernel"][kind]["lost"].as_u64().unwrap_or(0)
}

/// Runs `work` while the ring of what may not be crowded out is full and nobody reads it.
fn unheard<T>(line: &mut Line, kind: &str, work: impl FnOnce(&Line) -> T) -> T {
    let before = lost(line, kind);
    line.agent.daemon().unwrap().signal(Signal::STOP).unwrap();
    line.order("for round in {1..100}; do cat /etc/hostname > /dev/null; done");
    let result = work(line);
    line.agent.daemon().unwrap().signal(Signal::CONT).unwrap();
    wait_until("the loss in the status", LIMIT, || {
        Ok((lost(line, kind) > before).then_some(()))
    })
    .unwrap();
    result
}

fn quiet(line: &Line, name: &str) -> Container {
    Container::start(&line.scratch, &ContainerSpec::script(name, "sleep 600")).unwrap()
}

fn is_listed(line: &Line, container: &Container) -> bool {
    let status = line.agent.status().unwrap();
    let listed = status["containers"].as_array().into_iter().flatten();
    listed
        .filter_map(Value::as_str)
        .any(|listed| listed.contains(container.id()))
}

fn listed(line: &Line, container: &Container, is: bool) {
    wait_until("the container in the status, or not", LIMIT, || {
        Ok((is_listed(line, container) == is).then_some(()))
    })
    .unwrap();
}

fn put_right(line: &Line, id: &str, words: &str) -> Value {
    line.collector
        .audit()
        .wait_for(words, LIMIT, |event| {
            event["kind"] == "recovery"
                && text(event, "/container/id") == id
                && text(event, "/recovery/what").contains(words)
        })
        .unwrap()
}

#[test]
fn containers_whose_beginning_or_end_was_lost_are_found_in_the_tree_of_control_groups() {
    if !skip::unless_root(
        "containers_whose_beginning_or_end_was_lost_are_found_in_the_tree_of_control_groups",
    ) {
        return;
    }
    let mut line = Line::start("lost-group", &settings("reserved_ring_bytes: 16384"));
    let old = quiet(&line, "old");
    listed(&line, &old, true);
    let id = old.id().to_owned();
    let since = Instant::now();
    let late = unheard(&mut line, "cgroup", |line| {
        drop(old);
        quiet(line, "late")
    });
    put_right(&line, &id, "has ended");
    put_right(&line, late.id(), "was there already");
    assert!(
        since.elapsed() < BY_THE_LOSS,
        "{:?}: it was not the loss that had the tree read",
        since.elapsed()
    );
    listed(&line, &late, true);
    let status = line.agent.status().unwrap();
    assert!(!status["containers"].to_string().contains(&id), "{status:#}");

    // Its acts are its own.
    assert!(late.exec(&["stat", "/etc/hostname"]).unwrap().status.success());
    let event = line
        .collector
        .audit()
        .wait_for("an act of the late container", LIMIT, |event| {
            event["kind"] == "exec" && text(event, "/process/exe") == "/usr/bin/stat"
        })
        .unwrap();
    assert_eq!(text(&event, "/container/id"), late.id(), "{event:#}");
    assert_eq!(text(&event, "/container/cgroup_path"), late.cgroup_path());
}

#[test]
fn a_container_ends_also_where_no_record_ever_tells() {
    if !skip::unless_root("a_container_ends_also_where_no_record_ever_tells") {
        return;
    }
    let line = Line::start("untold-group", &settings("off: [cgroup]"));
    let old = quiet(&line, "old");
    // Of a group whose creation is not told is known what is done in it.
    assert!(old.exec(&["stat", "/etc/hostname"]).unwrap().status.success());
    listed(&line, &old, true);
    let id = old.id().to_owned();
    drop(old);
    put_right(&line, &id, "has ended");
}

#[test]
fn after_a_lost_exec_acts_are_put_down_to_the_program_that_does_them() {
    if !skip::unless_root("after_a_lost_exec_acts_are_put_down_to_the_program_that_does_them") {
        return;
    }
    let mut line = Line::start("lost-exec", &settings("reserved_ring_bytes: 16384"));
    let root = |path: &str| line.container.host_path(path);
    fs::copy(root("/usr/bin/bash"), root("/usr/bin/other")).unwrap();
    fs::create_dir(root("/etc/late")).unwrap();
    for number in 0..500 {
        fs::write(root(&format!("/etc/late/{number}")), "x\n").unwrap();
    }
    let go = root("/run/go");
    let reads = "n=0; while :; do read -r x < /etc/late/$n; n=$((n + 1)); sleep 0.2; done";
    fs::write(root("/run/reads"), reads).unwrap();
    line.container
        .order("(until [[ -e /run/go ]]; do sleep 0.1; done; exec other /run/reads) &")
        .unwrap();
    assert_eq!(line.order("true"), 0);
    unheard(&mut line, "exec", |_| {
        fs::write(&go, "").unwrap();
        wait_until("the other program", LIMIT, || {
            let runs = |process: fs::DirEntry| fs::read_link(process.path().join("exe")).ok();
            let mut all = fs::read_dir("/proc")?.flatten().filter_map(runs);
            Ok(all.any(|exe| exe == Path::new("/usr/bin/other")).then_some(()))
        })
        .unwrap();
    });
    let is_its = |event: &Value| text(event, "/open/path").starts_with("/etc/late/");
    let open = line.event("what the program opens", is_its);
    assert_eq!(open["process"]["from_proc"], true, "{open:#}");
    assert_eq!(
        open["process"]["argv"],
        json!(["other", "/run/reads"]),
        "{open:#}"
    );
    line.event("more of that", |event| {
        text(event, "/open/path") == "/etc/late/50"
    });
    // All of them, also those that were in the rings when the loss was found out.
    let events = line.collector.audit().events().unwrap();
    for event in events.iter().filter(|event| is_its(event)) {
        assert_eq!(text(event, "/process/exe"), "/usr/bin/other", "{event:#}");
    }
    // Nobody else's program was doubted for long: what is executed next is told by its record.
    assert_eq!(line.order("stat /etc/hostname"), 0);
    let exec = line.event("an exec that is not lost", |event| {
        event["kind"] == "exec" && text(event, "/process/exe") == "/usr/bin/stat"
    });
    assert_ne!(exec["process"]["from_proc"], true, "{exec:#}");
    assert_eq!(
        super::line::lineage(&exec),
        ["/usr/bin/stat", "/usr/bin/bash"],
        "{exec:#}"
    );
}

#[test]
fn a_sampling_unit_in_which_events_were_lost_is_no_evidence_for_what_they_tell_of() {
    if !skip::unless_root("a_sampling_unit_in_which_events_were_lost_is_no_evidence_for_what_they_tell_of") {
        return;
    }
    let port = free_port().unwrap();
    let extra = format!(
        "learning:\n  unit: 3s\nsensor:\n  reserved_ring_bytes: 16384\nmetrics:\n  listen: 127.0.0.1:{port}\n"
    );
    let settings = AgentSettings {
        by_evidence: true,
        extra,
        ..AgentSettings::default()
    };
    let mut line = Line::start("lost-unit", &settings);
    let fields = |line: &Line| {
        let status = line.agent.status().unwrap();
        let baselines = status["baselines"].as_array().cloned().unwrap_or_default();
        let mut own = baselines.into_iter();
        let own = own.find(|baseline| text(baseline, "/workload").contains(line.container.id()));
        own.map_or(Value::Null, |baseline| baseline["fields"].clone())
    };
    let field = |line: &Line, name: &str| {
        let fields = fields(line);
        let mut all = fields.as_array().into_iter().flatten();
        all.find(|field| field["field"] == name)
            .cloned()
            .unwrap_or_default()
    };
    wait_until("an estimate", LIMIT, || {
        Ok(field(&line, "exec")["expected_per_day"].is_array().then_some(()))
    })
    .unwrap();
    let lossy = |field: &Value| field["units_with_losses"].as_u64();
    let before = lossy(&field(&line, "exec"));
    unheard(&mut line, "exec", |_| ());
    let exec = wait_until("the unit to be over", LIMIT, || {
        let exec = field(&line, "exec");
        Ok((lossy(&exec) > before).then_some(exec))
    })
    .unwrap();
    assert!(exec["lost"].as_u64() > Some(0), "{exec}");
    // Connections have another ring, which nothing filled.
    let connect = field(&line, "connect");
    assert_eq!(
        (&connect["units_with_losses"], &connect["lost"]),
        (&json!(0), &json!(0)),
        "{connect}"
    );

    let sample = |name: &str, field: &str| {
        let page = scrape(port).unwrap();
        let mut samples = page.lines().filter(|line| line.starts_with(name));
        let found = samples.find(|sample| {
            sample.contains(line.container.id()) && sample.contains(&format!("field=\"{field}\""))
        });
        let value = found.and_then(|sample| sample.rsplit(' ').next()?.parse::<f64>().ok());
        value.unwrap_or_else(|| panic!("{name} of {field} is not in {page}"))
    };
    for name in ["norma_agent_field_units_with_losses", "norma_agent_field_lost"] {
        assert!(sample(name, "exec") > 0.0);
        assert_eq!(sample(name, "connect"), 0.0);
    }

    let mut show = Programs::find().unwrap().agent();
    show.args(["baseline", "show", line.container.id(), "--state-dir"])
        .arg(line.agent.state());
    let shown = wait_until("the words of it on the disk", LIMIT, || {
        let shown = String::from_utf8(show.output()?.stdout)?;
        Ok(shown.contains("with losses do not count").then_some(shown))
    })
    .unwrap();
    let of_connect = shown
        .lines()
        .find(|line| line.trim_start().starts_with("connect "))
        .unwrap();
    assert!(!of_connect.contains("losses"), "{shown}");
}
