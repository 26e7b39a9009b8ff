//! Learn, drift, alert at the SIEM: for each kind of behaviour.

use super::line::Line;
use norma_rig::net::Peer;
use norma_rig::{AgentSettings, skip};
use std::time::Duration;

fn short() -> AgentSettings {
    AgentSettings {
        learning: Duration::from_secs(3),
        ..AgentSettings::default()
    }
}

#[test]
fn each_kind_of_drift_raises_an_alert_at_the_siem() {
    if !skip::unless_root("each_kind_of_drift_raises_an_alert_at_the_siem") {
        return;
    }
    let line = Line::start("drift", &short());
    let stranger = Peer::start().unwrap();
    line.learn();
    let mut early = line.siem.messages();
    // What this kernel does not let the agent see is told at the start.
    early.retain(|message| !message.contains("sensors that do not work"));
    assert_eq!(early, Vec::<String>::new(), "what is learned is no alert");

    assert_eq!(line.order("id"), 0);
    let alert = line.alert(&["novel", "/usr/bin/id"]);
    assert!(alert.severity <= 4, "an alert is at least a warning: {alert:?}");
    assert!(alert.text.contains("expected"), "{alert:?}");

    assert_eq!(line.order("cat /etc/shadow"), 0);
    line.alert(&["novel", "/usr/bin/cat", "/etc/shadow"]);

    assert_eq!(
        line.order(&format!("(exec 4<>/dev/tcp/127.0.0.1/{})", stranger.port())),
        0
    );
    line.alert(&["novel", "/usr/bin/bash", &stranger.port().to_string()]);

    assert_eq!(line.order("norma-load listen 0.01"), 0);
    line.alert(&["novel", "listen", "/usr/bin/norma-load"]);
    line.collector.audit().verify().unwrap();
}

#[test]
fn a_baseline_survives_the_agent() {
    if !skip::unless_root("a_baseline_survives_the_agent") {
        return;
    }
    let mut line = Line::start("again", &short());
    line.learn();
    line.agent.stop().unwrap();
    line.agent.run(&line.scratch).unwrap();
    // Complete at once: what is drift now must not be learned as normal by the second agent.
    assert_eq!(line.order("id"), 0);
    line.alert(&["novel", "/usr/bin/id"]);
}
