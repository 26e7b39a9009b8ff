//! What breaks while agents deliver: nothing is lost, nothing is there twice.

use crate::agent::Agent;
use crate::node::{Node, target};
use crate::signer::Signer;
use crate::stage::{LIMIT, Stage};
use anyhow::{Result, ensure};
use norma_agent::config::CollectorAddress;
use norma_rig::inject::cycles;
use norma_rig::pki::KeyPair;
use norma_rig::{CollectorSettings, Pki, Scratch, wait_until};
use norma_wire::pb::{Batch, to_collector};
use rustix::process::Signal;
use std::fs;
use std::time::Duration;

fn settings() -> CollectorSettings {
    CollectorSettings {
        segment_bytes: Some(256 << 10),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_in_turn_under_load_both_sides_lose_and_double_nothing() -> Result<()> {
    let stage = Stage::new("cycles")?;
    let mut collector = stage.collector(None, &settings())?;
    let folder = stage.scratch.folder("outbox")?;
    let target = target(
        &stage.pki.ca(),
        &stage.pki.node("worker-1", 90)?,
        collector.port(),
    )?;
    let mut node = Node::start(&folder, "worker-1", target.clone())?;
    for cycle in 0..cycles(6) {
        let before = node.outbox.next_sequence();
        node.append(1000);
        node.acknowledged(before + 200, LIMIT).await?;
        node.append(500);
        if cycle % 2 == 0 {
            collector.kill()?;
            node.append(100);
            collector.run(&stage.scratch)?;
        } else {
            node.kill().await;
            node = Node::start(&folder, "worker-1", target.clone())?;
        }
    }
    node.append(1);
    node.shipped(LIMIT).await?;
    let total = node.outbox.next_sequence() - 1;
    collector.stop()?;
    ensure!(collector.audit().check_sequences()? == total);
    let report = collector.audit().verify()?;
    let signed = format!("signed batch heads over {total} events, 0 events without");
    ensure!(report.contains(&signed) && !report.contains("BROKEN"), "{report}");
    Ok(())
}

#[tokio::test]
async fn batches_that_are_replayed_change_nothing() -> Result<()> {
    let stage = Stage::new("replay")?;
    let mut collector = stage.collector(None, &settings())?;
    let identity = stage.pki.node("worker-1", 90)?;
    let connect = async || Agent::connect(&stage.pki.ca(), &identity, collector.port(), "worker-1", 7).await;
    let mut agent = connect().await?;
    let mut signer = Signer::new(&identity, "worker-1", 7, None)?;
    let mut batches: Vec<Batch> = Vec::new();
    for number in 0..6 {
        let (first, last) = (100 * number + 1, 100 * number + 100);
        let events = agent.events(first, last).into_iter().map(Into::into).collect();
        batches.push(signer.batch(events, (first, last), 1)?);
    }
    let send =
        async |agent: &Agent, batch: &Batch| agent.tell(to_collector::Message::Batch(batch.clone())).await;
    for batch in &batches[..5] {
        send(&agent, batch).await?;
    }
    agent.acknowledged(500).await?;
    // On a new stream and on the old one, old batches and then the next.
    let mut again = connect().await?;
    for batch in &batches[1..3] {
        send(&again, batch).await?;
        again.acknowledged(500).await?;
        send(&agent, batch).await?;
        agent.acknowledged(500).await?;
    }
    send(&again, &batches[5]).await?;
    again.acknowledged(600).await?;
    collector.stop()?;
    ensure!(collector.audit().check_sequences()? == 600);
    let report = collector.audit().verify()?;
    ensure!(
        report.starts_with("intact: ")
            && !report.contains("BROKEN")
            && report.contains("6 signed batch heads over 600 events, 0 events without"),
        "{report}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_agents_with_one_certificate_are_two_epochs() -> Result<()> {
    let stage = Stage::new("twins")?;
    let mut collector = stage.collector(None, &settings())?;
    let identity = stage.pki.node("worker-1", 90)?;
    let target = target(&stage.pki.ca(), &identity, collector.port())?;
    let mut one = Node::start(&stage.scratch.folder("one")?, "worker-1", target.clone())?;
    let mut other = Node::start(&stage.scratch.folder("other")?, "worker-1", target)?;
    for _ in 0..5 {
        one.append(400);
        other.append(300);
    }
    one.shipped(LIMIT).await?;
    other.shipped(LIMIT).await?;
    collector.stop()?;
    ensure!(collector.audit().check_sequences()? == 3500);
    let report = collector.audit().verify()?;
    ensure!(
        report.starts_with("intact: ") && report.matches("node worker-1 epoch ").count() == 4,
        "{report}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_disk_was_set_back_delivers_what_it_saw_since() -> Result<()> {
    // Fewer events since than the collector holds beyond the old image, and more.
    for since in [30, 250] {
        let stage = Stage::new("image")?;
        let mut collector = stage.collector(None, &settings())?;
        let folder = stage.scratch.folder("outbox")?;
        let image = stage.scratch.join("image");
        let target = target(
            &stage.pki.ca(),
            &stage.pki.node("worker-1", 90)?,
            collector.port(),
        )?;
        let copy = |from: &std::path::Path, to: &std::path::Path| -> Result<()> {
            let done = std::process::Command::new("cp")
                .arg("-a")
                .arg(from)
                .arg(to)
                .status()?;
            ensure!(done.success(), "cp failed");
            Ok(())
        };
        for events in [100, 100] {
            let mut node = Node::start(&folder, "worker-1", target.clone())?;
            node.append(events);
            node.shipped(LIMIT).await?;
            // What was acknowledged is noted on the disk.
            node.append(0);
            node.kill().await;
            if !image.exists() {
                copy(&folder, &image)?;
            }
        }
        fs::remove_dir_all(&folder)?;
        copy(&image, &folder)?;
        let mut node = Node::start(&folder, "worker-1", target)?;
        let epoch = node.outbox.epoch();
        node.life = 2;
        node.append(since);
        let limit = std::time::Instant::now() + LIMIT;
        while node.outbox.next_sequence() <= 200 + since || node.outbox.acked() < 200 + since {
            ensure!(std::time::Instant::now() < limit, "{:?}", node.status);
            node.append(0);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        ensure!(node.outbox.epoch() == epoch);
        collector.stop()?;
        // Each of this life and of the other, once.
        let total = collector.audit().check_sequences()?;
        ensure!(total == 200 + since, "{since}: {total}");
        let mut times = Vec::new();
        for event in collector.audit().events()? {
            times.push(norma_rig::audit::number(&event["wall_ns"]).unwrap_or(0) - 1_700_000_000_000_000_000);
        }
        // What has a place after those of the collector keeps it.
        let expected: Vec<u64> = (1..=200)
            .chain(201..=100 + since)
            .chain(101..=200.min(100 + since))
            .collect();
        ensure!(times == expected, "{since}: {times:?}");
        let report = collector.audit().verify()?;
        ensure!(
            report.starts_with("intact: ") && !report.contains("BROKEN"),
            "{report}"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_and_authorities_change_under_load() -> Result<()> {
    let stage = Stage::new("rotation")?;
    let mut collector = stage.collector(None, &settings())?;
    let files = stage.scratch.folder("node")?;
    let used = KeyPair {
        certificate: files.join("tls.crt"),
        key: files.join("tls.key"),
    };
    // A node trusts the authority in a file of its own, which is replaced with its certificate.
    let ca = files.join("ca.crt");
    let install = |pki: &Pki, days: u32| -> Result<()> {
        let new = pki.node("worker-1", days)?;
        fs::copy(pki.ca(), &ca)?;
        fs::copy(&new.certificate, &used.certificate)?;
        fs::copy(&new.key, &used.key)?;
        Ok(())
    };
    install(&stage.pki, 90)?;
    let mut node = Node::start(
        &stage.scratch.folder("outbox")?,
        "worker-1",
        target(&ca, &used, collector.port())?,
    )?;
    let server = stage.scratch.join("collector");
    let trusted = stage.pki.ca();
    for round in 0..cycles(1) {
        node.append(1500);
        let other = Pki::create(&stage.programs, &stage.scratch.join(format!("authority-{round}")))?;
        let theirs = other.server("collector")?;
        fs::copy(&theirs.certificate, server.join("server.pem"))?;
        fs::copy(&theirs.key, server.join("server-key.pem"))?;
        fs::copy(other.ca(), &trusted)?;
        node.append(1500);
        install(&other, 90)?;
        let sessions = |node: &Node| node.status.lock().map_or(0, |status| status.sessions);
        let before = sessions(&node);
        // The open stream goes on; the agent looks at its files every 10 s and connects anew with them.
        wait_until("a stream with the new certificate", LIMIT, || {
            node.append(50);
            Ok((sessions(&node) > before).then_some(()))
        })?;
        node.append(500);
        node.shipped(LIMIT).await?;
    }
    let total = node.outbox.next_sequence() - 1;
    collector.stop()?;
    ensure!(collector.audit().check_sequences()? == total);
    let report = collector.audit().verify()?;
    let signed = format!("signed batch heads over {total} events, 0 events without");
    ensure!(report.contains(&signed), "{report}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_hangs_with_its_connections_open_is_left_for_the_next() -> Result<()> {
    let stage = Stage::new("hangs")?;
    let mut hangs = stage.collector(None, &settings())?;
    let files = Scratch::new("hangs-next")?;
    let mut next = norma_rig::Collector::start(&files, &stage.programs, &stage.pki, None, &settings())?;
    let identity = stage.pki.node("worker-1", 90)?;
    let mut both = target(&stage.pki.ca(), &identity, hangs.port())?;
    both.fallbacks.push(CollectorAddress {
        address: format!("127.0.0.1:{}", next.port()),
        server_name: both.server_name.clone(),
    });
    let mut node = Node::start(&stage.scratch.folder("outbox")?, "worker-1", both)?;
    node.append(1000);
    node.shipped(LIMIT).await?;
    hangs.daemon()?.signal(Signal::STOP)?;
    node.append(1000);
    // Connections are not answered and not closed: found by keepalive, after some 30 s.
    node.shipped(Duration::from_secs(120)).await?;
    hangs.daemon()?.signal(Signal::CONT)?;
    drop(node);
    next.stop()?;
    hangs.stop()?;
    let report = next.audit().verify()?;
    ensure!(
        report.contains("sequences 1-2000, 1000 events")
            && report.contains("1000 missing, all acknowledged by other logs"),
        "{report}"
    );
    Ok(())
}
