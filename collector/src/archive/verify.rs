//! All archive files below a directory: each against itself, one against the next, and against the transparency log.

use super::check::{Checked, Contents, check, rebuild};
use super::keys::SegmentKeys;
use super::layout::EXTENSION;
use super::{ArchiveError, at};
use crate::audit::Segment;
use crate::audit::shredding::Shredded;
use crate::audit::verify::{Expected, LogReport, SealedLog, VerifyError, sealed};
use crate::durable;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What was found.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// What is wrong, by file.
    pub faults: Vec<Fault>,
    /// Files that hold just what their manifest says.
    pub files: u64,
    /// Records in them.
    pub records: u64,
    /// First and last segment of each run without a gap, by number.
    pub segments: Vec<(u64, u64)>,
    /// Files among them whose contents are encrypted and were not read: only their leaf hashes are proven.
    pub closed: Vec<u64>,
    /// Those of them whose keys were destroyed, as the log's key signed it.
    pub shredded: Vec<Shredded>,
    /// Files that were not held against the transparency log.
    pub unbound: u64,
    /// What the transparency log proves; absent where none was given.
    pub log: Option<LogReport>,
}

/// Something that is wrong with a file.
#[derive(Debug, Serialize)]
pub struct Fault {
    /// The file.
    pub file: PathBuf,
    /// What is wrong.
    pub what: String,
}

