//! What was downloaded, unpacked and made, kept for the next time.

use super::debian::{Architecture, Mirror};
use anyhow::{Context as _, Result};
use std::cell::{OnceCell, RefCell};
use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A folder of things that are there whole or not at all.
#[derive(Debug)]
pub struct Cache {
    folder: PathBuf,
    renew: bool,
    /// What this run has made: it is not renewed twice.
    made: RefCell<HashSet<String>>,
    mirror: OnceCell<Mirror>,
}

impl Cache {
    /// The cache for an architecture; with `renew`, what is in it is made again.
    pub fn open(target: &Path, architecture: Architecture, renew: bool) -> Result<Self> {
        let folder = target.join("vm/cache").join(architecture.debian());
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        Ok(Self {
            folder,
            renew,
            made: RefCell::default(),
            mirror: OnceCell::new(),
        })
    }

    /// Where packages come from; asked for only where something has to be downloaded.
    pub fn mirror(&self) -> Result<&Mirror> {
        if self.mirror.get().is_none() {
            self.mirror.set(Mirror::of_this_machine()?).ok();
        }
        self.mirror.get().context("the mirror was just set")
    }

    /// apt's folder for one set of sources.
    pub fn apt(&self, sources: &str) -> PathBuf {
        self.folder.join(format!("apt-{sources}"))
    }

    /// The folder `name`, filled by `fill` where it is not there, or was made by another recipe.
    pub fn folder(
        &self,
        name: &str,
        recipe: &str,
        fill: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        self.file(name, recipe, |new| {
            fs::create_dir_all(new).with_context(|| new.display().to_string())?;
            fill(new)
        })
    }

    /// The file `name`, written by `write` where it is not there, or was made by another recipe.
    pub fn file(&self, name: &str, recipe: &str, write: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
        // Another run may be making it.
        let lock = self.folder.join("lock");
        let _lock = fs::File::create(&lock)
            .and_then(|file| file.lock().map(|()| file))
            .with_context(|| lock.display().to_string())?;
        let path = self.folder.join(name);
        let note = self.folder.join(format!("{name}.recipe"));
        let renew = self.renew && !self.made.borrow().contains(name);
        if !renew && path.exists() && fs::read_to_string(&note).is_ok_and(|known| known == recipe) {
            return Ok(path);
        }
        let new = self.folder.join(format!("{name}.new-{}", std::process::id()));
        remove(&new)?;
        let made = write(&new);
        if made.is_err() {
            remove(&new)?;
        }
        made?;
        remove(&path)?;
        fs::rename(&new, &path).with_context(|| path.display().to_string())?;
        fs::write(&note, recipe).with_context(|| note.display().to_string())?;
        self.made.borrow_mut().insert(name.to_owned());
        Ok(path)
    }
}

fn remove(path: &Path) -> Result<()> {
    let removed = match path.is_dir() {
        true => fs::remove_dir_all(path),
        false if path.exists() => fs::remove_file(path),
        false => Ok(()),
    };
    removed.with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::bail;

    fn cache(scratch: &norma_rig::Scratch) -> Cache {
        Cache::open(scratch.path(), Architecture::Amd64, false).unwrap()
    }

    #[test]
    fn what_failed_half_way_is_not_there() {
        let scratch = norma_rig::Scratch::new("vm-cache").unwrap();
        let cache = cache(&scratch);
        cache
            .folder("kernel", "", |folder| {
                fs::write(folder.join("half"), "").unwrap();
                bail!("no network")
            })
            .unwrap_err();
        let made = cache
            .folder("kernel", "", |folder| Ok(fs::write(folder.join("whole"), "")?))
            .unwrap();
        assert_eq!(
            (made.join("half").exists(), made.join("whole").exists()),
            (false, true)
        );
    }

    #[test]
    fn only_another_recipe_makes_it_again() {
        let scratch = norma_rig::Scratch::new("vm-cache").unwrap();
        let cache = cache(&scratch);
        let write = |text: &'static str| move |path: &Path| Ok(fs::write(path, text)?);
        cache.file("disk", "bash", write("one")).unwrap();
        let same = cache.file("disk", "bash", write("two")).unwrap();
        assert_eq!(fs::read_to_string(&same).unwrap(), "one");
        let other = cache.file("disk", "bash runc", write("three")).unwrap();
        assert_eq!(fs::read_to_string(&other).unwrap(), "three");
    }
}
