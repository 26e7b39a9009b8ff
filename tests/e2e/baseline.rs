//! People's say on what was learned, with the commands as they are typed.

use super::line::{LIMIT, Line, text};
use norma_rig::{AgentSettings, Programs, skip};
use serde_json::Value;
use std::path::Path;
use std::process::Output;
use std::time::Duration;

/// `norma-agent baseline …`.
fn baseline(state: &Path, words: &[&str]) -> Output {
    let mut command = Programs::find().unwrap().agent();
    command.arg("baseline").args(words);
    if words[0] != "keygen" {
        command.arg("--state-dir").arg(state);
    }
    command.output().unwrap()
}

fn done(state: &Path, words: &[&str]) -> String {
    let output = baseline(state, words);
    assert!(
        output.status.success(),
        "{words:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

fn refused(state: &Path, words: &[&str]) -> String {
    let output = baseline(state, words);
    assert_eq!(output.status.code(), Some(1), "{words:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// Makes a key; gives the files of its two halves.
fn key(folder: &Path, who: &str) -> (String, String) {
    let file = folder.join(who).display().to_string();
    done(folder, &["keygen", "--as", who, "--out", &file]);
    let public = format!("{file}.pub");
    (file, public)
}

/// The id of the behaviour whose text has all of these words.
fn id_of(state: &Path, workload: &str, words: &[&str]) -> String {
    let shown: Value = serde_json::from_str(&done(state, &["show", workload, "--output", "json"])).unwrap();
    let behaviours = shown["behaviours"].as_array().unwrap();
    let found = behaviours
        .iter()
        .find(|behaviour| words.iter().all(|word| text(behaviour, "/text").contains(word)));
    let found = found.unwrap_or_else(|| panic!("{words:?} is not among {behaviours:#?}"));
    text(found, "/id").to_owned()
}

#[test]
fn a_lock_holds_over_a_restart_before_anything_is_ready() {
    if !skip::unless_root("a_lock_holds_over_a_restart_before_anything_is_ready") {
        return;
    }
    let keys = tempfile::tempdir().unwrap();
    let (alice, public) = key(keys.path(), "alice");
    let mut line = Line::start(
        "lock",
        &AgentSettings {
            learning: Duration::from_secs(3600),
            extra: format!("baselines:\n  trusted_keys: [{public}]\n"),
            ..AgentSettings::default()
        },
    );
    let workload = line.container.id().to_owned();
    let reads = |line: &Line, verdict: &str| {
        line.event("a file that is read again and again", |event| {
            text(event, "/open/path") == "/etc/app.conf" && text(event, "/verdict/kind") == verdict
        })
    };
    reads(&line, "learning");
    let state = line.agent.state().to_owned();
    let words = ["lock", &workload, "--why", "audit", "--key", &alice, "--yes"];
    assert!(done(&state, &words).starts_with("In force"));
    assert_eq!(line.order("id"), 0);
    line.alert(&["novel", "/usr/bin/id"]);

    line.agent.stop().unwrap();
    line.agent.run(&line.scratch).unwrap();
    assert_eq!(line.order("ls /"), 0);
    line.alert(&["novel", "/usr/bin/ls"]);
    // What was known when it was locked is no finding then either.
    reads(&line, "expected");
}

#[test]
fn what_people_say_of_a_baseline_holds() {
    if !skip::unless_root("what_people_say_of_a_baseline_holds") {
        return;
    }
    let keys = tempfile::tempdir().unwrap();
    let (alice, public) = key(keys.path(), "alice");
    let (mallory, _) = key(keys.path(), "mallory");
    let mut line = Line::start(
        "say",
        &AgentSettings {
            learning: Duration::from_secs(3),
            extra: format!("baselines:\n  trusted_keys: [{public}]\n"),
            ..AgentSettings::default()
        },
    );
    line.learn();
    let state = line.agent.state().to_owned();
    let workload = line.container.id().to_owned();
    let decide = |verb: &'static str, what: &str, key: &str| {
        let words = [verb, &workload, what, "--why", "CHG-7", "--key", key, "--yes"];
        words.map(str::to_owned)
    };
    let run = |words: &[String]| done(&state, &words.iter().map(String::as_str).collect::<Vec<_>>());
    let listed = done(&state, &["list"]);
    assert!(
        listed.contains(&workload) && listed.contains("state     ready"),
        "{listed}"
    );

    // What is novel can be approved by its id, as soon as it was seen.
    assert_eq!(line.order("id"), 0);
    line.alert(&["novel", "/usr/bin/id"]);
    let finding = line.event("the finding", |event| {
        event["kind"] == "exec"
            && text(event, "/process/exe") == "/usr/bin/id"
            && text(event, "/verdict/kind") == "novel"
    });
    let shown = done(&state, &["show", &workload, "--standing", "pending"]);
    assert!(shown.contains("/usr/bin/id"), "{shown}");
    let id = text(&finding, "/verdict/behaviour_id");
    assert_eq!(id, id_of(&state, &workload, &["starts /usr/bin/id"]));
    assert!(run(&decide("approve", id, &alice)).starts_with("In force"));
    let event = line
        .collector
        .audit()
        .wait_for("the approval", LIMIT, |event| {
            event["kind"] == "baseline_decision" && text(event, "/baseline_decision/verb") == "approve"
        })
        .unwrap();
    assert_eq!(text(&event, "/baseline_decision/who"), "alice");
    assert_eq!(text(&event, "/baseline_decision/why"), "CHG-7");
    assert!(text(&event, "/baseline_decision/behaviour").contains("/usr/bin/id"));

    // What is learned can be rejected: it is a finding from then on.
    let id = id_of(&state, &workload, &["/usr/bin/cat", "/etc/app.conf"]);
    run(&decide("reject", &id, &alice));
    let is_finding = |event: &Value| {
        text(event, "/open/path") == "/etc/app.conf" && text(event, "/verdict/kind") == "novel"
    };
    let first = line.event("the rejected open", is_finding);

    // Nobody else's word counts, and that it was tried is told.
    let words = decide("approve", &id, &mallory);
    let error = refused(&state, &words.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(error.contains("not trusted"), "{error}");
    line.collector
        .audit()
        .wait_for("the refusal", LIMIT, |event| {
            text(event, "/baseline_decision/who") == "mallory"
                && text(event, "/baseline_decision/refused").contains("not trusted")
        })
        .unwrap();

    // All of it holds after a restart.
    line.agent.stop().unwrap();
    line.agent.run(&line.scratch).unwrap();
    line.event("the rejected open after a restart", |event| {
        is_finding(event) && event["boot_ns"] != first["boot_ns"] && event["id"] != first["id"]
    });
    assert_eq!(line.order("id"), 0);
    line.event("the approved program", |event| {
        event["kind"] == "exec"
            && text(event, "/process/exe") == "/usr/bin/id"
            && text(event, "/verdict/kind") == "expected"
    });

    // A bundle brings it all to a node that has seen nothing; one that was changed is refused.
    let bundle = keys.path().join("web.bundle").display().to_string();
    let words = [
        "export", &workload, "--format", "bundle", "--key", &alice, "--out", &bundle,
    ];
    done(&state, &words);
    let mut bytes = std::fs::read(&bundle).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let changed = keys.path().join("changed.bundle");
    std::fs::write(&changed, bytes).unwrap();
    let error = refused(&state, &["import", changed.to_str().unwrap(), "--yes"]);
    assert!(error.contains("damaged"), "{error}");

    line.agent.stop().unwrap();
    std::fs::remove_dir_all(state.join("baselines")).unwrap();
    line.agent.run(&line.scratch).unwrap();
    assert!(done(&state, &["import", &bundle, "--yes"]).starts_with("In force"));
    let listed: Value = serde_json::from_str(&done(&state, &["list", "--output", "json"])).unwrap();
    let own = listed
        .as_array()
        .unwrap()
        .iter()
        .find(|row| text(row, "/workload").contains(&workload))
        .unwrap();
    assert_eq!(own["ready"], true, "{own:#}");
    assert_eq!(line.order("ls /"), 0);
    line.alert(&["novel", "/usr/bin/ls"]);
}
