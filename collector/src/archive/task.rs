//! What archives, holds and removes while the collector runs. Nothing waits for it; what fails is tried again.

mod expire;
mod shredding;

use super::holds::{self, Facts, Holds, inbox};
use super::inbox::{self as handed, Inbox};
use super::kept::{Books, Kept, Stored};
use super::keys::{KekError, KeyError, SegmentKeys};
use super::retain::{Removal, RemoveError, Remover, Retention, facts};
use super::shred;
use super::store::{Store, StoreError, Wanted};
use super::write::{manifest_of, write};
use super::{ArchiveConfig, ArchiveError, at};
use crate::audit::key::KeyFileError;
use crate::audit::{AuditLog, AuditSettings, Manifest, Segment};
use crate::durable;
use crate::sinks::Delivered;
use backon::{BackoffBuilder as _, ExponentialBuilder};
use expire::Expiry;
use norma_tlog::Hash;
use norma_wire::audit::ArchiveState;
use norma_wire::audit::record::Body;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

/// How often it is looked what is to be archived or removed.
const EVERY: Duration = Duration::from_secs(1);
/// Name of the directory of segments' keys, in the collector's state directory.
pub const SEGMENT_KEYS: &str = "segment-keys";
/// What failed is tried again after this, and after ever longer up to
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// this.
const LAST_RETRY: Duration = Duration::from_secs(60);

/// Why it cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The holds.
    #[error(transparent)]
    Holds(#[from] holds::OpenError),
    /// A directory.
    #[error("cannot use {}: {source}", path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// The log's key.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// The store's settings.
    #[error("archive.store: {0}")]
    Store(String),
    /// What segments' keys are wrapped under.
    #[error("archive.encryption.key: {0}")]
    Encryption(#[from] KekError),
}

/// What it needs besides the log.
#[derive(Debug)]
pub struct Settings<'a> {
    /// The collector's state directory.
    pub state_dir: &'a Path,
    /// Where to archive; `None` for nowhere.
    pub archive: Option<&'a ArchiveConfig>,
    /// What to remove.
    pub retention: Retention,
    /// How the log is kept.
    pub audit: &'a AuditSettings,
    /// How far sinks have read the log.
    pub delivered: Delivered,
}

/// The running tasks.
#[derive(Debug)]
pub struct Running {
    holds: Holds,
    inbox: JoinHandle<()>,
    task: JoinHandle<()>,
    backlog: Option<Backlog>,
}

/// How many sealed segments are not yet where they are to be archived, for telemetry.
#[derive(Clone, Debug, Default)]
pub struct Backlog(Arc<AtomicU64>);

impl Backlog {
    /// As of the last look, which comes every second unless the last one failed.
    #[must_use]
    pub fn segments(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn set(&self, segments: usize) {
        self.0.store(segments as u64, Ordering::Relaxed);
    }
}

impl Running {
    /// The legal holds.
    #[must_use]
    pub fn holds(&self) -> &Holds {
        &self.holds
    }

    /// What is still to be archived; `None` where nothing is.
    #[must_use]
    pub fn backlog(&self) -> Option<Backlog> {
        self.backlog.clone()
    }

