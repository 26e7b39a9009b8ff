//! Keeping the spool within its bounds: which events go first, and how each that goes is accounted for.
//!
//! - **Bytes**: the oldest closed segment that has low-priority events is rewritten without them; only when none is
//!   left, the oldest loses its alerts, losses and coverage, too.
//! - **Age**: low-priority events that are older than the bound go. Age is measured by a clock that nobody can set, and
//!   across restarts by the time of the file: a node whose clock is set forward must not throw its events away.
//! - **A full disk**: for an event of high priority, room is made as for the bound in bytes. What rewriting needs is
//!   reserved beforehand.

use super::rewrite::{Job, Rewritten, remove_if_there, rewrite};
use super::{Content, Outbox, PendingLoss, Segment, remove};
use norma_wire::pb::LossCause;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

/// Closed segments that are not acknowledged after this long are packed.
const PACK_AFTER: Duration = Duration::from_secs(if cfg!(test) { 0 } else { 5 });
/// A segment of this part of the greatest age is closed, so that its events can go when they are too old.
const CLOSE_AT: u32 = 8;
/// Reserved for rewriting a segment on a full disk; a segment's high-priority events need far less.
const RESERVE_BYTES: u64 = 256 << 10;
/// 2020-01-01: a file that is older was written with a clock that was not set, and says nothing of its age.
const CLOCK_WAS_SET: Duration = Duration::from_secs(1_577_836_800);

/// When something was last written, by a clock that nobody can set.
#[derive(Clone, Copy, Debug)]
pub(super) struct Written {
    at: Instant,
    before: Duration,
}

impl Written {
    /// Now.
    pub fn now() -> Self {
        Self {
            at: Instant::now(),
            before: Duration::ZERO,
        }
    }

    /// At the time of a file.
    pub fn at(modified: SystemTime) -> Self {
        let plausible = modified >= SystemTime::UNIX_EPOCH + CLOCK_WAS_SET;
        let before = SystemTime::now()
            .duration_since(modified)
            .ok()
            .filter(|_| plausible);
        Self {
            at: Instant::now(),
            before: before.unwrap_or(Duration::ZERO),
        }
    }

    /// How long ago that is.
    pub fn age(&self) -> Duration {
        self.at.elapsed() + self.before
    }
}

impl Outbox {
    /// Drops until the bound in bytes is kept.
    pub(super) fn keep_bound(&mut self) {
        while self.bytes() > self.limits.max_bytes {
            if !self.drop_oldest() {
                return;
            }
        }
    }

    /// Drops low-priority events that are too old.
    pub(super) fn expire(&mut self) {
        let max_age = self.limits.max_age;
        if self.opened.age() > max_age / CLOSE_AT {
            self.close_current();
        }
        loop {
            let old = self
                .droppable(Content::Everything)
                .find(|segment| segment.written.age() > max_age);
            let Some(segment) = old else { return };
            if !self.reduce(&segment, LossCause::OutboxAge) {
                return;
            }
        }
    }

    /// Makes room on a full disk; whether there may be some now.
    pub(super) fn make_room(&mut self) -> bool {
        if self.droppable(Content::Everything).next().is_none() {
            self.close_current();
        }
        let Some(segment) = self.droppable(Content::Everything).next() else {
            return false;
        };
        remove_if_there(&self.reserve_path());
        let made = self.reduce(&segment, LossCause::OutboxBound);
        self.reserve();
        made
    }

    /// Takes the space that rewriting needs on a full disk, if there is any.
    pub(super) fn reserve(&self) {
        let path = self.reserve_path();
        let reserved = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .and_then(|file| {
                let flags = rustix::fs::FallocateFlags::empty();
                Ok(rustix::fs::fallocate(file, flags, 0, RESERVE_BYTES)?)
            });
        if let Err(error) = reserved {
            tracing::debug!(%error, "nothing could be reserved for the outbox");
            remove_if_there(&path);
        }
    }

    /// Takes over what was packed, and has the next segment packed that waits for it.
    pub(super) fn pack(&mut self) {
        if let Some(packed) = self.packer.take() {
            match packed.result {
                Ok(rewritten) => {
                    let index = self.shared.index();
                    let current = index
                        .iter()
                        .find(|segment| segment.first == packed.first && segment.revision == packed.revision)
                        .cloned();
                    drop(index);
                    match current {
                        Some(segment) => self.put_in_place(&segment, &rewritten, segment.content),
                        None => remove_if_there(&rewritten.temporary),
                    }
                }
                Err(error) => tracing::debug!(%error, "a segment of the outbox was not packed"),
            }
        }
        if !self.packer.is_idle() {
            return;
        }
        let acked = self.acked();
        let waits = self
            .closed()
            .find(|segment| !segment.packed && segment.last > acked && segment.written.age() > PACK_AFTER);
        if let Some(segment) = waits {
            if let Some(segment) = self
                .shared
                .index()
                .iter_mut()
                .find(|it| it.first == segment.first)
            {
                // Whatever comes of it, it is not tried again.
                segment.packed = true;
            }
            let job = self.job(&segment, Content::Everything, LossCause::Unspecified, "packing");
            self.packer.pack(job, segment.revision);
        }
    }

