//! The collector is killed while agents deliver.

use crate::agent::Agent;
use crate::stage::{LIMIT, Stage};
use anyhow::{Result, ensure};
use norma_rig::{CollectorSettings, wait_until};
use std::fs::OpenOptions;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const EPOCH: u64 = 7;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_under_load_every_acknowledged_event_is_there_exactly_once() -> Result<()> {
    let stage = Stage::new("crash")?;
    let settings = CollectorSettings {
        segment_bytes: Some(1 << 20),
        ..Default::default()
    };
    let mut collector = stage.collector(None, &settings)?;
    let identity = stage.pki.node("worker-1", 90)?;
    let acknowledged = Arc::new(AtomicU64::new(0));
    for round in 0..4 {
        let mut agent =
            Agent::connect(&stage.pki.ca(), &identity, collector.port(), "worker-1", EPOCH).await?;
        let durable = agent.welcome.durable_sequence;
        ensure!(
            durable >= acknowledged.load(Ordering::Relaxed),
            "round {round}: acknowledged events are gone"
        );
        let before = acknowledged.load(Ordering::Relaxed);
        let counter = Arc::clone(&acknowledged);
        let load = tokio::spawn(async move {
            let mut next = durable + 1;
            loop {
                agent.send(agent.events(next, next + 99)).await?;
                next += 100;
                if let norma_wire::pb::to_agent::Message::Ack(ack) = agent.answer().await? {
                    counter.store(ack.through, Ordering::Relaxed);
                }
            }
            #[expect(unreachable_code, reason = "names the type of the error")]
            anyhow::Ok(())
        });
        wait_until("load", LIMIT, || {
            Ok((acknowledged.load(Ordering::Relaxed) > before + 1000).then_some(()))
        })?;
        collector.kill()?;
        ensure!(load.await?.is_err(), "the stream outlived the collector");
        collector.run(&stage.scratch)?;
    }
    collector.stop()?;
    let audit = collector.audit();
    let stored = audit.check_sequences()?;
    ensure!(
        stored >= acknowledged.load(Ordering::Relaxed),
        "{stored} are stored"
    );
    audit.verify()?;
    Ok(())
}

#[tokio::test]
async fn a_torn_record_is_cut_off_and_recorded_and_damage_is_refused() -> Result<()> {
    let stage = Stage::new("torn")?;
    let mut collector = stage.collector(None, &CollectorSettings::default())?;
    let mut agent = Agent::of_node(&stage.pki, collector.port(), "worker-1", EPOCH, 90).await?;
    agent.send(agent.events(1, 50)).await?;
    agent.acknowledged(50).await?;
    collector.kill()?;
    let file = collector.audit().path().join("audit-00000000000000000001.log");
    OpenOptions::new()
        .append(true)
        .open(&file)?
        .write_all(&[200, 0, 0, 0, 1, 2, 3])?;
    let report = collector.audit().verify()?;
    assert!(report.contains("unfinished: 7 bytes"), "{report}");

    collector.run(&stage.scratch)?;
    collector
        .daemon()?
        .wait_for_line("cut an unfinished write off the audit log", LIMIT)?;
    let again = Agent::of_node(&stage.pki, collector.port(), "worker-1", EPOCH, 89).await?;
    assert_eq!(again.welcome.durable_sequence, 50);
    collector.stop()?;
    let records = collector.audit().records()?;
    let cut = records
        .iter()
        .find_map(|record| record.pointer("/recovered/bytes_dropped"));
    assert_eq!(cut.and_then(serde_json::Value::as_u64), Some(7));
    collector.audit().verify()?;

    let mut bytes = std::fs::read(&file)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, &bytes)?;
    assert!(collector.audit().verify().is_err());
    let mut command = stage.programs.collector();
    let output = command
        .args(["run", "--config"])
        .arg(stage.scratch.join("collector.yaml"))
        .output()?;
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(
        errors.contains("the audit log is damaged") && errors.contains("at byte"),
        "{errors}"
    );
    assert_eq!(std::fs::read(&file)?, bytes, "the damaged file was changed");
    Ok(())
}
