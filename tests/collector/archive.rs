//! Sealed segments as Parquet, read by others; and their removal by policy.

use crate::agent::Agent;
use crate::stage::{LIMIT, Stage};
use anyhow::{Context as _, Result, ensure};
use norma_rig::program::{Programs, output};
use norma_rig::python::Python;
use norma_rig::skip::skipped;
use norma_rig::{Collector, CollectorSettings, wait_until};
use serde_json::Value;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

pub const EPOCH: u64 = 3;
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/collector/archive_read.py");

/// The environment of others' programs; says why a test is skipped where there is none.
pub fn python(test: &str, programs: &Programs) -> Option<Python> {
    Python::for_archives(programs)
        .inspect_err(|error| skipped(test, &format!("{error:#}")))
        .ok()
}

pub fn settings(extra: &str) -> CollectorSettings {
    CollectorSettings {
        segment_bytes: Some(65536),
        checkpoint_interval: Some("1s".to_owned()),
        extra: extra.to_owned(),
        ..Default::default()
    }
}

/// Has a node deliver events with these sequences.
pub async fn deliver(stage: &Stage, collector: &Collector, node: &str, first: u64, last: u64) -> Result<()> {
    // A certificate of its own each time, which are told apart by their days.
    static DAYS: AtomicU32 = AtomicU32::new(30);
    let days = DAYS.fetch_add(1, Ordering::Relaxed);
    let mut agent = Agent::of_node(&stage.pki, collector.port(), node, EPOCH, days).await?;
    for from in (first..=last).step_by(250) {
        let to = last.min(from + 249);
        agent.send(agent.events(from, to)).await?;
        agent.acknowledged(to).await?;
    }
    Ok(())
}

