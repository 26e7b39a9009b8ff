//! Reading what holds credentials, and writing where programs are started from.

use super::open::openat;
use crate::deed::area::{Area, mount, own_mounts};
use crate::deed::technique::{BIND_MOUNT, HARD_LINK, PROC_ROOT, SYMLINK};
use crate::deed::truth::Truth;
use crate::deed::{Deed, deed, lacking};
use anyhow::{Context as _, Result};
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

const SHADOW: &str = "/etc/shadow";

pub const ALL: &[Deed] = &[
    deed("read-shadow", "open", "", "/etc/shadow by its name", |_| {
        shadow()?;
        openat(SHADOW, libc::O_RDONLY)
    }),
    deed(
        "read-shadow-symlink",
        "open",
        SYMLINK,
        "/etc/shadow through a symbolic link",
        |area| {
            symlink(shadow()?, area.path("innocent"))?;
            openat(area.path("innocent"), libc::O_RDONLY)
        },
    ),
    deed(
        "read-shadow-hard-link",
        "open",
        HARD_LINK,
        "/etc/shadow by another hard link",
        |area| {
            fs::hard_link(shadow()?, area.path("innocent"))
                .map_err(|error| lacking(format!("no hard link to /etc/shadow: {error}")))?;
            openat(area.path("innocent"), libc::O_RDONLY)
        },
    ),
    deed(
        "read-shadow-bind-mount",
        "open",
        BIND_MOUNT,
        "/etc/shadow through a bind mount",
        |area| {
            own_mounts()?;
            let over = area.file("innocent")?;
            mount(Some(shadow()?), &over, None, libc::MS_BIND)?;
            openat(&over, libc::O_RDONLY)
        },
    ),
    deed(
        "read-shadow-proc-root",
        "open",
        PROC_ROOT,
        "/etc/shadow through /proc/1/root",
        |_| {
            let given = format!("/proc/1/root{}", shadow()?.display());
            fs::metadata(&given).map_err(|error| lacking(format!("{given}: {error}")))?;
            openat(&given, libc::O_RDONLY)
        },
    ),
    deed(
        "write-sysctl",
        "file.sysctl-write",
        "",
        "core_pattern is written with the value that it has",
        |_| {
            same_value(Path::new("/proc/sys/kernel/core_pattern"))
                .map(|truth| truth.fact("text", "kernel/core_pattern"))
        },
    ),
    deed(
        "write-release-agent",
        "open",
        "",
        "a control group's release_agent is written with the value that it has",
        |_| same_value(&release_agent()?),
    ),
    writes(
        "write-cron",
        "a file is made below /etc/cron.d of a root of its own",
        |area| written(area, "etc/cron.d/job"),
    ),
    writes(
        "write-ssh",
        "authorized_keys is made in a root of its own",
        |area| written(area, "root/.ssh/authorized_keys"),
    ),
    writes("write-systemd", "a unit is made in a root of its own", |area| {
        written(area, "etc/systemd/system/job.service")
    }),
];

const fn writes(name: &'static str, what: &'static str, act: fn(&Area) -> Result<Truth>) -> Deed {
    deed(name, "open", "", what, act)
}

fn shadow() -> Result<&'static Path> {
    let path = Path::new(SHADOW);
    match path.exists() {
        true => Ok(path),
        false => Err(lacking("there is no /etc/shadow here")),
    }
}

/// Writes a setting as it is.
fn same_value(path: &Path) -> Result<Truth> {
    let value = fs::read(path).map_err(|error| lacking(format!("{}: {error}", path.display())))?;
    let truth = openat(path, libc::O_WRONLY)
        .map_err(|error| lacking(format!("{} is not writable: {error:#}", path.display())))?;
    let written = OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|mut file| file.write_all(&value));
    match written {
        Err(error) if error.kind() == ErrorKind::InvalidInput => Err(lacking(format!(
            "{}: an empty value cannot be written",
            path.display()
        ))),
        written => written
            .map(|()| truth)
            .with_context(|| path.display().to_string()),
    }
}

/// Only hierarchies of version 1 have one.
fn release_agent() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    mounts
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            let place = words.nth(1)?;
            (words.next()? == "cgroup").then(|| Path::new(place).join("release_agent"))
        })
        .find(|path| path.exists())
        .ok_or_else(|| lacking("there is no control group hierarchy of version 1"))
}

fn written(area: &Area, name: &str) -> Result<Truth> {
    let path = area.path(name);
    fs::create_dir_all(path.parent().context("a folder")?)?;
    openat(&path, libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL).map(|truth| truth.fact("created", true))
}
