//! The durable spool between pipeline and collector.
//!
//! An event gets its sequence when it is appended, is shipped only after it is on stable storage, and is
//! removed only after the collector acknowledged it. Layout of the directory:
//!
//! - `NNNNNNNNNNNNNNNNNNNN.spool`: segments, named by the sequence of their first record; the format is
//!   described in [`segment`].
//! - `acked`: highest acknowledged sequence, in decimal. Losing it costs a re-read, not an event.
//! - `lost`: events that could not be stored and are not reported yet, see [`ledger`].
//! - `reserve`: space for rewriting a segment when the disk is full.
//! - `lock`: held by the agent that uses the directory.
//!
//! Priority is high for alerts, losses, coverage and whatever else the agent says of itself, and low for all other
//! events. **When a bound is reached**, in bytes or age, the oldest events of low priority go first ([`bound`]).
//! **When the disk is full**, that is done for an event of high priority; one of low priority is refused and counted
//! in the ledger, whose space is reserved beforehand, and reported when there is room again.
//! **What is dropped is accounted for** by an event of loss with counts by kind and the range of sequences, also
//! after a crash at any point: the segment itself says what was dropped from it ([`rewrite`]), and the ledger is
//! written with each event. Where a crash comes between a report and the ledger's being emptied, a count is reported
//! twice, never not at all.
//! **After a crash**, an unfinished record at the end is cut off. A sequence is never given twice to
//! events that may have been sent, because only what is on stable storage is sent.
//! **Waiting segments are compressed** ([`pack`]).

mod ages;
mod bound;
pub mod ledger;
mod pack;
mod reader;
mod recovery;
mod rewrite;
pub mod segment;
mod sync;
mod writing;

pub use reader::{Batch, SpoolReader};

use crate::clock;
use crate::observation::BootTime;
use ages::Ages;
use bound::Written;
use ledger::Ledger;
use norma_wire::Event;
use norma_wire::pb::{KindCount, Loss, LossCause};
use pack::Packer;
use prost::Message as _;
use segment::{Mark, SegmentFile};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use sync::Syncer;
use tokio::sync::watch;

/// Events that are read at a time to be given new places.
const GIVEN_TOGETHER: u64 = 1024;

/// Bounds of the spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes that all segments take.
    pub max_bytes: u64,
    /// Size at which a segment is closed.
    pub segment_bytes: u64,
    /// Greatest age of events of low priority.
    pub max_age: Duration,
}

/// A spool that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    /// Another agent holds the directory.
    #[error("{} is in use by another agent; give each agent its own state_dir", path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// The operating system refuses.
    #[error("cannot use the outbox at {}: {reason}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Its answer.
        reason: io::Error,
    },
}

/// What had to be repaired when the spool was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repair {
    /// In words.
    pub what: String,
    /// Bytes that were cut off or skipped.
    pub bytes: u64,
}

/// What a segment still has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    /// Events of all priorities.
    Everything,
    /// Events of high priority.
    Important,
    /// Statements of what was dropped, and no event.
    Marks,
}

/// A segment, as the index knows it.
#[derive(Clone, Debug)]
struct Segment {
    path: PathBuf,
    first: u64,
    last: u64,
    bytes: u64,
    content: Content,
    /// It is compressed, or would not become shorter.
    packed: bool,
    /// How often it was rewritten since the spool was opened.
    revision: u32,
    written: Written,
    /// Sequence of the event that reports its newest loss, once that is stored.
    loss_at: Option<u64>,
}

impl Segment {
    fn new(path: PathBuf, first: u64, bytes: u64) -> Self {
        Self {
            path,
            first,
            last: first - 1,
            bytes,
            content: Content::Everything,
            packed: false,
            revision: 0,
            written: Written::now(),
            loss_at: None,
        }
    }
}

/// A loss that is to be reported.
#[derive(Clone, Debug)]
struct PendingLoss {
    loss: Loss,
    /// The segment whose mark states it, by its first sequence.
    of: Option<u64>,
}

impl From<&Mark> for Loss {
    fn from(mark: &Mark) -> Self {
        Self {
            cause: mark.cause,
            counts: named(&mark.counts),
            first_sequence: mark.first,
            last_sequence: mark.last,
            ..Self::default()
        }
    }
}

/// Sequences that cannot be read any more.
#[derive(Debug, Default)]
struct Damage {
    /// What is to be reported.
    pending: Vec<Loss>,
    /// First and last sequence of what was met since the spool was opened: every reading meets it again.
    met: BTreeSet<(u64, u64)>,
}

impl Damage {
    /// Has these sequences reported, once.
    fn meet(&mut self, first: u64, last: u64) {
        if self.met.insert((first, last)) {
            self.pending.push(Loss {
                cause: LossCause::OutboxDamaged as i32,
                first_sequence: first,
                last_sequence: last,
                ..Loss::default()
            });
        }
    }
}

