//! What the log holds of what was delivered.

use crate::agent::{Agent, event};
use crate::stage::Stage;
use anyhow::Result;
use norma_rig::CollectorSettings;
use norma_wire::pb::{RejectionReason, to_agent};
use prost::Message as _;

const EPOCH: u64 = 0xabc;

#[tokio::test]
async fn what_is_acknowledged_is_in_the_log_once_and_unchanged() -> Result<()> {
    let stage = Stage::new("delivery")?;
    let settings = CollectorSettings {
        segment_bytes: Some(65536),
        ..Default::default()
    };
    let mut collector = stage.collector(None, &settings)?;
    let mut agent = Agent::of_node(&stage.pki, collector.port(), "worker-1", EPOCH, 90).await?;
    assert_eq!(agent.welcome.durable_sequence, 0);
    agent.send(agent.events(1, 500)).await?;
    agent.send(agent.events(400, 700)).await?;
    agent.acknowledged(700).await?;

    // A second stream beside the first, as after a cut network: what it repeats is not doubled.
    let mut second = Agent::of_node(&stage.pki, collector.port(), "worker-1", EPOCH, 89).await?;
    assert_eq!(second.welcome.durable_sequence, 700);
    agent.send(agent.events(701, 800)).await?;
    second.send(second.events(701, 900)).await?;
    agent.acknowledged(800).await?;
    second.acknowledged(900).await?;

    collector.stop()?;
    let audit = collector.audit();
    assert_eq!(audit.check_sequences()?, 900);
    let report = audit.verify()?;
    assert!(report.starts_with("intact: "), "{report}");
    assert!(
        report.contains("sequences 1-900, 900 events, 0 rejected, complete"),
        "{report}"
    );
    assert!(
        !report.contains("in 1 files"),
        "no file was begun after the first: {report}"
    );
    let last = audit.events()?.pop();
    let expected = serde_json::to_value(event("worker-1", EPOCH, 900))?;
    assert_eq!(last, Some(expected));
    Ok(())
}

#[tokio::test]
async fn what_is_not_this_nodes_event_is_recorded_as_rejected_and_does_not_jam_the_agent() -> Result<()> {
    let stage = Stage::new("rejected")?;
    let mut collector = stage.collector(None, &CollectorSettings::default())?;
    let mut agent = Agent::of_node(&stage.pki, collector.port(), "worker-1", EPOCH, 90).await?;
    let mut batch = agent.events(1, 1);
    batch.push(event("worker-2", EPOCH, 2).encode_to_vec());
    batch.push(event("worker-1", EPOCH + 1, 3).encode_to_vec());
    batch.push(b"\xff\xff\xff not an event".to_vec());
    let mut large = event("worker-1", EPOCH, 5);
    large.process.get_or_insert_default().argv = vec!["x".repeat(300_000)];
    batch.push(large.encode_to_vec());
    batch.extend(agent.events(6, 6));
    agent.send(batch).await?;
    let rejected: Vec<_> = agent
        .acknowledged(6)
        .await?
        .into_iter()
        .filter_map(|answer| match answer {
            to_agent::Message::Rejection(rejection) => Some((rejection.sequence, rejection.reason())),
            _ => None,
        })
        .collect();
    let expected = [
        (2, RejectionReason::ForeignNode),
        (3, RejectionReason::ForeignEpoch),
        (4, RejectionReason::Malformed),
        (5, RejectionReason::Oversized),
    ];
    assert_eq!(rejected, expected);

    collector.stop()?;
    let records = collector.audit().records()?;
    let reasons: Vec<_> = records
        .iter()
        .filter_map(|record| record.pointer("/rejected/reason"))
        .collect();
    assert_eq!(
        reasons,
        ["foreign_node", "foreign_epoch", "malformed", "oversized"]
    );
    let claimed = records
        .iter()
        .find_map(|record| record.pointer("/rejected/claimed/node"));
    assert_eq!(claimed.and_then(|node| node.as_str()), Some("worker-2"));
    let report = collector.audit().verify()?;
    assert!(
        report.contains("sequences 1-6, 2 events, 4 rejected, complete"),
        "{report}"
    );
    Ok(())
}

#[tokio::test]
async fn sequences_that_never_came_are_stated() -> Result<()> {
    let stage = Stage::new("gaps")?;
    let mut collector = stage.collector(None, &CollectorSettings::default())?;
    let mut agent = Agent::of_node(&stage.pki, collector.port(), "worker-1", EPOCH, 90).await?;
    agent.send(agent.events(1, 3)).await?;
    agent.send(agent.events(8, 9)).await?;
    agent.acknowledged(9).await?;
    collector.stop()?;
    let report = collector.audit().verify()?;
    assert!(report.contains("4 missing, NOT ACCOUNTED FOR: 4-7"), "{report}");
    Ok(())
}

#[tokio::test]
async fn a_clean_stop_ends_the_log_and_frees_it_and_a_second_writer_is_kept_out() -> Result<()> {
    let stage = Stage::new("stop")?;
    let mut collector = stage.collector(None, &CollectorSettings::default())?;
    let mut second = stage.programs.collector();
    let output = second
        .args(["run", "--config"])
        .arg(stage.scratch.join("collector.yaml"))
        .output()?;
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("in use by another norma-collector"), "{errors}");

    let agent = Agent::of_node(&stage.pki, collector.port(), "worker-1", EPOCH, 90).await?;
    collector.stop()?;
    drop(agent);
    let records = collector.audit().records()?;
    let last = records
        .last()
        .and_then(|record| record.pointer("/stopped/reason"))
        .cloned();
    assert_eq!(last, Some("SIGTERM".into()));
    collector.run(&stage.scratch)?;
    collector.stop()
}
