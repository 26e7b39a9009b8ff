//! What became of each sealed segment: a file for each in the state directory, replaced as a whole after each step, so
//! that a crash anywhere goes on from there.

use super::holds::Facts;
use crate::audit::Segment;
use crate::durable::{self, Sync};
use norma_tlog::Hash;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const EXTENSION: &str = "json";

/// A segment that has an archive file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Index of its first record, which names its file.
    pub first_record: u64,
    /// What holds ask of it.
    pub facts: Facts,
    /// Where its archive file lies below the archive's directory, and its object below the store's prefix.
    pub object: String,
    /// SHA-256 of the archive file, in base64.
    pub sha256: String,
    /// Its length.
    pub bytes: u64,
    /// Whether it is encrypted with a key of its own.
    #[serde(default)]
    pub encrypted: bool,
    /// Until when the store is to lock it, seconds since 1970; settled before it is put there for the first time.
    pub retain_until: Option<i64>,
    /// What the store proved.
    pub stored: Option<Stored>,
}

/// A copy in the store, as that proved to keep it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// Where.
    pub url: String,
    /// The store's version of it; empty where it has none.
    pub version: String,
    /// Whether it is under a legal hold there.
    pub legal_hold: bool,
    /// When that was read back, nanoseconds since 1970.
    pub checked_wall_ns: u64,
}

impl Kept {
    /// SHA-256 of the archive file.
    pub fn digest(&self) -> Option<Hash> {
        self.sha256.parse().ok()
    }
}

/// All of them, and where they lie.
#[derive(Debug)]
pub struct Books {
    directory: PathBuf,
    by_first: BTreeMap<u64, Kept>,
}

impl Books {
    /// Reads the files in `directory`. One that cannot be read is made anew: everything in it can be.
    pub fn open(directory: &Path) -> io::Result<Self> {
        durable::create_folders(directory)?;
        let mut by_first = BTreeMap::new();
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            if path.extension().is_none_or(|found| found != EXTENSION) {
                continue;
            }
            match serde_json::from_slice::<Kept>(&fs::read(&path)?) {
                Ok(kept) => {
                    by_first.insert(kept.first_record, kept);
                }
                Err(error) => tracing::warn!(file = %path.display(), %error, "it is made anew"),
            }
        }
        Ok(Self {
            directory: directory.to_owned(),
            by_first,
        })
    }

    /// What became of a segment.
    pub fn of(&self, segment: &Segment) -> Option<&Kept> {
        self.by_first.get(&segment.first_index)
    }

    /// All of them, oldest first.
    pub fn all(&self) -> impl Iterator<Item = &Kept> {
        self.by_first.values()
    }

    /// Makes durable what became of a segment.
    pub fn put(&mut self, kept: Kept) -> io::Result<()> {
        let path = self
            .directory
            .join(format!("{:020}.{EXTENSION}", kept.first_record));
        let bytes = serde_json::to_vec_pretty(&kept).map_err(io::Error::other)?;
        durable::replace_as(&path, &bytes, 0o640, Sync::Now)?;
        self.by_first.insert(kept.first_record, kept);
        Ok(())
    }
}
