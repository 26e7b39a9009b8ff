//! How what a person hands over gets to the program that keeps the baselines.
//!
//! Below the directory of baselines there is `inbox/`. A command puts a file there, whole. The program takes
//! each file in the order of names: it verifies it, makes what it says durable, and only then removes it. What it
//! refuses is kept beside it as `*.refused`, with the reason in `*.refused.why`. So a file that is there after a
//! crash is taken again, which changes nothing: decisions and evidence merge.
//!
//! - `*.decisions`: signed decisions, the file form of an [`Overlay`].
//! - `*.bundle`: a signed bundle, the file form of a [`Sealed`].
//! - `*.request`: empty; asks that all that is known be written.
//! - `lock`: held by the program for as long as it runs.
//!
//! Who can write here can only hand over what somebody else signed. The directory is its owner's alone all the
//! same: a request costs work.

use crate::carry::{Carried, CarryError};
use norma_baseline::bundle::Sealed;
use norma_baseline::file::{self, FormatError};
use norma_baseline::overlay::{DecisionError, Overlay, SignedDecision};
use norma_baseline::signature::TrustedKeys;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Largest file that is taken, in bytes: some times what a large workload takes.
pub const BYTES_MAX: u64 = 64 << 20;
/// How often the program looks.
const EVERY: Duration = Duration::from_millis(250);
/// How long a command waits for its decision to be taken.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a command waits for what is known to be written.
const WRITTEN_PATIENCE: Duration = Duration::from_secs(3);
/// How long the start of the program waits for the lock; longer, and it goes on and takes nothing until it has it.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);
/// How often a command looks whether it was.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Most refused files that are kept; the oldest make room.
const REFUSED_MAX: usize = 100;

const FOLDER: &str = "inbox";
const LOCK: &str = "lock";
const DECISIONS: &str = "decisions";
const BUNDLE: &str = "bundle";
const REQUEST: &str = "request";
const REFUSED: &str = "refused";
const WHY: &str = "why";

/// What became of what was handed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The program made it durable, and judges by it.
    InForce,
    /// The program refused it, for this reason.
    Refused(String),
    /// The program does not run; it takes it when it does.
    Waiting,
    /// The program runs and has not come to it yet.
    Slow,
}

/// What came, to be taken or refused with [`Delivery::settle`]. One that is dropped instead comes again when the program
/// starts again.
#[derive(Debug)]
pub struct Delivery {
    /// What it is.
    pub content: Content,
    settled: SyncSender<Result<(), String>>,
}

/// See [`Delivery`].
#[derive(Debug)]
pub enum Content {
    /// Decisions, all signed by trusted keys.
    Decisions(Overlay),
    /// What a bundle holds, which a trusted key signed.
    Bundle(Box<Carried>),
    /// Something that cannot be believed: to be told of. It is set aside, however it is settled.
    Refused {
        /// Name of the file.
        file: String,
        /// What it wanted, where that can be read.
        decisions: Vec<SignedDecision>,
        /// What is wrong with it.
        why: String,
    },
    /// Somebody wants to read what is known by now.
    Write,
}

impl Delivery {
    /// Says what became of it. What is settled with `Ok` is durable.
    pub fn settle(self, outcome: Result<(), String>) {
        // The thread of the inbox is only gone when the program ends.
        let _gone = self.settled.send(outcome);
    }
}

