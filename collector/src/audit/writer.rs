//! The one writer: takes requests, writes them together, syncs once, answers.

use super::format::{FORMAT, Hash, MAGIC, MAX_PAYLOAD, push_frame};
use super::head::Head;
use super::lock::Lock;
use super::log::{Appended, Arrival, Beside, Content, StorageError};
use super::recover::Tail;
use super::scan::State;
use super::sealer::Told;
use super::segment::Segment;
use super::watermark::{Outbox, Watermarks};
use crate::durable::{self, Sync};
use bytes::Bytes;
use norma_tlog::Hash as Leaf;
use norma_wire::audit::{FileHeader, Gap, Record, Stopped, record::Body};
use prost::Message as _;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout_at};

/// A commit is not made to wait for more once it has this much.
const COMMIT_BYTES: usize = 8 << 20;
/// How often the head file follows the log.
const HEAD_INTERVAL: Duration = Duration::from_secs(1);

/// How the log is written.
#[derive(Clone, Copy, Debug)]
pub struct WriterSettings {
    /// A file that has reached this many bytes is followed by a new one.
    pub segment_bytes: u64,
    /// So is one that was begun this long ago, once it has more than its header.
    pub segment_age: Duration,
    /// At least this long from one sync to the next; what comes meanwhile shares the next one.
    pub commit_interval: Duration,
}

/// What the writer is asked.
#[derive(Debug)]
pub enum Request {
    /// Store arrivals of an outbox.
    Append {
        /// Whose.
        outbox: Outbox,
        /// What.
        arrivals: Vec<Arrival>,
        /// What else becomes durable with them.
        beside: Beside,
        /// Answered when durable.
        reply: oneshot::Sender<Result<Appended, StorageError>>,
    },
    /// Store a record about the collector.
    Note {
        /// What.
        body: Body,
        /// Answered when durable.
        reply: oneshot::Sender<Result<(), StorageError>>,
    },
    /// How far an outbox is stored.
    Watermark {
        /// Which.
        outbox: Outbox,
        /// Answered at once.
        reply: oneshot::Sender<u64>,
    },
    /// End.
    Stop {
        /// For the `stopped` record.
        reason: String,
        /// Answered when durable.
        reply: oneshot::Sender<Result<(), StorageError>>,
    },
}

type Answer = Box<dyn FnOnce(Result<(), StorageError>) + Send>;

/// The state of the writer.
#[derive(Debug)]
pub struct Writer {
    directory: PathBuf,
    settings: WriterSettings,
    newest: Option<Open>,
    state: State,
    published: watch::Sender<Head>,
    sealer: SyncSender<Told>,
    head_written: Head,
    _lock: Lock,
}

/// The file being written.
#[derive(Debug)]
struct Open {
    file: File,
    segment: Segment,
    /// Bytes that are durable.
    length: u64,
    /// Bytes may lie after `length` that belong to no record.
    dirty: bool,
    /// When its header was written, nanoseconds since 1970.
    begun_wall_ns: u64,
}

/// Records of one commit, not yet written.
#[derive(Default)]
struct Staged {
    bytes: Vec<u8>,
    /// Of the records in `bytes`.
    leaves: Vec<Leaf>,
    index: u64,
    hash: Hash,
    marks: Watermarks,
    answers: Vec<Answer>,
}

impl Writer {
    /// A writer that goes on where `tail` ends.
    pub fn new(
        directory: &Path,
        settings: WriterSettings,
        tail: Tail,
        published: watch::Sender<Head>,
        sealer: SyncSender<Told>,
        lock: Lock,
    ) -> io::Result<Self> {
        let newest = match tail.newest {
            Some((segment, length)) => {
                let file = OpenOptions::new().write(true).open(&segment.path)?;
                Some(Open {
                    file,
                    segment,
                    length,
                    dirty: false,
                    begun_wall_ns: tail.begun_wall_ns,
                })
            }
            None => None,
        };
        Ok(Self {
            directory: directory.to_owned(),
            settings,
            newest,
            state: tail.state,
            published,
            sealer,
            head_written: Head::default(),
            _lock: lock,
        })
    }

