//! Finding where the log stands when the collector starts, and mending what a crash left unfinished.

use super::format::{Hash, find_frame};
use super::head::Head;
use super::key::KeySource;
use super::rotation::RotationError;
use super::scan::{Defect, FileScan, Found, Scan, State};
use super::sealer::SealError;
use super::segment::Segment;
use norma_wire::audit::Recovered;
use sha2::{Digest as _, Sha256};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

/// Why the log cannot be opened for writing.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory or a file cannot be used.
    #[error("cannot use the audit log at {}: {source}", path.display())]
    Io {
        /// The directory or file.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// Two writers would destroy the log.
    #[error("the audit log at {} is in use by another norma-collector", .0.display())]
    Locked(PathBuf),
    /// A record is damaged in a way in which no crash of the collector can damage it.
    #[error(
        "the audit log is damaged: {} at byte {offset} (record {index}): {defect}; nothing was changed. Keep a \
         copy of the directory as evidence, find out who or what changed it, then put the file back from a backup, \
         or move the directory away to begin a new log", path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where the bad record begins.
        offset: u64,
        /// Its index.
        index: u64,
        /// What is wrong.
        defect: Defect,
    },
    /// The keys that checkpoints are signed with.
    #[error(transparent)]
    Key(#[from] RotationError),
    /// Checkpoints are there, and the key that signed them is not.
    #[error(
        "the checkpoints of {} are signed, and there is no key at {key}: put the key back (audit.key in the \
         configuration), or move the audit directory away to begin a new log", directory.display()
    )]
    NoKey {
        /// The audit directory.
        directory: PathBuf,
        /// Where the key should be.
        key: KeySource,
    },
    /// The transparency log over the segments.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// Records that were durable are gone.
    #[error(
        "the audit log at {} ends with record {found}, but its head says that record {} was durable: the end of \
         the log was removed; nothing was changed. Put the files back from a backup, or move the directory away to \
         begin a new log", path.display(), head.index
    )]
    Shortened {
        /// The directory.
        path: PathBuf,
        /// Index of the last record that is there.
        found: u64,
        /// What the head file says.
        head: Head,
    },
    /// The head names another record than the one that is there.
    #[error(
        "record {} of the audit log at {} is not the one that its head names: the log was replaced; nothing was \
         changed. Put the files back from a backup, or move the directory away to begin a new log",
        head.index, path.display()
    )]
    Replaced {
        /// The directory.
        path: PathBuf,
        /// What the head file says.
        head: Head,
    },
}

/// Where a log can be continued.
#[derive(Debug, Default)]
pub struct Tail {
    /// The newest file and how long it is; `None` for an empty log.
    pub newest: Option<(Segment, u64)>,
    /// Where the log stands.
    pub state: State,
    /// When its header was written, nanoseconds since 1970.
    pub begun_wall_ns: u64,
    /// What was cut off.
    pub recovered: Option<Recovered>,
}

/// Finds the end of the log in `directory`, which has at least what `promised` names; cuts off what a crash left
/// unfinished.
pub fn recover(directory: &Path, promised: Option<Head>) -> Result<Tail, OpenError> {
    let written = read_head(directory)?;
    let head = promised
        .filter(|promised| promised.index >= written.index)
        .unwrap_or(written);
    let mut segments = Segment::list(directory).map_err(at(directory))?;
    let mut recovered = None;
    let mut tail = Tail::default();
    while let Some(segment) = segments.pop() {
        let mut scan = Scan::open(&segment.path, segment.first_index, None).map_err(at(&segment.path))?;
        let mut begun_wall_ns = 0;
        let defect = walk(&mut scan, head, directory, &mut begun_wall_ns)?;
        if let Some(defect) = defect {
            check_torn(&segment, &scan, defect, head)?;
            recovered = Some(cut(&segment, scan.offset(), scan.is_empty())?);
            if scan.is_empty() {
                // Its header was never durable, so nothing after it was: the file before is the newest.
                continue;
            }
        }
        let length = scan.offset();
        tail = Tail {
            newest: Some((segment, length)),
            state: scan.into_state(),
            begun_wall_ns,
            recovered: None,
        };
        break;
    }
    if head.index > tail.state.index {
        return Err(OpenError::Shortened {
            path: directory.to_owned(),
            found: tail.state.index,
            head,
        });
    }
    tail.recovered = recovered;
    Ok(tail)
}

/// Walks a file to its end or to the first defect, and compares the record that the head names.
fn walk(
    scan: &mut FileScan,
    head: Head,
    directory: &Path,
    begun_wall_ns: &mut u64,
) -> Result<Option<Defect>, OpenError> {
    loop {
        let first = scan.is_empty();
        match scan.next() {
            Ok(Some(Found { record, frame, .. }))
                if record.index == head.index && frame.hash != head.hash =>
            {
                return Err(OpenError::Replaced {
                    path: directory.to_owned(),
                    head,
                });
            }
            Ok(Some(Found { record, .. })) if first => *begun_wall_ns = record.received_wall_ns,
            Ok(Some(_)) => {}
            Ok(None) => return Ok(None),
            Err(defect) => return Ok(Some(defect)),
        }
    }
}

/// Whether a defect is a write that a crash interrupted: an error where it is not.
fn check_torn(segment: &Segment, scan: &FileScan, defect: Defect, head: Head) -> Result<(), OpenError> {
    let index = scan.next_index();
    let torn = defect.may_be_torn()
        && index > head.index
        && !frame_follows(&segment.path, scan.offset()).map_err(at(&segment.path))?;
    if torn {
        return Ok(());
    }
    Err(OpenError::Damaged {
        path: segment.path.clone(),
        offset: scan.offset(),
        index,
        defect,
    })
}

/// Whether a whole frame lies anywhere after `offset`.
pub fn frame_follows(path: &Path, offset: u64) -> io::Result<bool> {
    Ok(find_frame(&read_from(path, offset + 1)?).is_some())
}

fn cut(segment: &Segment, offset: u64, whole_file: bool) -> Result<Recovered, OpenError> {
    let offset = if whole_file { 0 } else { offset };
    let dropped = read_from(&segment.path, offset).map_err(at(&segment.path))?;
    if whole_file {
        fs::remove_file(&segment.path).and_then(|()| crate::durable::sync_directory(&segment.path))
    } else {
        OpenOptions::new()
            .write(true)
            .open(&segment.path)
            .and_then(|file| file.set_len(offset).and_then(|()| file.sync_all()))
    }
    .map_err(at(&segment.path))?;
    Ok(Recovered {
        file: segment
            .path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
        offset,
        bytes_dropped: dropped.len() as u64,
        sha256: Sha256::digest(&dropped).to_vec(),
    })
}

fn read_from(path: &Path, offset: u64) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The head; a head that power loss made unreadable counts as none.
fn read_head(directory: &Path) -> Result<Head, OpenError> {
    match Head::read(directory) {
        Ok(head) => Ok(head.unwrap_or_default()),
        Err(error) if error.kind() == io::ErrorKind::Other => {
            tracing::warn!(%error, "the head of the audit log is unreadable; going on without it");
            Ok(Head {
                index: 0,
                hash: Hash::ZERO,
            })
        }
        Err(source) => Err(OpenError::Io {
            path: directory.to_owned(),
            source,
        }),
    }
}

pub(super) fn at(path: &Path) -> impl FnOnce(io::Error) -> OpenError + use<> {
    let path = path.to_owned();
    move |source| OpenError::Io { path, source }
}
