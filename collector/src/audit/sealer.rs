//! What makes the log checkable from outside: a thread that follows the writer, seals segments and signs
//! checkpoints.
//!
//! It is told what became durable, in order. A file that was followed by another is sealed: its manifest becomes
//! durable, then its entry in the tlog, then a checkpoint over that. Between seals, a head of the open segment and a
//! checkpoint are made at an interval, whether or not anything happened. Start-up does what a crash left undone: a
//! file without a manifest gets one, a manifest without an entry an entry. Files of collectors that knew no manifests
//! are sealed in the same way.
//!
//! Nothing here delays an acknowledgement; what cannot be written (disk full) is tried again at the next interval.

use super::entry::{Entry, OpenHead, Sealed};
use super::format::Frame;
use super::frames::Place;
use super::key::TokenError;
use super::manifest::Manifest;
use super::recover::Tail;
use super::scan::{Defect, Scan};
use super::segment::Segment;
use super::summary::Digested;
use super::tlog::{CheckpointError, Tlog, TlogError};
use crate::durable;
use bytes::Bytes;
use norma_tlog::{Hash, Note};
use norma_wire::audit::Record;
use prost::Message as _;
use sha2::{Digest as _, Sha256};
use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// What the sealer is told.
#[derive(Debug)]
pub enum Told {
    /// A new file was begun with this record; its frame follows.
    Begun(u64),
    /// These frames became durable; their leaves.
    Durable(Bytes, Vec<Hash>),
    /// Witnesses cosigned a checkpoint, and whether they are a quorum.
    Cosigned(Note, bool),
    /// The writer has ended.
    Ended,
}

