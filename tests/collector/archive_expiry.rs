//! The keys of encrypted archive files go when nobody is to read them any more, and not before.

use crate::archive::{audit, deliver, files, python, settings, words};
use crate::archive_encrypted::{Encrypted, make_kek};
use crate::archive_store::{Store, all_stored};
use crate::boundaries::run_with;
use crate::stage::{LIMIT, Stage};
use anyhow::{Context as _, Result, ensure};
use norma_rig::inject::{can_inject, cycles};
use norma_rig::program::output;
use norma_rig::wait_until;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

const WHO: &str = "the collector, by its retention policy";
/// Each with how many of its calls a thread makes at the most until a segment is expired.
const BOUNDARIES: [(&str, usize); 7] = [
    ("unlink", 16),
    ("linkat", 8),
    ("fsync", 24),
    ("fdatasync", 12),
    ("pwrite64", 12),
    ("write", 16),
    ("rename", 8),
];

/// First records of the segments of which there is such a file.
fn there(folder: &Path, extension: &str) -> Result<BTreeSet<u64>> {
    let number = |path: &Path| -> Option<u64> {
        let name = path.file_stem()?.to_str()?;
        name.strip_prefix("audit-")?.parse().ok()
    };
    let found = files(folder, extension)?;
    Ok(found.iter().filter_map(|path| number(path)).collect())
}

/// What there is of each sealed segment: its plain copy, its tombstone, the statement on its key, its key.
fn left(log: &Path, keys: &Path) -> Result<BTreeMap<u64, [bool; 4]>> {
    let (plain, tombs) = (there(log, "log")?, there(log, "tombstone")?);
    let (stated, keys) = (there(log, "shredded")?, there(keys, "key")?);
    let of = |first: u64| [&plain, &tombs, &stated, &keys].map(|set| set.contains(&first));
    Ok(there(log, "manifest")?
        .into_iter()
        .map(|first| (first, of(first)))
        .collect())
}

/// Everything but the newest sealed segment, which stays.
fn is_done(left: &BTreeMap<u64, [bool; 4]>) -> bool {
    let mut states: Vec<_> = left.values().collect();
    states
        .pop()
        .is_some_and(|newest| *newest == [true, false, false, true])
        && states.iter().all(|state| **state == [false, true, true, false])
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    if to.exists() {
        fs::remove_dir_all(to)?;
    }
    output(Command::new("cp").arg("-a").args([from, to])).map(drop)
}

