//! Sealed segments kept for long: as Parquet, on disk and in an object store, for as long as policy says.
//!
//! In the order in which it happens: [`write`] makes an archive file of a sealed segment ([`columns`] is its schema,
//! [`layout`] its place, [`keys`] and `modular` encrypt it where that is asked for), [`check`] proves it from itself alone, [`store`] keeps it elsewhere and proves that, [`kept`]
//! remembers how far each segment came, [`holds`] say what must stay, [`retain`] removes the rest, [`shred`] destroys
//! the key of a segment, and [`task`] does all of that while the collector runs; what people ask of it comes through an
//! `inbox`.
//! docs/archive.md describes all of it for users.

pub mod check;
mod columns;
pub mod holds;
mod http;
mod inbox;
mod kept;
pub mod keys;
pub mod layout;
mod modular;
pub mod retain;
pub mod shred;
pub mod store;
pub mod task;
pub mod verify;
pub mod write;

pub(crate) use http::{Endpoint, HttpError};
pub use inbox::Outcome;
pub use layout::Cluster;

use keys::{KekSource, KeyError};
use store::StoreSettings;

use parquet::errors::ParquetError;
use std::io;
use std::path::{Path, PathBuf};

/// Where sealed segments are archived.
#[derive(Clone, Debug)]
pub struct ArchiveConfig {
    /// Below this directory, until the store has them, and where there is none for good.
    pub directory: PathBuf,
    /// Of which cluster they are.
    pub cluster: Cluster,
    /// A store for them.
    pub store: Option<StoreSettings>,
    /// What the key of each is wrapped under; `None` where they are not encrypted.
    pub encryption: Option<KekSource>,
}

/// Why a segment is not archived, or an archive file not believed.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// A file.
    #[error("cannot use {}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// Not Parquet, or damaged.
    #[error("{}: {source}", path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: ParquetError,
    },
    /// Parquet, but not what it should be.
    #[error("{}: {what}", path.display())]
    Differs {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// Its key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Encrypted, and there is no key.
    #[error(
        "{}: its contents are encrypted, and the key of its segment is not there: name the directory of the keys \
         (`segment-keys` in the collector's state directory) with --keys and the key-encryption key with --key; what was \
         shredded is gone for good", .0.display()
    )]
    Closed(PathBuf),
    /// A segment that is not what was sealed.
    #[error("{} is not archived: {what}; run `norma-collector audit verify`", path.display())]
    Segment {
        /// Its file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> ArchiveError + use<> {
    let path = path.to_owned();
    move |source| ArchiveError::Io { path, source }
}

fn format(path: &Path) -> impl FnOnce(ParquetError) -> ArchiveError + use<> {
    let path = path.to_owned();
    move |source| ArchiveError::Parquet { path, source }
}
