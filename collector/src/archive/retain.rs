//! Removing whole segments by policy: never one that is held, that a sink has not read, or that is not archived where
//! it is to be.
//!
//! In this order, each step durable before the next: the tombstone, the record of the log, the removal. A crash in
//! between is completed by the next pass.

use super::holds::{Facts, Holds};
use super::kept::Kept;
use super::{ArchiveError, at};
use crate::audit::key::{LogKey, TokenError};
use crate::audit::tombstone::{self, Kept as Copy, Tombstone};
use crate::audit::{AuditLog, Digested, Follower, Manifest, ReadError, Scan, Segment, StorageError};
use crate::durable;
use norma_wire::audit::Removed;
use norma_wire::audit::record::Body;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// Records read at a time.
const CHUNK: usize = 4096;

/// How long what is kept. Nothing is removed where neither is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Segments are removed so long after their newest record.
    pub keep: Option<Duration>,
    /// Segments are removed from the local disk so long after the store proved that it keeps them.
    pub after_archive: Option<Duration>,
}

/// Why a segment is not removed.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// A file, or a segment that is not what was sealed.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// It cannot be recorded.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The log cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The key of the log is away.
    #[error("cannot sign the tombstone of a segment: {0}")]
    Key(#[from] TokenError),
}

/// What became of a segment that is past its time.
#[derive(Debug)]
pub enum Removal {
    /// It is gone.
    Done,
    /// A hold keeps it; what holds ask of it.
    Held(Facts),
}

/// What removes.
#[derive(Debug)]
pub struct Remover {
    /// The log.
    pub log: AuditLog,
    /// Its key.
    pub key: LogKey,
    /// Legal holds.
    pub holds: Holds,
    /// The policy.
    pub retention: Retention,
    /// Whether segments must be in a store before they may go.
    pub has_store: bool,
}

impl Remover {
    /// By which policy a sealed segment may go now.
    pub fn reason(&self, manifest: &Manifest, kept: Option<&Kept>) -> Option<String> {
        let now = crate::clock::wall_ns();
        let stored = kept.and_then(|kept| kept.stored.as_ref());
        if self.has_store && stored.is_none() {
            return None;
        }
        let is_past = |since: u64, wait: Duration| u128::from(now.saturating_sub(since)) > wait.as_nanos();
        if let Some(keep) = self.retention.keep
            && is_past(manifest.time_ns.1, keep)
        {
            return Some(format!("retention.keep: {}", norma_settings::words(keep)));
        }
        let wait = self.retention.after_archive?;
        let stored = stored?;
        is_past(stored.checked_wall_ns, wait)
            .then(|| format!("retention.after_archive: {}", norma_settings::words(wait)))
    }

    /// Removes a sealed segment, unless it is held; `known` is what holds ask of it, where that is known.
    pub async fn remove(
        &self,
        segment: &Segment,
        manifest: &Manifest,
        reason: String,
        kept: Option<&Kept>,
        known: Option<&Facts>,
        archive_file: Option<PathBuf>,
    ) -> Result<Removal, RemoveError> {
        // Before all of it is read.
        if let Some(facts) = known
            && self.holds.in_force().await.covering(facts).is_some()
        {
            return Ok(Removal::Held(facts.clone()));
        }
        let facts = {
            let (segment, manifest) = (segment.clone(), manifest.clone());
            let read = tokio::task::spawn_blocking(move || facts(&segment, &manifest)).await;
            read.map_err(|_| StorageError::Closed)??
        };
        // From here on no hold is placed until it is gone.
        let in_force = self.holds.in_force().await;
        if let Some(hold) = in_force.covering(&facts) {
            tracing::debug!(
                segment = manifest.segment,
                hold = hold.id,
                "kept beyond its time by a legal hold"
            );
            return Ok(Removal::Held(facts));
        }
        let path = segment.tombstone();
        let failed = |source| at(&path)(source);
        let tombstone = match tombstone::read(segment).map_err(failed)? {
            Some((_, begun)) => begun,
            None => {
                let tombstone = Tombstone {
                    segment: manifest.segment,
                    records: manifest.records,
                    manifest: manifest.digest(),
                    removed_ns: crate::clock::wall_ns(),
                    after: self.log.head().borrow().index,
                    reason,
                    archive: kept.and_then(copy),
                };
                let note = tombstone.sign(&self.key)?.to_string();
                durable::create(&path, note.as_bytes(), 0o640).map_err(failed)?;
                tombstone
            }
        };
        let text = tombstone.to_string();
        let is_this = |body: &Body| matches!(body, Body::Removed(removed) if removed.tombstone == text);
        if !self.is_recorded(tombstone.after, is_this)? {
            let removed = Removed {
                segment: tombstone.segment,
                first_record: tombstone.records.0,
                last_record: tombstone.records.1,
                tombstone: text,
            };
            self.log.note(Body::Removed(removed)).await?;
        }
        for path in archive_file.iter().chain([&segment.path]) {
            match fs::remove_file(path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(at(path)(error).into());
                }
                _ => durable::sync_directory(path).map_err(at(path))?,
            }
        }
        tracing::info!(
            segment = tombstone.segment,
            reason = tombstone.reason,
            "removed a segment of the audit log"
        );
        Ok(Removal::Done)
    }

    /// Whether the log has such a record after this one, as of what was begun before a crash.
    pub(super) fn is_recorded(&self, after: u64, is_this: impl Fn(&Body) -> bool) -> Result<bool, ReadError> {
        let durable = self.log.head().borrow().index;
        let mut follower = Follower::new(&self.log.directory(), after + 1);
        while follower.next_index() <= durable {
            let records = follower.read(durable, CHUNK)?;
            if records
                .iter()
                .filter_map(|record| record.body.as_ref())
                .any(&is_this)
            {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// What holds ask of a sealed segment, once it was found to be what was sealed: damage is not removed but kept as
/// evidence.
pub fn facts(segment: &Segment, manifest: &Manifest) -> Result<Facts, ArchiveError> {
    let damaged = |what: String| ArchiveError::Segment {
        path: segment.path.clone(),
        what,
    };
    let mut scan = Scan::open(&segment.path, segment.first_index, None).map_err(at(&segment.path))?;
    let mut summary = Digested::new(segment.first_index);
    let mut facts = Facts::of(manifest);
    loop {
        let found = match scan.next() {
            Ok(Some(found)) => found,
            Ok(None) => break,
            Err(defect) => return Err(damaged(format!("at byte {}: {defect}", scan.offset()))),
        };
        summary.follow(&found.frame, found.record, found.place);
        facts.follow(found.record);
    }
    if Manifest::of(&summary, manifest.segment, manifest.previous) == *manifest {
        Ok(facts)
    } else {
        Err(damaged("its records are not those of its manifest".to_owned()))
    }
}

fn copy(kept: &Kept) -> Option<Copy> {
    let stored = kept.stored.as_ref()?;
    Some(Copy {
        url: stored.url.clone(),
        version: if stored.version.is_empty() {
            "-".to_owned()
        } else {
            stored.version.clone()
        },
        sha256: kept.digest()?,
        retain_until_ns: kept
            .retain_until
            .map_or(0, |seconds| (seconds as u64).saturating_mul(1_000_000_000)),
    })
}
