//! The images of the workloads: a small Debian with the programs that they need, and what each has on top.

use super::plan::Workload;
use crate::run;
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What is in the Debian, besides what every one has. Attackers use what they find.
const PACKAGES: &str = "nginx-light,redis-server,redis-tools,postgresql,python3-minimal,libpython3-stdlib,cron,gcc,make,\
                        libc6-dev,curl,wrk,procps";
/// Its release: what was measured is to be measured again.
const RELEASE: &str = "bookworm";
const MIRROR: &str = "http://deb.debian.org/debian";

/// The folder with the Debian, made where it is not there yet.
pub fn base(cache: &Path) -> Result<PathBuf> {
    let root = cache.join(RELEASE);
    if root.is_dir() {
        return Ok(root);
    }
    if run::find_program("debootstrap").is_none() {
        bail!("debootstrap is not installed: `cargo xtask setup` installs it");
    }
    let new = cache.join(format!("{RELEASE}.new"));
    if new.exists() {
        fs::remove_dir_all(&new).with_context(|| new.display().to_string())?;
    }
    fs::create_dir_all(cache).with_context(|| cache.display().to_string())?;
    let mut command = Command::new("debootstrap");
    command
        .args(["--variant=minbase", &format!("--include={PACKAGES}"), RELEASE])
        .arg(&new)
        .arg(MIRROR);
    run::with_progress(
        "installing the programs of the workloads in a folder, once",
        &mut command,
    )?;
    fs::rename(&new, &root).context("the image cannot be put in its place")?;
    Ok(root)
}

/// Makes the folder with what the image of a workload has on top of the Debian.
pub fn own(workload: &Workload, folder: &Path) -> Result<PathBuf> {
    let top = folder.join(&workload.name);
    let app = top.join("app");
    fs::create_dir_all(&app).with_context(|| app.display().to_string())?;
    let files = workload.folder.join("files");
    if files.is_dir() {
        copy(&files, &top)?;
    }
    fs::copy(workload.folder.join("start.sh"), app.join("start.sh")).context("start.sh")?;
    Ok(top)
}

/// Makes the folder with what the image of its rollout has on top of that.
pub fn rollout(workload: &Workload, folder: &Path) -> Result<PathBuf> {
    let top = folder.join(format!("{}-v2", workload.name));
    copy(&workload.folder.join("files-v2"), &top)?;
    Ok(top)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| to.display().to_string())?;
    run::output(Command::new("cp").arg("-rT").arg(from).arg(to))?;
    Ok(())
}
