//! Which segments are sealed, by their manifests, and the newest checkpoint over them.

use super::manifest::Manifest;
use super::segment::Segment;
use super::tlog::{Tiles, TlogError};
use norma_tlog::{Checkpoint, Note};
use norma_wire::text::Hex;
use sha2::{Digest as _, Sha256};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Why there is no inventory.
#[derive(Debug, thiserror::Error)]
pub enum InventoryError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// A manifest cannot be understood.
    #[error("{}: {what}; run `norma-collector audit verify`", path.display())]
    Manifest {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The checkpoint cannot be read.
    #[error(transparent)]
    Tlog(#[from] TlogError),
}

/// A sealed segment as its manifest has it.
#[derive(Clone, Debug)]
pub struct Sealed {
    /// Name of its file.
    pub file: String,
    /// Its number, from 0.
    pub segment: u64,
    /// First and last record.
    pub records: (u64, u64),
    /// When the first and the last of them were received, nanoseconds since 1970.
    pub time_ns: (u64, u64),
    /// SHA-256 of the file, in hex.
    pub sha256: String,
    /// SHA-256 of the manifest, in hex, as the tlog names it.
    pub manifest_sha256: String,
    /// The manifest.
    pub manifest: Vec<u8>,
}

/// The sealed segments in `directory`, oldest first.
pub fn sealed(directory: &Path) -> Result<Vec<Sealed>, InventoryError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| InventoryError::Io { path, source }
    };
    let mut sealed = Vec::new();
    for segment in Segment::list(directory).map_err(at(directory))? {
        let path = segment.manifest();
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            // The open one has none.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(at(&path)(error)),
        };
        let manifest = Manifest::parse(&bytes).map_err(|error| InventoryError::Manifest {
            path,
            what: error.to_string(),
        })?;
        sealed.push(Sealed {
            file: Segment::name(segment.first_index),
            segment: manifest.segment,
            records: manifest.records,
            time_ns: manifest.time_ns,
            sha256: Hex(&manifest.sha256.0).to_string(),
            manifest_sha256: Hex(&Sha256::digest(&bytes)).to_string(),
            manifest: bytes,
        });
    }
    Ok(sealed)
}

/// The records of one file that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// First and last record.
    pub records: (u64, u64),
    /// When the last of them was received, nanoseconds since 1970; `u64::MAX` where it may still get more.
    pub until_ns: u64,
}

/// The files in `directory` with records up to `newest`, oldest first. Between them may lie what policy removed.
pub fn extents(directory: &Path, newest: u64) -> Result<Vec<Extent>, InventoryError> {
    let sealed = sealed(directory)?;
    let segments = Segment::list(directory).map_err(|source| InventoryError::Io {
        path: directory.to_owned(),
        source,
    })?;
    let after = |number: usize| {
        segments
            .get(number + 1)
            .map_or(newest, |next| next.first_index - 1)
    };
    let extents = segments.iter().enumerate().map(|(number, segment)| {
        match sealed
            .iter()
            .find(|sealed| sealed.records.0 == segment.first_index)
        {
            Some(sealed) => Extent {
                records: sealed.records,
                until_ns: sealed.time_ns.1,
            },
            // It is open, or was closed a moment ago.
            None => Extent {
                records: (segment.first_index, after(number)),
                until_ns: u64::MAX,
            },
        }
    });
    Ok(extents.filter(|extent| extent.records.0 <= newest).collect())
}

/// The newest checkpoint of the log in `directory`; `None` where it has none.
pub fn checkpoint(directory: &Path) -> Result<Option<(Checkpoint, Note)>, InventoryError> {
    let opened = Tiles::open(directory)?;
    Ok(opened.map(|(_, checkpoint, note)| (checkpoint, note)))
}
