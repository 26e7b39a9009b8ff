//! Looking up the files of a tlog.

use super::{CHECKPOINT, FOLDER, MODE, TlogError, WITNESSED, damaged, io_error};
use crate::audit::entry::Entry;
use crate::durable::{self, Sync};
use norma_tlog::tile::{CutOff, HEIGHT, Tile, WIDTH, entries, push_entry};
use norma_tlog::tree::{Growing, Nodes, Tree};
use norma_tlog::{Checkpoint, Hash, Note};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The files of a tlog, for looking up.
#[derive(Clone, Debug)]
pub struct Tiles {
    pub(super) folder: PathBuf,
    /// Size of the tree that is looked at.
    pub(super) size: u64,
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

    pub(super) fn checkpoint(&self) -> Result<Option<(Self, Checkpoint, Note)>, TlogError> {
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
        let (path, bytes) = self.read(&tile);
        let bytes = bytes.map_err(io_error(&path))?;
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

    /// The file of a tile and what is in it. The full tile serves for a partial one, which is dropped when it is full;
    /// that may be while this is read.
    pub fn read(&self, tile: &Tile) -> (PathBuf, io::Result<Vec<u8>>) {
        let path = self.folder.join(tile.path());
        match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !tile.is_full() => {
                let full = self.folder.join(
                    Tile {
                        width: WIDTH,
                        ..*tile
                    }
                    .path(),
                );
                let bytes = fs::read(&full);
                (full, bytes)
            }
            read => (path, read),
        }
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
    pub(super) fn newest(&self) -> Result<(Vec<u8>, Option<Entry>), TlogError> {
        let Some(last) = self.size.checked_sub(1) else {
            return Ok((Vec::new(), None));
        };
        let tile = self.tile(None, last / WIDTH);
        let list = self.bundle(tile.index)?;
        let path = self.folder.join(tile.path());
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
    pub(super) fn growing(&self) -> Result<Growing, TlogError> {
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
    pub(super) fn row(&self, level: u32, tile: &Tile) -> Result<Vec<u8>, TlogError> {
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
        let (path, bytes) = self.read(tile);
        let bytes = bytes.map_err(io_error(&path))?;
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
    pub(super) fn subtree(&self, level: u32, index: u64) -> Result<Hash, TlogError> {
        let tile = Tile {
            level: Some(level / HEIGHT - 1),
            index,
            width: WIDTH,
        };
        let mut tree = Tree::default();
        self.hashes(&tile)?.into_iter().for_each(|hash| tree.push(hash));
        Ok(tree.root())
    }

    pub(super) fn write(&self, tile: &Tile, bytes: &[u8]) -> Result<(), TlogError> {
        let path = self.folder.join(tile.path());
        let folder = path.parent().unwrap_or(&self.folder);
        durable::create_folders(folder)
            .and_then(|()| durable::replace_as(&path, bytes, MODE, Sync::Now))
            .map_err(io_error(&path))
    }

    /// Partial forms of a tile that is full are not needed any more.
    pub(super) fn drop_partial(&self, tile: &Tile) {
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
        let part =
            part.ok_or_else(|| damaged(&self.folder.join(tile.path()), "it is too short".to_owned()))?;
        Ok(part.iter().copied().collect::<Tree>().root())
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
