//! `cargo xtask demo`: a real container drifts, and its alerts arrive at a real SIEM receiver.

mod drift;
mod scene;
mod siem_view;

use crate::build::{self, Profile};
use crate::setup::{self, Purpose};
use crate::terminal::{bold, clock, green, heading};
use anyhow::{Context as _, Result, bail};
use norma_rig::Scratch;
use scene::Scene;
use std::time::{Duration, Instant};

/// Arguments of `cargo xtask demo`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Leave the scratch folder (configurations, logs, audit log, certificates) behind.
    #[arg(long)]
    keep: bool,
    /// How long the agent learns what the container normally does.
    #[arg(long, default_value = "20s", value_parser = parse_duration)]
    learn: Duration,
}

/// `cargo xtask demo`.
pub fn main(arguments: &Arguments) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!(
            "the demo starts a container and loads kernel programs, which needs root; run it as\n  \
             sudo --preserve-env=HOME,PATH cargo xtask demo"
        );
    }
    let started = Instant::now();
    setup::ensure(Purpose::Demo)?;
    let swept = Scratch::sweep();
    if swept > 0 {
        println!("   cleaned up after {swept} earlier run(s) that had been killed");
    }

    heading("1. Building");
    let programs = build::programs(Profile::Release)?;

    let mut scratch = Scratch::new("demo")?;
    if arguments.keep {
        scratch.keep();
    }
    let outcome = play(&scratch, &programs, arguments.learn);
    println!("\n   cleaning up: container, control group, processes, mounts, scratch folder");
    drop(scratch);
    outcome?;
    println!(
        "\n{} ({} in all)",
        green("The demo ran to its end, and every expected alert arrived."),
        clock(started.elapsed())
    );
    Ok(())
}

fn play(scratch: &Scratch, programs: &norma_rig::Programs, learn: Duration) -> Result<()> {
    let mut scene = Scene::start(scratch, programs, learn)?;
    let outcome = scene.learn().and_then(|()| drift::run(&scene));
    // What the programs had to say is the first thing one needs where something went wrong.
    outcome.map_err(|error| error.context(scene.tails()))?;
    heading("5. Is the audit log intact?");
    scene.stop()?;
    let verdict = scene
        .collector
        .audit()
        .verify()
        .context("the audit log does not verify")?;
    println!(
        "   $ norma-collector audit verify {}",
        scene.collector.audit().path().display()
    );
    for line in verdict.lines() {
        println!("   {}", bold(line));
    }
    Ok(())
}

/// Seconds with or without their unit, or minutes.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = text
        .find(|c: char| !c.is_ascii_digit())
        .map_or((text, "s"), |at| text.split_at(at));
    let factor = match unit {
        "s" => 1,
        "m" => 60,
        _ => return Err(format!("`{text}` is not a time such as 20s or 2m")),
    };
    match number.parse::<u64>() {
        Ok(count @ 1..=3600) => Ok(Duration::from_secs(count * factor)),
        _ => Err(format!("`{text}` is not a time such as 20s or 2m")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_an_optional_unit() {
        for (text, seconds) in [("20s", 20), ("2m", 120), ("7", 7)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "s", "0s", "5h", "-1s", "99999"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