/// What writer, syncer and reader share.
struct Shared {
    epoch: u64,
    index: Mutex<VecDeque<Segment>>,
    /// Changes whenever a segment is rewritten, so that the reader finds its place again.
    generation: AtomicU64,
    durable: watch::Sender<u64>,
    acked: AtomicU64,
    /// Damage that was met.
    damage: Mutex<Damage>,
    /// What the kernel side counted as lost, which goes with each batch.
    kernel_lost: Mutex<Vec<KindCount>>,
}

impl Shared {
    fn index(&self) -> std::sync::MutexGuard<'_, VecDeque<Segment>> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn damage(&self) -> std::sync::MutexGuard<'_, Damage> {
        self.damage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The writing end; owned by the pipeline thread.
pub struct Outbox {
    directory: PathBuf,
    node: String,
    limits: Limits,
    shared: Arc<Shared>,
    current: Option<SegmentFile>,
    next: u64,
    acked_on_disk: u64,
    ledger: Ledger,
    losses: Vec<PendingLoss>,
    /// When the segment that is being written was begun.
    opened: Written,
    syncer: Syncer,
    packer: Packer,
    ages: Ages,
    _lock: File,
}

impl Outbox {
    /// Opens or makes the spool in `directory` and repairs what a crash left.
    pub fn open(directory: &Path, node: &str, limits: Limits) -> Result<(Self, Vec<Repair>), OutboxError> {
        let fail = |path: &Path| {
            let path = path.to_owned();
            move |reason| OutboxError::Io { path, reason }
        };
        std::fs::create_dir_all(directory).map_err(fail(directory))?;
        let lock = recovery::lock(directory)?;
        let ledger = Ledger::open(&directory.join("lost"));
        let mut repairs = Vec::new();
        let acked = std::fs::read_to_string(directory.join("acked"))
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(0);
        let recovery::Found {
            epoch,
            segments,
            losses,
            mut damage,
        } = recovery::recover(directory, acked, &mut repairs).map_err(fail(directory))?;
        // Without a segment this is a new spool, whatever an older one had acknowledged.
        let acked = if segments.is_empty() { 0 } else { acked };
        let last = segments.back().map_or(acked, |segment| segment.last.max(acked));
        damage.pending.retain(|loss| loss.last_sequence > acked);
        let (durable, _) = watch::channel(last);
        let shared = Arc::new(Shared {
            epoch,
            index: Mutex::new(segments),
            generation: AtomicU64::new(0),
            durable,
            acked: AtomicU64::new(acked),
            damage: Mutex::new(damage),
            kernel_lost: Mutex::default(),
        });
        let syncer = Syncer::start(Arc::clone(&shared)).map_err(fail(directory))?;
        let mut outbox = Self {
            directory: directory.to_owned(),
            node: node.to_owned(),
            limits,
            shared,
            current: None,
            next: last + 1,
            acked_on_disk: acked,
            ledger,
            losses,
            opened: Written::now(),
            syncer,
            packer: Packer::start().map_err(fail(directory))?,
            ages: Ages::default(),
            _lock: lock,
        };
        outbox.note_oldest();
        outbox.reserve();
        Ok((outbox, repairs))
    }

    /// Epoch of this spool: minted when it was made.
    pub fn epoch(&self) -> u64 {
        self.shared.epoch
    }

    /// Sequence that the next event will get.
    pub fn next_sequence(&self) -> u64 {
        self.next
    }

    /// Highest acknowledged sequence.
    pub fn acked(&self) -> u64 {
        self.shared.acked.load(Ordering::Acquire)
    }

    /// Age of the oldest event that is not acknowledged, to within a second; `None` where all are.
    pub fn oldest(&mut self, now: BootTime) -> Option<Duration> {
        let oldest = self.acked() + 1;
        (oldest < self.next).then(|| self.ages.of(oldest, now)).flatten()
    }

    /// Notes when that happened of what was there before. Kernel time may be another boot's, so the wall clock tells.
    fn note_oldest(&mut self) {
        let oldest = self.acked() + 1;
        if oldest >= self.next {
            return;
        }
        // What cannot be read any more is met, and reported, when it is shipped.
        let Ok(events) = self.reader().range(oldest, oldest) else {
            return;
        };
        if let Some(event) = events.first().and_then(|event| Event::decode(event.clone()).ok()) {
            let wall_ns = i128::from(event.wall_ns) - i128::from(clock::offset());
            self.ages.note(oldest, wall_ns);
        }
    }

    /// Bytes that the segments take.
    pub fn bytes(&self) -> u64 {
        self.shared.index().iter().map(|segment| segment.bytes).sum()
    }

    /// Events that were refused since they were last reported.
    pub fn refused(&self) -> u64 {
        self.ledger.total()
    }

    /// States what the kernel side has lost since the agent started, by kind.
    pub fn note_kernel_losses(&self, lost: Vec<KindCount>) {
        *self
            .shared
            .kernel_lost
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = lost;
    }

    /// A reading end for shipping.
    pub fn reader(&self) -> SpoolReader {
        SpoolReader::new(Arc::clone(&self.shared))
    }

    /// Gives the event its place and stores it; `false` where it could not be stored, in which case it is
    /// counted and reported later.
    pub fn append(&mut self, event: &mut Event) -> bool {
        self.report_losses();
        let worth_room = keeps(event);
        self.store(event, worth_room)
    }

    /// Starts to bring what was appended to stable storage; to be called after each round of the pipeline.
    pub fn sync_soon(&mut self) {
        if let Some(current) = &self.current {
            self.syncer.request(current.handle(), self.next - 1);
        }
    }

    /// Removes what was acknowledged, keeps the bound, and reports losses as soon as there is room.
    pub fn tick(&mut self) {
        self.release();
        self.pack();
        self.expire();
        self.keep_bound();
        self.report_losses();
        self.remove_empty();
        self.ledger.sync();
    }

    /// Skips sequences that the collector holds although this spool never gave them (its disk was set back
    /// to an earlier state).
    fn skip_to(&mut self, durable_at_collector: u64) {
        if durable_at_collector < self.next {
            return;
        }
        if let Err(error) = self.end_segment() {
            tracing::error!(%error, "cannot bring the outbox to stable storage");
            self.current = None;
        }
        self.next = durable_at_collector + 1;
    }

    /// Gives the events that were not acknowledged places after `holds`, up to which the collector holds events of another
    /// life or copy of this outbox under the same epoch. How many there were; `None` where there is nothing to do.
    ///
    /// A crash on the way may give some of them places twice, and loses none.
    pub fn give_anew(&mut self, holds: u64) -> Option<u64> {
        let acked = self.acked();
        if acked >= holds {
            return None;
        }
        if let Err(error) = self.end_segment() {
            tracing::error!(%error, "cannot bring the outbox to stable storage; trying again");
            return None;
        }
        let through = holds.min(self.next - 1);
        self.skip_to(holds);
        let reader = self.reader();
        let mut given = 0;
        let mut next = acked + 1;
        while next <= through {
            let last = through.min(next + GIVEN_TOGETHER - 1);
            let events = match reader.range(next, last) {
                Ok(events) => events,
                Err(error) => {
                    tracing::error!(%error, "cannot read the outbox; trying again");
                    return None;
                }
            };
            for event in events {
                match Event::decode(event) {
                    Ok(mut event) => given += u64::from(self.append(&mut event)),
                    Err(error) => tracing::error!(%error, "an event of the outbox cannot be read"),
                }
            }
            next = last + 1;
        }
        if let Err(error) = self.end_segment() {
            tracing::error!(%error, "cannot bring the outbox to stable storage; trying again");
            return None;
        }
        reader.acknowledge(holds);
        self.save_acked();
        Some(given)
    }

    /// Brings everything to stable storage; for the end.
    pub fn close(&mut self) {
        self.report_losses();
        self.ledger.sync();
        if let Err(error) = self.end_segment() {
            tracing::error!(%error, "cannot bring the outbox to stable storage");
        }
        self.save_acked();
    }
}

/// Counts by kind as the wire has them.
pub fn named(counts: &BTreeMap<String, u64>) -> Vec<KindCount> {
    counts
        .iter()
        .map(|(kind, count)| KindCount {
            kind: kind.clone(),
            count: *count,
        })
        .collect()
}

/// Name of an event kind, such as `open`.
pub fn kind_name(kind: i32) -> String {
    norma_wire::json::name::<norma_wire::pb::Kind>(kind)
}

/// Kept longest when room must be made: alerts, and what admits a loss.
fn keeps(event: &Event) -> bool {
    use norma_wire::pb::Kind;
    let alert = event
        .verdict
        .as_ref()
        .is_some_and(norma_wire::id::calls_for_action);
    let telemetry = [
        Kind::Exec,
        Kind::Exit,
        Kind::Open,
        Kind::Connect,
        Kind::Listen,
        Kind::File,
        Kind::Socket,
        Kind::Dns,
        Kind::FileHash,
        Kind::Rollup,
    ];
    alert || !telemetry.iter().any(|kind| *kind as i32 == event.kind)
}

fn remove(path: &Path) {
    if let Err(error) = std::fs::remove_file(path) {
        tracing::warn!(segment = %path.display(), %error, "cannot remove an outbox segment");
    }
}

#[cfg(test)]
#[path = "outbox/tests.rs"]
mod tests;
