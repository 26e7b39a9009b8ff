//! `norma-agent`: watches what containers do, and says so.
#![forbid(unsafe_code)]

use clap::Parser;
use norma_agent::command::{Cli, ExitStatus};
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse();
    cli.init_logging();
    match cli.run() {
        Ok(status) => status.into(),
        Err(error) => {
            eprintln!("norma-agent: {error:#}");
            ExitStatus::of(&error).into()
        }
    }
}
