//! A recorded agent, judged again elsewhere.

use super::line::{LIMIT, Line, text};
use norma_rig::{AgentSettings, Programs, skip};
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::Duration;

/// What a finding says, but for its place and what the agent says of itself.
fn findings(events: &[Value]) -> BTreeSet<String> {
    events
        .iter()
        .filter(|event| ["novel", "violation"].contains(&text(event, "/verdict/kind")))
        .filter(|event| event["kind"] != "posture")
        .map(|event| {
            let mut event = event.clone();
            event["id"] = Value::Null;
            // The wall clock is looked at in other rounds of the pipeline, and can have been slewed by nanoseconds.
            event["wall_ns"] = Value::Null;
            event["incident"] = Value::Null;
            // It was learned "in the 9s", or 10: a second is cut off where the round of the pipeline ends.
            for reason in event["verdict"]["reasons"].as_array_mut().into_iter().flatten() {
                let expected = text(reason, "/expected");
                let norm = expected
                    .split_once(" in which ")
                    .map_or(expected, |(_, norm)| norm);
                reason["expected"] = norm.to_owned().into();
            }
            event.to_string()
        })
        .collect()
}

#[test]
fn a_recording_is_judged_again_to_the_same_findings() {
    if !skip::unless_root("a_recording_is_judged_again_to_the_same_findings") {
        return;
    }
    let folder = norma_rig::Scratch::new("trace").unwrap();
    let trace = folder.join("node.trace");
    let mut line = Line::start(
        "replay",
        &AgentSettings {
            learning: Duration::from_secs(4),
            arguments: vec!["--record".to_owned(), trace.display().to_string()],
            ..AgentSettings::default()
        },
    );
    line.learn();
    line.order("stat -c %n /etc/hostname");
    line.order("cat /etc/shadow");
    line.alert(&["novel", "/etc/shadow"]);
    line.container.exec(&["/usr/bin/id"]).unwrap();
    line.event("the session's id", |event| {
        event["kind"] == "exec" && text(event, "/process/exe") == "/usr/bin/id"
    });
    line.agent.stop().unwrap();
    norma_rig::wait_until("all to be acknowledged", LIMIT, || {
        let events = line.collector.audit().events()?;
        let stopped = |event: &&Value| text(event, "/lifecycle/state") == "stopping";
        Ok(events.iter().find(stopped).map(drop))
    })
    .unwrap();

    let mut command = Programs::find().unwrap().agent();
    command
        .args(["replay", "--output", "json", "--events", "--config"])
        .arg(line.agent.config())
        .arg(&trace);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let printed = String::from_utf8(output.stdout).unwrap();
    let mut lines: Vec<Value> = printed
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let outcome = lines.pop().unwrap()["outcome"].clone();
    assert_eq!(outcome["ending"], "whole", "{outcome:#}");
    assert_eq!(outcome["unanswered"], 0, "{outcome:#}");
    // Containers of other tests are on the recording as well.
    let mut baselines = outcome["baselines"].as_array().into_iter().flatten();
    let own = baselines.find(|baseline| text(baseline, "/workload").ends_with(line.container.id()));
    assert!(own.is_some_and(|own| own["ready"] == true), "{outcome:#}");

    let live = findings(&line.collector.audit().events().unwrap());
    assert!(live.len() >= 2, "{live:#?}");
    assert_eq!(findings(&lines), live);
}
