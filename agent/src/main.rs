//! `norma-agent`: watches what containers do, and says so.
#![forbid(unsafe_code)]

use clap::Parser;
use norma_agent::command::{Cli, ExitStatus};
use std::process::ExitCode;

/// What the kernel's type information takes at start goes back to the node; glibc keeps 130 MiB of it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

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
