//! `cargo xtask tidy`: how long the source files are.

use crate::run;
use anyhow::{Context as _, Result};
use std::process::Command;

/// Longer files need a reason.
const LONG: usize = 600;

/// Arguments of `cargo xtask tidy`.
#[derive(Debug, clap::Args)]
pub struct Arguments {}

/// `cargo xtask tidy`.
pub fn main(_: &Arguments) -> Result<()> {
    let root = run::root();
    let listed = run::output(Command::new("git").current_dir(&root).args([
        "ls-files",
        "-co",
        "--exclude-standard",
        "*.rs",
    ]))?;
    let mut files = Vec::new();
    for path in listed.lines().filter(|path| root.join(path).is_file()) {
        let text = std::fs::read_to_string(root.join(path)).with_context(|| path.to_owned())?;
        files.push((
            text.lines()
                .take_while(|line| !line.starts_with("mod tests {"))
                .count(),
            path,
        ));
    }
    println!(
        "{:<20} {:>6} {:>7} {:>5} {:>5}",
        "part", "files", "median", "p90", "max"
    );
    for part in ["agent/", "agent-ebpf/", "collector/", "tests/", "xtask/", ""] {
        let mut sizes: Vec<_> = files
            .iter()
            .filter(|(_, path)| path.starts_with(part))
            .map(|(size, _)| *size)
            .collect();
        sizes.sort_unstable();
        let Some(max) = sizes.last() else { continue };
        let at = |percent: usize| sizes[(sizes.len() - 1) * percent / 100];
        let name = if part.is_empty() { "all" } else { part };
        println!(
            "{name:<20} {:>6} {:>7} {:>5} {max:>5}",
            sizes.len(),
            at(50),
            at(90)
        );
    }
    let long: Vec<_> = files.iter().filter(|(size, _)| *size > LONG).collect();
    for (size, path) in &long {
        println!("longer than {LONG} lines without tests: {path} ({size})");
    }
    if long.is_empty() {
        println!("no file is longer than {LONG} lines without its tests");
    }
    Ok(())
}
