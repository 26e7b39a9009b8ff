//! Sealed segments in an object store: what it must prove, what becomes of one that does not, and legal holds.

use crate::archive::{audit, deliver, files, python, settings, words};
use crate::stage::{LIMIT, Stage};
use anyhow::{Context as _, Result, ensure};
use norma_rig::daemon::Daemon;
use norma_rig::net::{free_port, is_listening, scrape};
use norma_rig::program::output;
use norma_rig::python::Python;
use norma_rig::{Collector, sha256_of, wait_until};
use serde_json::Value;
use std::path::Path;
use std::process::Command;

const BUCKET: &str = "norma-audit";
const BUCKETS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/collector/archive_bucket.py");
const LOCKLESS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/collector/archive_lockless.py");
/// A day, as the stores are told.
const RETAIN_SECONDS: u64 = 24 * 60 * 60;

/// A store on a loopback port.
pub struct Store {
    pub endpoint: String,
    _daemon: Daemon,
}

impl Store {
    fn start(stage: &Stage, command: &mut Command, port: u16) -> Result<Self> {
        let mut daemon = Daemon::start(&stage.scratch, "store", command)?;
        daemon.wait_for("listening", LIMIT, |_| Ok(is_listening(port)?.then_some(())))?;
        Ok(Self {
            endpoint: format!("http://127.0.0.1:{port}"),
            _daemon: daemon,
        })
    }

    pub fn moto(stage: &Stage, python: &Python) -> Result<Self> {
        let port = free_port()?;
        let mut command = python.program("moto_server");
        Self::start(
            stage,
            command.args(["-H", "127.0.0.1", "-p"]).arg(port.to_string()),
            port,
        )
    }

    pub fn make(&self, python: &Python, lock: &str) -> Result<()> {
        let mut command = python.program("python");
        output(command.args([BUCKETS, &self.endpoint, "make", BUCKET, lock])).map(drop)
    }

    /// Every version of every archive file.
    pub fn objects(&self, python: &Python) -> Result<Vec<Value>> {
        let mut command = python.program("python");
        let text = output(command.args([BUCKETS, &self.endpoint, "list", BUCKET]))?;
        let objects: Vec<Value> = serde_json::from_str(&text)?;
        let is_archive = |object: &Value| {
            object["key"]
                .as_str()
                .is_some_and(|key| key.ends_with(".parquet"))
        };
        Ok(objects.into_iter().filter(is_archive).collect())
    }

    pub fn config(&self, stage: &Stage, more: &str) -> Result<String> {
        let credentials = stage.scratch.file(
            "credentials",
            "[default]\naws_access_key_id = norma\naws_secret_access_key = secret\n",
        )?;
        Ok(format!(
            "archive:\n  cluster: east\n  store:\n    endpoint: {}\n    bucket: {BUCKET}\n    prefix: audit\n    \
             credentials: {}\n    retain: 1d\n{more}",
            self.endpoint,
            credentials.display()
        ))
    }
}

/// What the collector knows of archived segments.
pub fn books(collector: &Collector) -> Result<Vec<Value>> {
    files(&collector.state().join("archived"), "json")?
        .iter()
        .map(|path| Ok(serde_json::from_slice(&std::fs::read(path)?)?))
        .collect()
}

pub fn all_stored(collector: &Collector, least: usize) -> Result<Vec<Value>> {
    let log = collector.audit().path().to_owned();
    wait_until("every sealed segment in the store", LIMIT, || {
        let (sealed, books) = (files(&log, "manifest")?.len(), books(collector)?);
        let stored = books.iter().all(|kept| kept["stored"].is_object());
        Ok((sealed >= least && books.len() == sealed && stored).then_some(books))
    })
}

