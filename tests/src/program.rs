//! Where the built programs are.

use anyhow::{Context as _, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Names the folder with the built programs; without it they are looked for beside the test binary.
pub const ENV_PROGRAMS: &str = "NORMA_PROGRAMS";

/// The folder with the built programs.
#[derive(Clone, Debug)]
pub struct Programs {
    folder: PathBuf,
}

impl Programs {
    /// The programs in `folder`.
    pub fn in_folder(folder: &Path) -> Result<Self> {
        for name in ["norma-agent", "norma-collector"] {
            if !folder.join(name).is_file() {
                bail!(
                    "{} is not built; run `cargo build --workspace --bins` or use `cargo xtask test`",
                    folder.join(name).display()
                );
            }
        }
        Ok(Self {
            folder: folder.to_owned(),
        })
    }

    /// The programs of this build.
    pub fn find() -> Result<Self> {
        if let Some(folder) = std::env::var_os(ENV_PROGRAMS) {
            return Self::in_folder(Path::new(&folder));
        }
        let test = std::env::current_exe().context("cannot tell where this program is")?;
        let folder = test.parent().context("this program is in no folder")?;
        let folder = if folder.ends_with("deps") {
            folder.parent().unwrap_or(folder)
        } else {
            folder
        };
        Self::in_folder(folder)
    }

    /// A program of the build.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A command that runs the agent.
    pub fn agent(&self) -> Command {
        Command::new(self.path("norma-agent"))
    }

    /// A command that runs the collector.
    pub fn collector(&self) -> Command {
        Command::new(self.path("norma-collector"))
    }
}

/// Runs a command to its end and gives standard output; fails with standard error where it fails.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("cannot start {}", command.get_program().display()))?;
    if !output.status.success() {
        bail!(
            "{command:?} failed ({}): {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// SHA-256 of a file in hex, as sha256sum(1) has it: not by the code that is under test.
pub fn sha256_of(path: &Path) -> Result<String> {
    let line = output(Command::new("sha256sum").arg("--").arg(path))?;
    let sum = line.trim_start_matches('\\').split(' ').next();
    Ok(sum.context("sha256sum says nothing")?.to_owned())
}
