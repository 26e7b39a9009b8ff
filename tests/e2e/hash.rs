//! Hashes of what a container runs, from the configuration to the audit log.

use super::line::{LIMIT, Line, text};
use norma_rig::{AgentSettings, sha256_of, skip, wait_until};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

fn settings(hash: &str) -> AgentSettings {
    AgentSettings {
        learning: Duration::from_secs(3600),
        extra: format!("sensor:\n  hash: {hash}\n"),
        ..AgentSettings::default()
    }
}

/// The executions of a program that the audit log has, oldest first.
fn execs(line: &Line, exe: &str) -> Vec<Value> {
    let events = line.collector.audit().events_of("exec").unwrap_or_default();
    let own = |event: &Value| {
        text(event, "/container/id") == line.container.id() && text(event, "/process/exe") == exe
    };
    events.into_iter().filter(own).collect()
}

/// The answer to an exec that said `pending`; there is exactly one.
fn answer(line: &Line, exec: &Value, script: bool) -> Value {
    let is_it = |event: &Value| {
        event["kind"] == "file_hash"
            && event["process"]["pid"] == exec["process"]["pid"]
            && event["process"]["start_boot_ns"] == exec["process"]["start_boot_ns"]
            && event["file_hash"]["script"] == script
    };
    let answer = line.event("the hash of an exec", is_it);
    let all = line.collector.audit().events_of("file_hash").unwrap();
    assert_eq!(all.iter().filter(|event| is_it(event)).count(), 1, "{answer:#}");
    answer
}

/// Runs a line until an execution of `exe` has its hash at once; gives that hash.
fn known_at_once(line: &Line, order: &str, exe: &str) -> String {
    wait_until("an execution with its hash", LIMIT, || {
        let before = execs(line, exe).len();
        line.order(order);
        let last = wait_until("the execution", LIMIT, || {
            Ok(execs(line, exe).into_iter().skip(before).next_back())
        })?;
        let hash = text(&last, "/exec/hash/sha256").to_owned();
        Ok((!hash.is_empty()).then_some(hash))
    })
    .unwrap()
}

fn program(line: &Line, name: &str, content: &[u8]) {
    let path = line.container.host_path(name);
    // Another file under the same name: the one that is there may be running.
    let new = path.with_extension("new");
    fs::write(&new, content).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(&new, &path).unwrap();
}

#[test]
fn an_exec_has_the_hash_of_its_file_and_a_changed_file_another() {
    if !skip::unless_root("an_exec_has_the_hash_of_its_file_and_a_changed_file_another") {
        return;
    }
    let line = Line::start("hash", &settings("{exec: true}"));
    let sum = |path: &str| sha256_of(&line.container.host_path(path)).unwrap();
    let stat = sum("/usr/bin/stat");

    assert_eq!(line.order("stat /etc/hostname"), 0);
    let first = line.event("the exec of stat", |event| {
        event["kind"] == "exec" && text(event, "/process/exe") == "/usr/bin/stat"
    });
    assert_eq!(first["exec"]["hash"]["pending"], true, "{first:#}");
    let follow_up = answer(&line, &first, false);
    assert_eq!(text(&follow_up, "/file_hash/hash/sha256"), stat, "{follow_up:#}");
    assert_eq!(text(&follow_up, "/file_hash/path/path"), "/usr/bin/stat");
    assert_eq!(follow_up["file_hash"]["inode"], first["exec"]["inode"]);
    assert_eq!(known_at_once(&line, "stat /etc/hostname", "/usr/bin/stat"), stat);

    program(&line, "/usr/bin/stat", &fs::read("/bin/true").unwrap());
    let other = sum("/usr/bin/stat");
    assert_ne!(other, stat);
    assert_eq!(line.order("stat"), 0);
    // What was executed since the change never has the hash from before it.
    assert_eq!(known_at_once(&line, "stat", "/usr/bin/stat"), other);
    let inode = |event: &Value| event["exec"]["inode"].clone();
    let changed: Vec<Value> = execs(&line, "/usr/bin/stat")
        .into_iter()
        .filter(|event| inode(event) != inode(&first))
        .collect();
    for event in &changed {
        let hash = text(event, "/exec/hash/sha256");
        assert!(hash.is_empty() || hash == other, "{event:#}");
    }
    let answered = answer(&line, &changed[0], false);
    assert_eq!(text(&answered, "/file_hash/hash/sha256"), other, "{answered:#}");
}

#[test]
fn a_script_is_hashed_besides_its_interpreter_and_every_question_has_an_answer() {
    if !skip::unless_root("a_script_is_hashed_besides_its_interpreter_and_every_question_has_an_answer") {
        return;
    }
    let mut line = Line::start("hash-script", &settings("{exec: true, max_bytes: 2000000}"));
    program(&line, "/usr/bin/job", b"#!/usr/bin/bash\nexit 0\n");
    assert_eq!(line.order("job"), 0);
    let exec = line.event("the exec of the script", |event| {
        event["kind"] == "exec" && event["exec"]["is_script"] == true
    });
    let script = answer(&line, &exec, true);
    let job = sha256_of(&line.container.host_path("/usr/bin/job")).unwrap();
    assert_eq!(text(&script, "/file_hash/hash/sha256"), job, "{script:#}");
    let bash = sha256_of(&line.container.host_path("/usr/bin/bash")).unwrap();
    if text(&exec, "/exec/hash/sha256") != bash {
        let interpreter = answer(&line, &exec, false);
        assert_eq!(
            text(&interpreter, "/file_hash/hash/sha256"),
            bash,
            "{interpreter:#}"
        );
    }

    let large = [fs::read("/bin/true").unwrap(), vec![0; 3_000_000]].concat();
    program(&line, "/usr/bin/large", &large);
    assert_eq!(line.order("large"), 0);
    let exec = line.event("the exec of the large program", |event| {
        event["kind"] == "exec" && text(event, "/process/exe") == "/usr/bin/large"
    });
    let refused = answer(&line, &exec, false);
    let why = text(&refused, "/file_hash/hash/unavailable");
    assert!(
        why.starts_with("too large: ") && why.ends_with("max_bytes is 2000000"),
        "{refused:#}"
    );

    // Also in the end, each exec that said `pending` has its answer.
    line.agent.stop().unwrap();
    let of_kind = |kind: &str| {
        let events = line.collector.audit().events().unwrap().into_iter();
        events.filter(|event| event["kind"] == kind).collect::<Vec<_>>()
    };
    let pending = |event: &Value| {
        let both = [&event["exec"]["hash"], &event["exec"]["script"]["hash"]];
        both.iter().filter(|hash| hash["pending"] == true).count()
    };
    let asked: usize = wait_until("the last event of the agent", LIMIT, || {
        let stopped = of_kind("lifecycle")
            .iter()
            .any(|event| text(event, "/lifecycle/state") == "stopping");
        Ok(stopped.then(|| of_kind("exec").iter().map(pending).sum()))
    })
    .unwrap();
    assert_eq!(of_kind("file_hash").len(), asked);
    assert!(asked > 0);
}
