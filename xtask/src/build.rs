//! Building the programs, once for whatever uses them.

use crate::run;
use anyhow::{Context as _, Result};
use norma_rig::Programs;
use std::path::PathBuf;

/// How the programs are built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Quick to build, for the tests.
    Dev,
    /// As users get them.
    Release,
}

/// Builds the agent with its kernel programs, the collector and the load generator.
pub fn programs(profile: Profile) -> Result<Programs> {
    let folder = target_folder()?.join(match profile {
        Profile::Dev => "debug",
        Profile::Release => "release",
    });
    let mut command = run::cargo();
    command.args([
        "build",
        "--workspace",
        "--exclude",
        "xtask",
        "--exclude",
        "norma-ebpf",
        "--bins",
    ]);
    if profile == Profile::Release {
        command.arg("--release");
    }
    let again = folder.join("norma-collector").is_file();
    let long = if again {
        ""
    } else {
        "; the first time takes some minutes"
    };
    run::with_progress(
        &format!("building kernel programs, agent and collector{long}"),
        &mut command,
    )?;
    Programs::in_folder(&folder)
}

/// Where cargo puts what it builds.
pub fn target_folder() -> Result<PathBuf> {
    let own = std::env::current_exe().context("cannot tell where this program is")?;
    let folder = own
        .parent()
        .and_then(std::path::Path::parent)
        .context("this program is not in a target folder")?;
    Ok(folder.to_owned())
}
