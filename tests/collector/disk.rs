//! The disk of the collector is full for a while.

use crate::agent::Agent;
use crate::stage::Stage;
use anyhow::{Result, ensure};
use norma_rig::CollectorSettings;
use norma_rig::skip::unless_root;
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

/// Leaves no block free.
fn fill(path: &std::path::Path) -> Result<()> {
    use std::io::Write as _;
    let mut file = fs::File::create(path)?;
    for chunk in [64 << 10, 4096, 1] {
        while file.write_all(&vec![0; chunk]).is_ok() {}
    }
    Ok(())
}