fn records(test: &Encrypted) -> Result<Vec<Value>> {
    test.collector.audit().records_of(&["--kind", "shredded"])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_goes_after_its_segment_whatever_step_is_cut_and_is_recorded_once() -> Result<()> {
    if !can_inject("a_key_goes_after_its_segment_whatever_step_is_cut_and_is_recorded_once") {
        return Ok(());
    }
    let mut test = Encrypted::new("expire-cut").await?;
    test.collector.stop()?;
    let config = test.stage.scratch.join("collector.yaml");
    let text = fs::read_to_string(&config)?;
    fs::write(&config, text + "retention: {keep: 1s}\n")?;
    let (state, before) = (
        test.collector.state().to_owned(),
        test.stage.scratch.join("before"),
    );
    copy(&state, &before)?;
    let had_keys = there(&test.keys, "key")?;
    let (mut tries, mut killed) = (0, 0);
    let mut found = BTreeSet::new();
    // Between the statement and the end of the key, which is but a moment.
    let key = test.keys.join(format!("audit-{:020}.key", 1));
    let key = key.to_str().context("no text")?;
    for (boundary, most, only) in BOUNDARIES
        .map(|(boundary, most)| (boundary, most, None))
        .into_iter()
        .chain([("unlink,unlinkat", 1, Some(key))])
    {
        // Every one with `NORMA_CYCLES`, otherwise some.
        let step = if cycles(0) > 0 { 1 } else { most.div_ceil(3) };
        for when in (1..=most).step_by(step) {
            copy(&before, &state)?;
            let fault = format!("{boundary}:signal=KILL:when={when}");
            run_with(&test.stage, &mut test.collector, &fault, only)?;
            let is_killed = wait_until("the collector killed or the keys gone", LIMIT, || {
                let ended = test.collector.daemon()?.try_wait()?.is_some();
                Ok((ended || is_done(&left(&test.log, &test.keys)?)).then_some(ended))
            })
            .context(fault.clone())?;
            test.collector.kill()?;
            tries += 1;
            killed += usize::from(is_killed);
            for (first, state) in left(&test.log, &test.keys)? {
                let [is_plain, has_tomb, is_stated, has_key] = state;
                // Never before what comes first is on the disk.
                ensure!(is_plain || has_tomb, "{fault}: {first}: {state:?}");
                ensure!(
                    !is_stated || (has_tomb && !is_plain),
                    "{fault}: {first}: {state:?}"
                );
                ensure!(
                    has_key || is_stated || !had_keys.contains(&first),
                    "{fault}: {first}: {state:?}"
                );
                found.insert(state);
            }
            test.collector.run(&test.stage.scratch)?;
            wait_until("the keys gone", LIMIT, || {
                Ok(is_done(&left(&test.log, &test.keys)?).then_some(()))
            })
            .context(fault.clone())?;
            test.collector.stop()?;
            let is_gone = |state: &&[bool; 4]| **state == [false, true, true, false];
            let gone = left(&test.log, &test.keys)?.values().filter(is_gone).count();
            let report = test.verify_log().context(fault.clone())?;
            let shredded = report["shredded"].as_array().context("no list")?;
            ensure!(
                shredded.len() == gone
                    && shredded
                        .iter()
                        .all(|shredded| shredded["who"] == WHO && shredded["reason"] == "retention.keep: 1s"),
                "{fault}: {report}"
            );
            let told: BTreeSet<String> = records(&test)?
                .iter()
                .map(|record| record["shredded"]["segment"].to_string())
                .collect();
            ensure!(
                records(&test)?.len() == gone && told.len() == gone,
                "{fault}: {told:?} of {gone}"
            );
        }
    }
    println!("{killed} of {tries} were killed, and left (plain, tombstone, statement, key) as {found:?}");
    ensure!(killed > tries / 3, "{killed} of {tries} were killed");
    for state in [
        [true, false, false, true],
        [false, true, false, true],
        [false, true, true, true],
        [false, true, true, false],
    ] {
        ensure!(found.contains(&state), "never {state:?}: {found:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_stays_while_the_store_or_a_hold_keeps_what_it_opens() -> Result<()> {
    let stage = Stage::new("expire-store")?;
    let Some(python) = python("keys of what a store keeps", &stage.programs) else {
        return Ok(());
    };
    let store = Store::moto(&stage, &python)?;
    store.make(&python, "lock")?;
    let kek = make_kek(&stage, "kek", b'a')?;
    // Until the lock has ended the test must have looked, which a busy machine makes slow.
    let encryption = format!(
        "  encryption:\n    key: {}\nretention: {{keep: 1s}}\n",
        kek.display()
    );
    let config = store
        .config(&stage, &encryption)?
        .replace("retain: 1d", "retain: 40s");
    let mut collector = stage.collector(None, &settings(&config))?;
    deliver(&stage, &collector, "worker-1", 1, 1500).await?;
    let (log, keys) = (
        collector.audit().path().to_owned(),
        collector.state().join("segment-keys"),
    );
    let state = collector.state().to_owned();
    let books = all_stored(&collector, 4)?;
    // One whose lock somebody extends, and one that is put under a hold when its segment is gone already.
    let [extended, held, plain] = [0, 1, 2].map(|at| books[at]["first_record"].as_u64().unwrap_or_default());
    let key = format!("audit/{}", books[0]["object"].as_str().context("no object")?);
    output(python.program("python").args([
        concat!(env!("CARGO_MANIFEST_DIR"), "/collector/archive_bucket.py"),
        &store.endpoint,
        "extend",
        "norma-audit",
        &key,
        "86400",
    ]))?;
    wait_until("the segments removed", LIMIT, || {
        let left = left(&log, &keys)?;
        let gone = [extended, held, plain]
            .iter()
            .all(|first| left[first][..2] == [false, true]);
        Ok(gone.then_some(()))
    })?;
    let left_now = left(&log, &keys)?;
    let until = books
        .iter()
        .filter_map(|kept| kept["retain_until"].as_u64())
        .min()
        .context("no lock")?;
    let now = || {
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map(|since| since.as_secs())
    };
    ensure!(
        now()? >= until || left_now.values().all(|state| state[3]),
        "a key is gone before the lock has ended: {left_now:?}"
    );
    let hold = |words: &[&str]| {
        let mut all = words!["hold"].to_vec();
        all.extend(words.iter().map(std::ffi::OsStr::new));
        all.extend(words!["--reason", "case 16", "--who", "J. Doe", "--state", state]);
        audit(&stage, all)
    };
    let number = books[1]["facts"]["segment"].to_string();
    let placed = hold(&["place", "--segment", &number])?;
    let id = placed.split(' ').next().context("no name")?.to_owned();
    wait_until("the key gone whose lock has ended", LIMIT, || {
        Ok((!left(&log, &keys)?[&plain][3]).then_some(()))
    })?;
    ensure!(now()? >= until, "it went before the lock had ended");
    let kept = left(&log, &keys)?;
    ensure!(
        kept[&extended] == [false, true, false, true],
        "the lock was extended: {kept:?}"
    );
    ensure!(
        kept[&held] == [false, true, false, true],
        "a hold is on it: {kept:?}"
    );
    hold(&["release", &id])?;
    wait_until("the key gone that a hold had kept", LIMIT, || {
        Ok((!left(&log, &keys)?[&held][3]).then_some(()))
    })?;
    ensure!(left(&log, &keys)?[&extended][3], "the lock was extended");
    collector.stop()?;
    let policy = collector.policy(&stage.scratch)?;
    audit(&stage, words!["verify", log, "--policy", policy]).map(drop)
}
