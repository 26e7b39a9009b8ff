//! The end of what retention removed: the key of its archive file goes as well.
//!
//! A key is destroyed as by shredding (statement, record, key; each durable before the next), and only when nobody is
//! entitled any more to what it opens: `retention.keep` has passed, the segment was removed with a tombstone, no legal
//! hold is on it, and the store says itself that its lock has ended and that it has no hold of its own. Where an object was
//! never locked nobody can tell when it is to end, so that its key is kept.

use super::{Kept, Task, Trouble};
use crate::archive::shred::{About, Failed, ShredError, Wish};
use crate::archive::store::Keeping;
use crate::archive::{at, keys};
use crate::audit::{Segment, tombstone};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// Who wanted it, in statements and records.
const WHO: &str = "the collector, by its retention policy";
/// A store that still keeps an object is asked again after this: locks are extended by hand.
const ASK_AGAIN: Duration = Duration::from_secs(15 * 60);

/// Which keys are not to be looked at.
#[derive(Debug, Default)]
pub(super) struct Expiry {
    /// By the first records of their segments: until then, or for ever where they are gone.
    resting: BTreeMap<u64, Option<Instant>>,
}

impl Expiry {
    fn rests(&self, first: u64) -> bool {
        self.resting
            .get(&first)
            .is_some_and(|until| until.is_none_or(|until| Instant::now() < until))
    }
}

/// Why the key of a segment could not go.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExpireError {
    #[error(transparent)]
    Shred(#[from] Failed),
    #[error(transparent)]
    Store(#[from] Trouble),
}

impl Task {
    /// Destroys the keys of archive files that nobody is to read any more, oldest first.
    pub(super) async fn expire_keys(&mut self) -> Result<(), ExpireError> {
        let Some(keep) = self.remover.retention.keep else {
            return Ok(());
        };
        let now = crate::clock::wall_ns();
        let is_due = |kept: &&Kept| {
            kept.encrypted
                && u128::from(now.saturating_sub(kept.facts.time_ns.1)) > keep.as_nanos()
                && !self.expiry.rests(kept.first_record)
        };
        let due: Vec<Kept> = self.books.all().filter(is_due).cloned().collect();
        for kept in due {
            let first = kept.first_record;
            if !keys::is_there(&self.keys_dir, first) {
                self.expiry.resting.insert(first, None);
                continue;
            }
            if !self.is_removed(&kept)? {
                continue;
            }
            if !self.may_have_ended(&kept, now) {
                continue;
            }
            if self.is_kept_elsewhere(&kept).await? {
                self.expiry
                    .resting
                    .insert(first, Some(Instant::now() + ASK_AGAIN));
                continue;
            }
            self.destroy_key(&kept, keep).await?;
        }
        Ok(())
    }

    /// Whether retention removed the segment, and its archive file on this disk with it.
    fn is_removed(&self, kept: &Kept) -> Result<bool, Failed> {
        let segment = Segment::new(&self.remover.log.directory(), kept.first_record);
        let path = segment.tombstone();
        let stated = tombstone::read(&segment)
            .map_err(at(&path))
            .map_err(Failed::from)?;
        let plain = self
            .archive
            .as_ref()
            .map(|archive| archive.directory.join(&kept.object));
        Ok(stated.is_some() && !segment.path.exists() && plain.is_none_or(|path| !path.exists()))
    }

    /// Whether a store that has the object may say that its lock has ended.
    fn may_have_ended(&self, kept: &Kept, now: u64) -> bool {
        let until = kept.retain_until.and_then(|until| u64::try_from(until).ok());
        let has_ended = until.is_some_and(|until| now / 1_000_000_000 > until);
        match &kept.stored {
            // One that is not configured any more cannot be asked, and one with this collector's own hold need not be.
            Some(stored) => has_ended && !stored.legal_hold && self.store.is_some(),
            None => true,
        }
    }

    /// Whether a store keeps the object for somebody who may read it.
    async fn is_kept_elsewhere(&self, kept: &Kept) -> Result<bool, Trouble> {
        let (Some(store), Some(stored)) = (&self.store, &kept.stored) else {
            return Ok(false);
        };
        match store.keeping(&kept.object, &stored.version).await? {
            Keeping::Nothing => Ok(false),
            Keeping::Locked(why) => {
                tracing::debug!(
                    segment = kept.facts.segment,
                    why,
                    "the store still keeps what its key opens"
                );
                Ok(true)
            }
        }
    }

    async fn destroy_key(&self, kept: &Kept, keep: Duration) -> Result<(), Failed> {
        let wish = Wish {
            segment: kept.facts.segment,
            reason: format!("retention.keep: {}", norma_settings::words(keep)),
            who: WHO.to_owned(),
        };
        let uid = rustix::process::getuid().as_raw();
        let done = match About::find(&self.remover, &self.keys_dir, kept) {
            Ok(about) => about.destroy(&self.remover, &self.keys_dir, &wish, uid).await,
            Err(error) => Err(error),
        };
        match done {
            Ok(()) => Ok(()),
            Err(ShredError::Failed(error)) => Err(error),
            // A hold keeps it, until that is released.
            Err(ShredError::Refused(why)) => {
                tracing::debug!(segment = wish.segment, why, "a key is kept beyond its time");
                Ok(())
            }
        }
    }
}
