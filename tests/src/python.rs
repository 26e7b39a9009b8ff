//! Python packages that stand for what others use: made once, in an environment of their own below the target folder.

use crate::program::{Programs, output};
use anyhow::{Context as _, Result};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// Names a folder with such an environment, to be used instead.
pub const ENV_PYTHON: &str = "NORMA_TEST_PYTHON";

/// What archives are checked with: an object store with Object Lock, its common client, two readers of Parquet, and what
/// unwraps their keys.
const ARCHIVE: &[&str] = &[
    "moto[s3,server]==5.2.5",
    "boto3",
    "cryptography",
    "pyarrow==26.0.1",
    "duckdb==2.0.0",
];

/// What reads metrics as scrapers do.
const METRICS: &[&str] = &["prometheus-client==0.26.0"];

static MAKING: Mutex<()> = Mutex::new(());

/// An environment with packages.
#[derive(Clone, Debug)]
pub struct Python {
    folder: PathBuf,
}

impl Python {
    /// The environment that archives are checked in. An error says why it cannot be made.
    pub fn for_archives(programs: &Programs) -> Result<Self> {
        match std::env::var_os(ENV_PYTHON) {
            Some(folder) => Ok(Self {
                folder: folder.into(),
            }),
            None => Self::environment(&programs.path("archive-python"), ARCHIVE),
        }
    }

    /// The environment that pages of metrics are read in. An error says why it cannot be made.
    pub fn for_metrics(programs: &Programs) -> Result<Self> {
        Self::environment(&programs.path("metrics-python"), METRICS)
    }

    /// An environment in this folder with these packages, which is made where it is not there. An error says why it
    /// cannot be.
    pub fn environment(folder: &Path, packages: &[&str]) -> Result<Self> {
        let _turn = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
        let made = Self {
            folder: folder.to_owned(),
        };
        let complete = folder.join("complete");
        let wanted = packages.join("\n");
        if std::fs::read_to_string(&complete).is_ok_and(|there| there == wanted) {
            return Ok(made);
        }
        output(Command::new("python3").args(["-m", "venv"]).arg(folder))
            .context("cannot make a Python environment (python3-venv)")?;
        let mut pip = made.program("pip");
        output(
            pip.args(["install", "--quiet", "--disable-pip-version-check"])
                .args(packages),
        )
        .with_context(|| format!("cannot install {}", packages.join(", ")))?;
        std::fs::write(&complete, wanted)?;
        Ok(made)
    }

    /// A command that runs one of its programs, such as `python`.
    pub fn program(&self, name: &str) -> Command {
        Command::new(self.folder.join("bin").join(name))
    }
}