    /// Writes records without waiting for company.
    pub fn write_now(&mut self, bodies: Vec<Body>) -> io::Result<()> {
        let mut staged = self.stage()?;
        for body in bodies {
            staged.push(body);
        }
        self.commit(&mut staged)
    }

    /// Serves requests until asked to stop or until nobody can ask any more.
    pub fn run(mut self, mut queue: mpsc::Receiver<Request>) {
        let runtime = match tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
        {
            Ok(runtime) => runtime,
            Err(error) => {
                tracing::error!(%error, "cannot start the writer of the audit log");
                return;
            }
        };
        runtime.block_on(async {
            let mut last_sync = Instant::now();
            while let Some(requests) = self.gather(&mut queue, last_sync).await {
                last_sync = Instant::now();
                if self.serve(requests) {
                    break;
                }
            }
        });
    }

    /// Waits for a request, then for more until the next sync is due; `None` when nobody can ask any more.
    async fn gather(
        &mut self,
        queue: &mut mpsc::Receiver<Request>,
        last_sync: Instant,
    ) -> Option<Vec<Request>> {
        let first = loop {
            match timeout_at(Instant::now() + HEAD_INTERVAL, queue.recv()).await {
                Ok(request) => break request?,
                Err(_) => self.idle(),
            }
        };
        let due = last_sync + self.settings.commit_interval;
        let mut bytes = first.size();
        let mut requests = vec![first];
        while bytes < COMMIT_BYTES {
            match timeout_at(due, queue.recv()).await {
                Ok(Some(request)) => {
                    bytes += request.size();
                    requests.push(request);
                }
                Ok(None) | Err(_) => break,
            }
        }
        Some(requests)
    }

    /// Stores what `requests` ask for and answers them; true when one of them was to stop.
    fn serve(&mut self, requests: Vec<Request>) -> bool {
        let mut stop = false;
        let mut staged = match self.stage() {
            Ok(staged) => staged,
            Err(error) => {
                let error = Arc::new(error);
                for request in requests {
                    stop |= self.refuse(request, &error);
                }
                return stop;
            }
        };
        for request in requests {
            match request {
                Request::Append {
                    outbox,
                    arrivals,
                    beside,
                    reply,
                } => {
                    beside.before.into_iter().for_each(|body| staged.push(body));
                    let appended = staged.take(outbox, arrivals, &self.state);
                    beside.after.into_iter().for_each(|body| staged.push(body));
                    staged
                        .answers
                        .push(Box::new(move |result| send(reply, result.map(|()| appended))));
                }
                Request::Note { body, reply } => {
                    staged.push(body);
                    staged.answers.push(Box::new(move |result| send(reply, result)));
                }
                Request::Watermark { outbox, reply } => send(reply, self.state.watermarks.get(&outbox)),
                Request::Stop { reason, reply } => {
                    staged.push(Body::Stopped(Stopped { reason }));
                    staged.answers.push(Box::new(move |result| send(reply, result)));
                    stop = true;
                }
            }
        }
        let result = self
            .commit(&mut staged)
            .map_err(|error| StorageError::Write(Arc::new(error)));
        if let Err(error) = &result {
            tracing::error!(%error, "nothing is acknowledged until writing works again");
        }
        if stop {
            self.write_head(Sync::Now);
        }
        for answer in staged.answers {
            answer(result.clone());
        }
        stop
    }

