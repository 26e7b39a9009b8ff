//! `cargo xtask fips`: agent and collector with the validated form of the cryptographic library.
//!
//! Apart from `cargo xtask test`: the module is compiled from C and Go, which takes minutes and tools that nothing else
//! needs.

use crate::{build, run};
use anyhow::{Context as _, Result, ensure};
use std::path::Path;
use std::process::Command;

/// What the module is built with, besides a C compiler.
const TOOLS: &[(&str, &str)] = &[("cmake", "--version"), ("go", "version")];

/// Arguments of `cargo xtask fips`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// As users get them
    #[arg(long)]
    release: bool,
}

/// `cargo xtask fips`.
pub fn main(arguments: &Arguments) -> Result<()> {
    for (tool, version) in TOOLS {
        let found = run::output(Command::new(tool).arg(version));
        found
            .with_context(|| format!("{tool} is missing: `apt-get install cmake golang-go` on Debian 12"))?;
    }
    let folder = build::target_folder()?.join("fips");
    run::with_progress(
        "checking what a FIPS build refuses; the first time takes some minutes",
        cargo(&folder).args(["test", "--package", "norma-crypto", "--features", "fips"]),
    )?;
    let mut command = cargo(&folder);
    command.args([
        "build",
        "--package",
        "norma-agent",
        "--package",
        "norma-collector",
        "--bins",
    ]);
    command.args(["--features", "norma-agent/fips,norma-collector/fips"]);
    if arguments.release {
        command.arg("--release");
    }
    run::with_progress("building agent and collector", &mut command)?;
    let programs = folder.join(if arguments.release { "release" } else { "debug" });
    for program in ["norma-agent", "norma-collector"] {
        let version = run::output(Command::new(programs.join(program)).arg("--version"))?;
        ensure!(
            version.contains("(FIPS)"),
            "{program} is no FIPS build: {version}"
        );
        println!("{}: {}", programs.join(program).display(), version.trim());
    }
    Ok(())
}

fn cargo(target: &Path) -> Command {
    let mut command = run::cargo();
    command.env("CARGO_TARGET_DIR", target);
    command
}
