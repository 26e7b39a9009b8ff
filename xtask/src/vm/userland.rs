//! The guest's disk: a small Debian of the machine's own release, so that programs built here run there.

use super::cache::Cache;
use super::debian::{Apt, Architecture, unpack};
use crate::run;
use anyhow::{Context as _, Result};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the tests and a person at the guest's shell use.
const PACKAGES: &[&str] = &[
    "base-files",
    "base-passwd",
    "bash",
    "bsdutils",
    "busybox-static",
    "coreutils",
    "dash",
    "findutils",
    "grep",
    "hostname",
    "iproute2",
    "kmod",
    "libc-bin",
    "libgcc-s1",
    "login",
    "mount",
    "ncurses-base",
    "procps",
    "rsyslog",
    "rsyslog-openssl",
    "runc",
    "sed",
    "tar",
    "util-linux",
];

/// Free room on the disk, besides what is on it.
const FREE_MIB: u64 = 1024;

/// Files that packages make when they are set up, which here they are not.
const FILES: &[(&str, &str)] = &[
    ("etc/hostname", "guest\n"),
    ("etc/hosts", "127.0.0.1 localhost guest\n::1 localhost\n"),
    ("etc/resolv.conf", ""),
    (
        "etc/nsswitch.conf",
        "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n",
    ),
    ("etc/shadow", "root:*:20000:0:99999:7:::\n"),
    ("etc/fstab", ""),
];

/// The disk and the static shell that the initramfs needs.
#[derive(Debug)]
pub struct Userland {
    /// An ext4 file system.
    pub disk: PathBuf,
    /// busybox, linked statically.
    pub busybox: PathBuf,
}

impl Userland {
    /// Takes it from the cache, or from Debian.
    pub fn get(architecture: Architecture, cache: &Cache) -> Result<Self> {
        let recipe = format!("{PACKAGES:?} {FILES:?}");
        let tree = cache.folder("userland", &recipe, |root| {
            let mirror = cache.mirror()?;
            let apt = Apt::new(
                &cache.apt("userland"),
                mirror,
                &mirror.own_sources(),
                architecture,
            )?;
            fill(root, &apt.download_with_dependencies(PACKAGES)?)?;
            apt.forget()
        })?;
        let disk = cache.file("userland.ext4", &recipe, |path| make_disk(&tree, path))?;
        Ok(Self {
            disk,
            busybox: tree.join("bin/busybox"),
        })
    }
}

fn fill(root: &Path, packages: &[PathBuf]) -> Result<()> {
    for folder in [
        "usr/bin",
        "usr/sbin",
        "usr/lib",
        "usr/lib32",
        "usr/lib64",
        "dev",
        "proc",
        "sys",
        "run",
        "tmp",
        "root",
    ] {
        let path = root.join(folder);
        fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
    }
    for name in ["bin", "sbin", "lib", "lib32", "lib64"] {
        symlink(format!("usr/{name}"), root.join(name)).with_context(|| format!("cannot link /{name}"))?;
    }
    for package in packages {
        unpack(package, root)?;
    }
    for name in ["passwd", "group"] {
        let master = root.join(format!("usr/share/base-passwd/{name}.master"));
        let file = root.join("etc").join(name);
        fs::copy(&master, &file).with_context(|| master.display().to_string())?;
    }
    for (path, content) in FILES {
        fs::write(root.join(path), content).with_context(|| (*path).to_owned())?;
    }
    let shell = root.join("usr/bin/sh");
    if !shell.exists() {
        symlink("dash", &shell).context("cannot link /bin/sh")?;
    }
    Ok(())
}

/// Everything on the disk belongs to root, whoever makes it.
fn make_disk(tree: &Path, path: &Path) -> Result<()> {
    let used = run::output(
        Command::new("du")
            .args(["--summarize", "--block-size=1M"])
            .arg(tree),
    )?;
    let used: u64 = used
        .split_whitespace()
        .next()
        .and_then(|word| word.parse().ok())
        .with_context(|| format!("du said `{used}`"))?;
    let program = run::find_program("mke2fs").context("mke2fs is not here (e2fsprogs)")?;
    let mut command = if rustix::process::geteuid().is_root() {
        Command::new(program)
    } else {
        let mut command = Command::new("unshare");
        command.arg("--map-root-user").arg(program);
        command
    };
    command
        .args(["-q", "-t", "ext4", "-m", "0", "-L", "norma-guest", "-d"])
        .arg(tree)
        .arg(path)
        .arg(format!("{}M", used + used / 4 + FREE_MIB));
    run::output(&mut command).map(drop)
}
