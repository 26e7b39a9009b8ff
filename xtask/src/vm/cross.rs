//! The agent for another architecture than this machine's.

use super::cache::Cache;
use super::debian::{Apt, Architecture, unpack};
use crate::run::{self, find_program};
use anyhow::{Context as _, Result, bail};
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Builds the agent and gives its file.
pub fn agent(target: &Path, architecture: Architecture, cache: &Cache) -> Result<PathBuf> {
    let triple = architecture.triple();
    let linker = format!("{}-linux-gnu-gcc", architecture.kernel());
    for program in [linker.as_str(), architecture.qemu()] {
        if find_program(program).is_none() {
            bail!(
                "{program} is not here; install it with: apt-get install {}",
                architecture.packages().join(" ")
            );
        }
    }
    let compiler = Compiler::find(triple, architecture, cache)?;
    // A folder of its own, so that a long build does not keep others waiting.
    let folder = target.join("vm/cross");
    let mut command = Command::new(&compiler.cargo);
    command
        .current_dir(run::root())
        .args(["build", "--package", "norma-agent", "--bin", "norma-agent"])
        .args(["--target", triple, "--target-dir"])
        .arg(&folder);
    let variable = triple.to_uppercase().replace('-', "_");
    command.env(format!("CARGO_TARGET_{variable}_LINKER"), &linker);
    if let Some(rustc) = &compiler.rustc {
        command.env("RUSTC", rustc);
    }
    if let Some(sysroot) = &compiler.sysroot {
        let mut flags = OsString::from("--sysroot=");
        flags.push(sysroot);
        command.env(format!("CARGO_TARGET_{variable}_RUSTFLAGS"), flags);
    }
    run::with_progress(&format!("building the agent for {triple}"), &mut command)?;
    Ok(folder.join(triple).join("debug/norma-agent"))
}

/// A compiler that has the standard library of the target.
struct Compiler {
    cargo: PathBuf,
    rustc: Option<PathBuf>,
    sysroot: Option<PathBuf>,
}

impl Compiler {
    fn find(triple: &str, architecture: Architecture, cache: &Cache) -> Result<Self> {
        let cargo = run::cargo().get_program().into();
        let mut rustc = Command::new("rustc");
        rustc.args(["--print", "target-libdir", "--target", triple]);
        if run::output(&mut rustc).is_ok_and(|folder| Path::new(folder.trim()).is_dir()) {
            return Ok(Self {
                cargo,
                rustc: None,
                sysroot: None,
            });
        }
        Self::of_debian(triple, architecture, cache).with_context(|| {
            format!("no compiler here has the standard library of {triple}; `rustup target add {triple}` brings it")
        })
    }

    /// Debian's compiler, with the library of the same version for the target.
    fn of_debian(triple: &str, architecture: Architecture, cache: &Cache) -> Result<Self> {
        let (cargo, rustc) = (PathBuf::from("/usr/bin/cargo"), PathBuf::from("/usr/bin/rustc"));
        let installed = run::output(Command::new("dpkg-query").args([
            "--show",
            "--showformat=${Package}=${Version}\n",
            "libstd-rust*-dev",
        ]))?;
        let library = installed.lines().find(|line| !line.ends_with('='));
        let library = library.context("Debian's Rust is not installed")?.to_owned();
        let sysroot = cache.folder("rust", &library, |folder| {
            let mirror = cache.mirror()?;
            let apt = Apt::new(
                &cache.apt("userland"),
                mirror,
                &mirror.own_sources(),
                architecture,
            )?;
            for package in apt.download(std::slice::from_ref(&library))? {
                unpack(&package, folder)?;
            }
            apt.forget()?;
            let libraries = folder.join("lib/rustlib");
            fs::create_dir_all(&libraries).with_context(|| libraries.display().to_string())?;
            symlink(format!("../../usr/lib/rustlib/{triple}"), libraries.join(triple))
                .context("cannot link the library")
        })?;
        Ok(Self {
            cargo,
            rustc: Some(rustc),
            sysroot: Some(sysroot),
        })
    }
}
