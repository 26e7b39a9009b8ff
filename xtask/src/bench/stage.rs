//! Everything that takes part: collector, agent, the load in its two places.

use super::cases::{CASES, Case, Place};
use super::counters::Counters;
use super::load::Load;
use super::machine::Placement;
use anyhow::{Context as _, Result};
use norma_rig::{Agent, AgentSettings, Collector, CollectorSettings, Pki, Programs, Scratch, wait_until};
use serde_json::Value;
use std::path::PathBuf;
use std::time::Duration;

/// Short, since the load repeats itself.
const LEARNING: Duration = Duration::from_secs(2);
/// Modes of `norma-load` that the kernel side recognises after a while, and the kind of what it recognises.
const KNOWN: &[(&str, &str)] = &[("open", "open"), ("open-write", "open"), ("tcp-known", "connect")];
/// Operations by which it is seen whether they are recognised: more than what else the machine does meanwhile.
const REPEATED: u64 = 1_000;
const SLACK: Duration = Duration::from_secs(60);
/// Room for the outbox of an agent that runs as long as this command.
const TMPFS_BYTES: u64 = 2 << 30;

/// Where the agent keeps what it has not shipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Spool {
    /// In the folder for temporary files.
    Disk,
    /// In memory.
    Tmpfs,
}

/// The running parts.
pub struct Stage<'a> {
    scratch: &'a Scratch,
    programs: &'a Programs,
    /// Takes the events.
    pub collector: Collector,
    /// Where every event is delivered.
    pub container: Load,
    host: Load,
    /// Who runs where.
    pub placement: Placement,
    agent: Agent,
}

impl<'a> Stage<'a> {
    /// Starts everything but the agent.
    pub fn prepare(
        scratch: &'a Scratch,
        programs: &'a Programs,
        placement: Placement,
        spool: Spool,
    ) -> Result<Self> {
        placement.rest()?;
        let pki = Pki::create(programs, &scratch.folder("pki")?)?;
        let collector = Collector::start(scratch, programs, &pki, None, &CollectorSettings::default())?;
        let container = Load::contained(scratch, programs)?;
        let host = Load::free(scratch, programs)?;
        for load in [&container, &host] {
            placement.load(load.pid())?;
        }
        let state: PathBuf = match spool {
            Spool::Disk => scratch.join("agent-state"),
            Spool::Tmpfs => scratch.small_disk("spool", TMPFS_BYTES)?.join("agent-state"),
        };
        let settings = AgentSettings {
            node: "bench-node".to_owned(),
            learning: LEARNING,
            state: Some(state),
            ..AgentSettings::default()
        };
        let agent = Agent::prepare(scratch, programs, &pki, Some(&collector), &settings)?;
        Ok(Self {
            scratch,
            programs,
            collector,
            container,
            host,
            placement,
            agent,
        })
    }

    /// The load in a place.
    pub fn load(&self, place: Place) -> &Load {
        match place {
            Place::Container => &self.container,
            Place::Host => &self.host,
        }
    }

    /// Starts the agent, which finds what it has learned before.
    pub fn start_agent(&mut self) -> Result<()> {
        self.agent.run(self.scratch)
    }

    /// Has the container do what it does until the kernel side recognises it. That the table has entries says
    /// nothing: they may be those of another container of the machine, or of a single mode.
    pub fn repeat_until_known(&self) -> Result<()> {
        for (mode, kind) in KNOWN {
            wait_until(
                &format!("the container's `{mode}` to be recognised"),
                LEARNING + SLACK,
                || {
                    let before = Counters::read(&self.agent)?;
                    self.container.burst(mode, REPEATED, 1)?;
                    let counted = Counters::read(&self.agent)?.since(&before).of(kind);
                    Ok((counted.recognised >= REPEATED && counted.seen < REPEATED).then_some(()))
                },
            )?;
        }
        Ok(())
    }

    /// Ends the agent in order.
    pub fn stop_agent(&mut self) -> Result<()> {
        self.agent.stop().map(drop)
    }

    /// The agent.
    pub fn agent(&mut self) -> &mut Agent {
        &mut self.agent
    }

    /// The scratch folder.
    pub fn scratch(&self) -> &'a Scratch {
        self.scratch
    }

    /// Has the agent learn what the container does, and leaves it running.
    pub fn learn(&mut self, cases: &[&Case]) -> Result<()> {
        self.start_agent()?;
        let modes: Vec<&str> = CASES
            .iter()
            .filter(|case| {
                cases.iter().any(|wanted| wanted.mode == case.mode) && case.place == Place::Container
            })
            .map(|case| case.mode)
            .chain(KNOWN.iter().map(|(mode, _)| *mode))
            .chain(["tcp"])
            .collect();
        wait_until("the baseline of the container", LEARNING + SLACK, || {
            self.container.blocks(1, Duration::from_millis(2), &modes)?;
            let status = self.agent.status()?;
            let ready = status["baselines"]
                .as_array()
                .into_iter()
                .flatten()
                .any(|baseline| baseline["ready"] == true);
            Ok(ready.then_some(()))
        })
    }

    /// What `norma-agent doctor` says of this kernel.
    pub fn doctor(&self) -> Result<Value> {
        let output = self
            .programs
            .agent()
            .args(["doctor", "--output", "json"])
            .output()
            .context("cannot start norma-agent doctor")?;
        serde_json::from_slice(&output.stdout).context("norma-agent doctor gives no JSON")
    }
}
