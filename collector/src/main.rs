//! norma-collector: see [`norma_collector`].

#![forbid(unsafe_code)]

use clap::Parser as _;
use norma_collector::cli::Cli;
use std::process::ExitCode;

/// A batch is read by one thread, stored by another and freed by a third. glibc, which gives each thread an arena of
/// its own, grows by that to over half a gigabyte under load and gives nothing back.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    Cli::parse().execute()
}
