//! Several logs verified together, with each option, and after one of them removed what both had.

use crate::archive::{deliver, files};
use crate::failover::{audit, impatient};
use crate::stage::{LIMIT, Stage};
use anyhow::{Context as _, Result, ensure};
use norma_rig::{Collector, CollectorSettings, Scratch, wait_until};
use rustix::process::Signal;
use serde_json::Value;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

fn collector(stage: &Stage, name: &str) -> Result<(Scratch, Collector)> {
    let scratch = Scratch::new(name)?;
    let settings = CollectorSettings {
        segment_bytes: Some(64 << 10),
        checkpoint_interval: Some("1s".to_owned()),
        audit: format!("  origin: logs.example.org/{name}\n"),
        ..Default::default()
    };
    let collector = Collector::start(&scratch, &stage.programs, &stage.pki, None, &settings)?;
    Ok((scratch, collector))
}

/// The verifier key of a log.
fn key(collector: &Collector) -> Result<String> {
    Ok(std::fs::read_to_string(collector.state().join("audit.key.pub"))?)
}

fn policy(stage: &Stage, name: &str, keys: &[&str]) -> Result<PathBuf> {
    let lines: String = keys.iter().map(|key| format!("log {}\n", key.trim())).collect();
    stage.scratch.file(name, &format!("{lines}quorum none\n"))
}

/// A copy of the newest checkpoint of a log.
fn checkpoint(stage: &Stage, log: &Path, name: &str) -> Result<PathBuf> {
    let text = std::fs::read_to_string(log.join("tlog/checkpoint"))?;
    stage.scratch.file(name, &text)
}

/// Runs `audit verify` with these words, and wants this exit status and this text.
fn verify(stage: &Stage, words: &[&OsStr], status: i32, wanted: &str) -> Result<String> {
    let (found, text) = audit(stage, "verify", words)?;
    ensure!(
        found == Some(status) && text.contains(wanted),
        "{words:?} is {found:?}, wanted {status} and `{wanted}`: {text}"
    );
    Ok(text)
}

/// The one node of both logs.
fn joined(stage: &Stage, logs: [&OsStr; 2]) -> Result<Value> {
    let [one, other] = logs;
    let text = verify(stage, &[one, other, "--output".as_ref(), "json".as_ref()], 0, "")?;
    Ok(serde_json::from_str::<Value>(&text)?["outboxes"][0].take())
}

