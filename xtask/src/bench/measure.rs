//! Taking the measurements.

use anyhow::{Context as _, Result};
use norma_rig::net::Peer;
use norma_rig::pki::KeyPair;
use norma_rig::{
    Agent, AgentSettings, Collector, CollectorSettings, Container, ContainerSpec, Pki, Programs, Scratch,
    cgroup, wait_until,
};
use serde_json::Value;
use std::cell::Cell;
use std::time::{Duration, Instant};

/// What the load generator can do. `stat` is no business of the agent's; `novel` is never known to a baseline.
pub const MODES: &[&str] = &["exec", "open", "connect", "stat", "novel"];

/// Learning window: short, since the load repeats itself.
const LEARNING: Duration = Duration::from_secs(2);
const SLACK: Duration = Duration::from_secs(60);

const NODE: &str = "bench-node";

/// Waits for orders and does nothing else.
const WORKLOAD: &str = "exec 3<>/run/orders; while read -r -u 3 order; do eval \"$order\"; done";

/// One mode, measured once.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Operations per second of wall time.
    pub rate: f64,
    /// Processor time of the container per operation, in nanoseconds.
    pub cpu_ns: f64,
    /// The agent's part, where there was one.
    pub agent: Option<AgentSample>,
}

/// What the agent did during a sample.
#[derive(Clone, Copy, Debug)]
pub struct AgentSample {
    /// Records per second that came from the kernel.
    pub events: f64,
    /// Records that the kernel could not deliver.
    pub lost: u64,
    /// Share of one processor.
    pub cpu: f64,
    /// Resident memory, bytes.
    pub resident: u64,
}

/// Every mode without and with the agent.
#[derive(Clone, Debug)]
pub struct Pair {
    /// In the order of [`MODES`].
    pub without: Vec<Sample>,
    /// In the order of [`MODES`].
    pub with: Vec<Sample>,
}

/// The container and what else is needed, without the agent.
pub struct Bench<'a> {
    scratch: &'a Scratch,
    programs: &'a Programs,
    pki: Pki,
    collector: Collector,
    container: Container,
    certificate: KeyPair,
    peer: Peer,
    time: Duration,
    pairs_begun: Cell<u32>,
}

impl<'a> Bench<'a> {
    /// Starts the collector and the container.
    pub fn prepare(scratch: &'a Scratch, programs: &'a Programs, time: Duration) -> Result<Self> {
        let pki = Pki::create(programs, &scratch.folder("pki")?)?;
        let collector = Collector::start(scratch, programs, &pki, None, &CollectorSettings::default())?;
        let mut spec = ContainerSpec::script("load", WORKLOAD);
        spec.programs.push(programs.path("norma-load"));
        let container = Container::start(scratch, &spec)?;
        let certificate = pki.node(NODE, 30)?;
        let (peer, pairs_begun) = (Peer::start()?, Cell::new(0));
        Ok(Self {
            scratch,
            programs,
            pki,
            collector,
            container,
            certificate,
            peer,
            time,
            pairs_begun,
        })
    }

    /// Measures one pair.
    pub fn pair(&self, tick: &mut dyn FnMut(&str)) -> Result<Pair> {
        let mut without = Vec::new();
        for mode in MODES {
            tick(&format!("{mode} without the agent"));
            without.push(self.sample(mode)?);
        }
        tick("starting the agent");
        let settings = AgentSettings {
            node: NODE.to_owned(),
            learning: LEARNING,
            state: Some(self.scratch.join(format!("agent-{}", self.pairs_begun.get()))),
            certificate: Some(self.certificate.clone()),
            ..AgentSettings::default()
        };
        self.pairs_begun.set(self.pairs_begun.get() + 1);
        let mut agent = Agent::start(
            self.scratch,
            self.programs,
            &self.pki,
            Some(&self.collector),
            &settings,
        )?;
        tick("learning");
        self.learn(&agent)?;
        let mut with = Vec::new();
        for mode in MODES {
            tick(&format!("{mode} with the agent"));
            with.push(self.sample_watched(mode, &mut agent)?);
        }
        agent.stop()?;
        Ok(Pair { without, with })
    }

    /// Does everything once while it is learned, and waits for the baseline.
    fn learn(&self, agent: &Agent) -> Result<()> {
        wait_until("the baseline of the container", LEARNING + SLACK, || {
            for mode in MODES.iter().filter(|mode| **mode != "novel") {
                self.load(mode, Duration::from_millis(50))?;
            }
            let status = agent.status()?;
            let own = status["baselines"]
                .as_array()
                .into_iter()
                .flatten()
                .any(|baseline| {
                    baseline["ready"] == true
                        && baseline["workload"]
                            .as_str()
                            .is_some_and(|name| name.contains(self.container.id()))
                });
            Ok(own.then_some(()))
        })
    }

    fn load(&self, mode: &str, time: Duration) -> Result<u64> {
        let port = self.peer.port();
        let order = format!("norma-load {mode} {} {port}", time.as_secs_f64());
        let before = self.container.output().len();
        let status = self.container.order_and_wait(&order, time + SLACK)?;
        let output = self.container.output();
        let output = output.get(before..).unwrap_or_default();
        let operations = output
            .split_whitespace()
            .next()
            .and_then(|word| word.parse().ok());
        operations
            .filter(|_| status == 0)
            .with_context(|| format!("`{order}` failed: {output}"))
    }

    fn sample(&self, mode: &str) -> Result<Sample> {
        let (cpu, started) = (cgroup::cpu_time(&self.container.cgroup_path())?, Instant::now());
        let operations = self.load(mode, self.time)? as f64;
        let (elapsed, used) = (
            started.elapsed(),
            cgroup::cpu_time(&self.container.cgroup_path())? - cpu,
        );
        Ok(Sample {
            rate: operations / elapsed.as_secs_f64(),
            cpu_ns: used as f64 / operations,
            agent: None,
        })
    }

    fn sample_watched(&self, mode: &str, agent: &mut Agent) -> Result<Sample> {
        let (before, cpu, started) = (counters(agent)?, agent.daemon()?.cpu_time()?, Instant::now());
        let sample = self.sample(mode)?;
        let used = agent.daemon()?.cpu_time()? - cpu;
        let elapsed = started.elapsed().as_secs_f64();
        let after = counters(agent)?;
        let agent = AgentSample {
            events: (after.0 - before.0) as f64 / elapsed,
            lost: after.1 - before.1,
            cpu: used.as_secs_f64() / elapsed,
            resident: agent.daemon()?.resident_bytes()?,
        };
        Ok(Sample {
            agent: Some(agent),
            ..sample
        })
    }
}

/// Records seen and lost in the kernel, as of a status that was written after now.
fn counters(agent: &Agent) -> Result<(u64, u64)> {
    let written = |status: &Value| status["updated_unix_ms"].as_u64().unwrap_or(0);
    let first = written(&agent.status()?);
    // The file that is there now may have been written before the load ended.
    let status = wait_until("a fresh status file", SLACK, || {
        Ok(Some(agent.status()?).filter(|status| written(status) > first))
    })?;
    let sum = |name: &str| {
        let kinds = status["kernel"].as_object().into_iter().flatten();
        kinds
            .map(|(_, totals)| totals[name].as_u64().unwrap_or(0))
            .sum::<u64>()
    };
    Ok((sum("seen"), sum("lost")))
}
