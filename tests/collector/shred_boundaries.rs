//! A segment is shredded by a collector that is killed at each of its writes, syncs, renames, links and removals.

use crate::archive::files;
use crate::archive_encrypted::Encrypted;
use crate::boundaries::run_with;
use crate::stage::LIMIT;
use anyhow::{Context as _, Result, ensure};
use norma_rig::inject::{can_inject, cycles};
use norma_rig::program::output;
use norma_rig::wait_until;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Each with how many of its calls a thread makes at the most until the segment is shredded.
const BOUNDARIES: [(&str, usize); 7] = [
    ("unlink", 6),
    ("linkat", 4),
    ("fsync", 16),
    ("fdatasync", 6),
    ("pwrite64", 6),
    ("write", 16),
    ("rename", 6),
];

/// What is there of the first segment: its plain copy, the statement that it is shredded, its key.
fn left(test: &Encrypted) -> Result<[bool; 3]> {
    let is_there = |folder: &Path, extension: &str| -> Result<bool> {
        let mut found = files(folder, extension)?.into_iter();
        Ok(found.any(|path| path.ends_with(format!("audit-{:020}.{extension}", 1))))
    };
    Ok([
        is_there(&test.log, "log")?,
        is_there(&test.log, "shredded")?,
        is_there(&test.keys, "key")?,
    ])
}

fn is_done(test: &Encrypted) -> Result<bool> {
    let asked = files(&test.collector.state().join("shreds"), "shred")?;
    Ok(asked.is_empty() && left(test)? == [false, true, false])
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    if to.exists() {
        fs::remove_dir_all(to)?;
    }
    output(Command::new("cp").arg("-a").args([from, to])).map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shredding_that_is_cut_at_any_step_is_completed_and_recorded_once() -> Result<()> {
    if !can_inject("a_shredding_that_is_cut_at_any_step_is_completed_and_recorded_once") {
        return Ok(());
    }
    let mut test = Encrypted::new("shred-cut").await?;
    test.collector.stop()?;
    let told = test.shred("0")?;
    ensure!(told.contains("no collector runs"), "{told}");
    let (state, asked) = (
        test.collector.state().to_owned(),
        test.stage.scratch.join("asked"),
    );
    copy(&state, &asked)?;
    let mut found = BTreeSet::new();
    let (mut tries, mut killed) = (0, 0);
    // Before the statement is in its place, and between that and the end of the key, each of which is but a moment.
    let statement = test.log.join(format!("audit-{:020}.shredded", 1));
    let key = test.keys.join(format!("audit-{:020}.key", 1));
    let moments = [("link,linkat", &statement), ("unlink,unlinkat", &key)];
    for (boundary, most, only) in BOUNDARIES
        .map(|(boundary, most)| (boundary, most, None))
        .into_iter()
        .chain(moments.map(|(boundary, path)| (boundary, 1, path.to_str())))
    {
        // Every one with `NORMA_CYCLES`, otherwise some.
        let step = if cycles(0) > 0 { 1 } else { most.div_ceil(4) };
        for when in (1..=most).step_by(step) {
            copy(&asked, &state)?;
            let fault = format!("{boundary}:signal=KILL:when={when}");
            run_with(&test.stage, &mut test.collector, &fault, only)?;
            let is_killed = wait_until("the collector killed or the segment shredded", LIMIT, || {
                let ended = test.collector.daemon()?.try_wait()?.is_some();
                Ok((ended || is_done(&test)?).then_some(ended))
            })
            .context(fault.clone())?;
            test.collector.kill()?;
            tries += 1;
            killed += usize::from(is_killed);
            let there = left(&test)?;
            found.insert(there);
            let recorded = |test: &Encrypted| {
                Ok::<_, anyhow::Error>(test.collector.audit().records_of(&["--kind", "shredded"])?.len())
            };
            if let [_, _, false] = there {
                ensure!(
                    there[1] && recorded(&test)? == 1,
                    "{fault}: the key went before it was recorded"
                );
            }
            test.collector.run(&test.stage.scratch)?;
            wait_until(
                "the segment shredded",
                LIMIT,
                || Ok(is_done(&test)?.then_some(())),
            )
            .context(fault.clone())?;
            test.collector.stop()?;
            ensure!(recorded(&test)? == 1, "{fault}: {} records", recorded(&test)?);
            let report = test.verify_log()?;
            let shredded = report["shredded"].as_array().context("no list")?;
            ensure!(
                shredded.len() == 1 && shredded[0]["segment"] == 0 && shredded[0]["reason"] == "case 17",
                "{fault}: {report}"
            );
            ensure!(report["outboxes"][0]["missing"] == 0, "{fault}: {report}");
        }
    }
    test.verify_archive(Some(&test.kek))?;
    println!("{killed} of {tries} were killed, and left (plain copy, statement, key) as {found:?}");
    ensure!(killed > tries / 3, "{killed} of {tries} were killed");
    // Before it, between its steps, and after it.
    for there in [
        [true, false, true],
        [false, false, true],
        [false, true, true],
        [false, true, false],
    ] {
        ensure!(found.contains(&there), "never {there:?}: {found:?}");
    }
    Ok(())
}
