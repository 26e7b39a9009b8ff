//! Control groups of the rig's containers, on unified and on hybrid hierarchies.

use anyhow::{Context as _, Result};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

const PARENT: &str = "/norma-rig";

/// Path of a container's control group, from the root of each hierarchy.
pub fn path_of(container: &str) -> String {
    format!("{PARENT}/{container}")
}

/// Where the v2 hierarchy is mounted.
pub fn v2_mount() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("/proc/self/mounts")?;
    let mount = mounts.lines().find_map(|line| {
        let mut words = line.split(' ');
        let path = words.nth(1)?;
        (words.next()? == "cgroup2").then(|| PathBuf::from(path))
    });
    mount.context("no cgroup v2 hierarchy is mounted")
}

/// Id of a control group as the kernel's programs see it: its inode number in the v2 hierarchy.
pub fn id_of(path: &str) -> Result<u64> {
    let folder = v2_mount()?.join(path.trim_start_matches('/'));
    Ok(fs::metadata(&folder)
        .with_context(|| folder.display().to_string())?
        .ino())
}

/// Processor time used in a control group so far, in nanoseconds.
pub fn cpu_time(path: &str) -> Result<u64> {
    let path = path.trim_start_matches('/');
    let v1 = Path::new("/sys/fs/cgroup/cpuacct")
        .join(path)
        .join("cpuacct.usage");
    if let Ok(text) = fs::read_to_string(&v1) {
        return text.trim().parse().with_context(|| v1.display().to_string());
    }
    let v2 = v2_mount()?.join(path).join("cpu.stat");
    let text = fs::read_to_string(&v2).with_context(|| v2.display().to_string())?;
    let usage = text
        .lines()
        .find_map(|line| line.strip_prefix("usage_usec "))
        .context("cpu.stat without usage_usec")?;
    Ok(usage.trim().parse::<u64>().context("usage_usec")? * 1000)
}

/// Removes a control group from every hierarchy, and the rig's own parent where that is empty.
pub fn remove(path: &str) {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    for line in mounts.lines().filter(|line| line.contains(" cgroup")) {
        let Some(mount) = line
            .split(' ')
            .nth(1)
            .filter(|mount| mount.starts_with("/sys/fs/cgroup"))
        else {
            continue;
        };
        for group in [path, PARENT] {
            // Busy means that another container of this rig is still in it; it is removed with that one.
            fs::remove_dir(Path::new(mount).join(group.trim_start_matches('/'))).ok();
        }
    }
}