    /// Waits until they have ended.
    pub async fn ended(self) {
        if self.inbox.await.is_err() || self.task.await.is_err() {
            tracing::error!("what archives segments ended in a panic");
        }
    }
}

/// Starts; ends with `stop`.
pub fn start(
    settings: &Settings<'_>,
    log: &AuditLog,
    stop: CancellationToken,
) -> Result<Running, StartError> {
    let directory = |path: &Path| {
        let path = path.to_owned();
        move |source| StartError::Directory { path, source }
    };
    let holds_dir = settings.state_dir.join(crate::config::HOLDS);
    let holds = Holds::open(&holds_dir, log)?;
    let books_dir = settings.state_dir.join("archived");
    let books = Books::open(&books_dir).map_err(directory(&books_dir))?;
    let store = match settings.archive.and_then(|archive| archive.store.clone()) {
        Some(store) => Some(Store::new(store).map_err(StartError::Store)?),
        None => None,
    };
    let keys_dir = settings.state_dir.join(SEGMENT_KEYS);
    let encryption = settings.archive.and_then(|archive| archive.encryption.as_ref());
    let keys = match encryption {
        Some(source) => Some(SegmentKeys::new(&keys_dir, source.open()?)),
        None => None,
    };
    let shreds_dir = settings.state_dir.join(shred::DIRECTORY);
    let wishes = Inbox::open(&shreds_dir, shred::REQUEST).map_err(directory(&shreds_dir))?;
    let key = settings.audit.key.open(settings.audit.origin.as_deref())?;
    let inbox = inbox::take(&holds_dir, holds.clone(), stop.clone()).map_err(directory(&holds_dir))?;
    let running_holds = holds.clone();
    let backlog = settings.archive.map(|_| Backlog::default());
    let task = Task {
        archive: settings.archive.cloned(),
        backlog: backlog.clone().unwrap_or_default(),
        keys,
        keys_dir,
        wishes,
        books,
        remover: Remover {
            log: log.clone(),
            key,
            holds,
            retention: settings.retention,
            has_store: store.is_some(),
        },
        store,
        delivered: settings.delivered.clone(),
        sealed: BTreeMap::new(),
        held: BTreeMap::new(),
        expiry: Expiry::default(),
        has_proven_locks: false,
        is_in_trouble: false,
    };
    Ok(Running {
        holds: running_holds,
        inbox,
        task: tokio::spawn(task.run(stop)),
        backlog,
    })
}

struct Task {
    archive: Option<ArchiveConfig>,
    backlog: Backlog,
    /// Keys of segments, where they are to be encrypted.
    keys: Option<SegmentKeys>,
    /// Where they lie, also those of before.
    keys_dir: PathBuf,
    /// What is to be shredded.
    wishes: Inbox,
    store: Option<Store>,
    books: Books,
    remover: Remover,
    delivered: Delivered,
    /// Sealed segments that are still there, by their first records.
    sealed: BTreeMap<u64, (Segment, Manifest)>,
    /// What holds ask of those that are past their time and held.
    held: BTreeMap<u64, Facts>,
    /// Which keys of what was removed need not be looked at.
    expiry: Expiry,
    /// The store refused to delete what is locked, since the start.
    has_proven_locks: bool,
    /// It was recorded that segments cannot be archived.
    is_in_trouble: bool,
}

/// Why a segment is not archived.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("cannot write what became of a segment: {0}")]
    Books(io::Error),
}

impl Trouble {
    /// Whether it is only of the segment that is archived, and not of all.
    fn is_of_one(&self) -> bool {
        match self {
            Self::Archive(ArchiveError::Key(KeyError::Wrap(_))) => false,
            Self::Archive(_) => true,
            Self::Store(_) | Self::Books(_) => false,
        }
    }
}