#[tokio::test]
async fn a_store_keeps_each_segment_once_and_locked_through_crashes() -> Result<()> {
    let stage = Stage::new("archive-store")?;
    let Some(python) = python("archive in a store", &stage.programs) else {
        return Ok(());
    };
    let store = Store::moto(&stage, &python)?;
    store.make(&python, "lock")?;
    let metrics = free_port()?;
    let config = store.config(&stage, &format!("metrics:\n  listen: 127.0.0.1:{metrics}\n"))?;
    let mut collector = stage.collector(None, &settings(&config))?;
    let begun = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)?
        .as_secs();
    for round in 0..4u64 {
        deliver(&stage, &collector, "worker-1", 1 + round * 500, (round + 1) * 500).await?;
        collector.kill()?;
        collector.run(&stage.scratch)?;
    }
    let books = all_stored(&collector, 5)?;
    let objects = store.objects(&python)?;
    ensure!(
        objects.len() == books.len(),
        "{} objects of {} segments",
        objects.len(),
        books.len()
    );
    for kept in &books {
        let object = kept["object"].as_str().context("no object")?;
        let found: Vec<_> = objects
            .iter()
            .filter(|found| found["key"] == format!("audit/{object}"))
            .collect();
        ensure!(found.len() == 1, "{object} is there {} times", found.len());
        let local = sha256_of(&collector.state().join("archive").join(object))?;
        ensure!(found[0]["sha256"] == local, "{found:?}");
        ensure!(found[0]["mode"] == "COMPLIANCE", "{found:?}");
        let until = found[0]["retain_until"].as_u64().context("no date")?;
        ensure!(
            until >= begun + RETAIN_SECONDS && kept["retain_until"] == until,
            "{found:?}"
        );
    }
    wait_until("nothing that waits", LIMIT, || {
        Ok((waiting(metrics)? == 0).then_some(()))
    })?;
    collector.stop()
}

/// How many segments the collector says are not archived yet.
fn waiting(metrics: u16) -> Result<u64> {
    let page = scrape(metrics)?;
    let line = page
        .lines()
        .find_map(|line| line.strip_prefix("norma_collector_archive_waiting_segments "));
    let value: f64 = line.context("no such metric")?.parse()?;
    Ok(value as u64)
}

#[tokio::test]
async fn a_store_that_does_not_lock_is_refused_and_that_is_recorded() -> Result<()> {
    for (mode, expected) in [
        ("silent", "ignored the lock"),
        ("liar", "its locks protect nothing"),
    ] {
        let stage = Stage::new("archive-lockless")?;
        let port = free_port()?;
        let mut command = Command::new("python3");
        let store = Store::start(
            &stage,
            command.arg(LOCKLESS).arg(port.to_string()).arg(mode),
            port,
        )?;
        let metrics = free_port()?;
        let more =
            format!("retention:\n  after_archive: 0s\n  keep: 1s\nmetrics:\n  listen: 127.0.0.1:{metrics}\n");
        let config = store.config(&stage, &more)?;
        let mut collector = stage.collector(None, &settings(&config))?;
        deliver(&stage, &collector, "worker-1", 1, 1000).await?;
        let record = wait_until("a record that archiving fails", LIMIT, || {
            let records = collector.audit().records_of(&["--kind", "archive_state"])?;
            Ok(records.into_iter().next())
        })?;
        let state = &record["archive_state"];
        ensure!(state["working"] == false && state["segment"] == 0, "{record}");
        ensure!(
            state["detail"]
                .as_str()
                .is_some_and(|detail| detail.contains(expected)),
            "{record}"
        );
        let books = wait_until("an archive file", LIMIT, || {
            let books = books(&collector)?;
            Ok((!books.is_empty()).then_some(books))
        })?;
        ensure!(books.iter().all(|kept| kept["stored"].is_null()), "{books:?}");
        ensure!(waiting(metrics)? > 0, "what is in no store does not wait");
        let log = collector.audit().path().to_owned();
        ensure!(
            files(&log, "tombstone")?.is_empty(),
            "what is in no store was removed"
        );
        collector.stop()?;
        ensure!(collector.audit().check_sequences()? == 1000);
    }
    Ok(())
}