/// Why a file is refused.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("it is no regular file")]
    NotAFile,
    #[error("{0} bytes are more than the {BYTES_MAX} that are taken")]
    TooLarge(u64),
    #[error("it cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    #[error("it cannot be read: {0}")]
    Format(#[from] FormatError),
    #[error("{reason}")]
    Decision {
        decisions: Vec<SignedDecision>,
        reason: DecisionError,
    },
    #[error("there is no decision in it")]
    Empty,
    #[error(transparent)]
    Carried(#[from] CarryError),
}

/// Takes what is handed over, for as long as somebody receives it: on a thread of its own, since bundles can be
/// large. Only what verifies under `keys` comes as what it is.
///
/// # Errors
/// The directory cannot be made, or there is no thread.
pub fn take(directory: &Path, keys: TrustedKeys) -> io::Result<Receiver<Delivery>> {
    let folder = directory.join(FOLDER);
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder)?;
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(folder.join(LOCK))?;
    // Before anybody is told that the program runs. A command that looks whether it does holds the lock for a moment.
    let mut is_held = lock.try_lock().is_ok();
    let begun = Instant::now();
    while !is_held && begun.elapsed() < LOCK_PATIENCE {
        std::thread::sleep(LOOK_EVERY);
        is_held = lock.try_lock().is_ok();
    }
    let (deliveries, receiver) = channel();
    std::thread::Builder::new()
        .name("norma-inbox".to_owned())
        .spawn(move || {
            if is_held || lock.lock().is_ok() {
                Taker {
                    folder,
                    keys,
                    deliveries,
                }
                .run();
            }
            drop(lock);
        })?;
    Ok(receiver)
}

struct Taker {
    folder: PathBuf,
    keys: TrustedKeys,
    deliveries: Sender<Delivery>,
}

impl Taker {
    fn run(&self) {
        loop {
            for path in self.waiting() {
                if self.take(&path).is_none() {
                    return;
                }
            }
            std::thread::sleep(EVERY);
        }
    }

    /// Files to be taken, in the order of names. A directory that cannot be read now may be again later.
    fn waiting(&self) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> = fs::read_dir(&self.folder)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| matches!(extension(path), DECISIONS | BUNDLE | REQUEST))
            .collect();
        files.sort();
        files
    }

    /// Nothing when nobody receives any more.
    fn take(&self, path: &Path) -> Option<()> {
        let read = self.read(path);
        let is_refused = matches!(read, Content::Refused { .. });
        let why = match &read {
            Content::Refused { why, .. } => why.clone(),
            _ => String::new(),
        };
        let (settled, outcome) = sync_channel(1);
        let delivery = Delivery {
            content: read,
            settled,
        };
        self.deliveries.send(delivery).ok()?;
        // Dropped unsettled: the program is ending.
        let outcome = outcome.recv().ok()?;
        match outcome {
            Ok(()) if !is_refused => remove(path),
            Ok(()) => self.set_aside(path, &why),
            Err(why) => self.set_aside(path, &why),
        }
        Some(())
    }

    fn read(&self, path: &Path) -> Content {
        if extension(path) == REQUEST {
            return Content::Write;
        }
        let refused = |refusal: Refusal| Content::Refused {
            file: path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
            why: refusal.to_string(),
            decisions: match refusal {
                Refusal::Decision { decisions, .. } => decisions,
                _ => Vec::new(),
            },
        };
        let read = if extension(path) == DECISIONS {
            self.decisions(path).map(Content::Decisions)
        } else {
            self.bundle(path)
                .map(|carried| Content::Bundle(Box::new(carried)))
        };
        read.unwrap_or_else(refused)
    }

    /// All that is in the file, or nothing of it.
    fn decisions(&self, path: &Path) -> Result<Overlay, Refusal> {
        let mut overlay: Overlay = file::from_bytes(&bytes_of(path)?)?;
        let dropped = overlay.retain_trusted(&self.keys);
        if let Some((_, reason)) = dropped.first() {
            return Err(Refusal::Decision {
                reason: reason.clone(),
                decisions: dropped.into_iter().map(|(decision, _)| decision).collect(),
            });
        }
        if overlay.decisions().next().is_none() {
            return Err(Refusal::Empty);
        }
        Ok(overlay)
    }

    fn bundle(&self, path: &Path) -> Result<Carried, Refusal> {
        let sealed: Sealed = file::from_bytes(&bytes_of(path)?)?;
        Ok(Carried::open(sealed, &self.keys)?)
    }

    fn set_aside(&self, path: &Path, why: &str) {
        let aside = with_more(path, REFUSED);
        // The reason first: whoever sees the file finds it.
        if let Err(error) = write_whole(&with_more(&aside, WHY), why.as_bytes()) {
            tracing::warn!(file = %aside.display(), %error, "cannot write why it is refused: {why}");
        }
        if let Err(error) = fs::rename(path, &aside) {
            tracing::warn!(file = %path.display(), %error, "cannot set a refused file aside; it is removed");
            remove(path);
        }
        self.make_room();
    }

    fn make_room(&self) {
        let mut refused: Vec<(SystemTime, PathBuf)> = fs::read_dir(&self.folder)
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| extension(&entry.path()) == REFUSED)
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .collect();
        refused.sort();
        for (_, path) in refused.iter().rev().skip(REFUSED_MAX) {
            remove(path);
            remove(&with_more(path, WHY));
        }
    }
}