/// Why nothing could be verified.
#[derive(Debug, thiserror::Error)]
pub enum Unverified {
    /// A folder cannot be read, or a segment cannot be written.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The log.
    #[error(transparent)]
    Log(#[from] VerifyError),
    /// There is no transparency log there.
    #[error("{} has no tlog; name an audit directory, or a bundle that `audit export` wrote", .0.display())]
    NoTlog(PathBuf),
    /// Nothing there.
    #[error("{} holds no archive files (*.parquet)", .0.display())]
    NoFiles(PathBuf),
}

/// Verifies all archive files below `path`; with `log`, the audit directory whose tlog must have sealed them. Encrypted
/// ones are read with `keys`; where these are given, one that has no key must have been shredded.
pub fn verify(
    path: &Path,
    log: Option<&Path>,
    expected: &Expected,
    keys: Option<&SegmentKeys>,
) -> Result<Report, Unverified> {
    let mut report = Report::default();
    let ledger = match log {
        Some(log) => Some(sealed(log, expected)?.ok_or_else(|| Unverified::NoTlog(log.to_owned()))?),
        None => None,
    };
    let mut found: BTreeMap<u64, (PathBuf, Checked)> = BTreeMap::new();
    let files = files(path)?;
    if files.is_empty() {
        return Err(Unverified::NoFiles(path.to_owned()));
    }
    for file in files {
        match check(&file, keys) {
            Ok(checked) => {
                let number = checked.manifest.segment;
                if let Some((other, _)) = found.get(&number) {
                    let what = format!("segment {number} is in {} as well", other.display());
                    report.faults.push(Fault { file, what });
                } else {
                    found.insert(number, (file, checked));
                }
            }
            Err(error) => report.faults.push(Fault {
                file,
                what: error.to_string(),
            }),
        }
    }
    report.hold_against_each_other(&found);
    report.hold_against_keys(&found, ledger.as_ref(), keys.is_some());
    match ledger {
        Some(ledger) => report.hold_against(ledger, &found),
        None => report.unbound = found.len() as u64,
    }
    Ok(report)
}

/// Writes the segments that archive files were made of, with their manifests, into the directory `out`.
///
/// # Errors
/// A file is not what it was, or a segment is there already.
pub fn restore(
    files: &[PathBuf],
    out: &Path,
    keys: Option<&SegmentKeys>,
) -> Result<Vec<PathBuf>, ArchiveError> {
    durable::create_folders(out).map_err(at(out))?;
    let mut written = Vec::new();
    for file in files {
        let checked = check(file, keys)?;
        if checked.contents == Contents::Closed {
            return Err(ArchiveError::Closed(file.clone()));
        }
        let manifest = checked.manifest;
        let segment = Segment::new(out, manifest.records.0);
        let temporary = segment.path.with_extension("new");
        let mut to = io::BufWriter::new(fs::File::create(&temporary).map_err(at(&temporary))?);
        let rebuilt = rebuild(file, keys, &mut to);
        let synced = to
            .into_inner()
            .map_err(io::IntoInnerError::into_error)
            .and_then(|file| file.sync_all());
        let done = rebuilt.and_then(|_| {
            synced.map_err(at(&temporary))?;
            // A link never replaces what is there.
            fs::hard_link(&temporary, &segment.path).map_err(at(&segment.path))
        });
        fs::remove_file(&temporary).map_err(at(&temporary))?;
        done?;
        let path = segment.manifest();
        match durable::create(&path, manifest.to_string().as_bytes(), 0o640) {
            // Removal leaves it.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => other.map_err(at(&path))?,
        }
        written.push(segment.path);
    }
    Ok(written)
}

/// The archive files below a folder, or the one that is named.
pub fn files(path: &Path) -> Result<Vec<PathBuf>, ArchiveError> {
    let mut files = Vec::new();
    let mut folders = vec![path.to_owned()];
    if path.is_file() {
        return Ok(folders);
    }
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(at(&folder))? {
            let path = entry.map_err(at(&folder))?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == EXTENSION) {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_intact(&self) -> bool {
        self.faults.is_empty()
    }

    fn hold_against_each_other(&mut self, found: &BTreeMap<u64, (PathBuf, Checked)>) {
        let mut before: Option<&Checked> = None;
        for (number, (file, checked)) in found {
            self.files += 1;
            self.records += checked.manifest.records.1 - checked.manifest.records.0 + 1;
            match before.filter(|before| before.manifest.segment + 1 == *number) {
                Some(before) => {
                    if checked.manifest.previous != before.manifest.digest() {
                        self.faults.push(Fault {
                            file: file.clone(),
                            what: format!(
                                "it does not continue segment {}: one of both was made anew",
                                number - 1
                            ),
                        });
                    }
                    if let Some(run) = self.segments.last_mut() {
                        run.1 = *number;
                    }
                }
                None => self.segments.push((*number, *number)),
            }
            before = Some(checked);
        }
    }

    /// Tells what was shredded from what cannot be read for want of a key.
    fn hold_against_keys(
        &mut self,
        found: &BTreeMap<u64, (PathBuf, Checked)>,
        ledger: Option<&SealedLog>,
        has_keys: bool,
    ) {
        let stated = |number: &u64| ledger.and_then(|ledger| ledger.shredded.get(number));
        for (number, (file, checked)) in found {
            if checked.contents != Contents::Closed {
                continue;
            }
            self.closed.push(*number);
            match stated(number) {
                Some(shredded) => self.shredded.push(shredded.clone()),
                None if has_keys => self.faults.push(Fault {
                    file: file.clone(),
                    what: format!(
                        "the key of segment {number} is missing, and {}",
                        if ledger.is_some() {
                            "nothing states that it was destroyed: put it back from a backup"
                        } else {
                            "only a log says whether it was destroyed (--log)"
                        }
                    ),
                }),
                None => {}
            }
        }
    }

    fn hold_against(&mut self, ledger: SealedLog, found: &BTreeMap<u64, (PathBuf, Checked)>) {
        for (number, (file, checked)) in found {
            let what = match ledger.manifests.get(number) {
                Some(digest) if *digest == checked.manifest.digest() => continue,
                Some(_) => {
                    format!("the tlog has another manifest for segment {number}: the file was made anew")
                }
                None => format!("the tlog has no segment {number}"),
            };
            self.faults.push(Fault {
                file: file.clone(),
                what,
            });
        }
        self.faults.extend(ledger.faults.into_iter().map(|fault| Fault {
            file: fault.file,
            what: fault.what,
        }));
        self.log = Some(ledger.log);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (files, records) = (self.files, self.records);
        if self.is_intact() {
            writeln!(f, "intact: {records} records in {files} archive files")?;
        } else {
            writeln!(f, "NOT INTACT: {} faults", self.faults.len())?;
            for fault in &self.faults {
                writeln!(f, "  {}\n    what is wrong: {}", fault.file.display(), fault.what)?;
            }
            writeln!(
                f,
                "sound in themselves: {records} records in {files} archive files"
            )?;
        }
        let runs: Vec<String> = self
            .segments
            .iter()
            .map(|(first, last)| format!("{first}-{last}"))
            .collect();
        writeln!(f, "segments: {}", runs.join(", "))?;
        let unread = self.closed.len() - self.shredded.len();
        if unread > 0 {
            writeln!(
                f,
                "not read: the contents of {unread} files are encrypted and no key was given (--keys, --key); their \
                 leaf hashes are proven"
            )?;
        }
        if !self.shredded.is_empty() {
            writeln!(
                f,
                "shredded: {} files, whose contents nobody can read any more; their leaf hashes are proven",
                self.shredded.len()
            )?;
            for shredded in &self.shredded {
                writeln!(f, "  {shredded}")?;
            }
        }
        match &self.log {
            Some(log) => log.fmt(f),
            None => writeln!(
                f,
                "note: each file is what its manifest says; that the log sealed these manifests is not proven (--log)"
            ),
        }
    }
}
