//! `norma-collector audit`.

use super::{Failure, Output};
use crate::audit::show::{Filter, Form, ShowError, show};
use crate::audit::verify::verify;
use crate::audit::{Head, ReadError};
use clap::{Args, Subcommand};
use std::io::{self, BufWriter, Write as _};
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Prove that an audit log is what the collector wrote; exit status 1 where it is not
    Verify(VerifyArgs),
    /// Print an audit log
    Show(ShowArgs),
}

#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Directory of an audit log, or one file of it; it may be one that is being written
    path: PathBuf,
    /// A head that was kept elsewhere, as an earlier verification printed it; the log must still hold it
    #[arg(long, value_name = "INDEX:HASH")]
    expect_head: Option<Head>,
    /// Form of the report
    #[arg(long, value_enum, default_value = "human")]
    output: Output,
}

#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Directory of an audit log, or one file of it
    path: PathBuf,
    /// Only these kinds of events (exec, open, ...) or records (rejected, gap, refused, ...)
    #[arg(long, value_name = "KIND", value_delimiter = ',')]
    kind: Vec<String>,
    /// Only these verdicts (expected, novel, violation, learning, unjudged)
    #[arg(long, value_name = "VERDICT", value_delimiter = ',')]
    verdict: Vec<String>,
    /// Only what somebody should look at
    #[arg(long)]
    alerts: bool,
    /// One line or one JSON object per record
    #[arg(long, value_enum, default_value = "human")]
    output: Output,
}

impl Command {
    pub fn execute(self) -> Result<(), Failure> {
        match self {
            Self::Verify(args) => args.execute(),
            Self::Show(args) => args.execute(),
        }
    }
}

impl VerifyArgs {
    fn execute(self) -> Result<(), Failure> {
        let other = |error: &dyn std::fmt::Display| Failure::Other(error.to_string());
        let report = verify(&self.path, self.expect_head).map_err(|error| other(&error))?;
        let text = match self.output {
            Output::Human => report.to_string(),
            Output::Json => serde_json::to_string_pretty(&report).map_err(|error| other(&error))? + "\n",
        };
        io::stdout()
            .write_all(text.as_bytes())
            .map_err(|error| other(&error))?;
        if report.is_intact() {
            Ok(())
        } else {
            Err(Failure::Told)
        }
    }
}

impl ShowArgs {
    fn execute(self) -> Result<(), Failure> {
        let filter = Filter {
            kinds: self.kind,
            verdicts: self.verdict,
            alerts: self.alerts,
        };
        let form = match self.output {
            Output::Human => Form::Human,
            Output::Json => Form::Json,
        };
        let mut out = BufWriter::new(io::stdout().lock());
        let shown = show(&self.path, &filter, form, &mut out).and_then(|()| Ok(out.flush()?));
        match shown {
            // Whoever reads has seen enough, as `head` has.
            Err(ShowError::Print(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            Err(ShowError::Read(error @ ReadError::Damaged { .. })) => {
                out.flush().map_err(|error| Failure::Other(error.to_string()))?;
                Err(Failure::Other(error.to_string()))
            }
            other => other.map_err(|error| Failure::Other(error.to_string())),
        }
    }
}