    /// Answers a request that cannot be stored; true when it was to stop.
    fn refuse(&self, request: Request, error: &Arc<io::Error>) -> bool {
        let error = StorageError::Write(Arc::clone(error));
        match request {
            Request::Append { reply, .. } => send(reply, Err(error)),
            Request::Note { reply, .. } => send(reply, Err(error)),
            Request::Watermark { outbox, reply } => send(reply, self.state.watermarks.get(&outbox)),
            Request::Stop { reply, .. } => {
                send(reply, Err(error));
                return true;
            }
        }
        false
    }

    /// Makes the newest file ready to be written, and begins a commit.
    fn stage(&mut self) -> io::Result<Staged> {
        if self.is_complete() {
            self.rotate()?;
        }
        Ok(Staged {
            index: self.state.index,
            hash: self.state.hash,
            ..Staged::default()
        })
    }

    /// Whether the newest file gets no more records.
    fn is_complete(&self) -> bool {
        self.newest.as_ref().is_none_or(|open| {
            let age = crate::clock::wall_ns().saturating_sub(open.begun_wall_ns);
            let has_more = self.state.index > open.segment.first_index;
            open.length >= self.settings.segment_bytes
                || (has_more && u128::from(age) >= self.settings.segment_age.as_nanos())
        })
    }

    /// What is done while nobody asks for anything.
    fn idle(&mut self) {
        if self.newest.is_some()
            && self.is_complete()
            && let Err(error) = self.rotate()
        {
            tracing::error!(%error, "cannot begin a new file of the audit log; trying again");
        }
        self.write_head(Sync::Lazy);
    }

    fn commit(&mut self, staged: &mut Staged) -> io::Result<()> {
        let Some(open) = &mut self.newest else {
            return Err(io::Error::other("no file is open"));
        };
        if staged.bytes.is_empty() {
            return Ok(());
        }
        open.append(&staged.bytes)?;
        self.state.index = staged.index;
        self.state.hash = staged.hash;
        self.state.watermarks.merge(std::mem::take(&mut staged.marks));
        let head = Head {
            index: self.state.index,
            hash: self.state.hash,
        };
        self.published.send_replace(head);
        let (frames, leaves) = (
            std::mem::take(&mut staged.bytes),
            std::mem::take(&mut staged.leaves),
        );
        self.tell(Told::Durable(frames.into(), leaves));
        Ok(())
    }

    /// Tells the sealer; it only ends after this writer.
    fn tell(&self, told: Told) {
        if self.sealer.send(told).is_err() {
            tracing::error!("the sealer of the audit log is gone; no more checkpoints until the next start");
        }
    }

    /// Begins a new file; its header is durable before anything is written after it.
    fn rotate(&mut self) -> io::Result<()> {
        let index = self.state.index + 1;
        let segment = Segment::new(&self.directory, index);
        let header = FileHeader {
            format: FORMAT,
            previous_hash: self.state.hash.0.to_vec(),
            watermarks: (&self.state.watermarks).into(),
            collector_version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let mut bytes = MAGIC.to_vec();
        let begun_wall_ns = crate::clock::wall_ns();
        let payload = encode(index, begun_wall_ns, Body::Header(header));
        if payload.len() > MAX_PAYLOAD {
            return Err(io::Error::other(
                "too many epochs to state their watermarks in one record",
            ));
        }
        let (leaf, hash) = push_frame(&mut bytes, &self.state.hash, &payload);
        let file = match create(&segment.path, &bytes) {
            Ok(file) => file,
            Err(error) => {
                if let Err(remove) = fs::remove_file(&segment.path)
                    && remove.kind() != io::ErrorKind::NotFound
                {
                    tracing::warn!(%remove, file = %segment.path.display(), "cannot remove an unfinished file");
                }
                return Err(error);
            }
        };
        self.state.index = index;
        self.state.hash = hash;
        self.newest = Some(Open {
            file,
            segment,
            length: bytes.len() as u64,
            dirty: false,
            begun_wall_ns,
        });
        self.tell(Told::Begun(index));
        self.tell(Told::Durable(Bytes::from(bytes).slice(MAGIC.len()..), vec![leaf]));
        self.write_head(Sync::Lazy);
        Ok(())
    }

    fn write_head(&mut self, sync: Sync) {
        let head = Head {
            index: self.state.index,
            hash: self.state.hash,
        };
        if head == self.head_written && sync == Sync::Lazy {
            return;
        }
        match head.write(&self.directory, sync) {
            Ok(()) => self.head_written = head,
            Err(error) => tracing::warn!(%error, "cannot write the head of the audit log; it lags behind"),
        }
    }
}

impl Open {
    /// Writes and syncs `bytes`, or leaves the file as it was.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.dirty {
            self.cut_back()?;
        }
        self.dirty = true;
        let written = self
            .file
            .write_all_at(bytes, self.length)
            .and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            if let Err(cut) = self.cut_back() {
                let file = self.segment.path.display();
                tracing::error!(%cut, %file, "cannot cut a failed write off; trying again before the next one");
            }
            return Err(error);
        }
        self.dirty = false;
        self.length += bytes.len() as u64;
        Ok(())
    }

    fn cut_back(&mut self) -> io::Result<()> {
        self.file.set_len(self.length)?;
        self.file.sync_all()?;
        self.dirty = false;
        Ok(())
    }
}

