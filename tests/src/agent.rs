//! The agent under test.

use crate::collector::Collector;
use crate::daemon::Daemon;
use crate::pki::{KeyPair, Pki};
use crate::program::Programs;
use crate::scratch::Scratch;
use anyhow::{Context as _, Result};
use serde_json::Value;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

const START_LIMIT: Duration = Duration::from_secs(180);

/// What the agent is told.
#[derive(Clone, Debug)]
pub struct AgentSettings {
    /// Name of the node.
    pub node: String,
    /// How long a workload is learned.
    pub learning: Duration,
    /// It is learned by evidence instead, as where nothing is configured.
    pub by_evidence: bool,
    /// Policy documents.
    pub policies: Vec<String>,
    /// Where it keeps its outbox, if not in the scratch folder.
    pub state: Option<PathBuf>,
    /// Bounds of the outbox: the whole and a segment, in bytes.
    pub outbox: Option<(u64, u64)>,
    /// The certificate it shows, if not a fresh one for `node`.
    pub certificate: Option<KeyPair>,
    /// Further lines of its configuration.
    pub extra: String,
    /// Further arguments of `norma-agent run`.
    pub arguments: Vec<String>,
}

impl Default for AgentSettings {
    fn default() -> Self {
        Self {
            node: "rig-node".to_owned(),
            learning: Duration::from_secs(5),
            by_evidence: false,
            policies: Vec::new(),
            state: None,
            outbox: None,
            certificate: None,
            extra: String::new(),
            arguments: Vec::new(),
        }
    }
}

/// An agent, running or not.
#[derive(Debug)]
pub struct Agent {
    programs: Programs,
    config: PathBuf,
    state: PathBuf,
    arguments: Vec<String>,
    daemon: Option<Daemon>,
}

impl Agent {
    /// Writes its configuration without starting it.
    pub fn prepare(
        scratch: &Scratch,
        programs: &Programs,
        pki: &Pki,
        collector: Option<&Collector>,
        settings: &AgentSettings,
    ) -> Result<Self> {
        let state = settings
            .state
            .clone()
            .unwrap_or_else(|| scratch.join("agent-state"));
        for (number, policy) in settings.policies.iter().enumerate() {
            scratch.file(&format!("policies/{number}.yaml"), policy)?;
        }
        let mut text = format!("node: {}\nstate_dir: {}\n", settings.node, state.display());
        let mut push = |line: std::fmt::Arguments<'_>| text.write_fmt(line).is_ok();
        if !settings.by_evidence {
            push(format_args!(
                "learning:\n  window: {}ms\n",
                settings.learning.as_millis()
            ));
        }
        if !settings.policies.is_empty() {
            push(format_args!("policies: [policies/]\n"));
        }
        if let Some((max, segment)) = settings.outbox {
            push(format_args!(
                "outbox:\n  max_bytes: {max}\n  segment_bytes: {segment}\n"
            ));
        }
        if let Some(collector) = collector {
            let pair = match &settings.certificate {
                Some(pair) => pair.clone(),
                None => pki.node(&settings.node, 30)?,
            };
            push(format_args!(
                "collector:\n  address: \"127.0.0.1:{}\"\n  server_name: localhost\n  ca: {}\n  certificate: {}\n  key: {}\n",
                collector.port(),
                pki.ca().display(),
                pair.certificate.display(),
                pair.key.display()
            ));
        }
        push(format_args!("{}", settings.extra));
        let config = scratch.file("agent.yaml", &text)?;
        Ok(Self {
            programs: programs.clone(),
            config,
            state,
            arguments: settings.arguments.clone(),
            daemon: None,
        })
    }

    /// Writes its configuration, starts it and waits until its sensors are attached.
    pub fn start(
        scratch: &Scratch,
        programs: &Programs,
        pki: &Pki,
        collector: Option<&Collector>,
        settings: &AgentSettings,
    ) -> Result<Self> {
        let mut agent = Self::prepare(scratch, programs, pki, collector, settings)?;
        agent.run(scratch)?;
        Ok(agent)
    }

    /// Starts it, again or for the first time, and waits until its sensors are attached.
    pub fn run(&mut self, scratch: &Scratch) -> Result<()> {
        let mut command = self.programs.agent();
        command.arg("run").arg("--config").arg(&self.config);
        command.args(&self.arguments);
        let mut daemon = Daemon::start(scratch, "agent", &mut command)?;
        let pid = u64::from(daemon.pid());
        let (programs, state) = (self.programs.clone(), self.state.clone());
        daemon.wait_for("its status file", START_LIMIT, |_| {
            Ok(status(&programs, &state).filter(|status| status["pid"].as_u64() == Some(pid)))
        })?;
        self.daemon = Some(daemon);
        Ok(())
    }

    /// The running program.
    pub fn daemon(&mut self) -> Result<&mut Daemon> {
        self.daemon.as_mut().context("the agent is not running")
    }

    /// Its configuration file.
    pub fn config(&self) -> &std::path::Path {
        &self.config
    }

    /// Where it keeps its outbox.
    pub fn state(&self) -> &std::path::Path {
        &self.state
    }

    /// `norma-agent status --output json`, which the agent refreshes every second.
    pub fn status(&self) -> Result<Value> {
        status(&self.programs, &self.state).context("`norma-agent status` gives no JSON")
    }

    /// SIGKILL.
    pub fn kill(&mut self) -> Result<()> {
        self.daemon.take().context("the agent is not running")?.kill()
    }

    /// SIGTERM and an orderly end.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        self.daemon.take().context("the agent is not running")?.stop()
    }
}

fn status(programs: &Programs, state: &std::path::Path) -> Option<Value> {
    let mut command = programs.agent();
    command
        .args(["status", "--output", "json", "--state-dir"])
        .arg(state);
    let output = command.output().ok()?;
    serde_json::from_slice(&output.stdout).ok()
}
