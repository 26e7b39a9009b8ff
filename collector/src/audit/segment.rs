//! The files of a log, by name.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Ends the names of tombstones.
const TOMBSTONE: &str = "tombstone";

/// Ends the names of notes that the key of a segment was destroyed.
const SHREDDING: &str = "shredded";

/// One file of the log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Segment {
    /// Index of its first record, from its name.
    pub first_index: u64,
    /// Where it lies.
    pub path: PathBuf,
}

impl Segment {
    /// The file of `directory` that begins with `first_index`.
    pub fn new(directory: &Path, first_index: u64) -> Self {
        Self {
            first_index,
            path: directory.join(Self::name(first_index)),
        }
    }

    /// Name of the file that begins with `first_index`.
    pub fn name(first_index: u64) -> String {
        format!("audit-{first_index:020}.log")
    }

    /// Where its manifest lies once it is sealed.
    pub fn manifest(&self) -> PathBuf {
        self.path.with_extension("manifest")
    }

    /// Where its tombstone lies once policy has removed it.
    pub fn tombstone(&self) -> PathBuf {
        self.path.with_extension(TOMBSTONE)
    }

    /// Where it is stated that its key was destroyed.
    pub fn shredding(&self) -> PathBuf {
        self.path.with_extension(SHREDDING)
    }

    /// The segment at `path`, where its name is that of one.
    pub fn from_path(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        let digits = name.strip_prefix("audit-")?.strip_suffix(".log")?;
        if digits.len() != 20 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        Some(Self {
            first_index: digits.parse().ok()?,
            path: path.to_owned(),
        })
    }

    /// All segments that a directory has or has a tombstone of, in order.
    pub fn known(directory: &Path) -> io::Result<Vec<Self>> {
        let mut segments = Self::list(directory)?;
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            if path.extension().is_some_and(|found| found == TOMBSTONE) {
                segments.extend(Self::from_path(&path.with_extension("log")));
            }
        }
        segments.sort();
        segments.dedup();
        Ok(segments)
    }

    /// All segments of a directory, in order.
    pub fn list(directory: &Path) -> io::Result<Vec<Self>> {
        let mut segments = Vec::new();
        for entry in fs::read_dir(directory)? {
            segments.extend(Self::from_path(&entry?.path()));
        }
        segments.sort();
        Ok(segments)
    }
}
