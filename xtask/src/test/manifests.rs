//! The manifests against the Kubernetes schemas, with kubernetes-validate from PyPI in an environment of its own.

use super::suite::Count;
use crate::{build, run};
use anyhow::{Context as _, Result};
use norma_rig::python::Python;
use std::path::{Path, PathBuf};
use std::process::Command;

const VALIDATOR: &str = "kubernetes-validate==1.37.0";

/// Validates every manifest; a misspelt field fails.
pub fn validate() -> Result<Count> {
    let folder = build::target_folder()?.join("manifest-validator");
    let python = match Python::environment(&folder, &[VALIDATOR]) {
        Ok(python) => python,
        Err(error) => return Ok(Count::skipped(&format!("Kubernetes manifests: {error:#}"))),
    };
    let validator = || {
        let mut program = python.program("kubernetes-validate");
        program.arg("--strict");
        program
    };
    let mut count = Count::default();
    for manifest in manifests(&run::root().join("deploy/kubernetes"))? {
        let (passed, _) = run::in_view(validator().arg(&manifest))?;
        count.add(Count::one(passed));
    }
    count.add(rejects_a_misspelt_field(validator())?);
    Ok(count)
}

fn manifests(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut files: Vec<_> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        // Read by kustomize alone; its kind is in no schema of the API server.
        .filter(|path| !path.ends_with("kustomization.yaml"))
        .collect();
    files.sort();
    Ok(files)
}

/// A validator that accepts anything would make the check above worthless.
fn rejects_a_misspelt_field(mut validator: Command) -> Result<Count> {
    let path = std::env::temp_dir().join(format!("norma-misspelt-{}.yaml", std::process::id()));
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec: {hostPidd: true, containers: [{name: c, image: i}]}\n";
    std::fs::write(&path, pod).with_context(|| path.display().to_string())?;
    let output = validator
        .arg(&path)
        .output()
        .context("cannot start the validator");
    std::fs::remove_file(&path).with_context(|| path.display().to_string())?;
    Ok(Count::one(!output?.status.success()))
}
