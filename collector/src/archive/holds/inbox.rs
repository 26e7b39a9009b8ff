//! How a hold gets to the collector, and what becomes of it: files in `holds/inbox/` of the state directory.
//!
//! As with baselines, a command puts a file there, whole; the collector makes what it asks for durable, and only then
//! removes it. What it refuses is kept as `*.refused` with the reason. A file that is there after a crash is taken
//! again, which changes nothing. The directory is its owner's alone.

use super::{ChangeError, Holds};
use norma_wire::audit::{HoldPlaced, HoldReleased, HoldScope};
use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const FOLDER: &str = "inbox";
const LOCK: &str = "lock";
const REQUEST: &str = "hold";
const REFUSED: &str = "refused";
/// Far more than a request takes.
const BYTES_MAX: u64 = 64 << 10;
/// How often the collector looks.
const EVERY: Duration = Duration::from_millis(250);
/// How long a command waits.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Wish {
    /// A new hold.
    Place {
        /// Its name.
        id: String,
        /// Only of this node.
        node: Option<String>,
        /// Only of this namespace.
        namespace: Option<String>,
        /// Only from this time on, nanoseconds since 1970.
        from_wall_ns: Option<u64>,
        /// Only up to this time.
        to_wall_ns: Option<u64>,
        /// Only of this segment.
        segment: Option<u64>,
        /// Why.
        reason: String,
        /// Who.
        who: String,
    },
    /// The end of one.
    Release {
        /// Its name.
        id: String,
        /// Why.
        reason: String,
        /// Who.
        who: String,
    },
}

/// What became of it.
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

/// Takes what is handed over until told to stop.
pub fn take(directory: &Path, holds: Holds, stop: CancellationToken) -> io::Result<JoinHandle<()>> {
    let folder = directory.join(FOLDER);
    make_folder(&folder)?;
    let lock = open_lock(&folder)?;
    Ok(tokio::spawn(async move {
        let mut is_held = false;
        let mut ticks = tokio::time::interval(EVERY);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = stop.cancelled() => return,
            }
            // A command that looks whether a collector runs holds it for a moment.
            is_held = is_held || lock.try_lock().is_ok();
            if is_held {
                for path in waiting(&folder) {
                    settle(&path, &holds).await;
                }
            }
        }
    }))
}

async fn settle(path: &Path, holds: &Holds) {
    let done = match read(path) {
        Ok((wish, uid)) => carry_out(wish, uid, holds).await,
        Err(why) => Err(why),
    };
    let told = match done {
        Ok(()) => fs::remove_file(path),
        Err(Some(why)) => {
            tracing::warn!(file = %path.display(), why, "what was asked of legal holds is refused");
            let aside = path.with_extension(REFUSED);
            fs::write(&aside, &why).and_then(|()| fs::remove_file(path))
        }
        // It is tried again.
        Err(None) => Ok(()),
    };
    if let Err(error) = told {
        tracing::warn!(file = %path.display(), %error, "cannot settle what was handed over; it is taken again");
    }
}

/// `Err(None)` where it may work later.
async fn carry_out(wish: Wish, uid: u32, holds: &Holds) -> Result<(), Option<String>> {
    let done = match wish {
        Wish::Place {
            id,
            node,
            namespace,
            from_wall_ns,
            to_wall_ns,
            segment,
            reason,
            who,
        } => {
            let scope = HoldScope {
                node: node.unwrap_or_default(),
                namespace: namespace.unwrap_or_default(),
                from_wall_ns: from_wall_ns.unwrap_or_default(),
                to_wall_ns: to_wall_ns.unwrap_or_default(),
                segment,
            };
            let scope = Some(scope);
            let placed = HoldPlaced {
                id,
                scope,
                reason,
                who,
                uid,
            };
            holds.place(placed).await
        }
        Wish::Release { id, reason, who } => {
            let released = HoldReleased { id, reason, who, uid };
            holds.release(released).await
        }
    };
    done.map_err(|error| match error {
        ChangeError::Unknown(_) => Some(error.to_string()),
        ChangeError::Log(_) | ChangeError::File(_) => {
            tracing::error!(%error, "a legal hold cannot be recorded; trying again");
            None
        }
    })
}

fn read(path: &Path) -> Result<(Wish, u32), Option<String>> {
    let told = |error: &dyn std::fmt::Display| Some(format!("it cannot be read: {error}"));
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
    let wish: Wish = serde_json::from_slice(&bytes).map_err(|error| told(&error))?;
    let (Wish::Place { reason, who, .. } | Wish::Release { reason, who, .. }) = &wish;
    if reason.trim().is_empty() || who.trim().is_empty() {
        return Err(told(&"it has no reason, or does not say whose it is"));
    }
    Ok((wish, metadata.uid()))
}

/// Hands a wish over, and waits for what becomes of it.
///
/// # Errors
/// It cannot be put there.
pub fn hand_over(directory: &Path, wish: &Wish) -> io::Result<Outcome> {
    let folder = directory.join(FOLDER);
    make_folder(&folder)?;
    let name = format!("{:020}-{}", crate::clock::wall_ns(), std::process::id());
    let path = folder.join(format!("{name}.{REQUEST}"));
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

fn waiting(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|found| found == REQUEST))
        .collect();
    files.sort();
    files
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
