//! `trace`: what is done with recorded traces, besides judging them again.

use super::{ExitStatus, Output, say};
use crate::trace::cut::cut_out;
use anyhow::Context as _;
use clap::Subcommand;
use serde_json::json;
use std::path::PathBuf;

/// Commands about recorded traces.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Write a new trace with what belongs to some containers alone: their own records, and the processes that they
    /// descend from. Replayed, it leads to the same findings about them. It still has their arguments, paths and
    /// addresses, and the names of all containers that the runtime told of; of the node's processes it has no
    /// arguments.
    Cut {
        /// The trace, as `norma-agent run --record` wrote it.
        #[arg(value_name = "FILE")]
        trace: PathBuf,
        /// Id of a container, or its first 8 characters and more.
        #[arg(long = "container", value_name = "ID", required = true)]
        containers: Vec<String>,
        /// The new trace; a file of this name is replaced.
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
        /// Form of the output.
        #[arg(long, value_enum, default_value_t = Output::Human)]
        output: Output,
    },
}

pub(super) fn run(command: &Command) -> anyhow::Result<ExitStatus> {
    let Command::Cut {
        trace,
        containers,
        to,
        output,
    } = command;
    let done = cut_out(trace, to, containers).context("cannot cut the trace")?;
    let bytes = std::fs::metadata(to)
        .with_context(|| to.display().to_string())?
        .len();
    say(&match output {
        Output::Human => format!(
            "{}: {} of {} records are left, in {bytes} bytes",
            to.display(),
            done.left,
            done.records
        ),
        Output::Json => json!({"records": done.records, "left": done.left, "bytes": bytes}).to_string(),
    })?;
    Ok(ExitStatus::Success)
}
