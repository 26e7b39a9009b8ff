//! What nodes sign of their events, from the agent's outbox to the check of the log.

use crate::node::{Node, target};
use crate::stage::{LIMIT, Stage};
use anyhow::{Result, ensure};
use norma_agent::ship::Standing;
use norma_collector::audit::Follower;
use norma_collector::heads::check::{Authorities, ChainReport, Chains};
use norma_rig::{Collector, CollectorSettings, Pki, wait_until};
use std::ffi::OsStr;

/// The check of a log, certificates included.
fn check(stage: &Stage, collector: &Collector) -> Result<Vec<ChainReport>> {
    let authorities = Authorities::read(&stage.pki.ca()).map_err(anyhow::Error::msg)?;
    let records = collector.audit().records()?.len() as u64;
    let mut follower = Follower::new(collector.audit().path(), 1);
    let records = follower.read(records, usize::MAX)?;
    Ok(Chains::check(Some(authorities), &records).0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_event_is_signed_for_through_kills_of_both_sides_and_a_new_key() -> Result<()> {
    let stage = Stage::new("heads")?;
    let mut collector = stage.collector(None, &CollectorSettings::default())?;
    let folder = stage.scratch.folder("outbox")?;
    let identity = stage.pki.node("worker-1", 90)?;
    let files = stage.scratch.folder("node")?;
    let (certificate, key) = (files.join("tls.crt"), files.join("tls.key"));
    std::fs::copy(&identity.certificate, &certificate)?;
    std::fs::copy(&identity.key, &key)?;
    let used = norma_rig::pki::KeyPair { certificate, key };
    let target = target(&stage.pki.ca(), &used, collector.port())?;
    let mut node = Node::start(&folder, "worker-1", target.clone())?;
    for round in 0..6 {
        node.append(1500);
        let some = node.outbox.next_sequence() - 1000;
        node.acknowledged(some, LIMIT).await?;
        match round % 3 {
            0 => {
                collector.kill()?;
                node.append(700);
                collector.run(&stage.scratch)?;
            }
            1 => {
                node.append(700);
                node.kill().await;
                node = Node::start(&folder, "worker-1", target.clone())?;
            }
            _ => {
                let new = stage.pki.node("worker-1", 80 + round)?;
                std::fs::copy(&new.certificate, &used.certificate)?;
                std::fs::copy(&new.key, &used.key)?;
                node.kill().await;
                node = Node::start(&folder, "worker-1", target.clone())?;
            }
        }
    }
    node.append(10);
    node.shipped(LIMIT).await?;
    collector.stop()?;
    let total = node.outbox.next_sequence() - 1;
    ensure!(collector.audit().check_sequences()? == total);
    let reports = check(&stage, &collector)?;
    ensure!(reports.len() == 1, "{reports:?}");
    ensure!(
        reports[0].is_sound() && reports[0].signed == total && reports[0].unsigned == 0,
        "{reports:?}"
    );
    let verdict = collector.audit().verify()?;
    let line = format!("signed batch heads over {total} events, 0 events without");
    ensure!(verdict.contains(&line), "{verdict}");
    let keys = collector.audit().records_of(&["--kind", "node_key"])?;
    ensure!(
        keys.len() == 3,
        "a key is recorded once, and a new one again: {keys:?}"
    );
    let told = collector.audit().records_of(&["--kind", "batch_heads"])?;
    ensure!(
        told[0].pointer("/batch_heads/heads/0/head/node").is_some(),
        "{:?}",
        told[0]
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_was_set_back_is_found_out_by_its_agents() -> Result<()> {
    let stage = Stage::new("set-back")?;
    let mut collector = stage.collector(None, &CollectorSettings::default())?;
    let folder = stage.scratch.folder("outbox")?;
    let identity = stage.pki.node("worker-1", 90)?;
    let target = target(&stage.pki.ca(), &identity, collector.port())?;
    let mut node = Node::start(&folder, "worker-1", target)?;
    node.append(100);
    node.shipped(LIMIT).await?;
    collector.stop()?;
    let state = stage.scratch.join("collector-state");
    let backup = stage.scratch.join("backup");
    let copy = |from: &std::path::Path, to: &std::path::Path| -> Result<()> {
        let done = std::process::Command::new("cp")
            .arg("-a")
            .arg(from)
            .arg(to)
            .status()?;
        ensure!(done.success(), "cp failed");
        Ok(())
    };
    copy(&state, &backup)?;
    collector.run(&stage.scratch)?;
    node.append(100);
    node.shipped(LIMIT).await?;
    collector.stop()?;
    std::fs::remove_dir_all(&state)?;
    copy(&backup, &state)?;
    collector.run(&stage.scratch)?;
    let expected = Standing::Behind {
        holds: 100,
        acknowledged: 200,
    };
    wait_until("the agent to notice", LIMIT, || {
        Ok((*node.standing.borrow() == expected).then_some(()))
    })?;
    node.append(100);
    node.shipped(LIMIT).await?;
    collector.stop()?;
    let report = check(&stage, &collector)?.remove(0);
    ensure!(report.breaks.len() == 1 && report.faults.is_empty(), "{report:?}");
    let verdict = collector.audit().verify()?;
    ensure!(
        verdict.contains("100 missing, NOT ACCOUNTED FOR: 101-200"),
        "{verdict}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verification_holds_the_certificates_of_nodes_against_an_authority() -> Result<()> {
    let stage = Stage::new("node-ca")?;
    let mut collector = stage.collector(None, &CollectorSettings::default())?;
    let identity = stage.pki.node("worker-1", 90)?;
    let target = target(&stage.pki.ca(), &identity, collector.port())?;
    let folder = stage.scratch.folder("outbox")?;
    let mut node = Node::start(&folder, "worker-1", target.clone())?;
    node.append(20);
    node.shipped(LIMIT).await?;
    let verify = |options: &[&OsStr]| -> Result<(bool, String)> {
        let mut command = stage.programs.collector();
        command.args(["audit", "verify"]).args(options);
        let output = command.arg(collector.audit().path()).output()?;
        let told = [output.stdout, output.stderr].concat();
        Ok((output.status.success(), String::from_utf8(told)?))
    };
    let ca = stage.pki.ca();
    let by = [OsStr::new("--node-ca"), ca.as_os_str()];
    let (intact, told) = verify(&by)?;
    ensure!(intact, "{told}");

    let stranger = Pki::create(&stage.programs, &stage.scratch.folder("stranger")?)?;
    let (intact, told) = verify(&["--node-ca".as_ref(), stranger.ca().as_os_str()])?;
    ensure!(
        !intact && told.contains("of node worker-1: its certificate was not valid"),
        "{told}"
    );

    // What came before the revocation counts; what the collector, which was not told, took after it does not.
    wait_until("the second to end", LIMIT, || {
        let second = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let before = second()?.as_secs();
        while second()?.as_secs() == before {
            std::thread::yield_now();
        }
        Ok(Some(()))
    })?;
    stage.pki.revoke(&identity.certificate)?;
    let list = stage.pki.crl(7)?;
    let with_list = [by[0], by[1], OsStr::new("--node-crl"), list.as_os_str()];
    let (intact, told) = verify(&with_list)?;
    ensure!(intact, "{told}");
    node.append(20);
    node.shipped(LIMIT).await?;
    wait_until("what the node signed on record", LIMIT, || {
        let (intact, told) = verify(&with_list)?;
        Ok((!intact && told.contains("the certificate of its key was revoked at")).then_some(()))
    })?;
    let (intact, told) = verify(&[
        by[0],
        by[1],
        OsStr::new("--node-crl"),
        stranger.crl(7)?.as_os_str(),
    ])?;
    ensure!(
        !intact && told.contains("has signed the revocation list"),
        "{told}"
    );
    collector.stop()
}
