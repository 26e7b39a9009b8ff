//! `cargo xtask bench`: what watching costs the watched program, and what the agent needs itself.
//!
//! A small load generator runs inside a real container. Each run is a pair: every mode without the agent,
//! then every mode with it, on the same container, so that what else the machine does weighs on both.

mod measure;
mod report;

use crate::build::{self, Profile};
use crate::setup::{self, Purpose};
use crate::terminal::Progress;
use anyhow::{Result, bail};
use measure::Bench;
use norma_rig::Scratch;
use std::time::Duration;

/// Arguments of `cargo xtask bench`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Seconds for each mode, once without and once with the agent.
    #[arg(long, default_value_t = 2)]
    seconds: u64,
    /// Pairs of runs.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Form of the result.
    #[arg(long, value_enum, default_value_t = Form::Human)]
    output: Form,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Form {
    Human,
    Json,
}

/// `cargo xtask bench`.
pub fn main(arguments: &Arguments) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("the bench starts a container and loads kernel programs, which needs root");
    }
    setup::ensure(Purpose::Demo)?;
    let programs = build::programs(Profile::Release)?;
    let scratch = Scratch::new("bench")?;
    let bench = Bench::prepare(&scratch, &programs, Duration::from_secs(arguments.seconds))?;
    let mut progress = Progress::start("measuring");
    let mut pairs = Vec::new();
    for number in 1..=arguments.runs.max(1) {
        pairs.push(
            bench.pair(&mut |what| progress.tick(&format!("pair {number} of {}: {what}", arguments.runs)))?,
        );
    }
    progress.finish("measured");
    match arguments.output {
        Form::Human => report::human(&pairs),
        Form::Json => println!("{:#}", report::json(&pairs)),
    }
    Ok(())
}
