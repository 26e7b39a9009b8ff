//! The log as the rest of the collector sees it: a handle to the one writer.

use super::entry::Entry;
use super::head::Head;
use super::key::{KeyFileError, KeySource};
use super::lock::Lock;
use super::promise::Promises;
use super::recover::{OpenError, at, recover};
use super::rotation::{self, Keys, RotationError};
use super::sealer::{SealError, Sealer, Signing, Told};
use super::segment::Segment;
use super::tlog::{self, Tlog};
use super::watermark::Outbox;
use super::writer::{Request, Writer, WriterSettings};
use crate::durable;
use bytes::Bytes;
use norma_tlog::Note;
use norma_wire::audit::{Rejected, Started, record::Body};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// Requests that may wait for the writer; each holds at most one stream's batch.
const QUEUE: usize = 256;
/// Commits that may wait for the sealer, each at most a few MiB: beyond, the writer waits for it.
const TOLD: usize = 32;

/// A handle to the audit log; clones share one writer.
#[derive(Clone, Debug)]
pub struct AuditLog {
    directory: Arc<Path>,
    requests: mpsc::Sender<Request>,
    head: watch::Receiver<Head>,
    promises: Promises,
    signing: watch::Receiver<Signing>,
    sealer: SyncSender<Told>,
}

/// What a stream delivered at one place of its sequence.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// The place.
    pub sequence: u64,
    /// What was there.
    pub content: Content,
}

/// What is stored for one place of a sequence.
#[derive(Clone, Debug)]
pub enum Content {
    /// An event, byte for byte.
    Event(Bytes),
    /// Why what came was not taken as an event.
    Rejected(Rejected),
}

/// Records that belong to what a stream delivered, and are stored in one commit with it.
#[derive(Clone, Debug, Default)]
pub struct Beside {
    /// They come before the arrivals.
    pub before: Vec<Body>,
    /// They come after the arrivals.
    pub after: Vec<Body>,
}

/// The answer to an append: everything up to `durable_sequence` is on stable storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Highest sequence of the outbox that is stored.
    pub durable_sequence: u64,
    /// How many arrivals had been stored before.
    pub duplicates: u64,
}

/// Nothing of a request was stored.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StorageError {
    /// Writing failed; it may work later.
    #[error("cannot write the audit log: {0}")]
    Write(Arc<io::Error>),
    /// The collector stops.
    #[error("the audit log is closed")]
    Closed,
}

/// How the log is kept.
#[derive(Clone, Debug)]
pub struct AuditSettings {
    /// How it is written.
    pub writer: WriterSettings,
    /// A checkpoint is made at least this often.
    pub checkpoint_interval: Duration,
    /// The key that checkpoints are signed with.
    pub key: KeySource,
    /// The key that is to follow it, which signs as well.
    pub next_key: Option<KeySource>,
    /// Name of the log, which its key carries; made up where it is not given.
    pub origin: Option<String>,
}

/// The running writer and the sealer that follows it, which must be stopped in the end.
#[derive(Debug)]
pub struct Writing {
    requests: mpsc::Sender<Request>,
    thread: JoinHandle<()>,
    sealer: SyncSender<Told>,
    sealing: JoinHandle<()>,
}

