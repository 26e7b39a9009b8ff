//! `cargo xtask fuzz`: libFuzzer on the stable compiler.
//!
//! cargo-fuzz needs a nightly compiler for its sanitizers. What libFuzzer itself needs, the coverage
//! instrumentation, is an LLVM pass that stable compilers have as well.

use crate::{build, run};
use anyhow::{Context as _, Result, bail};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// A fuzz target and the crate beside which it lives.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name.
    pub name: &'static str,
    crate_folder: &'static str,
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target {
        name: "ring_record",
        crate_folder: "agent",
    },
    Target {
        name: "dns_message",
        crate_folder: "agent",
    },
    Target {
        name: "spool_segment",
        crate_folder: "agent",
    },
    Target {
        name: "trace_file",
        crate_folder: "agent",
    },
    Target {
        name: "audit_file",
        crate_folder: "collector",
    },
    Target {
        name: "tlog",
        crate_folder: "collector",
    },
    Target {
        name: "baseline_file",
        crate_folder: "collector",
    },
    Target {
        name: "bundle",
        crate_folder: "collector",
    },
    Target {
        name: "evidence_delta",
        crate_folder: "collector",
    },
];

/// What cargo-fuzz passes, less the sanitizers that need a nightly compiler.
const FLAGS: &[&str] = &[
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
    "-Cdebug-assertions=on",
    "-Coverflow-checks=on",
    "--cfg",
    "fuzzing",
];

/// Arguments of `cargo xtask fuzz`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The target; all of them where none is named.
    target: Option<String>,
    /// Seconds for each target.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
}

/// `cargo xtask fuzz`.
pub fn main(arguments: &Arguments) -> Result<()> {
    let name = arguments.target.as_deref();
    let chosen: Vec<_> = TARGETS
        .iter()
        .filter(|target| name.is_none_or(|name| name == target.name))
        .collect();
    if chosen.is_empty() {
        let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
        bail!("there is no such fuzz target; there are {}", names.join(", "));
    }
    for target in chosen {
        run(target, Duration::from_secs(arguments.seconds))?;
    }
    Ok(())
}

/// Whether the target is in the tree.
pub fn is_there(target: &Target) -> bool {
    folder(target).join("Cargo.toml").is_file()
}

/// Builds a target and runs it for a time; fails where it finds something.
pub fn run(target: &Target, time: Duration) -> Result<()> {
    let host = run::output(Command::new("rustc").args(["--print", "host-tuple"]))?
        .trim()
        .to_owned();
    let built = build::target_folder()?.join("fuzz");
    let mut command = run::cargo();
    command
        .current_dir(folder(target))
        // With a named target, the flags stay away from build scripts and macros.
        .args([
            "build",
            "--release",
            "--bin",
            target.name,
            "--target",
            &host,
            "--target-dir",
        ])
        .arg(&built)
        .env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\x1f"))
        .env("NORMA_SKIP_EBPF", "1");
    run::with_progress(&format!("building the fuzz target {}", target.name), &mut command)?;
    let corpus = folder(target).join("corpus").join(target.name);
    let artifacts = folder(target).join("artifacts").join(target.name);
    for needed in [&corpus, &artifacts] {
        std::fs::create_dir_all(needed).with_context(|| needed.display().to_string())?;
    }
    let mut fuzzer = Command::new(built.join(host).join("release").join(target.name));
    fuzzer
        .arg(format!("-max_total_time={}", time.as_secs()))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .args([
            "-rss_limit_mb=4096",
            "-timeout=10",
            "-print_final_stats=1",
            "-verbosity=1",
        ])
        .arg(&corpus);
    let seeds = folder(target).join("seeds").join(target.name);
    if seeds.is_dir() {
        fuzzer.arg(seeds);
    }
    let (passed, lines) = run::in_view(&mut fuzzer)?;
    if !passed {
        let at = lines
            .iter()
            .find_map(|line| line.split_once("Test unit written to "));
        let input = at.map_or_else(|| artifacts.display().to_string(), |(_, path)| path.to_owned());
        bail!(
            "the fuzz target {} found something; the input is in {input}",
            target.name
        );
    }
    // Without counters it would run blind and find nothing, ever.
    if lines
        .iter()
        .any(|line| line.contains("no interesting inputs were found"))
    {
        bail!("the fuzz target {} is not instrumented", target.name);
    }
    Ok(())
}

fn folder(target: &Target) -> PathBuf {
    run::root().join(target.crate_folder).join("fuzz")
}
