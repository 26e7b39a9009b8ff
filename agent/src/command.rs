//! The command line.

mod baseline;
mod check;
mod doctor;
mod enrol;
mod events;
mod findings;
mod replay;
mod status;
mod trace;

use crate::app::RunOptions;
use crate::config;
use crate::sensor::SensorError;
use crate::trace::tape::TapeOptions;
use clap::{Args, Parser, Subcommand, ValueEnum};
use norma_settings::SettingsError;
use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

/// Largest trace where nothing else is said: half a day of a busy node.
const RECORD_MAX: u64 = 1 << 30;
/// Most times that an evaluation may go faster than the clocks: a day in a minute.
const SPEED_MAX: i64 = 1_440;

/// Watches what the containers of this node do with processes, files and the network, holds it against
/// learned baselines and declared policy, and ships what it sees to a collector over mTLS.
#[derive(Debug, Parser)]
#[command(name = "norma-agent", version = norma_crypto::version!(), arg_required_else_help = true)]
pub struct Cli {
    /// How to write the log, which goes to standard error. RUST_LOG filters it.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Human)]
    log_format: LogFormat,
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    Human,
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Watch this node until stopped (SIGTERM or SIGINT).
    Run {
        #[command(flatten)]
        file: ConfigFile,
        /// Name of this node, instead of the one in the configuration.
        #[arg(long, env = "NORMA_NODE", value_name = "NAME")]
        node: Option<String>,
        /// Record everything that is seen in this file, for `norma-agent replay`. It has arguments, paths and
        /// addresses of all that runs.
        #[arg(long, value_name = "FILE")]
        record: Option<PathBuf>,
        /// Largest size of that file in bytes; the recording ends there, the agent goes on.
        #[arg(long, value_name = "BYTES", default_value_t = RECORD_MAX, requires = "record")]
        record_max_bytes: u64,
        /// Judge and learn as if time passed so many times as fast. For evaluations, where workloads do in minutes
        /// what they would do in hours.
        #[arg(long, value_name = "N", hide = true, value_parser = clap::value_parser!(u32).range(1..=SPEED_MAX))]
        speed: Option<u32>,
    },
    /// Judge a recorded trace again: what was found in it, and how far the baselines came.
    ///
    /// Exit status: 0 the whole trace was replayed, 1 it is cut off or damaged and was replayed up to there.
    Replay(replay::Options),
    /// Look after recorded traces.
    #[command(subcommand)]
    Trace(trace::Command),
    /// Print what containers do, live. Needs neither a collector nor a configuration.
    Events(events::Options),
    /// Tell what this kernel offers, which sensors attach and at which tier, and what cannot be seen.
    ///
    /// Exit status: 0 everything attaches, 1 something is missing, 69 nothing can be seen at all.
    Doctor(doctor::Options),
    /// Tell how the running agent is doing; exit status 1 where it is not.
    Status(status::Options),
    /// List the kinds of findings: what each weighs, why it matters, and which controls it belongs to.
    Findings(findings::Options),
    /// Look at what was learned of workloads, decide on it, and carry it elsewhere.
    #[command(subcommand)]
    Baseline(norma_baseline_command::Command),
    /// Get this node's certificate from a collector, with a one-time token; the key is made here and stays here.
    Enrol(enrol::Options),
    /// Look at a configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Look at policies.
    #[command(subcommand)]
    Policy(PolicyCommand),
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Check a configuration and the policies that it names, without doing anything.
    Check(ConfigFile),
}

#[derive(Debug, Subcommand)]
enum PolicyCommand {
    /// Check policy files; tells what is enforced in the kernel and what only after the fact.
    Check {
        /// Policy files or directories of them.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Form of the output.
        #[arg(long, value_enum, default_value_t = Output::Human)]
        output: Output,
    },
}

#[derive(Debug, Args)]
struct ConfigFile {
    /// The configuration file (YAML).
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

/// Form of a command's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Human,
    /// For programs: JSON, one document or one per line.
    Json,
}

/// Exit status, after sysexits.h where it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// All is well.
    Success,
    /// It works with something missing, or it failed.
    Failure,
    /// EX_USAGE: the configuration is wrong.
    Usage,
    /// EX_UNAVAILABLE: this kernel or these privileges do not allow watching.
    Unavailable,
}

impl ExitStatus {
    /// The status that tells of an error.
    pub fn of(error: &anyhow::Error) -> Self {
        if error.is::<SettingsError>() {
            Self::Usage
        } else if error.is::<SensorError>() {
            Self::Unavailable
        } else {
            Self::Failure
        }
    }
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> Self {
        Self::from(match status {
            ExitStatus::Success => 0,
            ExitStatus::Failure => 1,
            ExitStatus::Usage => 64,
            ExitStatus::Unavailable => 69,
        })
    }
}

impl Cli {
    /// Sets the log up.
    pub fn init_logging(&self) {
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| {
            EnvFilter::new(match self.command {
                // It prints what it finds.
                Command::Replay(_) => "info,norma::alert=off",
                _ => "info",
            })
        });
        let log = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(io::stderr);
        match self.log_format {
            LogFormat::Human => log.with_ansi(io::stderr().is_terminal()).init(),
            LogFormat::Json => log.json().init(),
        }
    }

    /// Does what was asked for.
    ///
    /// # Errors
    /// Whatever kept it from being done.
    pub fn run(&self) -> anyhow::Result<ExitStatus> {
        norma_crypto::check()?;
        match &self.command {
            Command::Run {
                file,
                node,
                record,
                record_max_bytes,
                speed,
            } => {
                let options = RunOptions {
                    tape: record.as_ref().map(|file| TapeOptions {
                        file: file.clone(),
                        max_bytes: *record_max_bytes,
                    }),
                    speed: *speed,
                };
                crate::app::run(&config::load(&file.config, node.as_deref())?, &options)?;
                Ok(ExitStatus::Success)
            }
            Command::Replay(options) => replay::run(options),
            Command::Trace(command) => trace::run(command),
            Command::Events(options) => events::run(options),
            Command::Doctor(options) => doctor::run(options),
            Command::Status(options) => status::run(options),
            Command::Findings(options) => findings::run(options),
            Command::Enrol(options) => enrol::run(options),
            Command::Baseline(command) => {
                command.run(&baseline::PROGRAM)?;
                Ok(ExitStatus::Success)
            }
            Command::Config(ConfigCommand::Check(file)) => check::config(&file.config),
            Command::Policy(PolicyCommand::Check { files, output }) => check::policies(files, *output),
        }
    }
}

/// Writes a line to standard output; a reader that went away ends the program quietly.
fn say(line: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    let mut out = io::stdout().lock();
    match writeln!(out, "{line}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        other => Ok(other?),
    }
}
