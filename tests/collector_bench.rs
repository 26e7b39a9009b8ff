//! How much a collector carries: simulated agents over mTLS with signed heads, against the real program, whose every
//! acknowledgement comes after a sync of this machine's disk.
//!
//! `cargo build --release && NORMA_PROGRAMS=$PWD/target/release cargo bench -p norma-rig --bench collector`; `-- --help`
//! says what can be asked. The folder is made in `TMPDIR`: the disk below it is what is measured.

#[expect(dead_code, reason = "the tests use the rest of it")]
#[path = "collector/agent.rs"]
mod agent;
#[path = "collector_bench/disk.rs"]
mod disk;
#[path = "collector/signer.rs"]
mod signer;
#[path = "collector_bench/simulator.rs"]
mod simulator;
#[expect(dead_code, reason = "the tests use the rest of it")]
#[path = "collector/stage.rs"]
mod stage;

use crate::simulator::{Load, Simulator};
use crate::stage::Stage;
use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use norma_rig::pki::KeyPair;
use norma_rig::{Collector, CollectorSettings};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Measures a collector on this machine.
#[derive(Debug, Parser)]
struct Options {
    /// Events that are delivered as fast as they are taken.
    #[arg(long, default_value_t = 1_000_000)]
    events: u64,
    /// Agents that deliver them.
    #[arg(long, default_value_t = 8)]
    streams: usize,
    /// Agents that are connected at once and deliver little.
    #[arg(long, default_value_t = 1000)]
    agents: usize,
    /// Seconds of half load, and of the many agents.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

/// The collector, the agents' certificates, and what they send.
struct Bench {
    options: Options,
    stage: Stage,
    collector: Collector,
    load: Arc<Load>,
    identities: Vec<(String, KeyPair)>,
    /// Events that were delivered.
    delivered: u64,
}

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<()> {
    let options = Options::parse();
    let stage = Stage::new("bench")?;
    let load = Arc::new(Load::new());
    let size = load.event_bytes();
    println!(
        "events of {size} bytes; disk: {}; processors: {}; load average: {}",
        disk::describe(stage.scratch.path()),
        std::thread::available_parallelism()?,
        std::fs::read_to_string("/proc/loadavg")?.trim()
    );
    let raw = disk::raw(stage.scratch.path(), size as usize, 256 << 20)?;
    println!(
        "raw loop, SHA-256 + write + fdatasync of each {} KiB: {:.0} MB/s = {:.0} events/s; SHA-256 alone {:.0} MB/s; \
         fdatasync {}",
        disk::GROUP >> 10,
        raw.bytes_per_second / 1e6,
        raw.bytes_per_second / size as f64,
        raw.hashed_per_second / 1e6,
        spread(&raw.syncs)
    );
    let settings = CollectorSettings {
        // One simulator stands for many nodes: what a single one may deliver is not what is measured.
        extra: "limits:\n  node_events_per_second: 10000000\n  node_bytes_per_second: 100000000000\n"
            .to_owned(),
        ..Default::default()
    };
    let collector = stage.collector(None, &settings)?;
    println!("collector: fdatasync before each acknowledgement, at most one in 5 ms (audit.commit_interval)");
    let mut bench = Bench {
        identities: identities(&stage, options.agents.max(options.streams))?,
        options,
        stage,
        collector,
        load,
        delivered: 0,
    };
    let rate = bench.flood(raw.bytes_per_second / size as f64).await?;
    bench.half_load(rate).await?;
    bench.many().await?;
    bench.verify(raw.hashed_per_second)
}

impl Bench {
    /// Everything as fast as it is taken; gives events a second.
    async fn flood(&mut self, raw: f64) -> Result<f64> {
        const STEPS: u64 = 10;
        let mut simulators = self.connect(self.options.streams).await?;
        let each = self.options.events / STEPS / simulators.len() as u64;
        let mut resident = vec![self.collector.daemon()?.resident_bytes()?];
        let (cpu, started) = (self.collector.daemon()?.cpu_time()?, Instant::now());
        for _ in 0..STEPS {
            let mut running = JoinSet::new();
            for mut simulator in simulators.drain(..) {
                let load = Arc::clone(&self.load);
                running.spawn(async move {
                    simulator.flood(&load, each).await?;
                    anyhow::Ok(simulator)
                });
            }
            simulators = running.join_all().await.into_iter().collect::<Result<_>>()?;
            resident.push(self.collector.daemon()?.resident_bytes()?);
        }
        let took = started.elapsed();
        let cpu = self.collector.daemon()?.cpu_time()? - cpu;
        let events = each * STEPS * simulators.len() as u64;
        self.delivered += events;
        let rate = events as f64 / took.as_secs_f64();
        println!(
            "\n{events} events from {} agents, agents on the same processors: {rate:.0} events/s, {:.0} MB/s, {:.2} of \
             the raw loop",
            simulators.len(),
            rate * self.load.event_bytes() as f64 / 1e6,
            rate / raw
        );
        println!(
            "collector: {:.0} events/s per core ({cpu:.2?} of processor time in {took:.2?}, {:.2} µs an event)",
            events as f64 / cpu.as_secs_f64(),
            cpu.as_secs_f64() * 1e6 / events as f64
        );
        let resident: Vec<_> = resident.iter().map(|bytes| (bytes >> 20).to_string()).collect();
        println!("resident memory after each tenth, MiB: {}", resident.join(" "));
        let mut latencies: Vec<_> = simulators
            .into_iter()
            .flat_map(|simulator| simulator.latencies)
            .collect();
        latencies.sort();
        println!("acknowledgement of a batch at full load: {}", spread(&latencies));
        Ok(rate)
    }

