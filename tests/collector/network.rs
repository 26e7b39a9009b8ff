//! Bad networks: slow, and cut while events are on their way. Each test has a network of its own, of which the loopback
//! interface is made bad.

use crate::node::{Node, target};
use crate::stage::{LIMIT, Stage};
use anyhow::{Context as _, Result, ensure};
use norma_rig::CollectorSettings;
use norma_rig::skip::{skipped, unless_root};
use rustix::thread::{UnshareFlags, unshare_unsafe};
use std::process::Command;
use std::time::{Duration, Instant};

/// Runs a test in a network namespace of its own: of a thread, its runtime, and what it starts.
fn in_own_network(name: &'static str, test: impl Future<Output = Result<()>> + Send + 'static) -> Result<()> {
    if !unless_root(name) {
        return Ok(());
    }
    let inside = move || -> Result<()> {
        own_network()?;
        if Command::new("ip").arg("-V").output().is_err() {
            skipped(name, "`ip` is not installed (iproute2)");
            return Ok(());
        }
        run("ip", &["link", "set", "lo", "up"])?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        runtime.block_on(test)
    };
    let thread = std::thread::spawn(inside);
    thread.join().map_err(|_| anyhow::anyhow!("the test panicked"))?
}

#[expect(
    unsafe_code,
    reason = "rustix marks every kind of unshare as unsafe, for that of file descriptors"
)]
fn own_network() -> Result<()> {
    // SAFETY: only the network of the calling thread changes; no file descriptor does.
    let made = unsafe { unshare_unsafe(UnshareFlags::NEWNET) };
    made.context("cannot make a network namespace")
}

fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let output = Command::new(program).args(arguments).output()?;
    ensure!(
        output.status.success(),
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

#[test]
fn a_slow_network_delays_and_loses_nothing() -> Result<()> {
    const NAME: &str = "a_slow_network_delays_and_loses_nothing";
    in_own_network(NAME, async {
        let stage = Stage::new("slow")?;
        let mut collector = stage.collector(None, &CollectorSettings::default())?;
        run("ip", &["link", "set", "lo", "mtu", "1500"])?;
        // Late, out of order and with losses, where the kernel has that; at least with little room.
        let netem = [
            "qdisc", "add", "dev", "lo", "root", "netem", "delay", "30ms", "10ms", "loss", "1%",
        ];
        let narrow = [
            "qdisc", "add", "dev", "lo", "root", "tbf", "rate", "2mbit", "burst", "16kb", "latency", "300ms",
        ];
        if run("tc", &netem).is_err()
            && let Err(error) = run("tc", &narrow)
        {
            skipped(NAME, &format!("no network can be made slow here: {error:#}"));
            return Ok(());
        }
        let identity = stage.pki.node("worker-1", 90)?;
        let target = target(&stage.pki.ca(), &identity, collector.port())?;
        let mut node = Node::start(&stage.scratch.folder("outbox")?, "worker-1", target)?;
        for _ in 0..10 {
            node.append(400);
        }
        node.shipped(2 * LIMIT).await?;
        collector.stop()?;
        ensure!(collector.audit().check_sequences()? == 4000);
        collector.audit().verify()?;
        Ok(())
    })
}

#[test]
fn a_cut_network_is_noticed_and_everything_comes_when_it_is_back() -> Result<()> {
    in_own_network(
        "a_cut_network_is_noticed_and_everything_comes_when_it_is_back",
        async {
            let stage = Stage::new("cut")?;
            let mut collector = stage.collector(None, &CollectorSettings::default())?;
            let identity = stage.pki.node("worker-1", 90)?;
            let target = target(&stage.pki.ca(), &identity, collector.port())?;
            let mut node = Node::start(&stage.scratch.folder("outbox")?, "worker-1", target)?;
            node.append(5000);
            node.acknowledged(500, LIMIT).await?;
            // Both ends keep their connection and hear nothing: half open on either side.
            run("ip", &["link", "set", "lo", "down"])?;
            node.append(1000);
            let connected = |node: &Node| node.status.lock().is_ok_and(|status| status.connected);
            let begin = Instant::now();
            while connected(&node) {
                ensure!(begin.elapsed() < 2 * LIMIT, "the cut is not noticed");
                node.append(1);
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            let at_most = node.outbox.acked();
            run("ip", &["link", "set", "lo", "up"])?;
            node.shipped(2 * LIMIT).await?;
            let total = node.outbox.next_sequence() - 1;
            ensure!(at_most < total, "the network was not cut");
            collector.stop()?;
            ensure!(collector.audit().check_sequences()? == total);
            let report = collector.audit().verify()?;
            ensure!(!report.contains("BROKEN"), "{report}");
            Ok(())
        },
    )
}
