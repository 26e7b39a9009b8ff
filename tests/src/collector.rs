//! The collector under test.

use crate::audit::AuditLog;
use crate::daemon::Daemon;
use crate::net::{free_port, is_listening};
use crate::pki::{KeyPair, Pki};
use crate::program::Programs;
use crate::rsyslog::Rsyslog;
use crate::scratch::Scratch;
use anyhow::{Context as _, Result};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

const START_LIMIT: Duration = Duration::from_secs(120);

/// What the collector is told.
#[derive(Clone, Debug, Default)]
pub struct CollectorSettings {
    /// Where it keeps its log, if not in the scratch folder.
    pub state: Option<PathBuf>,
    /// Sends everything to the receiver instead of alerts only.
    pub send_all: bool,
    /// Size at which it begins a new file.
    pub segment_bytes: Option<u64>,
    /// How often it makes a checkpoint at least.
    pub checkpoint_interval: Option<String>,
    /// Trust policy file with the witnesses that it asks.
    pub witnesses: Option<PathBuf>,
    /// Its revocation list.
    pub crl: Option<PathBuf>,
    /// Further lines of its configuration.
    pub extra: String,
    /// Further lines of `audit` in it.
    pub audit: String,
    /// Its environment besides that of the test.
    pub environment: Vec<(String, PathBuf)>,
}

/// A collector, running or not.
#[derive(Debug)]
pub struct Collector {
    programs: Programs,
    config: PathBuf,
    state: PathBuf,
    port: u16,
    environment: Vec<(String, PathBuf)>,
    daemon: Option<Daemon>,
}

impl Collector {
    /// Writes its configuration without starting it.
    pub fn prepare(
        scratch: &Scratch,
        programs: &Programs,
        pki: &Pki,
        siem: Option<&Rsyslog>,
        settings: &CollectorSettings,
    ) -> Result<Self> {
        let server = pki.server("collector")?;
        let port = free_port()?;
        let state = settings
            .state
            .clone()
            .unwrap_or_else(|| scratch.join("collector-state"));
        let config = scratch.file(
            "collector.yaml",
            &yaml(pki, &server, siem, port, &state, settings),
        )?;
        Ok(Self {
            programs: programs.clone(),
            config,
            state,
            port,
            environment: settings.environment.clone(),
            daemon: None,
        })
    }

    /// Writes its configuration and starts it.
    pub fn start(
        scratch: &Scratch,
        programs: &Programs,
        pki: &Pki,
        siem: Option<&Rsyslog>,
        settings: &CollectorSettings,
    ) -> Result<Self> {
        let mut collector = Self::prepare(scratch, programs, pki, siem, settings)?;
        collector.run(scratch)?;
        Ok(collector)
    }

    /// Starts it, again or for the first time.
    pub fn run(&mut self, scratch: &Scratch) -> Result<()> {
        let mut command = self.programs.collector();
        command.arg("run").arg("--config").arg(&self.config);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        let mut daemon = Daemon::start(scratch, "collector", &mut command)?;
        let port = self.port;
        daemon.wait_for(
            "listening",
            START_LIMIT,
            |_| Ok(is_listening(port)?.then_some(())),
        )?;
        self.daemon = Some(daemon);
        Ok(())
    }

    /// Starts it below `wrapper`, a program with its arguments that becomes the collector or runs it as this process,
    /// without waiting for anything.
    pub fn run_below(&mut self, scratch: &Scratch, wrapper: &[&str]) -> Result<()> {
        let (program, arguments) = wrapper.split_first().context("no wrapper")?;
        let mut command = std::process::Command::new(program);
        command
            .args(arguments)
            .arg(self.programs.collector().get_program());
        command.arg("run").arg("--config").arg(&self.config);
        self.daemon = Some(Daemon::start(scratch, "collector", &mut command)?);
        Ok(())
    }

    /// The running program.
    pub fn daemon(&mut self) -> Result<&mut Daemon> {
        self.daemon.as_mut().context("the collector is not running")
    }

    /// SIGKILL.
    pub fn kill(&mut self) -> Result<()> {
        self.daemon.take().context("the collector is not running")?.kill()
    }

    /// SIGTERM and an orderly end.
    pub fn stop(&mut self) -> Result<()> {
        self.daemon
            .take()
            .context("the collector is not running")?
            .stop()?;
        Ok(())
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A trust policy that accepts its audit log without witnesses.
    pub fn policy(&self, scratch: &Scratch) -> Result<PathBuf> {
        let key = std::fs::read_to_string(self.state.join("audit.key.pub"))?;
        scratch.file("log.policy", &format!("log {}\nquorum none\n", key.trim()))
    }

    /// Where it keeps its log and the baselines.
    pub fn state(&self) -> &std::path::Path {
        &self.state
    }

    /// Its audit log.
    pub fn audit(&self) -> AuditLog {
        AuditLog::new(&self.programs, &self.state.join("audit"))
    }
}

fn yaml(
    pki: &Pki,
    server: &KeyPair,
    siem: Option<&Rsyslog>,
    port: u16,
    state: &std::path::Path,
    settings: &CollectorSettings,
) -> String {
    let mut text = format!(
        "listen: 127.0.0.1:{port}\nstate_dir: {}\ntls:\n  certificate: {}\n  key: {}\n  client_ca: {}\n",
        state.display(),
        server.certificate.display(),
        server.key.display(),
        pki.ca().display()
    );
    let mut push = |line: std::fmt::Arguments<'_>| text.write_fmt(line).is_ok();
    if let Some(crl) = &settings.crl {
        push(format_args!("  crl: [{}]\n", crl.display()));
    }
    push(format_args!("{}", settings.extra));
    let CollectorSettings {
        segment_bytes,
        checkpoint_interval,
        witnesses,
        ..
    } = settings;
    let is_told = !settings.audit.is_empty();
    if segment_bytes.is_some() || checkpoint_interval.is_some() || witnesses.is_some() || is_told {
        push(format_args!("audit:\n{}", settings.audit));
    }
    if let Some(bytes) = segment_bytes {
        push(format_args!("  segment_bytes: {bytes}\n"));
    }
    if let Some(interval) = checkpoint_interval {
        push(format_args!("  checkpoint_interval: {interval}\n"));
    }
    if let Some(policy) = witnesses {
        push(format_args!(
            "  witnesses: {}\n  witness_ca: {}\n",
            policy.display(),
            pki.ca().display()
        ));
    }
    if let Some(siem) = siem {
        let send = if settings.send_all { "all" } else { "alerts" };
        push(format_args!(
            "sinks:\n  - name: siem\n    syslog:\n      address: \"127.0.0.1:{}\"\n      server_name: localhost\n      \
             ca: {}\n      certificate: {}\n      key: {}\n      send: {send}\n",
            siem.port(),
            pki.ca().display(),
            server.certificate.display(),
            server.key.display()
        ));
    }
    text
}
