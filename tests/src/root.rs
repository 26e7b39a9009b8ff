//! A container's root folder: real programs of this machine with the libraries they load.

use crate::program::output;
use anyhow::{Context as _, Result};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What each root has. Not busybox, whose applets all run as one program.
const PROGRAMS: &[&str] = &["bash", "cat", "ls", "id", "sleep", "env", "stat", "true"];

const FILES: &[(&str, &str)] = &[
    ("etc/hostname", "norma-rig\n"),
    (
        "etc/passwd",
        "root:x:0:0:root:/root:/bin/bash\napp:x:1000:1000:app:/:/bin/bash\n",
    ),
    ("etc/group", "root:x:0:\napp:x:1000:\n"),
    ("etc/shadow", "root:*:20000:0:99999:7:::\n"),
    ("etc/nsswitch.conf", "passwd: files\ngroup: files\n"),
    ("etc/app.conf", "greeting = hello\n"),
];

/// Fills `root` with the usual programs, files and folders, and with `extra` programs in /usr/bin.
pub fn fill(root: &Path, extra: &[PathBuf]) -> Result<()> {
    for folder in [
        "usr/bin",
        "usr/lib",
        "usr/lib64",
        "etc",
        "proc",
        "sys",
        "dev",
        "tmp",
        "run",
        "root",
    ] {
        let path = root.join(folder);
        fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
    }
    for (link, target) in [("bin", "usr/bin"), ("lib", "usr/lib"), ("lib64", "usr/lib64")] {
        symlink(target, root.join(link)).with_context(|| format!("cannot link {link}"))?;
    }
    for (path, content) in FILES {
        fs::write(root.join(path), content).with_context(|| (*path).to_owned())?;
    }
    let mut libraries = BTreeSet::new();
    let own = PROGRAMS.iter().map(|name| Path::new("/usr/bin").join(name));
    for program in own.chain(extra.iter().cloned()) {
        let program = if program.is_file() {
            program
        } else {
            Path::new("/bin").join(program.file_name().unwrap_or_default())
        };
        let name = program.file_name().context("a program without a name")?;
        copy(&program, &root.join("usr/bin").join(name))?;
        libraries.extend(libraries_of(&program)?);
    }
    for library in libraries {
        copy(
            &library,
            &root.join(library.strip_prefix("/").unwrap_or(&library)),
        )?;
    }
    Ok(())
}

/// The libraries that a program loads, as ldd(1) lists them.
fn libraries_of(program: &Path) -> Result<Vec<PathBuf>> {
    let listing = output(Command::new("ldd").arg(program))?;
    let paths = listing
        .lines()
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')));
    Ok(paths.map(PathBuf::from).collect())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
    }
    fs::copy(from, to).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    Ok(())
}

/// Puts what is in a folder into an archive, as root's.
pub fn pack(folder: &Path, archive: &Path) -> Result<()> {
    output(
        Command::new("tar")
            .arg("-C")
            .arg(folder)
            .args(["--owner=0", "--group=0", "-cf"])
            .arg(archive)
            .arg("."),
    )?;
    Ok(())
}
