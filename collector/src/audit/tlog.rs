//! The transparency log over segments and heads, as files: c2sp.org/tlog-tiles.
//!
//! `tlog/` of the audit directory has `checkpoint`, `witnessed` (the newest checkpoint with a quorum of witnesses) and
//! `tile/…`. An entry is appended in this order, each step durable before the next: its bundle, the tiles of hashes
//! that it is part of, the checkpoint. What a checkpoint promises is therefore on the disk, and nobody is shown a
//! checkpoint before it is. After a crash in between, the bundle goes further than the checkpoint; opening the log
//! takes such entries over, writes their tiles again and signs, which says the very same as the checkpoint that the
//! crash may have kept from being written (down to the signature where that is by Ed25519), so that no two checkpoints
//! of one size can differ.

mod tiles;

pub use tiles::Tiles;

use super::entry::Entry;
use super::key::TokenError;
use super::rotation::Keys;
use crate::durable::{self, Sync};
use norma_tlog::tile::{HEIGHT, Tile, WIDTH, entries, push_entry};
use norma_tlog::tree::Growing;
use norma_tlog::{Checkpoint, Hash, Note, Policy};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Below the audit directory.
pub const FOLDER: &str = "tlog";
/// Below [`FOLDER`]: the newest checkpoint.
pub const CHECKPOINT: &str = "checkpoint";
/// Below [`FOLDER`]: the newest checkpoint that enough witnesses cosigned.
pub const WITNESSED: &str = "witnessed";

/// Whoever may read the records may read what proves them.
const MODE: u32 = 0o640;

/// Why the tlog cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlogError {
    /// A file.
    #[error("cannot use {}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// A file is not what was written.
    #[error("{} is damaged: {what}; nothing was changed. Keep a copy of the directory as evidence, and put the file \
         back from a backup that is as new as the checkpoint, or move the audit directory away to begin a new log", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
}

