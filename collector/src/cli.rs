//! The command line.

mod api;
mod audit;
mod baseline;
mod coverage;
mod evidence;
mod pki;
mod witness;

use crate::config::Config;
use crate::run::{self, RunError};
use clap::{Args, Parser, Subcommand, ValueEnum};
use norma_settings::SettingsError;
use std::path::PathBuf;
use std::process::ExitCode;

/// The configuration is wrong (`EX_USAGE` of sysexits.h).
const EXIT_CONFIG: u8 = 64;

/// Takes events from Norma's agents over mutual TLS, keeps them in a tamper-evident audit log, forwards them.
#[derive(Debug, Parser)]
#[command(version = norma_crypto::version!(), about, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the collector until SIGTERM or SIGINT; exit status 64 for a wrong configuration
    Run(RunArgs),
    /// Check a configuration file; exit status 64 where it is wrong
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Verify and print audit logs
    #[command(subcommand)]
    Audit(audit::Command),
    /// Ask a running collector, as an auditor or operator
    Api(api::ApiArgs),
    /// Write evidence for an assessment: a signed statement of what the log shows, OSCAL results, and a STIG checklist
    ///
    /// The log is verified first. Exit status: 0 written, 1 the log is not intact, 2 nothing could be verified or written.
    Evidence(evidence::EvidenceArgs),
    /// Look at what the fleet learned of workloads, decide on it, and carry it elsewhere
    #[command(subcommand)]
    Baseline(norma_baseline_command::Command),
    /// Cosign the checkpoints of collectors' audit logs, on another host than theirs
    Witness(witness::WitnessArgs),
    /// Make and look at certificates
    #[command(subcommand)]
    Pki(pki::Command),
}

#[derive(Debug, Args)]
struct RunArgs {
    /// Configuration file (YAML)
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Form of the log on standard error
    #[arg(long, value_enum, default_value = "human")]
    log_format: Output,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Report everything that is wrong with a configuration file
    Check {
        /// Configuration file (YAML)
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people
    Human,
    /// For programs
    Json,
}

impl Output {
    /// A report in this form, with the newline at its end.
    fn of<T: std::fmt::Display + serde::Serialize>(self, report: &T) -> Result<String, Failure> {
        match self {
            Self::Human => Ok(report.to_string()),
            Self::Json => serde_json::to_string_pretty(report)
                .map(|text| text + "\n")
                .map_err(|error| Failure::Other(error.to_string())),
        }
    }
}

impl Cli {
    /// Does what the command line asks for.
    pub fn execute(self) -> ExitCode {
        if let Err(error) = norma_crypto::check() {
            return Failure::Other(error.to_string()).report();
        }
        let result = match self.command {
            Command::Run(args) => run_collector(&args),
            Command::Config(ConfigCommand::Check { config }) => Config::read(&config)
                .map(|_| println!("{}: valid", config.display()))
                .map_err(Failure::from),
            Command::Audit(command) => command.execute(),
            Command::Api(args) => args.execute(),
            Command::Evidence(args) => args.execute(),
            Command::Baseline(command) => command
                .run(&baseline::PROGRAM)
                .map_err(|error| Failure::Other(format!("{error:#}"))),
            Command::Witness(args) => args.execute(),
            Command::Pki(command) => command.execute(),
        };
        match result {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => failure.report(),
        }
    }
}

/// Why a command did not do what it was asked.
#[derive(Debug)]
enum Failure {
    /// The reason was printed already.
    Told,
    /// The configuration is wrong.
    Config(SettingsError),
    /// Anything that has an exit status of its own.
    Code(u8, String),
    /// Anything else.
    Other(String),
}

impl Failure {
    fn report(self) -> ExitCode {
        match self {
            Self::Told => ExitCode::FAILURE,
            Self::Config(error) => {
                eprintln!("{error}");
                ExitCode::from(EXIT_CONFIG)
            }
            Self::Code(code, error) => {
                eprintln!("norma-collector: {error}");
                ExitCode::from(code)
            }
            Self::Other(error) => {
                eprintln!("norma-collector: {error}");
                ExitCode::FAILURE
            }
        }
    }
}

impl From<SettingsError> for Failure {
    fn from(error: SettingsError) -> Self {
        Self::Config(error)
    }
}

impl From<crate::pki::IdentityError> for Failure {
    fn from(error: crate::pki::IdentityError) -> Self {
        Self::Other(error.to_string())
    }
}

impl From<crate::pki::PkiError> for Failure {
    fn from(error: crate::pki::PkiError) -> Self {
        Self::Other(error.to_string())
    }
}

fn run_collector(args: &RunArgs) -> Result<(), Failure> {
    start_logging(args.log_format);
    let config = Config::read(&args.config)?;
    run::run(&config).map_err(|error: RunError| Failure::Other(error.to_string()))
}

/// Logs to standard error; `NORMA_LOG` sets what is logged, as in `norma_collector=debug`.
fn start_logging(format: Output) {
    const ENV_FILTER: &str = "NORMA_LOG";
    let filter = tracing_subscriber::EnvFilter::try_from_env(ENV_FILTER)
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match format {
        Output::Human => log.with_ansi(false).init(),
        Output::Json => log.json().init(),
    }
}
