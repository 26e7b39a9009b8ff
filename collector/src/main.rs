//! norma-collector: see [`norma_collector`].

#![forbid(unsafe_code)]

use clap::Parser as _;
use norma_collector::cli::Cli;
use std::process::ExitCode;

/// What one thread takes in another gives back, batch after batch: glibc keeps a multiple of it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    Cli::parse().execute()
}