/// Why there is no checkpoint.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The files.
    #[error(transparent)]
    Tlog(#[from] TlogError),
    /// The key, which is in a token.
    #[error("the checkpoint cannot be signed: {0}")]
    Sign(#[from] TokenError),
}

/// The log, open for appending.
#[derive(Debug)]
pub struct Tlog {
    files: Tiles,
    keys: Keys,
    tree: Growing,
    /// The rightmost bundle, while it is not full.
    bundle: Vec<u8>,
    last: Option<Entry>,
}

impl Tlog {
    /// Opens the log of an audit directory, and completes what a crash interrupted.
    pub fn open(audit: &Path, keys: Keys) -> Result<Self, CheckpointError> {
        let mut files = Tiles::of(&audit.join(FOLDER));
        let mut log = match files.checkpoint()? {
            None => Self {
                tree: Growing::default(),
                bundle: Vec::new(),
                last: None,
                files,
                keys,
            },
            Some((_, checkpoint, note)) => {
                let path = files.folder.join(CHECKPOINT);
                let key = keys.verifier();
                Policy::of_log(key.clone()).check(&note).map_err(|error| {
                    let what = format!(
                        "{error}; is {key} its key? One that is to follow the log's key is `audit.next_key` before it \
                         is `audit.key`"
                    );
                    damaged(&path, what)
                })?;
                files.size = checkpoint.size;
                let tree = files.growing()?;
                if tree.root() != checkpoint.root {
                    let what = "the tiles have another root than the checkpoint".to_owned();
                    return Err(damaged(&path, what).into());
                }
                let (bundle, last) = files.newest()?;
                Self {
                    files,
                    keys,
                    tree,
                    bundle,
                    last,
                }
            }
        };
        log.complete()?;
        Ok(log)
    }

    /// Takes over entries that are on the disk and in no checkpoint.
    fn complete(&mut self) -> Result<(), CheckpointError> {
        let mut taken = 0;
        loop {
            let next = Tile {
                level: None,
                index: self.tree.size() / WIDTH,
                width: self.tree.size() % WIDTH + 1,
            };
            let path = self.files.folder.join(next.path());
            let bytes = match fs::read(&path) {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                Err(error) => return Err(io_error(&path)(error).into()),
            };
            let entry = bytes
                .strip_prefix(self.bundle.as_slice())
                .and_then(|rest| entries(rest).ok())
                .and_then(|entries| Entry::parse(entries.first()?).ok())
                .ok_or_else(|| damaged(&path, "it does not continue the log".to_owned()))?;
            self.append(entry)?;
            taken += 1;
        }
        // Before the first entry a crash can leave folders, and a file that had not got its name yet.
        if self.tree.size() == 0 && taken == 0 && has_files(&self.files.folder.join("tile"))? {
            let path = self.files.folder.join(CHECKPOINT);
            return Err(damaged(&path, "it is missing, and there are entries".to_owned()).into());
        }
        if taken > 0 {
            self.sign()?;
        }
        Ok(())
    }

    /// The keys that sign.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// The newest entry.
    pub fn last(&self) -> Option<&Entry> {
        self.last.as_ref()
    }

    /// Number of segments that have an entry.
    pub fn sealed(&self) -> u64 {
        self.last.as_ref().map_or(0, Entry::sealed)
    }

    /// Appends an entry; it counts once [`Self::sign`] has promised it.
    pub fn append(&mut self, entry: Entry) -> Result<(), TlogError> {
        let text = entry.to_string();
        let mut bundle = self.bundle.clone();
        push_entry(&mut bundle, text.as_bytes());
        let mut tree = self.tree.clone();
        tree.push(Hash::leaf(text.as_bytes()));
        let tiles = Tile::touched(tree.size());
        for tile in &tiles {
            let bytes = match tile.level {
                None => bundle.clone(),
                Some(level) => {
                    let mut bytes = self.files.row(level, tile)?;
                    let hash = if level == 0 {
                        Hash::leaf(text.as_bytes())
                    } else {
                        self.files
                            .subtree(level * HEIGHT, tile.index * WIDTH + tile.width - 1)?
                    };
                    bytes.extend_from_slice(&hash.0);
                    bytes
                }
            };
            self.files.write(tile, &bytes)?;
        }
        for tile in tiles.iter().filter(|tile| tile.is_full()) {
            self.files.drop_partial(tile);
            if tile.level.is_none() {
                bundle.clear();
            }
        }
        self.files.size = tree.size();
        self.tree = tree;
        self.bundle = bundle;
        self.last = Some(entry);
        Ok(())
    }

    /// Promises all that was appended: writes the checkpoint, and gives it when it is durable.
    pub fn sign(&self) -> Result<Note, CheckpointError> {
        let checkpoint = Checkpoint {
            origin: self.keys.name().to_owned(),
            size: self.tree.size(),
            root: self.tree.root(),
        };
        let text = checkpoint.to_string();
        let note = Note {
            signatures: self.keys.sign(&text)?,
            text,
        };
        self.keep(CHECKPOINT, &note)?;
        Ok(note)
    }

    /// Keeps a checkpoint that witnesses cosigned: in `witnessed` where they are a quorum, and as the newest one where
    /// it still is that.
    pub fn cosigned(&self, note: &Note, quorum: bool) -> Result<(), TlogError> {
        if quorum {
            self.keep(WITNESSED, note)?;
        }
        let checkpoint = note.text.parse::<Checkpoint>().ok();
        if checkpoint.is_some_and(|checkpoint| checkpoint.size == self.tree.size()) {
            self.keep(CHECKPOINT, note)?;
        }
        Ok(())
    }

    fn keep(&self, name: &str, note: &Note) -> Result<(), TlogError> {
        let path = self.files.folder.join(name);
        durable::create_folders(&self.files.folder)
            .and_then(|()| durable::replace_as(&path, note.to_string().as_bytes(), MODE, Sync::Now))
            .map_err(io_error(&path))
    }
}

/// Whether a folder has a finished file, at any depth.
fn has_files(folder: &Path) -> Result<bool, TlogError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(io_error(folder)(error)),
    };
    for entry in entries {
        let path = entry.map_err(io_error(folder))?.path();
        let is_temporary = path
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if path.is_dir() {
            if has_files(&path)? {
                return Ok(true);
            }
        } else if !is_temporary {
            return Ok(true);
        }
    }
    Ok(false)
}

fn damaged(path: &Path, what: String) -> TlogError {
    TlogError::Damaged {
        path: path.to_owned(),
        what,
    }
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> TlogError + use<> {
    let path = path.to_owned();
    move |source| TlogError::Io { path, source }
}