/// The bytes of a regular file that is not too large.
fn bytes_of(path: &Path) -> Result<Vec<u8>, Refusal> {
    use rustix::fs::{Mode, OFlags};
    // A pipe would keep the thread for good, a link would lead elsewhere.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty()).map_err(io::Error::from)?);
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(Refusal::NotAFile);
    }
    if metadata.len() > BYTES_MAX {
        return Err(Refusal::TooLarge(metadata.len()));
    }
    let mut bytes = Vec::with_capacity(metadata.len() as usize);
    file.take(BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn remove(path: &Path) {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(file = %path.display(), %error, "cannot remove what was taken; it is taken again");
        }
        _ => {}
    }
}

/// Hands over signed decisions, and waits for what becomes of them.
///
/// # Errors
/// They cannot be put there.
pub fn hand_over_decisions(directory: &Path, decisions: &Overlay) -> anyhow::Result<Outcome> {
    let bytes = file::to_bytes(decisions)?;
    hand_over(directory, DECISIONS, &bytes)
}

/// Hands over a bundle as it lies in a file, and waits for what becomes of it.
///
/// # Errors
/// It cannot be put there.
pub fn hand_over_bundle(directory: &Path, bytes: &[u8]) -> anyhow::Result<Outcome> {
    hand_over(directory, BUNDLE, bytes)
}

fn hand_over(directory: &Path, kind: &str, bytes: &[u8]) -> anyhow::Result<Outcome> {
    use anyhow::Context as _;
    let folder = directory.join(FOLDER);
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder)
        .and_then(|()| {
            let path = folder.join(format!("{}.{kind}", unique()));
            write_whole(&path, bytes)?;
            Ok(path)
        })
        .with_context(|| {
            format!(
                "cannot hand it over in {}; do it as the owner of that directory",
                folder.display()
            )
        })
        .map(|path| {
            if !is_running(&folder) {
                return Outcome::Waiting;
            }
            wait(&path, PATIENCE).unwrap_or(Outcome::Slow)
        })
}

/// Has a running program write what it knows by now, as far as that is possible: who may only read the
/// directory, and where no program runs, sees what was written last.
pub fn have_written(directory: &Path) {
    let folder = directory.join(FOLDER);
    if !is_running(&folder) {
        return;
    }
    let path = folder.join(format!("{}.{REQUEST}", unique()));
    if File::create(&path).is_ok() && wait(&path, WRITTEN_PATIENCE).is_none() {
        // A program that is too busy to write has its reasons; nobody waits for it any more.
        let _taken_meanwhile = fs::remove_file(&path);
    }
}

/// Waits until a file was taken or refused; nothing where it is still there.
fn wait(path: &Path, patience: Duration) -> Option<Outcome> {
    let until = Instant::now() + patience;
    let aside = with_more(path, REFUSED);
    loop {
        if !path.exists() {
            if !aside.exists() {
                return Some(Outcome::InForce);
            }
            let why = fs::read_to_string(with_more(&aside, WHY)).unwrap_or_default();
            return Some(Outcome::Refused(why));
        }
        if Instant::now() >= until {
            return None;
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// A program takes what is handed over here.
fn is_running(folder: &Path) -> bool {
    match File::open(folder.join(LOCK)) {
        Ok(lock) => matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)),
        Err(_) => false,
    }
}

/// A name that no other has, in the order of time.
fn unique() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{:020}-{}", now.as_nanos(), std::process::id())
}

fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = with_more(path, "new");
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}

fn extension(path: &Path) -> &str {
    path.extension()
        .and_then(|extension| extension.to_str())
        .unwrap_or_default()
}

fn with_more(path: &Path, more: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(more);
    PathBuf::from(name)
}