#[tokio::test]
async fn a_hold_keeps_segments_here_and_in_the_store_until_it_is_released() -> Result<()> {
    let stage = Stage::new("archive-hold")?;
    let Some(python) = python("legal holds", &stage.programs) else {
        return Ok(());
    };
    let store = Store::moto(&stage, &python)?;
    store.make(&python, "lock")?;
    let mut collector = stage.collector(None, &settings(&store.config(&stage, "")?))?;
    deliver(&stage, &collector, "worker-1", 1, 1000).await?;
    deliver(&stage, &collector, "worker-2", 1, 1000).await?;
    all_stored(&collector, 3)?;
    let state = collector.state().to_owned();
    let hold = |words: &[&str]| {
        let mut all = vec!["hold".to_owned()];
        all.extend(words.iter().map(|word| (*word).to_owned()));
        all.extend(["--state".to_owned(), state.display().to_string()]);
        audit(&stage, all)
    };
    ensure!(
        hold(&["place", "--reason", "x", "--who", "y"]).is_err(),
        "a hold on nothing is placed"
    );
    let told = hold(&[
        "place", "--node", "worker-2", "--reason", "case 17", "--who", "J. Doe", "--output", "json",
    ])?;
    let told: Value = serde_json::from_str(&told)?;
    ensure!(told["state"] == "placed", "{told}");
    let id = told["id"].as_str().context("no id")?.to_owned();

    let on = |objects: &[Value]| {
        objects
            .iter()
            .filter(|object| object["legal_hold"] == "ON")
            .count()
    };
    let held = wait_until("the hold in the store", LIMIT, || {
        let objects = store.objects(&python)?;
        Ok((on(&objects) > 0).then_some(on(&objects)))
    })?;
    ensure!(
        held < store.objects(&python)?.len(),
        "segments of another node are held too"
    );

    // It outlives a crash, and removal stops at it.
    collector.kill()?;
    let config = stage.scratch.join("collector.yaml");
    let text = std::fs::read_to_string(&config)?;
    std::fs::write(&config, format!("{text}retention:\n  after_archive: 0s\n"))?;
    collector.run(&stage.scratch)?;
    ensure!(hold(&["list"])?.contains("on node worker-2"), "the hold is gone");
    let log = collector.audit().path().to_owned();
    wait_until("what is not held removed", LIMIT, || {
        let left = files(&log, "log")?.len();
        Ok((!files(&log, "tombstone")?.is_empty() && left >= held).then_some(()))
    })?;
    let is_held =
        |path: &Path| -> Result<bool> { Ok(std::fs::read_to_string(path)?.contains("\noutbox worker-2 ")) };
    for tombstone in files(&log, "tombstone")? {
        ensure!(
            !is_held(&tombstone.with_extension("manifest"))?,
            "{} was held",
            tombstone.display()
        );
    }
    let policy = collector.policy(&stage.scratch)?;
    let told = audit(&stage, words!["verify", log, "--policy", policy])?;
    ensure!(
        told.starts_with("intact") && told.contains("removed by policy"),
        "{told}"
    );

    ensure!(
        hold(&["release", "hold-none", "--reason", "x", "--who", "y"]).is_err(),
        "what is not there was released"
    );
    hold(&["release", &id, "--reason", "case closed", "--who", "J. Doe"])?;
    wait_until("the hold off in the store", LIMIT, || {
        Ok((on(&store.objects(&python)?) == 0).then_some(()))
    })?;
    wait_until("what was held removed", LIMIT, || {
        let mut gone = files(&log, "tombstone")?.into_iter();
        Ok(gone
            .any(|path| is_held(&path.with_extension("manifest")).unwrap_or(false))
            .then_some(()))
    })?;
    collector.stop()?;
    audit(&stage, words!["verify", log, "--policy", policy])?;
    let records = collector
        .audit()
        .records_of(&["--kind", "hold_placed,hold_released"])?;
    ensure!(
        records.len() == 2 && records[0]["hold_placed"]["reason"] == "case 17",
        "{records:?}"
    );
    Ok(())
}
