//! A hostile container: whatever it does to disturb, blind or overflow the agent is reported, and the agent
//! goes on.

use super::line::{LIMIT, Line, lineage, text};
use norma_rig::guest::repetitions;
use norma_rig::{AgentSettings, cgroup, skip, wait_until};
use serde_json::Value;
use std::fs;
use std::time::Duration;

fn learning() -> AgentSettings {
    AgentSettings {
        learning: Duration::from_secs(3600),
        ..AgentSettings::default()
    }
}

/// Has the container do something until its event is there: directly after a storm it may be among what is counted as
/// lost. `order` is given the number of the attempt.
fn seen_at_last(
    line: &Line,
    what: &str,
    kind: &str,
    order: impl Fn(usize) -> String,
    is_it: impl Fn(&Value) -> bool,
) -> Value {
    let mut attempts = 0;
    wait_until(what, LIMIT, || {
        attempts += 1;
        assert_eq!(line.order(&order(attempts)), 0);
        let own = |event: &Value| event["container"]["id"] == line.container.id() && is_it(event);
        Ok(line.collector.audit().events_of(kind)?.into_iter().find(own))
    })
    .unwrap()
}

/// A thing that the container does afterwards is seen, with who did it: the agent sees and follows.
fn is_awake(line: &Line, mark: &str) {
    let event = seen_at_last(
        line,
        &format!("the file {mark}"),
        "open",
        |attempt| format!("cat /etc/app.conf > /tmp/{mark}-{attempt}"),
        |event| {
            text(event, "/open/path").starts_with(&format!("/tmp/{mark}-"))
                && event["open"]["created"] == true
        },
    );
    assert_eq!(
        text(&event, "/container/cgroup_path"),
        line.container.cgroup_path()
    );
    line.collector.audit().verify().unwrap();
}

#[test]
fn garbage_names_arrive_whole_and_cannot_break_a_line() {
    if !skip::unless_root("garbage_names_arrive_whole_and_cannot_break_a_line") {
        return;
    }
    let line = Line::start("garbage", &learning());
    for (name, expected) in [
        (r"$'/tmp/two\nlines'", r"/tmp/two\x0alines"),
        (r"$'/tmp/\e[31mred'", r"/tmp/\x1b[31mred"),
        (r"$'/tmp/\xff\xfe'", r"/tmp/\xff\xfe"),
        (r#"$'/tmp/back\\slash "quote"'"#, r#"/tmp/back\x5cslash "quote""#),
        (r"$'/tmp/\xe2\x80\xaegpj.exe'", r"/tmp/\xe2\x80\xaegpj.exe"),
    ] {
        assert_eq!(line.order(&format!("true > {name}")), 0, "{name}");
        line.event(expected, |event| text(event, "/open/path") == expected);
    }
    // As a program's name, its argument, and its comm.
    assert_eq!(
        line.order(r"cp_() { cat /usr/bin/true > $'/tmp/ru\nn'; }; cp_"),
        0
    );
    line.order(r"(exec -a $'\e]0;x' true)");
    is_awake(&line, "after-garbage");
}

#[test]
fn deep_directories_cut_the_path_and_say_so() {
    if !skip::unless_root("deep_directories_cut_the_path_and_say_so") {
        return;
    }
    let line = Line::start("deep", &learning());
    let mut deep = line.container.host_path("/srv");
    for _ in 0..150 {
        deep.push("d");
    }
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("bottom"), "x").unwrap();
    let script = "cd /srv; for i in {1..150}; do cd d; done; read -r x < bottom; cd /; echo";
    assert_eq!(line.order(script), 0);
    let event = line.event("the file at the bottom", |event| {
        text(event, "/open/path").ends_with("/bottom")
    });
    assert_eq!(event["open"]["path_truncated"], true, "{event:#}");
    assert!(
        text(&event, "/open/path").starts_with("\u{2026}/d/d/"),
        "{event:#}"
    );
    is_awake(&line, "after-deep");
}

