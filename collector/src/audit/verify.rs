//! Proving that a log is what the collector wrote, from its files, a trust policy and what others remember.
//!
//! Works on a log that is being written: tlog and head are read before the files are listed, so that they can only
//! lag, and a record that is not whole at the end of the newest file counts as being written. Damage ends nothing
//! but what it makes unprovable: each sealed segment is proven by its own entry in the tlog.

mod coverage;
mod ledger;
mod removed;
mod report;
mod sealed;
mod segments;
mod shredded;
mod tiles;

pub use ledger::Remembered;
pub(in crate::audit) use report::Told;
pub use report::{Fault, LogReport, OutboxReport, Range, Removed, Report, Torn};

use super::export::EXTENT;
use super::head::Head;
use super::segment::Segment;
use super::shredding::{self, Shredded};
use super::text::Lines;
use crate::heads::check::Authorities;
use ledger::Ledger;
use norma_tlog::{Hash, Policy};
use segments::Run;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

/// Why nothing could be verified.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// A file or directory cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// Nothing there.
    #[error("{} holds no audit files (audit-<20 digits>.log)", .0.display())]
    NoFiles(PathBuf),
    /// A file whose name does not say where in the log it belongs.
    #[error("{} is not named as an audit file is (audit-<20 digits>.log); give it back its name", .0.display())]
    Name(PathBuf),
}

impl VerifyError {
    /// Whether it is about a file that is not there.
    fn is_missing(&self) -> bool {
        matches!(self, Self::Unreadable { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// What a log is held against besides itself.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// Whose signatures count, and which witnesses must have cosigned.
    pub policy: Option<Policy>,
    /// A record that the log must have.
    pub head: Option<Head>,
    /// Checkpoints that it must go on from.
    pub checkpoints: Vec<Remembered>,
    /// Whose certificates nodes must have had.
    pub node_authorities: Option<Authorities>,
    /// Threads that hash and decode beside the one that follows the log; `None` for one for each processor. What is
    /// found is the same with any number.
    pub threads: Option<NonZeroUsize>,
    /// Whether the SHA-256 of each sealed file is worked out as well. Otherwise it is believed as the manifest has it that
    /// the tlog names: the tree's root and the chain, which are worked out, are over every byte of the file.
    pub digests: bool,
}

impl Expected {
    /// Only that the log has a record.
    pub fn head(head: Head) -> Self {
        Self {
            head: Some(head),
            ..Self::default()
        }
    }
}

/// Verifies a directory, or the records of one file of it.
pub fn verify(path: &Path, expected: &Expected) -> Result<Report, VerifyError> {
    let metadata = fs::metadata(path).map_err(unreadable(path))?;
    if !metadata.is_dir() {
        let segment = Segment::from_path(path).ok_or_else(|| VerifyError::Name(path.to_owned()))?;
        let mut run = Run::new(path, None, None, expected);
        run.with_threads(threads(expected));
        run.note(
            "one file alone: that it continues the file before it, that nothing follows it, and what it was sealed \
             as is not proven",
        );
        run.alone(&segment)?;
        return Ok(run.finish());
    }
    let ledger = Ledger::open(path, expected)?;
    let (head, problem) = match Head::read(path) {
        Ok(head) => (head, None),
        Err(error) => (None, Some(format!("the head file is not used: {error}"))),
    };
    let segments = Segment::list(path).map_err(unreadable(path))?;
    if segments.is_empty() && ledger.is_none() {
        return Err(VerifyError::NoFiles(path.to_owned()));
    }
    let mut run = Run::new(path, ledger, head, expected);
    run.with_threads(threads(expected));
    if let Some(problem) = problem {
        run.note(&problem);
    }
    let extent = path.join(EXTENT);
    match fs::read(&extent) {
        Ok(bytes) => match Lines::of(&bytes).and_then(|mut lines| lines.pair("segments")) {
            Ok((first, last)) => run.part(first, last),
            Err(error) => run.fault(Fault::of_file(extent, error.to_string())),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(unreadable(&extent)(error)),
    }
    run.directory(segments)?;
    Ok(run.finish())
}

fn threads(expected: &Expected) -> usize {
    let asked = expected
        .threads
        .or_else(|| std::thread::available_parallelism().ok());
    asked.map_or(1, NonZeroUsize::get)
}

/// What the tlog of an audit directory has sealed: the digest of each segment's manifest, by number, and what is wrong
/// with the tlog. The segments' files are not looked at.
pub fn sealed(path: &Path, expected: &Expected) -> Result<Option<SealedLog>, VerifyError> {
    let Some(mut ledger) = Ledger::open(path, expected)? else {
        return Ok(None);
    };
    let mut manifests = BTreeMap::new();
    let mut shredded = BTreeMap::new();
    let mut wrong = Vec::new();
    let keys = ledger.keys();
    for number in 0.. {
        let Some(sealed) = ledger.next_segment(number).sealed else {
            break;
        };
        let segment = Segment::new(path, sealed.records.0);
        match shredding::examine(&segment, &sealed, &keys) {
            Some(Ok(stated)) => drop(shredded.insert(number, stated.told())),
            Some(Err(what)) => wrong.push(Fault::of_file(segment.shredding(), what)),
            None => {}
        }
        manifests.insert(number, sealed.manifest);
    }
    let (log, mut faults) = ledger.finish(0);
    faults.extend(wrong);
    Ok(Some(SealedLog {
        manifests,
        shredded,
        log,
        faults,
    }))
}

/// See [`sealed`].
#[derive(Debug)]
pub struct SealedLog {
    /// Digest of each manifest, by the number of its segment.
    pub manifests: BTreeMap<u64, Hash>,
    /// Segments of which it is stated that their keys were destroyed, by number.
    pub shredded: BTreeMap<u64, Shredded>,
    /// What the tlog proves.
    pub log: LogReport,
    /// What is wrong with it.
    pub faults: Vec<Fault>,
}

fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> VerifyError + use<> {
    let path = path.to_owned();
    move |source| VerifyError::Unreadable { path, source }
}
