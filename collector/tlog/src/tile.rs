//! How a tree lies in files: c2sp.org/tlog-tiles.

use std::path::PathBuf;

/// Hashes of a full tile, and entries of a full bundle.
pub const WIDTH: u64 = 256;
/// Levels of the tree that one tile spans.
pub const HEIGHT: u32 = 8;
/// An entry of a bundle has its length in 16 bits.
pub const MAX_ENTRY: usize = u16::MAX as usize;

/// A tile of hashes, or a bundle of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tile {
    /// Level of tiles, 0 for that of leaf hashes; `None` for entries.
    pub level: Option<u32>,
    /// Which one within the level.
    pub index: u64,
    /// How many hashes or entries it holds, 1 to 256.
    pub width: u64,
}

impl Tile {
    /// All tiles of a tree of `size` entries that its last entry is part of, bundles first: what to write when a tree has grown by one.
    pub fn touched(size: u64) -> Vec<Self> {
        let Some(last) = size.checked_sub(1) else {
            return Vec::new();
        };
        let at = |level, index: u64| Self {
            level,
            index: index / WIDTH,
            width: index % WIDTH + 1,
        };
        let mut tiles = vec![at(None, last), at(Some(0), last)];
        let (mut level, mut count) = (0, size);
        // Only full tiles are hashed into the level above.
        while count.is_multiple_of(WIDTH) {
            level += 1;
            count /= WIDTH;
            tiles.push(at(Some(level), count - 1));
        }
        tiles
    }

    /// All tiles, the rightmost of each level as wide as it is, of a tree of `size` entries.
    pub fn all(size: u64) -> Vec<Self> {
        let mut tiles = row(None, size);
        let (mut level, mut count) = (0, size);
        while count > 0 {
            tiles.extend(row(Some(level), count));
            level += 1;
            count /= WIDTH;
        }
        tiles
    }

    /// Whether it will not grow any more.
    pub fn is_full(&self) -> bool {
        self.width == WIDTH
    }

    /// Where it lies below the folder of the log.
    pub fn path(&self) -> PathBuf {
        let mut path = self.full_path();
        if !self.is_full() {
            path.as_mut_os_string().push(format!(".p/{}", self.width));
        }
        path
    }

    /// The folder of its partial forms, below the folder of the log.
    pub fn partial_folder(&self) -> PathBuf {
        let mut path = self.full_path();
        path.as_mut_os_string().push(".p");
        path
    }

    fn full_path(&self) -> PathBuf {
        let mut groups = vec![format!("{:03}", self.index % 1000)];
        let mut rest = self.index / 1000;
        while rest > 0 {
            groups.push(format!("x{:03}", rest % 1000));
            rest /= 1000;
        }
        let level = self
            .level
            .map_or_else(|| "entries".to_owned(), |level| level.to_string());
        let mut path = PathBuf::from("tile");
        path.push(level);
        path.extend(groups.iter().rev());
        path
    }
}

fn row(level: Option<u32>, count: u64) -> Vec<Tile> {
    let partial = count % WIDTH;
    let full = (0..count / WIDTH).map(|index| (index, WIDTH));
    let partial = (partial > 0).then_some((count / WIDTH, partial));
    full.chain(partial)
        .map(|(index, width)| Tile { level, index, width })
        .collect()
}

/// A bundle that is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bundle of entries is cut off at byte {0}")]
pub struct CutOff(pub usize);

/// Appends an entry to a bundle; the entry has at most [`MAX_ENTRY`] bytes.
pub fn push_entry(bundle: &mut Vec<u8>, entry: &[u8]) {
    let length = u16::try_from(entry.len()).unwrap_or(u16::MAX);
    bundle.extend_from_slice(&length.to_be_bytes());
    bundle.extend_from_slice(&entry[..usize::from(length)]);
}

/// The entries of a bundle.
pub fn entries(bundle: &[u8]) -> Result<Vec<&[u8]>, CutOff> {
    let mut entries = Vec::new();
    let mut rest = bundle;
    while !rest.is_empty() {
        let cut = CutOff(bundle.len() - rest.len());
        let (length, after) = rest.split_first_chunk().ok_or(cut)?;
        let (entry, after) = after
            .split_at_checked(usize::from(u16::from_be_bytes(*length)))
            .ok_or(cut)?;
        entries.push(entry);
        rest = after;
    }
    Ok(entries)
}