/// Opens the log in `directory` for writing, making it where there is none, and starts its writer.
pub fn open(directory: &Path, settings: &AuditSettings) -> Result<(AuditLog, Writing), OpenError> {
    durable::create_folders(directory).map_err(at(directory))?;
    let lock = Lock::take(directory).map_err(at(directory))?;
    let lock = lock.ok_or_else(|| OpenError::Locked(directory.to_owned()))?;
    let tlog = Tlog::open(directory, signing_keys(directory, settings)?).map_err(SealError::from)?;
    let verifier = tlog.keys().verifier();
    let tlog_folder = directory.join(tlog::FOLDER);
    let rotation = tlog.keys().state(&tlog_folder)?;
    let rotations = rotation::read(&tlog_folder)?;
    let promised = match tlog.last() {
        Some(Entry::Head(head)) => Some(Head {
            index: head.records.1,
            hash: head.chain,
        }),
        _ => None,
    };
    let tail = recover(directory, promised)?;
    if let Some(cut) = &tail.recovered {
        tracing::warn!(
            file = cut.file,
            offset = cut.offset,
            bytes = cut.bytes_dropped,
            "cut an unfinished write off the audit log; it was never acknowledged"
        );
    }
    let (publish_note, checkpoint) = watch::channel(None);
    let (tell_signing, signing) = watch::channel(Signing::default());
    let interval = settings.checkpoint_interval;
    let sealing = Sealer::open(directory, interval, tlog, &tail, publish_note, tell_signing)?;
    let (sealer, told) = std::sync::mpsc::sync_channel(TOLD);
    let recovered = tail.recovered.clone();
    let (publish, head) = watch::channel(Head {
        index: tail.state.index,
        hash: tail.state.hash,
    });
    let mut writer = Writer::new(directory, settings.writer, tail, publish, sealer.clone(), lock)
        .map_err(at(directory))?;
    let started = Started {
        collector_version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let first = recovered
        .map(Body::Recovered)
        .into_iter()
        .chain([Body::Started(started)])
        .chain(rotation.map(Body::KeyRotation));
    writer.write_now(first.collect()).map_err(at(directory))?;
    let (requests, queue) = mpsc::channel(QUEUE);
    let thread = named("audit-writer", move || writer.run(queue)).map_err(at(directory))?;
    let sealing = named("audit-sealer", move || sealing.run(&told)).map_err(at(directory))?;
    tracing::info!(log = verifier.name(), "the audit log is open");
    let shared: Arc<Path> = directory.into();
    let log = AuditLog {
        promises: Promises::new(Arc::clone(&shared), verifier, rotations, checkpoint),
        directory: shared,
        requests: requests.clone(),
        head,
        signing,
        sealer: sealer.clone(),
    };
    let writing = Writing {
        requests,
        thread,
        sealer,
        sealing,
    };
    Ok((log, writing))
}

fn signing_keys(directory: &Path, settings: &AuditSettings) -> Result<Keys, OpenError> {
    if directory.join(tlog::FOLDER).join(tlog::CHECKPOINT).exists() && settings.key.is_missing() {
        return Err(OpenError::NoKey {
            directory: directory.to_owned(),
            key: settings.key.clone(),
        });
    }
    let take = |source: &KeySource, origin: Option<&str>| {
        let key = source.open(origin)?;
        source.publish(&key)?;
        Ok::<_, KeyFileError>(key)
    };
    let key = take(&settings.key, settings.origin.as_deref()).map_err(RotationError::from)?;
    let next = settings
        .next_key
        .as_ref()
        .map(|next| take(next, Some(key.name())));
    let next = next.transpose().map_err(RotationError::from)?;
    Ok(Keys::new(key, next)?)
}

fn named(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(work)
}

impl AuditLog {
    /// Stores what a stream of `outbox` delivered, in ascending sequence; returns when it is durable.
    pub async fn append(&self, outbox: Outbox, arrivals: Vec<Arrival>) -> Result<Appended, StorageError> {
        self.append_with(outbox, arrivals, Beside::default()).await
    }

    /// As [`Self::append`], with records that become durable together with the arrivals, or not at all.
    pub async fn append_with(
        &self,
        outbox: Outbox,
        arrivals: Vec<Arrival>,
        beside: Beside,
    ) -> Result<Appended, StorageError> {
        self.ask(|reply| Request::Append {
            outbox,
            arrivals,
            beside,
            reply,
        })
        .await?
    }

    /// Stores something about the collector itself; returns when it is durable.
    pub async fn note(&self, body: Body) -> Result<(), StorageError> {
        self.ask(|reply| Request::Note { body, reply }).await?
    }

    /// Highest sequence of `outbox` that is on stable storage, 0 for none.
    pub async fn watermark(&self, outbox: Outbox) -> Result<u64, StorageError> {
        self.ask(|reply| Request::Watermark { outbox, reply }).await
    }

    /// The newest durable record, now and whenever it changes.
    pub fn head(&self) -> watch::Receiver<Head> {
        self.head.clone()
    }

    /// The checkpoints, for those who remember them.
    pub fn promises(&self) -> &Promises {
        &self.promises
    }

    /// Whether the key of the log signs, now and whenever that changes.
    pub fn signing(&self) -> watch::Receiver<Signing> {
        self.signing.clone()
    }

    /// Keeps a checkpoint with the cosignatures of witnesses, which are a `quorum` or not. Where the sealer has too much
    /// to do they are dropped: the next checkpoint gets new ones.
    pub fn keep_cosigned(&self, note: Note, quorum: bool) {
        if self.sealer.try_send(Told::Cosigned(note, quorum)).is_err() {
            tracing::debug!("cosignatures were not kept");
        }
    }

    /// The first record of the first file that begins after record `index`; `None` where there is none.
    pub fn segment_after(&self, index: u64) -> Option<u64> {
        let segments = Segment::list(&self.directory).ok()?;
        let mut first = segments.iter().map(|segment| segment.first_index);
        first.find(|first| *first > index)
    }

    /// The first record that is there where record `index` is in a segment that policy removed.
    pub fn first_after_removed(&self, index: u64) -> Option<u64> {
        let segments = Segment::known(&self.directory).ok()?;
        let holder = segments
            .iter()
            .rposition(|segment| segment.first_index <= index)?;
        if segments[holder].path.exists() {
            return None;
        }
        let there = segments[holder..].iter().find(|segment| segment.path.exists())?;
        Some(there.first_index)
    }

    /// Where the log lies.
    pub fn directory(&self) -> PathBuf {
        self.directory.to_path_buf()
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, StorageError> {
        let (reply, answer) = oneshot::channel();
        self.requests
            .send(request(reply))
            .await
            .map_err(|_| StorageError::Closed)?;
        answer.await.map_err(|_| StorageError::Closed)
    }
}

impl Writing {
    /// Ends the log with a `stopped` record; requests that are waiting are served first.
    pub async fn stop(self, reason: &str) -> Result<(), StorageError> {
        let (reply, answer) = oneshot::channel();
        let request = Request::Stop {
            reason: reason.to_owned(),
            reply,
        };
        self.requests
            .send(request)
            .await
            .map_err(|_| StorageError::Closed)?;
        let answer = answer.await.map_err(|_| StorageError::Closed)?;
        let joined = tokio::task::spawn_blocking(move || {
            let written = self.thread.join();
            // It may have ended by itself.
            let told = self.sealer.send(Told::Ended).is_ok();
            written.and(self.sealing.join()).map(|()| told)
        });
        if !matches!(joined.await, Ok(Ok(true))) {
            tracing::error!("the writer or the sealer of the audit log ended in a panic");
        }
        answer
    }
}