impl Task {
    async fn run(mut self, stop: CancellationToken) {
        let retries = ExponentialBuilder::default()
            .with_min_delay(FIRST_RETRY)
            .with_max_delay(LAST_RETRY)
            .without_max_times()
            .with_jitter();
        let mut delays = retries.build();
        let mut looks = tokio::time::interval(EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut due = Instant::now();
        loop {
            tokio::select! {
                _ = looks.tick() => {}
                () = stop.cancelled() => break,
            }
            for path in self.wishes.waiting() {
                let done = self.shred(&path).await;
                handed::settle(&path, done);
            }
            if Instant::now() < due {
                continue;
            }
            // What is being done when the collector stops is done again at its next start.
            let pass = tokio::select! {
                pass = self.pass() => pass,
                () = stop.cancelled() => break,
            };
            if pass.is_ok() {
                delays = retries.build();
            } else {
                due = Instant::now() + delays.next().unwrap_or(LAST_RETRY);
            }
        }
        if let Err(error) = self.remover.holds.settle().await {
            tracing::warn!(%error, "the holds are read from the log at the next start");
        }
    }

    /// Does all that is to be done now; an error where something of it failed, which was told.
    async fn pass(&mut self) -> Result<(), ()> {
        if let Err(error) = self.look() {
            tracing::error!(%error, "cannot look for sealed segments");
            return Err(());
        }
        let sealed: Vec<(Segment, Manifest)> = self
            .sealed
            .values()
            .filter(|(segment, _)| self.has_work(segment))
            .cloned()
            .collect();
        self.backlog.set(sealed.len());
        let mut failed = None;
        if let Some(archive) = self.archive.clone() {
            for (segment, manifest) in &sealed {
                if let Err(trouble) = self.archive(&archive, segment, manifest).await {
                    failed = failed.or_else(|| Some((manifest.segment, trouble.to_string())));
                    // One that is damaged does not keep the others from being archived.
                    if !trouble.is_of_one() {
                        break;
                    }
                }
            }
            self.backlog.set(
                sealed
                    .iter()
                    .filter(|(segment, _)| self.has_work(segment))
                    .count(),
            );
            self.report(&archive, failed.as_ref()).await;
        }
        let held = self.sync_holds().await;
        if let Err(error) = &held {
            tracing::error!(%error, "a legal hold is not in the store yet; trying again");
        }
        let removed = self.remove().await;
        if let Err(error) = &removed {
            tracing::error!(%error, "cannot remove a segment that is past its time; trying again");
        }
        let expired = self.expire_keys().await;
        if let Err(error) = &expired {
            tracing::error!(%error, "cannot destroy the key of a segment that was removed; trying again");
        }
        if failed.is_some() || held.is_err() || removed.is_err() || expired.is_err() {
            Err(())
        } else {
            Ok(())
        }
    }

    /// Looks which sealed segments are there.
    fn look(&mut self) -> Result<(), ArchiveError> {
        let directory = self.remover.log.directory();
        let there = Segment::list(&directory).map_err(at(&directory))?;
        let mut before = std::mem::take(&mut self.sealed);
        for segment in there {
            let known = match before.remove(&segment.first_index) {
                Some(known) => Some(known),
                None => manifest_of(&segment)?.map(|manifest| (segment.clone(), manifest)),
            };
            if let Some(known) = known {
                self.sealed.insert(segment.first_index, known);
            }
        }
        self.held.retain(|first, _| self.sealed.contains_key(first));
        Ok(())
    }

    /// Whether a segment is not archived yet.
    fn has_work(&self, segment: &Segment) -> bool {
        match self.books.of(segment) {
            Some(kept) => self.store.is_some() && kept.stored.is_none(),
            None => true,
        }
    }

    /// Brings one segment as far as it goes.
    async fn archive(
        &mut self,
        archive: &ArchiveConfig,
        segment: &Segment,
        manifest: &Manifest,
    ) -> Result<(), Trouble> {
        let mut kept = match self.books.of(segment) {
            Some(kept) => kept.clone(),
            None => {
                let (segment, manifest) = (segment.clone(), manifest.clone());
                let (root, cluster) = (archive.directory.clone(), archive.cluster.clone());
                let keys = self.keys.clone();
                let made = tokio::task::spawn_blocking(move || -> Result<Kept, ArchiveError> {
                    let written = write(&segment, manifest.clone(), &root, &cluster, keys.as_ref())?;
                    let (digest, bytes) = durable::digest(&written.path).map_err(at(&written.path))?;
                    Ok(Kept {
                        first_record: segment.first_index,
                        facts: facts(&segment, &manifest)?,
                        object: written.object,
                        sha256: Hash(digest).to_string(),
                        bytes,
                        encrypted: keys.is_some(),
                        retain_until: None,
                        stored: None,
                    })
                });
                let kept = made
                    .await
                    .map_err(|error| Trouble::Books(io::Error::other(error)))??;
                self.books.put(kept.clone()).map_err(Trouble::Books)?;
                tracing::info!(
                    segment = kept.facts.segment,
                    object = kept.object,
                    "archived a segment"
                );
                kept
            }
        };
        let Some(store) = &self.store else {
            return Ok(());
        };
        if kept.stored.is_some() {
            return Ok(());
        }
        if !self.has_proven_locks {
            store.prove_locks().await?;
            self.has_proven_locks = true;
        }
        if let (None, Some(retain)) = (kept.retain_until, store.retain()) {
            let now = jiff::Timestamp::now().as_second();
            kept.retain_until = Some(now.saturating_add_unsigned(retain.as_secs()));
            self.books.put(kept.clone()).map_err(Trouble::Books)?;
        }
        let path = archive.directory.join(&kept.object);
        let content = tokio::fs::read(&path).await.map_err(at(&path))?;
        let digest = kept.digest().unwrap_or_default();
        if kept.bytes != content.len() as u64 || durable::digest_of(&content) != digest.0 {
            let what =
                "it is not what was written: restore it, or remove it and its file in `archived`".to_owned();
            return Err(ArchiveError::Differs { path, what }.into());
        }
        let legal_hold = self
            .remover
            .holds
            .in_force()
            .await
            .covering(&kept.facts)
            .is_some();
        let wanted = Wanted {
            object: &kept.object,
            sha256: digest.0,
            bytes: kept.bytes,
            retain_until: kept.retain_until,
        };
        let object = store.keep(&wanted, content.into()).await?;
        if legal_hold {
            store.hold(&kept.object, &object.version, true).await?;
        }
        kept.stored = Some(Stored {
            url: store.url(&kept.object),
            version: object.version,
            legal_hold,
            checked_wall_ns: crate::clock::wall_ns(),
        });
        tracing::info!(
            segment = kept.facts.segment,
            object = kept.object,
            "the store keeps a segment"
        );
        self.books.put(kept).map_err(Trouble::Books)
    }

    /// Records once that archiving fails, and once that it works again.
    async fn report(&mut self, archive: &ArchiveConfig, failed: Option<&(u64, String)>) {
        if let Some((segment, detail)) = failed {
            tracing::error!(segment, detail, "cannot archive a segment; trying again");
        }
        if failed.is_some() == self.is_in_trouble {
            return;
        }
        let place = match &self.store {
            Some(store) => store.url(""),
            None => archive.directory.display().to_string(),
        };
        let (segment, detail) = failed.cloned().unwrap_or_default();
        let state = ArchiveState {
            working: failed.is_none(),
            place,
            segment,
            detail,
        };
        match self.remover.log.note(Body::ArchiveState(state)).await {
            Ok(()) => self.is_in_trouble = failed.is_some(),
            Err(error) => tracing::error!(%error, "cannot record that"),
        }
    }

    /// Makes the legal holds of the store what they are to be.
    async fn sync_holds(&mut self) -> Result<(), Trouble> {
        let Some(store) = &self.store else {
            return Ok(());
        };
        let changes = {
            let in_force = self.remover.holds.in_force().await;
            let wanted = |kept: &Kept| in_force.covering(&kept.facts).is_some();
            let differs = |kept: &&Kept| {
                let stored = kept.stored.as_ref();
                stored.is_some_and(|stored| stored.legal_hold != wanted(kept))
            };
            let changes = self.books.all().filter(differs).cloned();
            changes.collect::<Vec<Kept>>()
        };
        for mut kept in changes {
            let Some(stored) = &mut kept.stored else {
                continue;
            };
            let wanted = !stored.legal_hold;
            store.hold(&kept.object, &stored.version, wanted).await?;
            stored.legal_hold = wanted;
            stored.checked_wall_ns = crate::clock::wall_ns();
            self.books.put(kept).map_err(Trouble::Books)?;
        }
        Ok(())
    }

    /// Removes what is past its time, oldest first.
    async fn remove(&mut self) -> Result<(), RemoveError> {
        if self.remover.retention == Retention::default() {
            return Ok(());
        }
        let delivered = self.delivered.through();
        // The newest one may have no entry in the tlog yet.
        for (segment, manifest) in self.sealed.values().take(self.sealed.len().saturating_sub(1)) {
            let kept = self.books.of(segment);
            let Some(reason) = self.remover.reason(manifest, kept) else {
                continue;
            };
            if delivered < manifest.records.1 {
                tracing::debug!(
                    segment = manifest.segment,
                    "kept beyond its time: a sink has not read it yet"
                );
                break;
            }
            let file = match (&self.archive, kept) {
                (Some(archive), Some(kept)) => Some(archive.directory.join(&kept.object)),
                _ => None,
            };
            let first = segment.first_index;
            let known = self.held.get(&first);
            let removal = self
                .remover
                .remove(segment, manifest, reason, kept, known, file)
                .await?;
            if let Removal::Held(facts) = removal {
                self.held.insert(first, facts);
            }
        }
        Ok(())
    }
}