impl Staged {
    fn push(&mut self, body: Body) {
        self.index += 1;
        let payload = encode(self.index, crate::clock::wall_ns(), body);
        let (leaf, hash) = push_frame(&mut self.bytes, &self.hash, &payload);
        self.leaves.push(leaf);
        self.hash = hash;
    }

    /// Stages what is new among `arrivals`; gives what is true once it is durable.
    fn take(&mut self, outbox: Outbox, arrivals: Vec<Arrival>, stored: &State) -> Appended {
        let mut mark = self.marks.get(&outbox).max(stored.watermarks.get(&outbox));
        let mut duplicates = 0;
        for Arrival { sequence, content } in arrivals {
            if sequence <= mark {
                duplicates += 1;
                continue;
            }
            if sequence > mark + 1 {
                let (node, epoch) = (outbox.node.clone(), outbox.epoch);
                let last_sequence = sequence - 1;
                self.push(Body::Gap(Gap {
                    node,
                    epoch,
                    first_sequence: mark + 1,
                    last_sequence,
                }));
            }
            self.push(match content {
                Content::Event(bytes) => Body::Event(bytes),
                Content::Rejected(rejected) => Body::Rejected(rejected),
            });
            mark = sequence;
        }
        if mark > 0 {
            self.marks.set(outbox, mark);
        }
        Appended {
            durable_sequence: mark,
            duplicates,
        }
    }
}

impl Request {
    fn size(&self) -> usize {
        const RECORD: usize = 64;
        match self {
            Self::Append { arrivals, .. } => arrivals
                .iter()
                .map(|arrival| match &arrival.content {
                    Content::Event(bytes) => bytes.len() + RECORD,
                    Content::Rejected(_) => 4 * RECORD,
                })
                .sum(),
            // Nothing can share a commit with the end of the log.
            Self::Stop { .. } => COMMIT_BYTES,
            Self::Note { .. } | Self::Watermark { .. } => RECORD,
        }
    }
}

fn encode(index: u64, received_wall_ns: u64, body: Body) -> Vec<u8> {
    Record {
        index,
        received_wall_ns,
        body: Some(body),
    }
    .encode_to_vec()
}

fn create(path: &Path, bytes: &[u8]) -> io::Result<File> {
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o640)
        .open(path)?;
    file.write_all_at(bytes, 0)?;
    file.sync_all()?;
    durable::sync_directory(path)?;
    Ok(file)
}

/// Answers one who may have gone away.
fn send<T>(reply: oneshot::Sender<T>, value: T) {
    if reply.send(value).is_err() {
        tracing::trace!("nobody waits for this answer of the audit log any more");
    }
}
