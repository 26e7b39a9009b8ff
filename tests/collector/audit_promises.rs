//! What the collector promises of its audit log to those who remember it.

use crate::agent::Agent;
use crate::stage::{LIMIT, Stage};
use anyhow::{Context as _, Result, ensure};
use norma_rig::{CollectorSettings, wait_until};
use norma_tlog::tree::check_consistency;
use norma_tlog::{Checkpoint, Hash, Note, Policy};
use norma_wire::pb;
use std::ffi::{OsStr, OsString};
use std::process::Command;
use std::time::Duration;

const EPOCH: u64 = 3;

fn read(sent: &pb::Checkpoint) -> Result<Checkpoint> {
    let policy = Policy::of_log(sent.key.parse()?);
    Ok(policy.check(&Note::parse(&sent.note)?)?.checkpoint)
}

/// Delivers an event at a time until an acknowledgement has a checkpoint; the place that is next.
async fn next_checkpoint(agent: &mut Agent, mut sequence: u64) -> Result<(pb::Checkpoint, u64)> {
    for _ in 0..600 {
        agent.send(agent.events(sequence, sequence)).await?;
        if let Some(checkpoint) = agent.acknowledged_with(sequence).await? {
            return Ok((checkpoint, sequence + 1));
        }
        sequence += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    anyhow::bail!("no checkpoint came")
}

#[tokio::test]
async fn agents_get_checkpoints_that_go_on_from_each_other_across_restarts() -> Result<()> {
    let stage = Stage::new("promises")?;
    let settings = CollectorSettings {
        checkpoint_interval: Some("1s".to_owned()),
        ..Default::default()
    };
    let mut collector = stage.collector(None, &settings)?;
    let mut agent = Agent::of_node(&stage.pki, collector.port(), "worker-1", EPOCH, 90).await?;
    let (first, next) = next_checkpoint(&mut agent, 1).await?;
    let (second, next) = next_checkpoint(&mut agent, next).await?;
    let (old, new) = (read(&first)?, read(&second)?);
    let proof: Vec<Hash> = second
        .consistency
        .iter()
        .map(|hash| hash.as_slice().try_into().map(Hash))
        .collect::<Result<_, _>>()?;
    check_consistency((old.size, old.root), (new.size, new.root), &proof)?;
    ensure!(new.size > old.size && second.proven_from == old.size);
    drop(agent);

    collector.stop()?;
    collector.run(&stage.scratch)?;
    let hello = pb::Hello {
        checkpoints: vec![second.note.clone()],
        ..Default::default()
    };
    let mut agent = Agent::of_node_with(&stage.pki, collector.port(), "worker-1", (EPOCH, 89), hello).await?;
    let (third, _) = next_checkpoint(&mut agent, next).await?;
    ensure!(
        third.proven_from == new.size,
        "the proof is not from what the agent remembers"
    );
    collector.stop()?;
    let kept = stage.scratch.file("kept", &String::from_utf8(third.note)?)?;
    let policy = collector.policy(&stage.scratch)?;
    let report = collector.audit().verify_with(&[
        "--policy".as_ref(),
        policy.as_os_str(),
        "--expect".as_ref(),
        kept.as_os_str(),
    ])?;
    ensure!(
        report.starts_with("intact: ") && report.contains("goes on from: 1"),
        "{report}"
    );
    Ok(())
}

#[tokio::test]
async fn a_collector_that_was_set_back_is_told_by_an_agent_and_records_it() -> Result<()> {
    let stage = Stage::new("set-back")?;
    let mut collector = stage.collector(None, &CollectorSettings::default())?;
    collector.stop()?;
    let state = stage.scratch.join("collector-state");
    let backup = stage.scratch.join("backup");
    ensure!(
        Command::new("cp")
            .arg("-a")
            .args([&state, &backup])
            .status()?
            .success()
    );
    collector.run(&stage.scratch)?;
    let mut agent = Agent::of_node(&stage.pki, collector.port(), "worker-1", EPOCH, 90).await?;
    let (remembered, _) = next_checkpoint(&mut agent, 1).await?;
    drop(agent);
    collector.stop()?;

    std::fs::remove_dir_all(&state)?;
    std::fs::rename(&backup, &state)?;
    collector.run(&stage.scratch)?;
    let hello = pb::Hello {
        checkpoints: vec![remembered.note.clone()],
        ..Default::default()
    };
    let _agent = Agent::of_node_with(&stage.pki, collector.port(), "worker-1", (EPOCH, 89), hello).await?;
    let record = wait_until("the conflict in the log", LIMIT, || {
        let records = collector.audit().records_of(&["--kind", "checkpoint_conflict"])?;
        Ok(records.into_iter().next())
    })?;
    let detail = &record["checkpoint_conflict"];
    ensure!(detail["who"] == "node worker-1", "{record}");
    ensure!(detail["remembered"].as_str().context("no note")?.as_bytes() == remembered.note);
    collector.stop()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_it_seals_the_collector_never_takes_a_checkpoint_back() -> Result<()> {
    let stage = Stage::new("kill-seal")?;
    let settings = CollectorSettings {
        segment_bytes: Some(65536),
        checkpoint_interval: Some("1s".to_owned()),
        ..Default::default()
    };
    let mut collector = stage.collector(None, &settings)?;
    let identity = stage.pki.node("worker-1", 90)?;
    let policy = collector.policy(&stage.scratch)?;
    let mut options = vec![OsString::from("--policy"), policy.into_os_string()];
    for round in 0..12u64 {
        let mut agent =
            Agent::connect(&stage.pki.ca(), &identity, collector.port(), "worker-1", EPOCH).await?;
        let first = agent.welcome.durable_sequence + 1;
        // Each batch is a segment of its own; the kill comes at another place of its sealing each time.
        let load = tokio::spawn(async move {
            for batch in 0..200 {
                let first = first + batch * 200;
                agent.send(agent.events(first, first + 199)).await?;
                agent.acknowledged(first + 199).await?;
            }
            anyhow::Ok(())
        });
        tokio::time::sleep(Duration::from_millis(300 + 37 * round)).await;
        // What a reader saw at any time must be kept, also what was written right before the kill.
        let seen = std::fs::read_to_string(collector.audit().path().join("tlog/checkpoint"));
        collector.kill()?;
        ensure!(load.await?.is_err(), "the stream outlived the collector");
        if let Ok(seen) = seen {
            let kept = stage.scratch.file(&format!("kept-{round}"), &seen)?;
            options.extend([OsString::from("--expect"), kept.into_os_string()]);
        }
        collector.run(&stage.scratch)?;
    }
    collector.stop()?;
    let options: Vec<&OsStr> = options.iter().map(AsRef::as_ref).collect();
    let report = collector.audit().verify_with(&options)?;
    ensure!(report.starts_with("intact: "), "{report}");
    ensure!(report.contains("goes on from: 12 remembered"), "{report}");
    collector.audit().check_sequences()?;
    Ok(())
}
