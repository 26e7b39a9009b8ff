//! A kernel as Debian packages it: the image that boots, and its modules.

use super::cache::Cache;
use super::debian::{Apt, Architecture, unpack};
use super::kernels::Kernel;
use crate::run;
use anyhow::{Context as _, Result, bail};
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// An unpacked kernel.
#[derive(Debug)]
pub struct KernelPackage {
    root: PathBuf,
    /// What uname(1) calls it.
    pub version: String,
}

impl KernelPackage {
    /// Takes it from the cache, or from Debian.
    pub fn get(kernel: &Kernel, architecture: Architecture, cache: &Cache) -> Result<Self> {
        let root = cache.folder(
            &format!("kernel-{}", kernel.package),
            &format!("{:?}", kernel.sources),
            |folder| {
                let apt = Apt::new(
                    &cache.apt(kernel.package),
                    cache.mirror()?,
                    kernel.sources,
                    architecture,
                )?;
                let image = format!("linux-image-{}", architecture.debian());
                let parts = apt.dependencies(&image, &["linux-image-", "linux-binary-", "linux-modules-"])?;
                for package in apt.download(&parts)? {
                    unpack(&package, folder)?;
                }
                apt.forget()?;
                let version = version_in(folder)?;
                let mut depmod =
                    Command::new(run::find_program("depmod").context("depmod is not here (kmod)")?);
                run::output(depmod.arg("--basedir").arg(folder).arg(&version)).map(drop)
            },
        )?;
        let version = version_in(&root)?;
        Ok(Self { root, version })
    }

    /// The file that boots.
    pub fn image(&self) -> Result<PathBuf> {
        let candidates = [
            self.root.join("boot").join(format!("vmlinuz-{}", self.version)),
            self.modules().join("vmlinuz"),
        ];
        let found = candidates.into_iter().find(|path| path.is_file());
        found.with_context(|| format!("no kernel image in {}", self.root.display()))
    }

    /// Folder with its modules and their index.
    pub fn modules(&self) -> PathBuf {
        self.root.join("lib/modules").join(&self.version)
    }

    /// Files of these modules and of those that they need, each after what it needs.
    ///
    /// What is built into the kernel, or not made for it, has none.
    pub fn module_files(&self, names: &[&str]) -> Result<Vec<PathBuf>> {
        let index = self.modules().join("modules.dep");
        let text = fs::read_to_string(&index).with_context(|| index.display().to_string())?;
        Ok(in_order(&text, names)
            .iter()
            .map(|path| self.modules().join(path))
            .collect())
    }
}

/// Reads modules.dep(5), whose lines list what a module needs in the order opposite to that of loading.
fn in_order(index: &str, names: &[&str]) -> Vec<String> {
    let lines = index.lines().filter_map(|line| line.split_once(':'));
    let modules: HashMap<_, _> = lines
        .map(|(path, needs)| (name_of(path), (path, needs)))
        .collect();
    let mut order: Vec<String> = Vec::new();
    for name in names {
        let Some((path, needs)) = modules.get(*name) else {
            continue;
        };
        for path in needs.split_whitespace().rev().chain([*path]) {
            if !order.iter().any(|known| known == path) {
                order.push(path.to_owned());
            }
        }
    }
    order
}

fn name_of(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split('.').next().unwrap_or(file).replace('-', "_")
}

fn version_in(root: &Path) -> Result<String> {
    if !root.join("lib").exists() && root.join("usr/lib").exists() {
        std::os::unix::fs::symlink("usr/lib", root.join("lib")).context("cannot link /lib")?;
    }
    let folder = root.join("lib/modules");
    let mut entries = fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
    let (Some(entry), None) = (entries.next(), entries.next()) else {
        bail!("not exactly one kernel in {}", folder.display());
    };
    Ok(entry?.file_name().to_string_lossy().into_owned())
}

/// A module's content as insmod of a small system takes it.
pub fn read_module(path: &Path) -> Result<Vec<u8>> {
    let extension = path.extension().unwrap_or_default().to_string_lossy();
    let program = match extension.as_ref() {
        "ko" => return fs::read(path).with_context(|| path.display().to_string()),
        "xz" => "xz",
        "zst" => "zstd",
        "gz" => "gzip",
        _ => bail!("{}: an unknown compression", path.display()),
    };
    let output = Command::new(program)
        .arg("-dc")
        .arg(path)
        .output()
        .with_context(|| format!("cannot start {program}"))?;
    if !output.status.success() {
        bail!("{program} cannot read {}", path.display());
    }
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_module_needs_comes_before_it() {
        let index = "kernel/fs/9p/9p.ko.xz: kernel/net/9p/9pnet.ko.xz kernel/fs/netfs/netfs.ko.xz\n\
                     kernel/net/9p/9pnet.ko.xz:\n\
                     kernel/net/9p/9pnet-virtio.ko.xz: kernel/net/9p/9pnet.ko.xz\n";
        assert_eq!(
            in_order(index, &["9p", "ext4", "9pnet_virtio"]),
            [
                "kernel/fs/netfs/netfs.ko.xz",
                "kernel/net/9p/9pnet.ko.xz",
                "kernel/fs/9p/9p.ko.xz",
                "kernel/net/9p/9pnet-virtio.ko.xz",
            ]
        );
    }
}
