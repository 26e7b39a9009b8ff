//! A real agent as a witness of the collector's audit log.

use super::line::{LIMIT, Line, text};
use norma_rig::{AgentSettings, skip, wait_until};
use std::process::Command;
use std::time::Duration;

#[test]
fn a_collector_that_was_set_back_is_an_alert_of_the_agents_that_remember() {
    if !skip::unless_root("a_collector_that_was_set_back_is_an_alert_of_the_agents_that_remember") {
        return;
    }
    let settings = AgentSettings {
        learning: Duration::from_secs(3600),
        ..AgentSettings::default()
    };
    let mut line = Line::prepare("set-back", &settings);
    line.collector.stop().unwrap();
    let state = line.scratch.join("collector-state");
    let backup = line.scratch.join("backup");
    let copied = Command::new("cp")
        .arg("-a")
        .args([&state, &backup])
        .status()
        .unwrap();
    assert!(copied.success());
    line.collector.run(&line.scratch).unwrap();
    line.agent.run(&line.scratch).unwrap();
    let remembered = line.scratch.join("agent-state/checkpoints");
    let checkpoint_of = |size: u64| {
        let mut files = std::fs::read_dir(&remembered)
            .ok()?
            .filter_map(|entry| Some(entry.ok()?.path()));
        let file = files.find(|path| path.extension().is_none())?;
        let kept = std::fs::read_to_string(file).ok()?;
        kept.lines()
            .nth(2)?
            .parse::<u64>()
            .ok()
            .filter(|kept| *kept > size)
    };
    wait_until("the agent to remember a checkpoint", LIMIT, || {
        line.order("cat /etc/hostname");
        Ok(checkpoint_of(4))
    })
    .unwrap();

    line.collector.kill().unwrap();
    std::fs::remove_dir_all(&state).unwrap();
    std::fs::rename(&backup, &state).unwrap();
    line.collector.run(&line.scratch).unwrap();
    let audit = line.collector.audit();
    let event = wait_until("the alert in the audit log", LIMIT, || {
        line.order("cat /etc/hostname");
        Ok(audit.events_of("checkpoint_inconsistent")?.pop())
    })
    .unwrap();
    assert_eq!(text(&event, "/verdict/severity"), "critical");
    let reason = text(&event, "/checkpoint_inconsistent/reason");
    assert!(
        reason.contains("its end was removed") || reason.contains("does not prove"),
        "{event}"
    );
    assert!(text(&event, "/checkpoint_inconsistent/remembered").contains("norma.local/audit/"));
    line.siem
        .wait_for("the alert at the SIEM", LIMIT, |line| {
            line.contains("took back what it had promised")
        })
        .unwrap();
    // And the collector itself has it from the agent's hello.
    let conflicts = audit.records_of(&["--kind", "checkpoint_conflict"]).unwrap();
    assert!(!conflicts.is_empty());
}
