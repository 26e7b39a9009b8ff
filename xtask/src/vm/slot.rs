//! The folder of a run: several may be under way at once, each in one of its own.

use anyhow::{Context as _, Result};
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

/// A folder that nobody else uses as long as this value lives.
#[derive(Debug)]
pub struct Slot {
    folder: PathBuf,
    /// Locked.
    _lock: File,
}

impl Slot {
    /// The folder `name`, or the first of `name.2`, `name.3` and so on that is free.
    pub fn take(parent: &Path, name: &str) -> Result<Self> {
        let further = (2_u32..).map(|number| format!("{name}.{number}"));
        let mut names = std::iter::once(name.to_owned()).chain(further);
        loop {
            let name = names.next().context("numbers do not end")?;
            let folder = parent.join(&name);
            fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
            let path = folder.join("lock");
            let lock = File::create(&path).with_context(|| path.display().to_string())?;
            match lock.try_lock() {
                Ok(()) => return Ok(Self { folder, _lock: lock }),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => {
                    return Err(error).with_context(|| path.display().to_string());
                }
            }
        }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_at_the_same_time_have_different_folders() {
        let scratch = norma_rig::Scratch::new("vm-slot").unwrap();
        let take = || Slot::take(scratch.path(), "6.12").unwrap();
        let (one, other) = (take(), take());
        assert!(one.folder().ends_with("6.12") && other.folder().ends_with("6.12.2"));
        drop(one);
        assert!(take().folder().ends_with("6.12"));
    }
}