/// How many sequences were not compared.
fn not_compared(joined: &Value) -> Result<u64> {
    let lists = joined["not_compared"].as_array().context("no list")?;
    let ranges = lists
        .iter()
        .flat_map(|list| list["sequences"].as_array().into_iter().flatten());
    ranges
        .map(|range| {
            let number = |name: &str| norma_rig::audit::number(&range[name]).context("no number");
            Ok(number("last")? - number("first")? + 1)
        })
        .sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_two_logs_have_is_compared_or_said_not_to_be_whatever_else_is_asked() -> Result<()> {
    let stage = Stage::new("together")?;
    let (east_files, mut east) = collector(&stage, "east")?;
    let (_west_files, mut west) = collector(&stage, "west")?;
    let mut node = impatient(&stage, &east, &west, Duration::from_secs(3)).await?;
    let early = checkpoint(&stage, east.audit().path(), "early")?;
    // What is on its way to the one is delivered to the other as well.
    east.daemon()?.signal(Signal::STOP)?;
    node.append(600);
    node.shipped(LIMIT).await?;
    east.daemon()?.signal(Signal::CONT)?;
    let events = || Ok(Some(east.audit().events()?.len()).filter(|count| *count > 500));
    wait_until("what was on its way in the log that hung", LIMIT, events)?;
    let total = node.outbox.next_sequence() - 1;
    drop(node);
    east.stop()?;
    west.stop()?;
    let (e, w) = (east.audit().path().to_owned(), west.audit().path().to_owned());
    let (e, w) = (e.as_os_str(), w.as_os_str());
    let before = joined(&stage, [e, w])?;
    let in_both = before["in_doubt"].as_u64().context("no count")?;
    ensure!(in_both > 0 && before["arrived"] == total, "{before}");
    ensure!(
        before["same"] == in_both && not_compared(&before)? == 0,
        "{before}"
    );

    // Policies and checkpoints.
    let (east_key, west_key) = (key(&east)?, key(&west)?);
    let all = policy(&stage, "all.policy", &[&east_key, &west_key])?;
    let part = policy(&stage, "part.policy", &[&east_key])?;
    let (late, of_west) = (
        checkpoint(&stage, Path::new(e), "late")?,
        checkpoint(&stage, Path::new(w), "west")?,
    );
    let with = |more: &[&'static str], file: &Path, wanted: (i32, &str)| -> Result<String> {
        let mut words = vec![e, w];
        words.extend(more.iter().map(OsStr::new));
        words.push(file.as_os_str());
        verify(&stage, &words, wanted.0, wanted.1)
    };
    let complete = (0, "intact and complete");
    with(&["--policy"], &all, complete)?;
    with(&["--threads", "1", "--policy"], &all, complete)?;
    with(&["--together", "--policy"], &all, complete)?;
    with(&["--policy"], &part, (1, "logs.example.org/west"))?;
    for file in [&early, &late, &of_west] {
        with(&["--expect"], file, complete)?;
    }
    let words = [
        e,
        w,
        "--policy".as_ref(),
        all.as_os_str(),
        "--expect".as_ref(),
        early.as_os_str(),
    ];
    verify(
        &stage,
        &[&words[..], &["--expect".as_ref(), of_west.as_os_str()]].concat(),
        0,
        complete.1,
    )?;
    // One that is not of these logs, one that is of another history, and a head that names no log.
    verify(
        &stage,
        &["--together".as_ref(), e, "--expect".as_ref(), of_west.as_os_str()],
        2,
        "was not given",
    )?;
    let text = std::fs::read_to_string(&late)?;
    let root = text.lines().nth(2).context("no root")?;
    let forged = stage.scratch.file(
        "forged",
        &text.replace(root, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
    )?;
    with(&["--expect"], &forged, (1, "NOT INTACT"))?;
    let head = ["--expect-head".as_ref(), "1:00".as_ref()];
    verify(&stage, &[&[e, w][..], &head].concat(), 2, "")?;
    let (status, text) = audit(&stage, "gaps", &[e, w, "--output".as_ref(), "json".as_ref()])?;
    let gaps: Value = serde_json::from_str(&text)?;
    ensure!(
        status == Some(0) && gaps["complete"] == 1 && gaps["outboxes"] == serde_json::json!([]),
        "{text}"
    );

    // The one removes by policy what both had.
    let config = east_files.join("collector.yaml");
    let text = std::fs::read_to_string(&config)?;
    std::fs::write(&config, text + "retention: {keep: 1s}\n")?;
    east.run(&east_files)?;
    // Further segments, since the newest stays.
    deliver(&stage, &east, "worker-2", 1, 1500).await?;
    wait_until("all but the newest sealed segment removed", LIMIT, || {
        let (sealed, gone) = (
            files(Path::new(e), "manifest")?,
            files(Path::new(e), "tombstone")?,
        );
        Ok((gone.len() >= 4 && gone.len() + 1 >= sealed.len()).then_some(()))
    })?;
    east.stop()?;
    let after = joined(&stage, [e, w])?;
    ensure!(
        after["in_doubt"] == in_both && after["arrived"] == total,
        "{after}"
    );
    let (same, unread) = (after["same"].as_u64().context("no count")?, not_compared(&after)?);
    ensure!(unread > 0 && same + unread == in_both, "{after}");
    ensure!(
        after["not_compared"][0]["unread"] == serde_json::json!(["logs.example.org/east"]),
        "{after}"
    );
    let text = with(&["--policy"], &all, complete)?;
    ensure!(
        text.contains("  not compared: ")
            && text.contains("cannot be read any more in logs.example.org/east"),
        "{text}"
    );
    with(&["--expect"], &early, complete).map(drop)
}
