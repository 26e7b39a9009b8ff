//! Other people's programs that check what the collector writes for assessments, in an environment of their own.

use crate::{build, run};
use anyhow::Result;
use norma_rig::python::Python;
use std::path::Path;
use std::process::Command;

/// DSSE and in-toto by their own projects, OSCAL by the compliance-trestle project.
const PYTHON: [&str; 3] = [
    "compliance-trestle==5.2.0",
    "in-toto-attestation==0.9.3",
    "securesystemslib[crypto]==1.6.0",
];
/// The parser by which STIG Manager imports checklists.
const NODE: &str = "@nuwcdivnpt/stig-manager-client-modules@1.6.7";
/// Where the tests of the collector look, below the target folder.
const FOLDER: &str = "evidence-validators";

/// Installs what is missing; what cannot be had is said, and the tests that need it say that they are skipped.
pub fn prepare() {
    let Ok(target) = build::target_folder() else {
        return;
    };
    let folder = target.join(FOLDER);
    if let Err(error) = Python::environment(&folder, &PYTHON) {
        println!("not installed: {error:#}");
    }
    if !folder.join("node_modules").is_dir()
        && let Err(error) = node(&folder)
    {
        println!("not installed: {NODE}: {error:#}");
    }
}

fn node(folder: &Path) -> Result<()> {
    let mut npm = Command::new("npm");
    npm.args(["install", "--silent", "--no-save", "--prefix"]);
    run::with_progress("fetching the parser of checklists", npm.arg(folder).arg(NODE))
}
