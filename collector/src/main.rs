//! norma-collector: see [`norma_collector`].

#![forbid(unsafe_code)]

use clap::Parser as _;
use norma_collector::cli::Cli;
use std::process::ExitCode;

fn main() -> ExitCode {
    Cli::parse().execute()
}
