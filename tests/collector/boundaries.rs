//! The collector is killed, or refused by the disk, at each of its writes, syncs and renames: strace injects what a crash
//! and a bad disk do, without anything in the program knowing of it.

use crate::node::{Node, target};
use crate::stage::{LIMIT, Stage};
use anyhow::{Result, ensure};
use norma_rig::inject::{self, can_inject, cycles};
use norma_rig::{Collector, CollectorSettings};
use std::time::{Duration, Instant};

/// With which records, manifests, tiles, checkpoints and the file of heads become durable, and old ones are cut back.
const BOUNDARIES: [&str; 5] = ["pwrite64", "fdatasync", "fsync", "rename", "write"];

/// Starts the collector so that `fault` happens to it; where a path is given, only at calls that name it.
pub fn run_with(stage: &Stage, collector: &mut Collector, fault: &str, only: Option<&str>) -> Result<()> {
    let words = inject::below(fault);
    let path = only.into_iter().flat_map(|path| ["-P", path]);
    let wrapper: Vec<&str> = words.iter().map(String::as_str).chain(path).collect();
    collector.run_below(&stage.scratch, &wrapper)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_each_boundary_it_goes_on_with_nothing_lost_or_doubled() -> Result<()> {
    if !can_inject("killed_at_each_boundary_it_goes_on_with_nothing_lost_or_doubled") {
        return Ok(());
    }
    let stage = Stage::new("boundaries")?;
    let settings = CollectorSettings {
        segment_bytes: Some(64 << 10),
        checkpoint_interval: Some("1s".to_owned()),
        ..Default::default()
    };
    let mut collector = Collector::prepare(&stage.scratch, &stage.programs, &stage.pki, None, &settings)?;
    let target = target(
        &stage.pki.ca(),
        &stage.pki.node("worker-1", 90)?,
        collector.port(),
    )?;
    let mut node = Node::start(&stage.scratch.folder("outbox")?, "worker-1", target)?;
    let mut killed = 0;
    for round in 0..cycles(4) {
        for boundary in BOUNDARIES {
            // Each thread has its own count: the first ones are those of the start, later ones of work and of sealing.
            let when = 1 + round * (round + 1) / 2;
            run_with(
                &stage,
                &mut collector,
                &format!("{boundary}:signal=KILL:when={when}"),
                None,
            )?;
            let begin = Instant::now();
            // Where the program has fewer of them it goes on, and is killed in another way.
            while collector.daemon()?.try_wait()?.is_none() && begin.elapsed() < Duration::from_secs(4) {
                node.append(200);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            killed += usize::from(collector.daemon()?.try_wait()?.is_some());
            collector.kill()?;
            collector.run(&stage.scratch)?;
            node.append(10);
            node.shipped(LIMIT).await?;
            collector.kill()?;
        }
    }
    ensure!(killed > 0, "nothing was ever killed at a boundary");
    println!(
        "{killed} of {} were killed at a boundary",
        cycles(4) * BOUNDARIES.len()
    );
    collector.run(&stage.scratch)?;
    node.shipped(LIMIT).await?;
    collector.stop()?;
    let total = node.outbox.next_sequence() - 1;
    ensure!(collector.audit().check_sequences()? == total);
    let policy = collector.policy(&stage.scratch)?;
    let report = collector
        .audit()
        .verify_with(&["--policy".as_ref(), policy.as_os_str()])?;
    ensure!(
        report.starts_with("intact: ") && !report.contains("BROKEN"),
        "{report}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_refuses_for_a_time_is_survived_without_a_restart() -> Result<()> {
    if !can_inject("a_disk_that_refuses_for_a_time_is_survived_without_a_restart") {
        return Ok(());
    }
    for fault in [
        "fdatasync:error=EIO:when=3..6",
        "pwrite64:error=ENOSPC:when=3..6",
        "fdatasync:error=EIO:when=4+5",
    ] {
        let stage = Stage::new("refuses")?;
        let settings = CollectorSettings {
            segment_bytes: Some(64 << 10),
            ..Default::default()
        };
        let mut collector = Collector::prepare(&stage.scratch, &stage.programs, &stage.pki, None, &settings)?;
        let target = target(
            &stage.pki.ca(),
            &stage.pki.node("worker-1", 90)?,
            collector.port(),
        )?;
        let mut node = Node::start(&stage.scratch.folder("outbox")?, "worker-1", target)?;
        run_with(&stage, &mut collector, fault, None)?;
        for _ in 0..10 {
            node.append(200);
            node.shipped(LIMIT).await?;
        }
        collector
            .daemon()?
            .wait_for_line("nothing is acknowledged until writing works again", LIMIT)?;
        collector.stop()?;
        ensure!(collector.audit().check_sequences()? == 2000, "{fault}");
        let report = collector.audit().verify()?;
        ensure!(
            report.starts_with("intact: ") && !report.contains("BROKEN"),
            "{fault}: {report}"
        );
    }
    Ok(())
}
