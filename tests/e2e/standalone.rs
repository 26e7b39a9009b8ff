//! The agent's commands that need no collector.

use super::line::{LIMIT, text};
use norma_rig::{Container, ContainerSpec, Daemon, Programs, Scratch, skip};
use serde_json::Value;

#[test]
fn events_prints_what_a_container_does() {
    if !skip::unless_root("events_prints_what_a_container_does") {
        return;
    }
    let scratch = Scratch::new("live").unwrap();
    let spec = ContainerSpec::script("live", "while :; do cat /etc/app.conf; sleep 0.1; done");
    let container = Container::start(&scratch, &spec).unwrap();
    let other = Container::start(
        &scratch,
        &ContainerSpec::script("other", "while :; do ls /; sleep 0.1; done"),
    )
    .unwrap();
    let mut command = Programs::find().unwrap().agent();
    command.args([
        "events",
        "--output",
        "json",
        "--kind",
        "exec,open",
        "--container",
        container.id(),
    ]);
    let mut events = Daemon::start(&scratch, "events", &mut command).unwrap();
    // The open, not the exec that has the file among its arguments.
    events.wait_for_line(r#""path":"/etc/app.conf""#, LIMIT).unwrap();
    let log = events.log();
    let parsed: Vec<Value> = log
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    assert!(
        parsed
            .iter()
            .any(|event| event["kind"] == "open" && text(event, "/process/exe") == "/usr/bin/cat"),
        "{log}"
    );
    for event in &parsed {
        assert_eq!(
            text(event, "/container/id"),
            container.id(),
            "asked for one container only: {event}"
        );
        assert!(
            ["exec", "open"].contains(&text(event, "/kind")),
            "asked for two kinds only: {event}"
        );
    }
    assert_ne!(container.id(), other.id());
    assert!(events.stop().unwrap().success());
}

#[test]
fn doctor_tells_by_its_exit_status_what_the_kernel_offers() {
    if !skip::unless_root("doctor_tells_by_its_exit_status_what_the_kernel_offers") {
        return;
    }
    let doctor = |json: bool| {
        let mut command = Programs::find().unwrap().agent();
        command
            .arg("doctor")
            .args(json.then_some(["--output", "json"]).iter().flatten())
            .output()
            .unwrap()
    };
    let (human, json) = (doctor(false), doctor(true));
    assert_eq!(human.status.code(), json.status.code());
    assert!(
        [Some(0), Some(1)].contains(&human.status.code()),
        "{}",
        String::from_utf8_lossy(&human.stderr)
    );
    let report: Value = serde_json::from_slice(&json.stdout).unwrap();
    let human = String::from_utf8_lossy(&human.stdout).into_owned();
    for sensor in ["exec", "exit", "open", "connect", "listen"] {
        assert!(
            human.contains(sensor) && report.to_string().contains(&format!("\"{sensor}\"")),
            "{sensor}: {human}"
        );
    }
}

#[test]
fn doctor_without_capabilities_says_which_and_how_to_grant_them() {
    if !skip::unless_root("doctor_without_capabilities_says_which_and_how_to_grant_them") {
        return;
    }
    let agent = Programs::find().unwrap().path("norma-agent");
    let output = std::process::Command::new("setpriv")
        .args([
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "--inh-caps=-all",
            "--",
        ])
        .arg(&agent)
        .arg("doctor")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).to_lowercase();
    assert_eq!(output.status.code(), Some(69), "{text}");
    assert!(text.contains("cap_bpf") && text.contains("cap_perfmon"), "{text}");
}
