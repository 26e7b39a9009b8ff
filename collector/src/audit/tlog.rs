//! The transparency log over segments and heads, as files: c2sp.org/tlog-tiles.
//!
//! `tlog/` of the audit directory has `checkpoint`, `witnessed` (the newest checkpoint with a quorum of witnesses) and
//! `tile/…`. An entry is appended in this order, each step durable before the next: its bundle, the tiles of hashes
//! that it is part of, the checkpoint. What a checkpoint promises is therefore on the disk, and nobody is shown a
//! checkpoint before it is. After a crash in between, the bundle goes further than the checkpoint; opening the log
//! takes such entries over, writes their tiles again and signs, which gives the very checkpoint that the crash may
//! have kept from being written (Ed25519 is deterministic), so that no two checkpoints of one size can differ.

use super::entry::Entry;
use crate::durable::{self, Sync};
use norma_tlog::key::Use;
use norma_tlog::tile::{CutOff, HEIGHT, Tile, WIDTH, entries, push_entry};
use norma_tlog::tree::{Growing, Nodes};
use norma_tlog::{Checkpoint, Hash, Note, Policy, SigningKey};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Below the audit directory.
pub const FOLDER: &str = "tlog";
/// Below [`FOLDER`]: the newest checkpoint.
pub const CHECKPOINT: &str = "checkpoint";
/// Below [`FOLDER`]: the newest checkpoint that enough witnesses cosigned.
pub const WITNESSED: &str = "witnessed";

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

/// The log, open for appending.
#[derive(Debug)]
pub struct Tlog {
    files: Tiles,
    key: SigningKey,
    tree: Growing,
    /// The rightmost bundle, while it is not full.
    bundle: Vec<u8>,
    last: Option<Entry>,
}

/// The files of a tlog, for looking up.
#[derive(Clone, Debug)]
pub struct Tiles {
    folder: PathBuf,
    /// Size of the tree that is looked at.
    size: u64,
}

