//! Python packages that stand for what others use: made once, in an environment of their own below the target folder.

use crate::program::{Programs, output};
use anyhow::{Context as _, Result};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// Names a folder with such an environment, to be used instead.
pub const ENV_PYTHON: &str = "NORMA_TEST_PYTHON";

/// What archives are checked with: an object store with Object Lock, its common client, and two readers of Parquet.
const ARCHIVE: &[&str] = &[
    "moto[s3,server]==5.2.5",
    "boto3",
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
    /// The environment that archives are checked in, which is made where it is not there. An error says why it cannot be.
    pub fn for_archives(programs: &Programs) -> Result<Self> {
        if let Some(folder) = std::env::var_os(ENV_PYTHON) {
            return Ok(Self {
                folder: folder.into(),
            });
        }
        Self::with(programs, "archive-python", ARCHIVE)
    }

    /// The environment that pages of metrics are read in, which is made where it is not there. An error says why it
    /// cannot be.
    pub fn for_metrics(programs: &Programs) -> Result<Self> {
        Self::with(programs, "metrics-python", METRICS)
    }

    fn with(programs: &Programs, name: &str, packages: &[&str]) -> Result<Self> {
        let _turn = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = programs.path(name);
        let complete = folder.join("complete");
        let wanted = packages.join("\n");
        if std::fs::read_to_string(&complete).is_ok_and(|there| there == wanted) {
            return Ok(Self { folder });
        }
        output(Command::new("python3").args(["-m", "venv"]).arg(&folder))
            .context("cannot make a Python environment (python3-venv)")?;
        let mut pip = Command::new(folder.join("bin/pip"));
        output(
            pip.args(["install", "--quiet", "--disable-pip-version-check"])
                .args(packages),
        )
        .with_context(|| format!("cannot install {}", packages.join(", ")))?;
        std::fs::write(&complete, wanted)?;
        Ok(Self { folder })
    }

    /// A command that runs one of its programs, such as `python`.
    pub fn program(&self, name: &str) -> Command {
        Command::new(self.folder.join("bin").join(name))
    }
}