/// Why sealing cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The tlog.
    #[error(transparent)]
    Tlog(#[from] TlogError),
    /// The key, which is in a token.
    #[error("the checkpoint cannot be signed: {0}")]
    Sign(#[from] TokenError),
    /// A file cannot be read or written.
    #[error("cannot use {}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// A segment that is to be sealed is not what was written.
    #[error("cannot seal {}: at byte {offset}: {defect}; nothing of it was changed. Run `norma-collector audit verify`; \
         put the file back from a backup, or move the audit directory away to begin a new log", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where the bad record begins.
        offset: u64,
        /// What is wrong.
        defect: Defect,
    },
    /// Files and tlog do not belong together.
    #[error("{}: {what}; nothing was changed. Run `norma-collector audit verify`; put the directory back from a \
         backup as a whole, or move it away to begin a new log", path.display())]
    Apart {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

/// Whether the key of the log signs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signing {
    /// Why it did not sign the last time that it was asked.
    pub fault: Option<String>,
    /// Checkpoints that it did not sign since the start.
    pub failures: u64,
}

impl From<CheckpointError> for SealError {
    fn from(error: CheckpointError) -> Self {
        match error {
            CheckpointError::Tlog(error) => Self::Tlog(error),
            CheckpointError::Sign(error) => Self::Sign(error),
        }
    }
}

/// The state of the sealer.
#[derive(Debug)]
pub struct Sealer {
    directory: PathBuf,
    interval: Duration,
    tlog: Tlog,
    /// Digest of the newest manifest that is in the tlog.
    previous: Hash,
    /// Files that are to be sealed, in order.
    complete: VecDeque<Digested>,
    open: Option<Digested>,
    published: watch::Sender<Option<Note>>,
    signing: watch::Sender<Signing>,
}

impl Sealer {
    /// Opens the tlog of an audit directory that ends with `tail`, and seals what is to be sealed.
    pub fn open(
        directory: &Path,
        interval: Duration,
        tlog: Tlog,
        tail: &Tail,
        published: watch::Sender<Option<Note>>,
        signing: watch::Sender<Signing>,
    ) -> Result<Self, SealError> {
        let mut sealer = Self {
            directory: directory.to_owned(),
            interval,
            tlog,
            previous: Hash::default(),
            complete: VecDeque::new(),
            open: None,
            published,
            signing,
        };
        // Those that policy removed are sealed, and have their manifests.
        let segments = Segment::known(directory).map_err(io_error(directory))?;
        let sealed = sealer.tlog.sealed();
        if sealed > 0 && sealed >= segments.len() as u64 {
            let what = format!(
                "the tlog has {sealed} sealed segments and a newer one that is open, and only {} files are there: \
                 segments were removed",
                segments.len()
            );
            return Err(apart(directory, what));
        }
        if let Some(last) = sealed.checked_sub(1) {
            sealer.previous = manifest_digest(&segments[last as usize])?;
            if let Some(Entry::Segment(entry)) = sealer.tlog.last()
                && entry.manifest != sealer.previous
            {
                let what = "it is not the manifest that the tlog names".to_owned();
                return Err(apart(&segments[last as usize].manifest(), what));
            }
        }
        // A manifest is made right before its entry, so that at most one can be ahead of the tlog.
        if let Some(ahead) = segments
            .iter()
            .skip(sealed as usize + 1)
            .find(|segment| segment.manifest().exists())
        {
            let what =
                format!("the tlog ends with segment {sealed}, which is before this one: its end was removed");
            return Err(apart(&ahead.manifest(), what));
        }
        let unsealed = (segments.len() as u64).saturating_sub(sealed + 1);
        if unsealed > 1 {
            tracing::info!(
                files = unsealed,
                "sealing files of the audit log that have no manifest yet"
            );
        }
        for segment in segments.iter().skip(sealed as usize) {
            let newest = tail.newest.as_ref().filter(|(newest, _)| newest == segment);
            let summary = read(segment, newest.map(|(_, length)| *length))?;
            if newest.is_some() {
                sealer.open = Some(summary);
            } else {
                sealer.complete.push_back(summary);
                sealer.seal()?;
            }
        }
        Ok(sealer)
    }

    /// Works until the writer has ended.
    pub fn run(mut self, told: &Receiver<Told>) {
        self.checkpoint();
        let mut due = Instant::now() + self.interval;
        loop {
            match told.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Ok(Told::Begun(first)) => self.begin(first),
                Ok(Told::Durable(frames, leaves)) => self.follow(&frames, leaves),
                Ok(Told::Cosigned(note, quorum)) => {
                    if let Err(error) = self.tlog.cosigned(&note, quorum) {
                        tracing::error!(%error, "cannot keep the cosignatures of witnesses");
                    }
                    continue;
                }
                Ok(Told::Ended) | Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {}
            }
            if !self.complete.is_empty() || Instant::now() >= due {
                self.checkpoint();
                due = Instant::now() + self.interval;
            }
        }
        self.checkpoint();
    }

    fn begin(&mut self, first: u64) {
        self.complete.extend(self.open.replace(Digested::new(first)));
    }

    fn follow(&mut self, frames: &Bytes, leaves: Vec<Hash>) {
        let Some(open) = &mut self.open else {
            tracing::error!("records without a file");
            return;
        };
        let mut rest = frames.as_ref();
        for leaf in leaves {
            let Some(frame) = Frame::take(&mut rest, leaf) else {
                tracing::error!("more leaves than records");
                return;
            };
            match Record::decode(frames.slice_ref(frame.payload)) {
                Ok(record) => open.follow(&frame, &record, Place::of(&record).as_ref()),
                Err(error) => tracing::error!(%error, "the writer wrote what is not a record"),
            }
        }
    }

    /// Seals what is complete, binds what is open, and signs.
    fn checkpoint(&mut self) {
        let done = self.seal().and_then(|()| {
            if let Some(head) = self.head() {
                self.tlog.append(Entry::Head(head))?;
            }
            Ok(self.tlog.sign()?)
        });
        match done {
            Ok(note) => {
                self.tell_signing(None);
                self.published.send_replace(Some(note));
            }
            Err(error) => {
                tracing::error!(%error, "no checkpoint of the audit log; trying again");
                if let SealError::Sign(fault) = error {
                    self.tell_signing(Some(fault.to_string()));
                }
            }
        }
    }

    /// Tells whether the key signed. What the disk refuses says nothing of the key.
    fn tell_signing(&self, fault: Option<String>) {
        self.signing.send_if_modified(|signing| {
            let is_news = signing.fault != fault;
            signing.failures += u64::from(fault.is_some());
            signing.fault = fault;
            is_news
        });
    }

    fn seal(&mut self) -> Result<(), SealError> {
        while let Some(summary) = self.complete.front() {
            let number = self.tlog.sealed();
            let manifest = Manifest::of(summary, number, self.previous);
            let digest = manifest.digest();
            let segment = Segment::new(&self.directory, summary.first);
            let path = segment.manifest();
            let text = manifest.to_string();
            match fs::read(&path) {
                Ok(there) if there == text.as_bytes() => {
                    durable::sync_directory(&path).map_err(io_error(&path))?;
                }
                Ok(_) => return Err(apart(&path, "it is not the manifest of this segment".to_owned())),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    durable::create(&path, text.as_bytes(), 0o640).map_err(io_error(&path))?;
                }
                Err(error) => return Err(io_error(&path)(error)),
            }
            self.tlog.append(Entry::Segment(Sealed {
                segment: number,
                records: manifest.records,
                root: manifest.root,
                manifest: digest,
            }))?;
            // Sealed, whether or not it can be signed now: trying again must not seal it twice.
            self.previous = digest;
            self.complete.pop_front();
            self.tlog.sign()?;
        }
        Ok(())
    }

    /// The open segment as it is now.
    fn head(&self) -> Option<OpenHead> {
        let open = self.open.as_ref().filter(|open| open.last >= open.first)?;
        Some(OpenHead {
            time_ns: crate::clock::wall_ns(),
            segment: self.tlog.sealed(),
            records: (open.first, open.last),
            root: open.tree.root(),
            chain: open.chain.1,
        })
    }
}

/// Sums up a file, or its first `length` bytes.
fn read(segment: &Segment, length: Option<u64>) -> Result<Digested, SealError> {
    let path = &segment.path;
    let mut scan = Scan::open(path, segment.first_index, None).map_err(io_error(path))?;
    let mut summary = Digested::new(segment.first_index);
    while length.is_none_or(|length| scan.offset() < length) {
        match scan.next() {
            Ok(Some(found)) => summary.follow(&found.frame, found.record, found.place),
            Ok(None) => break,
            Err(defect) => {
                return Err(SealError::Damaged {
                    path: path.clone(),
                    offset: scan.offset(),
                    defect,
                });
            }
        }
    }
    Ok(summary)
}

fn manifest_digest(segment: &Segment) -> Result<Hash, SealError> {
    let path = segment.manifest();
    let bytes = fs::read(&path).map_err(io_error(&path))?;
    Ok(Hash(Sha256::digest(bytes).into()))
}

fn apart(path: &Path, what: String) -> SealError {
    SealError::Apart {
        path: path.to_owned(),
        what,
    }
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> SealError + use<> {
    let path = path.to_owned();
    move |source| SealError::Io { path, source }
}