/// Files below a folder whose names end so.
pub fn files(folder: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten() {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Runs `audit` with these words.
pub fn audit<S: AsRef<OsStr>>(stage: &Stage, words: impl IntoIterator<Item = S>) -> Result<String> {
    output(stage.programs.collector().arg("audit").args(words))
}

/// Words of a command line.
macro_rules! words {
    ($($word:expr),* $(,)?) => { [$(std::ffi::OsStr::new(&$word)),*] };
}
pub(crate) use words;

#[tokio::test]
async fn others_read_the_archive_and_find_the_leaves_of_the_log() -> Result<()> {
    let stage = Stage::new("archive")?;
    let Some(python) = python("archive files by pyarrow and DuckDB", &stage.programs) else {
        return Ok(());
    };
    let mut collector = stage.collector(None, &settings("archive:\n  cluster: east\n"))?;
    deliver(&stage, &collector, "worker-1", 1, 1500).await?;
    let (log, archive) = (
        collector.audit().path().to_owned(),
        collector.state().join("archive"),
    );
    wait_until("an archive file for each sealed segment", LIMIT, || {
        let sealed = files(&log, "manifest")?.len();
        Ok((sealed >= 3 && files(&archive, "parquet")?.len() == sealed).then_some(()))
    })?;
    collector.stop()?;

    let found: Value = serde_json::from_str(&output(python.program("python").arg(SCRIPT).arg(&archive))?)?;
    let manifests = files(&log, "manifest")?;
    ensure!(found["files"] == manifests.len(), "{found}");
    for path in &manifests {
        let name = path.with_extension("log");
        let name = name.file_name().and_then(OsStr::to_str).context("no name")?;
        ensure!(
            found["manifests"][name] == std::fs::read_to_string(path)?,
            "the manifest in the archive file of {name} is another"
        );
    }
    let duckdb = &found["duckdb"];
    ensure!(
        duckdb["records"] == found["records"] && duckdb["distinct"] == found["records"],
        "{duckdb}"
    );
    ensure!(duckdb["cluster"] == "east", "{duckdb}");
    let last = duckdb["last_sequence"].as_u64().context("no sequence")?;
    ensure!(duckdb["exec"] == last && last > 500, "{duckdb}");
    ensure!(duckdb["novel"] == last / 3, "{duckdb}");

    // By hand, the same bytes.
    let again = stage.scratch.join("again");
    audit(
        &stage,
        words!["archive", "write", log, "--out", again, "--cluster", "east"],
    )?;
    for (one, other) in files(&archive, "parquet")?.iter().zip(files(&again, "parquet")?) {
        ensure!(
            std::fs::read(one)? == std::fs::read(&other)?,
            "{} differs",
            other.display()
        );
    }

    // The segments come out of it as they were.
    let out = stage.scratch.join("restored");
    let archived = files(&archive, "parquet")?;
    for file in &archived {
        audit(&stage, words!["archive", "restore", file, "--out", out])?;
    }
    for restored in files(&out, "log")? {
        let name = restored.file_name().context("no name")?;
        ensure!(
            std::fs::read(&restored)? == std::fs::read(log.join(name))?,
            "{name:?} is not what it was"
        );
    }

    let policy = collector.policy(&stage.scratch)?;
    let verify = |folder: &Path| {
        let words =
            words!["archive", "verify", folder, "--log", log, "--policy", policy].map(ToOwned::to_owned);
        audit(&stage, words)
    };
    let told = verify(&archive)?;
    ensure!(told.starts_with("intact: "), "{told}");
    // It can fail: any byte of it.
    let victim = archived.get(1).context("no second file")?;
    let good = std::fs::read(victim)?;
    for place in [good.len() / 3, good.len() / 2, good.len() - 200] {
        let mut bad = good.clone();
        bad[place] ^= 1;
        std::fs::write(victim, &bad)?;
        ensure!(
            verify(&archive).is_err(),
            "byte {place} was changed and nobody noticed"
        );
    }
    std::fs::write(victim, &good)?;
    verify(&archive).map(drop)
}

#[tokio::test]
async fn what_policy_removes_is_proven_removed_and_anything_else_is_damage() -> Result<()> {
    let stage = Stage::new("retention")?;
    let mut collector = stage.collector(None, &settings(""))?;
    deliver(&stage, &collector, "worker-1", 1, 1500).await?;
    collector.stop()?;
    let log = collector.audit().path().to_owned();
    let first = files(&log, "log")?.remove(0);
    let copy = std::fs::read(&first)?;
    let config = stage.scratch.join("collector.yaml");
    let text = std::fs::read_to_string(&config)?;
    std::fs::write(&config, format!("{text}retention:\n  keep: 2s\n"))?;
    collector.run(&stage.scratch)?;
    let tombstones = wait_until("tombstones of all but the newest sealed segment", LIMIT, || {
        let (sealed, gone) = (files(&log, "manifest")?.len(), files(&log, "tombstone")?);
        let left = files(&log, "log")?.len();
        Ok((sealed >= 4 && gone.len() + 1 == sealed && left == 2).then_some(gone))
    })?;
    let policy = collector.policy(&stage.scratch)?;
    let verify = || {
        audit(
            &stage,
            words!["verify", log, "--policy", policy, "--output", "json"],
        )
    };
    let report: Value = serde_json::from_str(&verify()?)?;
    let removed = report["removed"].as_array().context("nothing removed")?;
    ensure!(removed.len() >= tombstones.len(), "{report}");
    ensure!(
        removed[0]["reason"] == "retention.keep: 2s" && removed[0]["recorded"] == true,
        "{report}"
    );
    // The sequences of the node are accounted for from the first on.
    ensure!(
        report["outboxes"][0]["first_sequence"] == 1 && report["outboxes"][0]["missing"] == 0,
        "{report}"
    );
    ensure!(report["outboxes"][0]["events"] == 1500, "{report}");

    let told = audit(&stage, words!["gaps", log])?;
    ensure!(told.contains("removed by policy"), "{told}");
    let event = format!("worker-1/{EPOCH:016x}/7");
    let refused = audit(&stage, words!["prove", log, event])
        .unwrap_err()
        .to_string();
    ensure!(
        refused.contains("were removed from this disk (retention.keep: 2s)"),
        "{refused}"
    );

    // It goes on from there, also where a crash kept the file that tombstone and record speak of already.
    collector.kill()?;
    std::fs::write(&first, &copy)?;
    collector.run(&stage.scratch)?;
    deliver(&stage, &collector, "worker-1", 1501, 1600).await?;
    wait_until("the removal completed", LIMIT, || {
        Ok((!first.exists()).then_some(()))
    })?;
    collector.stop()?;
    verify()?;
    let records = collector.audit().records_of(&["--kind", "removed"])?;
    let of_first = |record: &&Value| record["removed"]["segment"] == 0;
    ensure!(records.iter().filter(of_first).count() == 1, "{records:?}");

    // Whoever removes a tombstone, or signs one with another key, has removed a segment.
    let victim = &tombstones[1];
    let good = std::fs::read_to_string(victim)?;
    std::fs::remove_file(victim)?;
    ensure!(verify().is_err(), "a segment without a tombstone is not missed");
    std::fs::write(victim, good.replace("2s", "9s"))?;
    ensure!(verify().is_err(), "a tombstone with another text is believed");
    std::fs::write(victim, &good)?;
    verify()?;
    let victim = files(&log, "log")?.remove(0);
    std::fs::rename(&victim, stage.scratch.join("gone"))?;
    ensure!(
        verify().is_err(),
        "a segment that no policy removed is not missed"
    );
    Ok(())
}