    /// Removes segments of which nothing is left and whose loss is on stable storage.
    pub(super) fn remove_empty(&mut self) {
        let durable = *self.shared.durable.borrow();
        let newest = self.shared.index().back().map(|segment| segment.first);
        let done: Vec<Segment> = self
            .closed()
            .filter(|segment| {
                segment.content == Content::Marks
                    && segment.loss_at.is_some_and(|loss| loss <= durable)
                    && Some(segment.first) != newest
            })
            .collect();
        for segment in &done {
            self.shared.index().retain(|it| it.first != segment.first);
            remove(&segment.path);
        }
        if !done.is_empty() {
            self.shared.generation.fetch_add(1, Ordering::AcqRel);
        }
    }

    fn drop_oldest(&mut self) -> bool {
        for content in [Content::Everything, Content::Important] {
            if let Some(victim) = self.droppable(content).next() {
                return self.reduce(&victim, LossCause::OutboxBound);
            }
        }
        false
    }

    /// Drops the events of lowest priority that a segment has; whether that worked.
    fn reduce(&mut self, segment: &Segment, cause: LossCause) -> bool {
        let keep = match segment.content {
            Content::Everything => Content::Important,
            Content::Important | Content::Marks => Content::Marks,
        };
        match rewrite(&self.job(segment, keep, cause, "tmp")) {
            Ok(rewritten) => {
                self.put_in_place(segment, &rewritten, keep);
                true
            }
            Err(error) => {
                tracing::error!(segment = %segment.path.display(), %error, "cannot make room in the outbox");
                false
            }
        }
    }

    fn put_in_place(&mut self, segment: &Segment, rewritten: &Rewritten, content: Content) {
        let placed = std::fs::rename(&rewritten.temporary, &segment.path)
            .and_then(|()| File::open(&self.directory)?.sync_all());
        if let Err(error) = placed {
            tracing::error!(segment = %segment.path.display(), %error, "cannot replace a segment of the outbox");
            remove_if_there(&rewritten.temporary);
            return;
        }
        if let Some(it) = self
            .shared
            .index()
            .iter_mut()
            .find(|it| it.first == segment.first)
        {
            it.bytes = rewritten.bytes;
            it.content = content;
            it.packed = true;
            it.revision += 1;
        }
        self.shared.generation.fetch_add(1, Ordering::AcqRel);
        self.losses
            .extend(rewritten.dropped.iter().map(|mark| PendingLoss {
                loss: mark.into(),
                of: Some(segment.first),
            }));
        // Nothing was dropped, so nothing is waited for.
        if content == Content::Marks
            && rewritten.dropped.is_empty()
            && let Some(it) = self
                .shared
                .index()
                .iter_mut()
                .find(|it| it.first == segment.first)
        {
            it.loss_at.get_or_insert(0);
        }
    }

    fn job(&self, segment: &Segment, keep: Content, cause: LossCause, suffix: &str) -> Job {
        Job {
            path: segment.path.clone(),
            first: segment.first,
            last: segment.last,
            epoch: self.shared.epoch,
            acked: self.acked(),
            keep,
            cause,
            temporary: segment.path.with_extension(suffix),
        }
    }

    /// Closes the segment that is being written, where it has a record.
    fn close_current(&mut self) {
        let has_record = self
            .shared
            .index()
            .back()
            .is_some_and(|segment| segment.last >= segment.first);
        if !has_record {
            return;
        }
        if let Err(error) = self.end_segment() {
            tracing::error!(%error, "cannot bring the outbox to stable storage");
        }
    }

    /// Closed segments that have something to drop, the oldest first. What is acknowledged is not dropped, and the newest
    /// segment keeps telling the last sequence.
    fn droppable(&self, content: Content) -> impl Iterator<Item = Segment> + use<> {
        let acked = self.acked();
        self.closed()
            .filter(move |segment| segment.content == content && segment.last > acked)
    }

    /// Segments that are not being written, the oldest first.
    fn closed(&self) -> impl Iterator<Item = Segment> + use<> {
        let index = self.shared.index();
        let closed = index.len() - usize::from(self.current.is_some());
        let segments: Vec<Segment> = index.iter().take(closed).cloned().collect();
        segments.into_iter()
    }

    fn reserve_path(&self) -> PathBuf {
        self.directory.join("reserve")
    }
}

/// Whether a write failed for want of space.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}
