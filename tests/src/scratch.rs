//! A folder of its own for each run, and the end of everything that was started for it.

use crate::ledger;
use crate::program::output;
use anyhow::{Context as _, Result};
use rustix::mount::{MountFlags, mount};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const PREFIX: &str = "norma-rig-";

/// A private folder. Dropping it ends what was started in it and removes it.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    keep: bool,
}

impl Scratch {
    /// Makes the folder, and ends what killed runs have left.
    pub fn new(purpose: &str) -> Result<Self> {
        Self::sweep();
        let path = tempfile::Builder::new()
            .prefix(&format!("{PREFIX}{purpose}-"))
            .tempdir()
            .context("cannot make a scratch folder")?
            .keep();
        let scratch = Self { path, keep: false };
        ledger::own(&scratch.path)?;
        Ok(scratch)
    }

    /// Ends what rigs that are gone have left, and removes their folders. Gives how many there were.
    pub fn sweep() -> usize {
        let entries = fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten();
        let mut swept = 0;
        for folder in entries.map(|entry| entry.path()) {
            let ours = folder
                .file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with(PREFIX));
            if ours && ledger::is_orphan(&folder) {
                swept += 1;
                ledger::end_all(&folder);
                remove(&folder);
            }
        }
        swept
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path in the folder.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }

    /// Makes a folder in it.
    pub fn folder(&self, name: &str) -> Result<PathBuf> {
        let path = self.join(name);
        fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
        Ok(path)
    }

    /// Makes a file in it.
    pub fn file(&self, name: &str, content: &str) -> Result<PathBuf> {
        let path = self.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
        }
        fs::write(&path, content).with_context(|| path.display().to_string())?;
        Ok(path)
    }

    /// Mounts a tmpfs of `bytes` in it: a disk that can be filled.
    pub fn small_disk(&self, name: &str, bytes: u64) -> Result<PathBuf> {
        let path = self.folder(name)?;
        ledger::note_mount(&self.path, &path)?;
        let options = std::ffi::CString::new(format!("size={bytes}")).context("mount options")?;
        mount("tmpfs", &path, "tmpfs", MountFlags::empty(), options.as_c_str())
            .context("cannot mount a tmpfs")?;
        Ok(path)
    }

    /// Makes an ext4 file system of `bytes` in it, on a loop device: a disk that can be frozen.
    pub fn loop_disk(&self, name: &str, bytes: u64) -> Result<PathBuf> {
        let path = self.folder(name)?;
        let image = self.file(&format!("{name}.ext4"), "")?;
        fs::File::options().write(true).open(&image)?.set_len(bytes)?;
        output(Command::new("mkfs.ext4").arg("-q").arg(&image))?;
        ledger::note_mount(&self.path, &path)?;
        output(Command::new("mount").args(["-o", "loop"]).args([&image, &path]))?;
        Ok(path)
    }

    /// Freezes the file system of a [`Self::loop_disk`]: who writes there waits until the answer is dropped.
    pub fn freeze(disk: &Path) -> Result<Frozen> {
        output(Command::new("fsfreeze").arg("--freeze").arg(disk))?;
        Ok(Frozen(disk.to_owned()))
    }

    /// Leaves the files behind; what runs is ended all the same.
    pub fn keep(&mut self) {
        self.keep = true;
    }

    /// Names are unique on the machine, so that rigs can run side by side.
    pub fn unique(&self, name: &str) -> String {
        let folder = self
            .path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        format!("{folder}-{name}").to_ascii_lowercase()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        ledger::end_all(&self.path);
        if self.keep {
            println!("kept: {}", self.path.display());
        } else {
            remove(&self.path);
        }
    }
}

/// A file system on which nothing is written.
#[derive(Debug)]
pub struct Frozen(PathBuf);

impl Drop for Frozen {
    fn drop(&mut self) {
        if let Err(error) = output(Command::new("fsfreeze").arg("--unfreeze").arg(&self.0)) {
            eprintln!("{error:#}");
        }
    }
}

fn remove(folder: &Path) {
    if let Err(error) = fs::remove_dir_all(folder)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        eprintln!("cannot remove {}: {error}", folder.display());
    }
}
