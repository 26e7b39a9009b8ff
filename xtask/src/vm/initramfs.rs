//! The small system that a guest starts with: it loads what reaching the disk needs and goes over to it.

use super::package::{KernelPackage, read_module};
use anyhow::{Context as _, Result};
use std::fs;
use std::path::Path;

/// What the disk and the shared folders need; the rest is loaded from the shared modules when it is used.
///
/// ext4 asks the kernel for its checksum by name, which needs a program that is not there yet.
const MODULES: &[&str] = &[
    "virtio_pci",
    "virtio_blk",
    "crc32c_generic",
    "ext4",
    "9pnet_virtio",
    "9p",
];

/// First program of the guest.
const INIT: &str = include_str!("guest/init.sh");
/// Continues on the disk.
const STAGE: &str = include_str!("guest/stage.sh");

/// Writes it to `path`.
pub fn write(path: &Path, kernel: &KernelPackage, busybox: &Path) -> Result<()> {
    let mut archive = Archive::default();
    for folder in ["bin", "dev", "proc", "sys", "disk", "modules"] {
        archive.folder(folder);
    }
    let busybox = fs::read(busybox).with_context(|| busybox.display().to_string())?;
    archive.file("bin/busybox", 0o755, &busybox);
    archive.file("init", 0o755, INIT.as_bytes());
    archive.file("stage", 0o755, STAGE.as_bytes());
    let mut order = String::new();
    for (number, module) in kernel.module_files(MODULES)?.iter().enumerate() {
        let name = format!("modules/{number}.ko");
        archive.file(&name, 0o644, &read_module(module)?);
        order.push_str(&name);
        order.push('\n');
    }
    archive.file("modules/order", 0o644, order.as_bytes());
    fs::write(path, archive.finish()).with_context(|| path.display().to_string())
}

/// A cpio archive of the form `newc`, in which everything belongs to root.
///
/// It is not compressed: an emulated processor unpacks slower than the loader reads.
#[derive(Debug, Default)]
struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    fn folder(&mut self, name: &str) {
        self.entry(name, 0o040_755, &[]);
    }

    fn file(&mut self, name: &str, permissions: u32, content: &[u8]) {
        self.entry(name, 0o100_000 | permissions, content);
    }

    fn entry(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.entries += 1;
        let size = content.len();
        let fields = [
            self.entries as usize,
            mode as usize,
            0,
            0,
            1,
            0,
            size,
            0,
            0,
            0,
            0,
            name.len() + 1,
            0,
        ];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    #[test]
    fn cpio_reads_the_archive() {
        let mut archive = Archive::default();
        archive.folder("bin");
        archive.file("bin/odd", 0o755, b"12345");
        archive.file("empty", 0o644, b"");
        let started = Command::new("cpio")
            .args(["--list", "--quiet", "--verbose", "--numeric-uid-gid"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let Ok(mut cpio) = started else {
            norma_rig::skip::skipped("cpio_reads_the_archive", "cpio is not installed");
            return;
        };
        cpio.stdin.take().unwrap().write_all(&archive.finish()).unwrap();
        let output = cpio.wait_with_output().unwrap();
        let listing = String::from_utf8(output.stdout).unwrap();
        let rows: Vec<Vec<&str>> = listing
            .lines()
            .map(|line| line.split_whitespace().collect())
            .map(|words: Vec<&str>| vec![words[0], words[2], words[4], words[words.len() - 1]])
            .collect();
        assert_eq!(
            rows,
            [
                ["drwxr-xr-x", "0", "0", "bin"],
                ["-rwxr-xr-x", "0", "5", "bin/odd"],
                ["-rw-r--r--", "0", "0", "empty"],
            ]
        );
    }
}
