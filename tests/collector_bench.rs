//! How much one stream carries, with every acknowledgement after a sync of this machine's disk.
//!
//! `NORMA_PROGRAMS=$PWD/target/release cargo bench -p norma-rig`, after `cargo build --release`.

#[expect(dead_code, reason = "the tests use the rest of it")]
#[path = "collector/agent.rs"]
mod agent;
#[expect(dead_code, reason = "the tests use the rest of it")]
#[path = "collector/stage.rs"]
mod stage;

use crate::agent::Agent;
use crate::stage::Stage;
use anyhow::Result;
use norma_rig::CollectorSettings;
use norma_wire::pb::to_agent;
use std::time::{Duration, Instant};

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<()> {
    const BATCHES: u64 = 400;
    const BATCH: u64 = 500;
    let stage = Stage::new("bench")?;
    let mut collector = stage.collector(None, &CollectorSettings::default())?;
    let mut agent = Agent::of_node(&stage.pki, collector.port(), "worker-1", 1, 90).await?;
    let batches: Vec<_> = (0..BATCHES)
        .map(|number| agent.events(number * BATCH + 1, (number + 1) * BATCH))
        .collect();
    let bytes: usize = batches.iter().flatten().map(Vec::len).sum();
    let started = Instant::now();
    let mut sent = 0;
    let mut acknowledged = 0;
    for batch in batches {
        agent.send(batch).await?;
        sent += BATCH;
        while sent - acknowledged > 16 * BATCH {
            if let to_agent::Message::Ack(ack) = agent.answer().await? {
                acknowledged = ack.through;
            }
        }
    }
    agent.acknowledged(sent).await?;
    let took = started.elapsed().as_secs_f64();
    let rate = sent as f64 / took;
    println!(
        "{sent} events of {} bytes in {took:.2} s: {rate:.0} events/s",
        bytes as u64 / sent
    );

    let mut latencies = Vec::new();
    for sequence in sent + 1..=sent + 500 {
        let asked = Instant::now();
        agent.send(agent.events(sequence, sequence)).await?;
        agent.acknowledged(sequence).await?;
        latencies.push(asked.elapsed());
        // A pause, so that each event is measured alone.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    latencies.sort();
    println!(
        "acknowledgement: p50 {:?}, p99 {:?}, max {:?}",
        latencies[250], latencies[495], latencies[499]
    );
    let cpu = collector.daemon()?.cpu_time()?;
    println!(
        "collector: {cpu:?} of processor time, {} bytes resident",
        collector.daemon()?.resident_bytes()?
    );
    Ok(())
}