impl Tlog {
    /// Opens the log of an audit directory, and completes what a crash interrupted.
    pub fn open(audit: &Path, key: SigningKey) -> Result<Self, TlogError> {
        let mut files = Tiles::of(&audit.join(FOLDER));
        let mut log = match files.checkpoint()? {
            None => Self {
                tree: Growing::default(),
                bundle: Vec::new(),
                last: None,
                files,
                key,
            },
            Some((_, checkpoint, note)) => {
                let path = files.folder.join(CHECKPOINT);
                let policy = Policy::of_log(key.verifier(Use::Log));
                policy
                    .check(&note)
                    .map_err(|error| damaged(&path, format!("{error}; is {} its key?", key.name())))?;
                files.size = checkpoint.size;
                let tree = files.growing()?;
                if tree.root() != checkpoint.root {
                    return Err(damaged(
                        &path,
                        "the tiles have another root than the checkpoint".to_owned(),
                    ));
                }
                let (bundle, last) = files.newest()?;
                Self {
                    files,
                    key,
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
    fn complete(&mut self) -> Result<(), TlogError> {
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
                Err(error) => return Err(io_error(&path)(error)),
            };
            let entry = bytes
                .strip_prefix(self.bundle.as_slice())
                .and_then(|rest| entries(rest).ok())
                .and_then(|entries| Entry::parse(entries.first()?).ok())
                .ok_or_else(|| damaged(&path, "it does not continue the log".to_owned()))?;
            self.append(entry)?;
            taken += 1;
        }
        if self.tree.size() == 0 && self.files.folder.join("tile").exists() && taken == 0 {
            let path = self.files.folder.join(CHECKPOINT);
            return Err(damaged(&path, "it is missing, and there are entries".to_owned()));
        }
        if taken > 0 {
            self.sign()?;
        }
        Ok(())
    }

    /// The key that signs.
    pub fn key(&self) -> &SigningKey {
        &self.key
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
    pub fn sign(&self) -> Result<Note, TlogError> {
        let checkpoint = Checkpoint {
            origin: self.key.name().to_owned(),
            size: self.tree.size(),
            root: self.tree.root(),
        };
        let text = checkpoint.to_string();
        let note = Note {
            signatures: vec![self.key.sign(&text)],
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
            .and_then(|()| durable::replace(&path, note.to_string().as_bytes(), Sync::Now))
            .map_err(io_error(&path))
    }
}

impl Tiles {
    /// The files of an empty tree.
    pub fn of(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            size: 0,
        }
    }

    /// The files of the log in an audit directory at the size of its newest checkpoint, with that; `None` where there
    /// is none.
    pub fn open(audit: &Path) -> Result<Option<(Self, Checkpoint, Note)>, TlogError> {
        Self::of(&audit.join(FOLDER)).checkpoint()
    }

    /// The same files as those of a smaller tree.
    #[must_use]
    pub fn at(&self, size: u64) -> Self {
        Self {
            folder: self.folder.clone(),
            size,
        }
    }

    fn checkpoint(&self) -> Result<Option<(Self, Checkpoint, Note)>, TlogError> {
        match read_note(&self.folder.join(CHECKPOINT))? {
            Some((note, checkpoint)) => Ok(Some((self.at(checkpoint.size), checkpoint, note))),
            None => Ok(None),
        }
    }

    /// The newest checkpoint that enough witnesses cosigned, as it lies there.
    pub fn witnessed(&self) -> Result<Option<(Note, Checkpoint)>, TlogError> {
        read_note(&self.folder.join(WITNESSED))
    }

    /// Number of entries.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The entries of bundle `index`.
    pub fn bundle(&self, index: u64) -> Result<Vec<Vec<u8>>, TlogError> {
        let tile = self.tile(None, index);
        let path = self.path(&tile);
        let bytes = fs::read(&path).map_err(io_error(&path))?;
        let mut list: Vec<Vec<u8>> = entries(&bytes)
            .map_err(|CutOff(at)| damaged(&path, format!("it is cut off at byte {at}")))?
            .into_iter()
            .map(<[u8]>::to_vec)
            .collect();
        if (list.len() as u64) < tile.width {
            return Err(damaged(
                &path,
                format!("it has {} entries of {}", list.len(), tile.width),
            ));
        }
        list.truncate(tile.width as usize);
        Ok(list)
    }

    /// Where the file of a tile lies: the full one serves for a partial one that is gone.
    pub fn path(&self, tile: &Tile) -> PathBuf {
        let path = self.folder.join(tile.path());
        let full = self.folder.join(
            Tile {
                width: WIDTH,
                ..*tile
            }
            .path(),
        );
        if path.exists() { path } else { full }
    }

    fn tile(&self, level: Option<u32>, index: u64) -> Tile {
        let count = self.size.checked_shr(level.unwrap_or(0) * HEIGHT).unwrap_or(0);
        Tile {
            level,
            index,
            width: count.saturating_sub(index * WIDTH).min(WIDTH),
        }
    }

    /// The newest bundle, where it is not full, and the newest entry.
    fn newest(&self) -> Result<(Vec<u8>, Option<Entry>), TlogError> {
        let Some(last) = self.size.checked_sub(1) else {
            return Ok((Vec::new(), None));
        };
        let tile = self.tile(None, last / WIDTH);
        let list = self.bundle(tile.index)?;
        let path = self.path(&tile);
        let hashes = self.hashes(&self.tile(Some(0), tile.index))?;
        if list.iter().map(|entry| Hash::leaf(entry)).ne(hashes) {
            return Err(damaged(
                &path,
                "its entries are not those of the tile of their hashes".to_owned(),
            ));
        }
        let entry = list.last().map(|entry| Entry::parse(entry)).transpose();
        let entry = entry.map_err(|error| damaged(&path, error.to_string()))?;
        let mut bundle = Vec::new();
        if !tile.is_full() {
            list.iter().for_each(|entry| push_entry(&mut bundle, entry));
        }
        Ok((bundle, entry))
    }

    /// The tree, grown to the size that is looked at.
    fn growing(&self) -> Result<Growing, TlogError> {
        let mut peaks = Vec::new();
        for level in (0..u64::BITS).rev() {
            if self.size >> level & 1 == 1 {
                // All larger subtrees lie to the left.
                peaks.push(self.node(level, (self.size >> (level + 1)) << 1)?);
            }
        }
        Ok(Growing::of(self.size, peaks))
    }

    /// The hashes of a tile before its last one, which is not there yet.
    fn row(&self, level: u32, tile: &Tile) -> Result<Vec<u8>, TlogError> {
        let before = Tile {
            level: Some(level),
            width: tile.width - 1,
            ..*tile
        };
        if before.width == 0 {
            return Ok(Vec::new());
        }
        Ok(self.hashes(&before)?.iter().flat_map(|hash| hash.0).collect())
    }

    fn hashes(&self, tile: &Tile) -> Result<Vec<Hash>, TlogError> {
        let path = self.path(tile);
        let bytes = fs::read(&path).map_err(io_error(&path))?;
        let (hashes, rest) = bytes.as_chunks();
        if !rest.is_empty() || (hashes.len() as u64) < tile.width {
            return Err(damaged(&path, format!("it has {} bytes", bytes.len())));
        }
        Ok(hashes
            .iter()
            .take(tile.width as usize)
            .map(|hash| Hash(*hash))
            .collect())
    }

    /// Root of a full subtree whose tile at the level below has just been written.
    fn subtree(&self, level: u32, index: u64) -> Result<Hash, TlogError> {
        let tile = Tile {
            level: Some(level / HEIGHT - 1),
            index,
            width: WIDTH,
        };
        let mut tree = norma_tlog::tree::Tree::default();
        self.hashes(&tile)?.into_iter().for_each(|hash| tree.push(hash));
        Ok(tree.root())
    }

    fn write(&self, tile: &Tile, bytes: &[u8]) -> Result<(), TlogError> {
        let path = self.folder.join(tile.path());
        let folder = path.parent().unwrap_or(&self.folder);
        durable::create_folders(folder)
            .and_then(|()| durable::replace(&path, bytes, Sync::Now))
            .map_err(io_error(&path))
    }

    /// Partial forms of a tile that is full are not needed any more.
    fn drop_partial(&self, tile: &Tile) {
        let folder = self.folder.join(tile.partial_folder());
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, folder = %folder.display(), "cannot remove tiles that are not needed");
            }
            _ => {}
        }
    }
}

impl Nodes for Tiles {
    type Error = TlogError;

    fn node(&self, level: u32, index: u64) -> Result<Hash, TlogError> {
        let row = level / HEIGHT;
        let below = level % HEIGHT;
        let first = index << below;
        let tile = self.tile(Some(row), first / WIDTH);
        let hashes = self.hashes(&tile)?;
        let from = (first % WIDTH) as usize;
        let part = hashes.get(from..from + (1 << below));
        let part = part.ok_or_else(|| damaged(&self.path(&tile), "it is too short".to_owned()))?;
        Ok(part.iter().copied().collect::<norma_tlog::tree::Tree>().root())
    }
}

fn read_note(path: &Path) -> Result<Option<(Note, Checkpoint)>, TlogError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error(path)(error)),
    };
    let note = Note::parse(&bytes).map_err(|error| damaged(path, error.to_string()))?;
    let checkpoint = note
        .text
        .parse()
        .map_err(|error| damaged(path, format!("{error}")))?;
    Ok(Some((note, checkpoint)))
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
