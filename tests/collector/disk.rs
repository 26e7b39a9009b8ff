//! The disk of the collector is full for a while.

use crate::agent::Agent;
use crate::stage::{LIMIT, Stage};
use anyhow::{Result, ensure};
use norma_rig::skip::unless_root;
use norma_rig::{CollectorSettings, wait_until};
use norma_wire::pb::to_agent;
use std::fs;

#[tokio::test]
async fn a_full_disk_delays_and_loses_nothing() -> Result<()> {
    if !unless_root("a_full_disk_delays_and_loses_nothing") {
        return Ok(());
    }
    let stage = Stage::new("disk-full")?;
    let state = stage.scratch.small_disk("state", 4 << 20)?;
    let settings = CollectorSettings {
        state: Some(state.clone()),
        segment_bytes: Some(65536),
        ..Default::default()
    };
    let mut collector = stage.collector(None, &settings)?;
    let mut agent = Agent::of_node(&stage.pki, collector.port(), "worker-1", 1, 90).await?;
    agent.send(agent.events(1, 100)).await?;
    agent.acknowledged(100).await?;

    let filler = state.join("filler");
    fill(&filler)?;
    let mut next = 101;
    let busy = loop {
        agent.send(agent.events(next, next + 99)).await?;
        next += 100;
        match agent.answer().await? {
            to_agent::Message::Busy(busy) => break busy,
            to_agent::Message::Ack(_) => {}
            other => anyhow::bail!("unexpected answer {other:?}"),
        }
    };
    ensure!(
        busy.detail.contains("No space left") && busy.retry_after_ms > 0,
        "{busy:?}"
    );
    fs::remove_file(&filler)?;
    agent.acknowledged(next - 1).await?;

    collector.stop()?;
    ensure!(collector.audit().check_sequences()? == next - 1);
    collector.audit().verify()?;
    Ok(())
}

#[tokio::test]
async fn a_disk_that_fills_up_is_told_of_before_it_is_full() -> Result<()> {
    if !unless_root("a_disk_that_fills_up_is_told_of_before_it_is_full") {
        return Ok(());
    }
    let stage = Stage::new("disk-fills")?;
    let state = stage.scratch.small_disk("state", 16 << 20)?;
    let settings = CollectorSettings {
        state: Some(state.clone()),
        ..Default::default()
    };
    let mut collector = stage.collector(None, &settings)?;
    let audit = collector.audit();
    let told = |times: usize| {
        wait_until("the state of the disk on record", LIMIT, || {
            let records = audit.records_of(&["--kind", "storage_state"])?;
            Ok((records.len() == times).then_some(records))
        })
    };
    let filler = state.join("filler");
    fs::write(&filler, vec![0; 13 << 20])?;
    let low = &told(1)?[0]["storage_state"];
    ensure!(low["low"] == true, "{low:?}");
    let used = low["used_percent"].as_u64();
    ensure!(used.is_some_and(|used| (75..100).contains(&used)), "{low:?}");
    ensure!(audit.records_of(&["--alerts", "--kind", "storage_state"])?.len() == 1);
    fs::remove_file(&filler)?;
    let enough = &told(2)?[1]["storage_state"];
    ensure!(enough["low"] == false, "{enough:?}");
    collector.stop()?;
    Ok(())
}

/// Leaves no block free.
pub fn fill(path: &std::path::Path) -> Result<()> {
    use std::io::Write as _;
    let mut file = fs::File::create(path)?;
    for chunk in [64 << 10, 4096, 1] {
        while file.write_all(&vec![0; chunk]).is_ok() {}
    }
    Ok(())
}