    /// Half of `rate`, in batches as agents send them while events trickle.
    async fn half_load(&mut self, rate: f64) -> Result<()> {
        const PACE: Duration = Duration::from_millis(25);
        let each = (rate / 2.0 * PACE.as_secs_f64() / self.options.streams as f64) as u64;
        let each = each.clamp(1, simulator::BATCH_EVENTS);
        let (time, text) = (Duration::from_secs(self.options.seconds), "half load");
        self.paced(self.options.streams, each, PACE, time, text).await
    }

    /// Many agents, each with a little.
    async fn many(&mut self) -> Result<()> {
        let (agents, pace) = (self.options.agents, Duration::from_secs(1));
        if agents == 0 {
            return Ok(());
        }
        let time = Duration::from_secs(self.options.seconds);
        self.paced(agents, 20, pace, time, "many agents").await
    }

    async fn paced(
        &mut self,
        agents: usize,
        each: u64,
        pace: Duration,
        time: Duration,
        what: &str,
    ) -> Result<()> {
        let before = self.collector.daemon()?.resident_bytes()?;
        let started = Instant::now();
        let simulators = self.connect(agents).await?;
        let connected = started.elapsed();
        let (cpu, started) = (self.collector.daemon()?.cpu_time()?, Instant::now());
        let mut running = JoinSet::new();
        for (number, mut simulator) in simulators.into_iter().enumerate() {
            let load = Arc::clone(&self.load);
            // Nodes do not send in step.
            let begin = pace.mul_f64(number as f64 / agents as f64);
            running.spawn(async move {
                tokio::time::sleep(begin).await;
                simulator.trickle(&load, each, pace, time).await?;
                anyhow::Ok(simulator)
            });
        }
        let simulators = running.join_all().await.into_iter().collect::<Result<Vec<_>>>()?;
        let took = started.elapsed();
        let cpu = self.collector.daemon()?.cpu_time()? - cpu;
        let resident = self.collector.daemon()?.resident_bytes()?;
        let mut latencies: Vec<_> = simulators
            .into_iter()
            .flat_map(|simulator| simulator.latencies)
            .collect();
        latencies.sort();
        let events = latencies.len() as u64 * each;
        self.delivered += events;
        println!(
            "\n{what}: {agents} agents (connected in {connected:.2?}), {each} events each {pace:?}: {:.0} events/s, \
             {:.0} % of a core",
            events as f64 / took.as_secs_f64(),
            100.0 * cpu.as_secs_f64() / took.as_secs_f64()
        );
        println!("acknowledgement: {}", spread(&latencies));
        println!(
            "resident memory: {} MiB before, {} MiB now",
            before >> 20,
            resident >> 20
        );
        Ok(())
    }

    /// The log on the disk, and its verification.
    fn verify(mut self, hashed: f64) -> Result<()> {
        self.collector.stop()?;
        let audit = self.collector.audit();
        let (bytes, read) = disk::read(audit.path(), ".log")?;
        println!(
            "\n{} events are {:.0} bytes each on the disk, of which {} are the event; the disk is read at {:.0} MB/s",
            self.delivered,
            bytes as f64 / self.delivered as f64,
            self.load.event_bytes(),
            read / 1e6
        );
        let policy = self.collector.policy(&self.stage.scratch)?;
        let threads = std::thread::available_parallelism()?.get();
        let mut reports = Vec::new();
        for threads in [1, threads] {
            disk::forget(audit.path())?;
            let count = threads.to_string();
            let started = Instant::now();
            let report = audit.verify_with(&[
                "--policy".as_ref(),
                policy.as_os_str(),
                "--threads".as_ref(),
                count.as_ref(),
            ])?;
            let rate = bytes as f64 / started.elapsed().as_secs_f64();
            let line = report.lines().next().unwrap_or_default();
            println!(
                "audit verify, {threads} threads: {:.0} MB/s, {:.2} of the disk, {:.2} of SHA-256, of which it takes a little \
                 more than one pass ({line})",
                rate / 1e6,
                rate / read,
                rate / hashed
            );
            reports.push(report);
        }
        ensure!(
            reports.iter().all(|report| *report == reports[0]),
            "threads find something else than one"
        );
        let report = &reports[0];
        ensure!(report.contains("intact"), "{report}");
        Ok(())
    }

    async fn connect(&self, count: usize) -> Result<Vec<Simulator>> {
        const AT_ONCE: usize = 16;
        let (ca, port) = (self.stage.pki.ca(), self.collector.port());
        let mut simulators = Vec::with_capacity(count);
        for group in self.identities[..count].chunks(AT_ONCE) {
            let mut connecting = JoinSet::new();
            for (node, identity) in group {
                let (ca, node, identity) = (ca.clone(), node.clone(), identity.clone());
                connecting.spawn(async move { Simulator::connect(&ca, &identity, port, &node).await });
            }
            for simulator in connecting.join_all().await {
                simulators.push(simulator.context("cannot connect a simulated agent")?);
            }
        }
        Ok(simulators)
    }
}

/// A certificate for each of so many nodes.
fn identities(stage: &Stage, count: usize) -> Result<Vec<(String, KeyPair)>> {
    (0..count)
        .map(|number| {
            let node = format!("node-{number:04}");
            let pair = stage.pki.node(&node, 90)?;
            Ok((node, pair))
        })
        .collect()
}

/// The middle and the end of sorted times.
fn spread(sorted: &[Duration]) -> String {
    let at =
        |part: f64| sorted.get(((sorted.len() as f64 * part) as usize).min(sorted.len().saturating_sub(1)));
    match (at(0.5), at(0.99), sorted.last()) {
        (Some(half), Some(most), Some(all)) => format!("p50 {half:.1?}, p99 {most:.1?}, max {all:.1?}"),
        _ => "not measured".to_owned(),
    }
}
