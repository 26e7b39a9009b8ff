//! The log as the rest of the collector sees it: a handle to the one writer.

use super::head::Head;
use super::lock::Lock;
use super::recover::{OpenError, at, recover};
use super::watermark::Outbox;
use super::writer::{Request, Writer, WriterSettings};
use bytes::Bytes;
use norma_wire::audit::{Rejected, Started, record::Body};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use tokio::sync::{mpsc, oneshot, watch};

/// Requests that may wait for the writer; each holds at most one stream's batch.
const QUEUE: usize = 256;

/// A handle to the audit log; clones share one writer.
#[derive(Clone, Debug)]
pub struct AuditLog {
    directory: Arc<Path>,
    requests: mpsc::Sender<Request>,
    head: watch::Receiver<Head>,
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

/// The running writer, which must be stopped in the end.
#[derive(Debug)]
pub struct Writing {
    requests: mpsc::Sender<Request>,
    thread: JoinHandle<()>,
}

/// Opens the log in `directory` for writing, making it where there is none, and starts its writer.
pub fn open(directory: &Path, settings: WriterSettings) -> Result<(AuditLog, Writing), OpenError> {
    fs::create_dir_all(directory).map_err(at(directory))?;
    let lock = Lock::take(directory).map_err(at(directory))?;
    let lock = lock.ok_or_else(|| OpenError::Locked(directory.to_owned()))?;
    let tail = recover(directory)?;
    if let Some(cut) = &tail.recovered {
        tracing::warn!(
            file = cut.file,
            offset = cut.offset,
            bytes = cut.bytes_dropped,
            "cut an unfinished write off the audit log; it was never acknowledged"
        );
    }
    let recovered = tail.recovered.clone();
    let (publish, head) = watch::channel(Head {
        index: tail.state.index,
        hash: tail.state.hash,
    });
    let mut writer = Writer::new(directory, settings, tail, publish, lock).map_err(at(directory))?;
    let started = Started {
        collector_version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let first = recovered
        .map(Body::Recovered)
        .into_iter()
        .chain([Body::Started(started)]);
    writer.write_now(first.collect()).map_err(at(directory))?;
    let (requests, queue) = mpsc::channel(QUEUE);
    let thread = std::thread::Builder::new()
        .name("audit-writer".to_owned())
        .spawn(move || writer.run(queue))
        .map_err(at(directory))?;
    let log = AuditLog {
        directory: directory.into(),
        requests: requests.clone(),
        head,
    };
    Ok((log, Writing { requests, thread }))
}

impl AuditLog {
    /// Stores what a stream of `outbox` delivered, in ascending sequence; returns when it is durable.
    pub async fn append(&self, outbox: Outbox, arrivals: Vec<Arrival>) -> Result<Appended, StorageError> {
        self.ask(|reply| Request::Append {
            outbox,
            arrivals,
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
        let joined = tokio::task::spawn_blocking(move || self.thread.join()).await;
        if !matches!(joined, Ok(Ok(()))) {
            tracing::error!("the writer of the audit log ended in a panic");
        }
        answer
    }
}