#[test]
fn a_hundred_thousand_short_lived_processes_cost_neither_memory_nor_lineage() {
    if !skip::unless_root("a_hundred_thousand_short_lived_processes_cost_neither_memory_nor_lineage") {
        return;
    }
    let mut line = Line::start("short-lived", &learning());
    let before = line.agent.daemon().unwrap().resident_bytes().unwrap();
    let each = repetitions(25_000);
    let storm = format!(
        "storm() {{ for ((i = 0; i < {each}; i++)); do ( : ); done; }}; storm & storm & storm & storm & wait"
    );
    let status = line
        .container
        .order_and_wait(&storm, Duration::from_secs(300))
        .unwrap();
    assert_eq!(status, 0);
    let after = line.agent.daemon().unwrap().resident_bytes().unwrap();
    assert!(
        after < before + (96 << 20),
        "{before} bytes before, {after} after the storm"
    );
    let event = seen_at_last(
        &line,
        "a program after the storm",
        "exec",
        |_| "(bash -c 'stat /etc/app.conf > /dev/null; true')".to_owned(),
        |event| text(event, "/process/exe") == "/usr/bin/stat",
    );
    assert_eq!(
        lineage(&event),
        ["/usr/bin/stat", "/usr/bin/bash", "/usr/bin/bash"],
        "{event:#}"
    );
    // Every end of a process is an event, or was counted as lost.
    wait_until("the sum of ends", LIMIT, || {
        let status = line.agent.status()?;
        let counted = |what: &str| status["kernel"]["exit"][what].as_u64().unwrap_or(0);
        Ok((counted("seen") >= 4 * each).then_some(()))
    })
    .unwrap();
    is_awake(&line, "after-storm");
}

#[test]
fn a_flood_is_reported_as_a_loss_of_the_container_that_caused_it() {
    if !skip::unless_root("a_flood_is_reported_as_a_loss_of_the_container_that_caused_it") {
        return;
    }
    let settings = AgentSettings {
        extra: "sensor:\n  ring_bytes: 4096\n".to_owned(),
        ..learning()
    };
    let line = Line::start("flood", &settings);
    line.order("norma-load open 2");
    let loss = line.event("the admission of the loss", |event| event["kind"] == "loss");
    let lost = loss["loss"]["counts"]
        .as_array()
        .into_iter()
        .flatten()
        .any(|count| count["kind"] == "open");
    assert!(lost, "{loss:#}");
    is_awake(&line, "after-flood");
}

#[test]
fn more_control_groups_than_there_is_room_for_are_survived() {
    const GROUPS: usize = 9_000;
    if !skip::unless_root("more_control_groups_than_there_is_room_for_are_survived") {
        return;
    }
    let line = Line::start("groups", &learning());
    let parent = cgroup::v2_mount()
        .unwrap()
        .join(format!("norma-many-{}", std::process::id()));
    fs::create_dir(&parent).unwrap();
    let made = (0..GROUPS)
        .take_while(|number| fs::create_dir(parent.join(number.to_string())).is_ok())
        .count();
    is_awake(&line, "among-groups");
    for number in 0..made {
        fs::remove_dir(parent.join(number.to_string())).unwrap();
    }
    fs::remove_dir(&parent).unwrap();
    assert_eq!(made, GROUPS);
    is_awake(&line, "after-groups");
}

#[test]
fn a_sensitive_file_is_known_by_any_name() {
    if !skip::unless_root("a_sensitive_file_is_known_by_any_name") {
        return;
    }
    let line = Line::start("names", &learning());
    let root = line.container.host_path("/");
    fs::hard_link(root.join("etc/shadow"), root.join("innocent")).unwrap();
    // Which inodes are sensitive is looked up every second.
    wait_until("the file under its other name", LIMIT, || {
        assert_eq!(line.order("cat /innocent > /dev/null"), 0);
        let found = line
            .collector
            .audit()
            .events()?
            .into_iter()
            .find(|event: &Value| {
                text(event, "/open/path") == "/innocent" && text(event, "/open/sensitive") == "/etc/shadow"
            });
        Ok(found.map(|_| ()))
    })
    .unwrap();
    assert_eq!(line.order("cat /etc/../etc/shadow > /dev/null"), 0);
    line.event("the file by its own name", |event| {
        text(event, "/open/path") == "/etc/shadow" && text(event, "/open/sensitive") == "/etc/shadow"
    });
}
