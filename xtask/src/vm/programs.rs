//! What was built here, as the guest gets it.

use super::cache::Cache;
use super::cross;
use super::debian::Architecture;
use super::machine::Share;
use crate::build::{self, Profile};
use crate::run;
use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Programs that tests start.
const PROGRAMS: &[&str] = &[
    "norma-agent",
    "norma-collector",
    "norma-deed",
    "norma-load",
    "norma-burst",
];
/// Tests of the rig that look at a kernel.
pub const TESTS: &[&str] = &["kernel", "e2e"];

/// The built programs and tests, without their debug information, in a folder of their own.
///
/// The guest has that folder where cargo put the programs here, because tests know that path.
#[derive(Debug)]
pub struct GuestPrograms {
    /// Where they are in the guest.
    pub there: PathBuf,
    here: PathBuf,
}

impl GuestPrograms {
    /// Builds the programs and these tests.
    pub fn build(target: &Path, tests: &[String]) -> Result<Self> {
        let built = Self::built(target, Architecture::named(None)?);
        let programs = build::programs(Profile::Dev)?;
        fs::create_dir_all(&built.here).with_context(|| built.here.display().to_string())?;
        let mut files: Vec<_> = PROGRAMS
            .iter()
            .map(|name| ((*name).to_owned(), programs.path(name)))
            .collect();
        if !tests.is_empty() {
            files.extend(executables(tests)?);
        }
        for (name, file) in &files {
            strip_with("strip", file, &built.here.join(name))?;
        }
        Ok(built)
    }

    /// Builds the agent alone, for another architecture.
    pub fn cross(target: &Path, architecture: Architecture, cache: &Cache) -> Result<Self> {
        let built = Self::built(target, architecture);
        fs::create_dir_all(&built.here).with_context(|| built.here.display().to_string())?;
        let agent = cross::agent(target, architecture, cache)?;
        let strip = format!("{}-linux-gnu-strip", architecture.kernel());
        strip_with(&strip, &agent, &built.here.join("norma-agent"))?;
        Ok(built)
    }

    /// What was built for a guest before.
    pub fn built(target: &Path, architecture: Architecture) -> Self {
        Self {
            there: target.join("debug"),
            here: target.join("vm/programs").join(architecture.debian()),
        }
    }

    /// The folders that the guest needs for them: they, and the checkout with the tests' data.
    ///
    /// `folder` gets links to the programs as they are now: the next build must not change a guest that runs.
    pub fn shares(&self, folder: &Path) -> Result<Vec<Share>> {
        if folder.exists() {
            fs::remove_dir_all(folder).with_context(|| folder.display().to_string())?;
        }
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        let built = fs::read_dir(&self.here).with_context(|| {
            format!(
                "{}: no programs were built for guests yet; run it once without --no-build",
                self.here.display()
            )
        })?;
        for entry in built {
            let entry = entry?;
            fs::hard_link(entry.path(), folder.join(entry.file_name()))
                .with_context(|| entry.path().display().to_string())?;
        }
        let checkout = run::root();
        Ok(vec![
            Share {
                here: checkout.clone(),
                there: checkout,
            },
            Share {
                here: folder.to_owned(),
                there: self.there.clone(),
            },
        ])
    }
}

/// Builds the tests and gives their files.
fn executables(tests: &[String]) -> Result<Vec<(String, PathBuf)>> {
    let mut command = run::cargo();
    command.args(["test", "--no-run", "--package", "norma-rig"]);
    command.args(["--message-format", "json-render-diagnostics"]);
    for test in tests {
        command.args(["--test", test]);
    }
    let messages = run::output(&mut command)?;
    let found: Vec<_> = messages.lines().filter_map(executable).collect();
    for test in tests {
        if !found.iter().any(|(name, _)| name == test) {
            bail!("cargo does not say where the test `{test}` is");
        }
    }
    Ok(found)
}

fn executable(message: &str) -> Option<(String, PathBuf)> {
    let message: Value = serde_json::from_str(message).ok()?;
    let name = message["target"]["name"].as_str()?;
    let file = message["executable"].as_str()?;
    let is_test = message["target"]["kind"][0] == "test";
    is_test.then(|| (name.to_owned(), PathBuf::from(file)))
}

fn strip_with(program: &str, from: &Path, to: &Path) -> Result<()> {
    let time = |path: &Path| fs::metadata(path).and_then(|meta| meta.modified());
    let source = time(from).with_context(|| from.display().to_string())?;
    if time(to).is_ok_and(|copy| copy == source) {
        return Ok(());
    }
    // Not beside the others, which guests get as they are.
    let folder = to
        .parent()
        .and_then(Path::parent)
        .context("no folder of programs")?;
    let new = folder.join(format!("new-{}", std::process::id()));
    run::output(
        Command::new(program)
            .args(["--strip-debug", "--preserve-dates", "-o"])
            .arg(&new)
            .arg(from),
    )?;
    fs::rename(&new, to).with_context(|| to.display().to_string())
}
