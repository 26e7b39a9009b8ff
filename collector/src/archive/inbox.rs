//! How what people ask gets to the collector, and what becomes of it: files in `inbox/` of a directory.
//!
//! As with baselines, a command puts a file there, whole; the collector makes what it asks for durable, and only then
//! removes it. What it refuses is kept as `*.refused` with the reason. A file that is there after a crash is taken
//! again, which changes nothing. The directory is its owner's alone.

use rustix::fs::{Mode, OFlags};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const FOLDER: &str = "inbox";
const LOCK: &str = "lock";
const REFUSED: &str = "refused";
/// Far more than a request takes.
const BYTES_MAX: u64 = 64 << 10;
/// How long a command waits.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What became of what was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is durable.
    Done,
    /// The collector refused it, for this reason.
    Refused(String),
    /// The collector does not run; it takes it when it does.
    Waiting,
    /// The collector runs and has not come to it yet.
    Slow,
}

/// Why it is not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Undone {
    /// It is not done, for this reason.
    Refused(String),
    /// It may work later, and is tried again.
    Later,
}

/// The collector's end of it.
#[derive(Debug)]
pub struct Inbox {
    folder: PathBuf,
    /// Ends the names of files that are meant.
    extension: &'static str,
    lock: File,
    is_held: bool,
}

impl Inbox {
    /// Of a directory, which is made.
    pub fn open(directory: &Path, extension: &'static str) -> io::Result<Self> {
        let folder = directory.join(FOLDER);
        make_folder(&folder)?;
        Ok(Self {
            lock: open_lock(&folder)?,
            folder,
            extension,
            is_held: false,
        })
    }

    /// What waits, oldest first.
    pub fn waiting(&mut self) -> Vec<PathBuf> {
        // A command that looks whether a collector runs holds it for a moment.
        self.is_held = self.is_held || self.lock.try_lock().is_ok();
        if !self.is_held {
            return Vec::new();
        }
        let mut files: Vec<PathBuf> = fs::read_dir(&self.folder)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|found| found == self.extension))
            .collect();
        files.sort();
        files
    }
}

/// Reads what is asked for, and the user of the host that handed it over.
pub fn read<W: DeserializeOwned>(path: &Path) -> Result<(W, u32), Undone> {
    let told = |error: &dyn std::fmt::Display| Undone::Refused(format!("it cannot be read: {error}"));
    // A pipe would keep the task for good, a link would lead elsewhere.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty()).map_err(|error| told(&error))?);
    let metadata = file.metadata().map_err(|error| told(&error))?;
    if !metadata.is_file() || metadata.len() > BYTES_MAX {
        return Err(told(&"it is not a small file"));
    }
    let mut bytes = Vec::new();
    file.take(BYTES_MAX)
        .read_to_end(&mut bytes)
        .map_err(|error| told(&error))?;
    let wish = serde_json::from_slice(&bytes).map_err(|error| told(&error))?;
    Ok((wish, metadata.uid()))
}

/// It must say why something is wanted, and whose it is.
pub fn check_words(reason: &str, who: &str) -> Result<(), Undone> {
    if reason.trim().is_empty() || who.trim().is_empty() {
        let what = "it cannot be read: it has no reason, or does not say whose it is";
        return Err(Undone::Refused(what.to_owned()));
    }
    Ok(())
}

/// Removes what is done, and puts aside what was refused.
pub fn settle(path: &Path, done: Result<(), Undone>) {
    let told = match done {
        Ok(()) => fs::remove_file(path),
        Err(Undone::Refused(why)) => {
            tracing::warn!(file = %path.display(), why, "what was asked is refused");
            let aside = path.with_extension(REFUSED);
            fs::write(&aside, &why).and_then(|()| fs::remove_file(path))
        }
        Err(Undone::Later) => Ok(()),
    };
    if let Err(error) = told {
        tracing::warn!(file = %path.display(), %error, "cannot settle what was handed over; it is taken again");
    }
}

/// Hands a wish over, and waits for what becomes of it.
///
/// # Errors
/// It cannot be put there.
pub fn hand_over(directory: &Path, extension: &str, wish: &impl Serialize) -> io::Result<Outcome> {
    let folder = directory.join(FOLDER);
    make_folder(&folder)?;
    let name = format!("{:020}-{}", crate::clock::wall_ns(), std::process::id());
    let path = folder.join(format!("{name}.{extension}"));
    let temporary = folder.join(format!("{name}.new"));
    let mut file = OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(&temporary)?;
    file.write_all(&serde_json::to_vec(wish)?)?;
    file.sync_all()?;
    fs::rename(&temporary, &path)?;
    crate::durable::sync_directory(&path)?;
    let is_running = matches!(open_lock(&folder)?.try_lock(), Err(TryLockError::WouldBlock));
    if !is_running {
        return Ok(Outcome::Waiting);
    }
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        if !path.exists() {
            return match fs::read_to_string(path.with_extension(REFUSED)) {
                Ok(why) => Ok(Outcome::Refused(why)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Outcome::Done),
                Err(error) => Err(error),
            };
        }
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(Outcome::Slow)
}

fn make_folder(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

fn open_lock(folder: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(folder.join(LOCK))
}
