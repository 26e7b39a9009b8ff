//! A copy of the sealed part of a log that can be carried to a host that has nothing else, and verified there.
//!
//! It is an audit directory: the segments of a time, their manifests, and all of the tlog with the checkpoint. What
//! lies before and after is not in it; the tlog still binds it, so that verification says which segments are not
//! there, and proves those that are.

use super::manifest::Manifest;
use super::rotation::{self, RotationError};
use super::segment::Segment;
use super::tlog::{CHECKPOINT, FOLDER, Tiles, TlogError, WITNESSED};
use jiff::Timestamp;
use norma_tlog::tile::Tile;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Name of the instructions.
pub const INSTRUCTIONS: &str = "VERIFY.txt";
/// Below the folder of a bundle that is not the whole log: which segments it has.
pub const EXTENT: &str = "extent";

/// Why nothing was exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// A file.
    #[error("cannot use {}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// The tlog.
    #[error(transparent)]
    Tlog(#[from] TlogError),
    /// The statements about the log's keys.
    #[error(transparent)]
    Rotation(#[from] RotationError),
    /// No tlog.
    #[error("there is no tlog in this directory; a collector of this version makes one at its next start")]
    NoTlog,
    /// A manifest.
    #[error("{}: {what}; run `norma-collector audit verify`", path.display())]
    Manifest {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// No segment.
    #[error(
        "no sealed segment has a record of that time; the newest is sealed by size or age (audit.segment_bytes, audit.segment_age)"
    )]
    Nothing,
    /// There is something already.
    #[error("{} is there already; name a new folder or file", .0.display())]
    Exists(PathBuf),
}

/// What was exported.
#[derive(Debug, serde::Serialize)]
pub struct Exported {
    /// First and last segment, by number.
    pub segments: (u64, u64),
    /// First and last record.
    pub records: (u64, u64),
    /// Bytes of all files.
    pub bytes: u64,
    /// Segments among them that policy had removed, of which the bundle has manifest and tombstone.
    pub removed: u64,
}

/// Where a bundle goes.
pub trait Target {
    /// Puts the file at `from` into the bundle as `name`.
    fn copy(&mut self, from: &Path, name: &Path) -> io::Result<u64>;
    /// Puts a file with this content into the bundle as `name`.
    fn put(&mut self, name: &Path, content: &[u8]) -> io::Result<u64>;
    /// Completes the bundle.
    fn finish(&mut self) -> io::Result<()>;
}

/// Exports the sealed segments of `directory` that have records written between `from` and `to`.
pub fn export(
    directory: &Path,
    from: Timestamp,
    to: Timestamp,
    target: &mut dyn Target,
) -> Result<Exported, ExportError> {
    let (tiles, checkpoint, note) = Tiles::open(directory)?.ok_or(ExportError::NoTlog)?;
    let mut picked: Vec<(Segment, Manifest)> = Vec::new();
    for segment in Segment::known(directory).map_err(io_error(directory))? {
        let path = segment.manifest();
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            // The open one has none.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(source) => return Err(ExportError::Io { path, source }),
        };
        let manifest = Manifest::parse(&bytes).map_err(|error| ExportError::Manifest {
            path,
            what: error.to_string(),
        })?;
        let (earliest, latest) = (i128::from(manifest.time_ns.0), i128::from(manifest.time_ns.1));
        if earliest <= to.as_nanosecond() && latest >= from.as_nanosecond() {
            picked.push((segment, manifest));
        }
    }
    let (Some((_, first)), Some((_, last))) = (picked.first(), picked.last()) else {
        return Err(ExportError::Nothing);
    };
    let exported = Exported {
        segments: (first.segment, last.segment),
        records: (first.records.0, last.records.1),
        bytes: 0,
        removed: 0,
    };
    let instructions = instructions(&checkpoint.origin, &exported);
    let mut exported = exported;
    let mut copy = |from: &Path, name: &Path| -> Result<(), ExportError> {
        exported.bytes += target.copy(from, name).map_err(io_error(from))?;
        Ok(())
    };
    let mut removed = 0;
    for (segment, _) in &picked {
        // What policy removed is stated by its tombstone, in the bundle as in the log.
        let is_there = segment.path.exists();
        removed += u64::from(!is_there);
        let content = if is_there {
            segment.path.clone()
        } else {
            segment.tombstone()
        };
        let stated = Some(segment.shredding()).filter(|path| path.exists());
        for path in [content, segment.manifest()].into_iter().chain(stated) {
            copy(&path, Path::new(path.file_name().unwrap_or_default()))?;
        }
    }
    exported.removed = removed;
    for tile in Tile::all(checkpoint.size) {
        // A full tile in the place of a partial one has more than the checkpoint promises, and is named as it is.
        let (path, bytes) = tiles.read(&tile);
        let bytes = bytes.map_err(io_error(&path))?;
        let name = path.strip_prefix(directory).unwrap_or(&path);
        exported.bytes += target.put(name, &bytes).map_err(io_error(&path))?;
    }
    let folder = Path::new(FOLDER);
    let witnessed = directory.join(FOLDER).join(WITNESSED);
    let mut put = |name: &Path, text: &str| -> Result<(), ExportError> {
        exported.bytes += target.put(name, text.as_bytes()).map_err(io_error(name))?;
        Ok(())
    };
    put(&folder.join(CHECKPOINT), &note.to_string())?;
    if let Some((note, witnessed_at)) = tiles
        .witnessed()?
        .filter(|(_, witnessed)| witnessed.size <= checkpoint.size)
    {
        tracing::debug!(size = witnessed_at.size, file = %witnessed.display(), "with the witnessed checkpoint");
        put(&folder.join(WITNESSED), &note.to_string())?;
    }
    // Whoever knows an older key of the log sees how the one that signs came to follow it.
    for (number, statement) in (1..).zip(rotation::read(&directory.join(FOLDER))?) {
        let name = folder.join(rotation::FOLDER).join(number.to_string());
        put(&name, &String::from_utf8_lossy(&statement))?;
    }
    put(
        Path::new(EXTENT),
        &format!("segments {} {}\n", exported.segments.0, exported.segments.1),
    )?;
    put(Path::new(INSTRUCTIONS), &instructions)?;
    target.finish().map_err(io_error(directory))?;
    Ok(exported)
}

fn instructions(origin: &str, exported: &Exported) -> String {
    let (first, last) = exported.segments;
    format!(
        "A part of the audit log `{origin}`: segments {first} to {last}, records {} to {}.\n\
         \n\
         To verify it you need this folder and a trust policy that you got in another way: a file with the verifier\n\
         key of the log and of its witnesses, such as\n\
         \n\
         log NAME+ID+KEY\n\
         witness w NAME+ID+KEY\n\
         quorum w\n\
         \n\
         (`quorum none` without witnesses). No network, clock or other data is needed:\n\
         \n\
         norma-collector audit verify --policy POLICY .\n\
         \n\
         It ends with status 0 where everything is proven, and otherwise says which file, byte and record is not what\n\
         the log had. The formats are public, so that other programs can do the same: RFC 6962 trees over the records\n\
         (docs/audit.md of Norma has the record format), C2SP tlog-tiles with a signed checkpoint in tlog/.\n",
        exported.records.0, exported.records.1
    )
}

/// A bundle as a folder.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// A new folder at `path`.
    pub fn create(path: &Path) -> Result<Self, ExportError> {
        match fs::create_dir(path) {
            Ok(()) => Ok(Self(path.to_owned())),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(ExportError::Exists(path.to_owned()))
            }
            Err(error) => Err(io_error(path)(error)),
        }
    }

    fn place(&self, name: &Path) -> io::Result<PathBuf> {
        let path = self.0.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        Ok(path)
    }
}

impl Target for Folder {
    fn copy(&mut self, from: &Path, name: &Path) -> io::Result<u64> {
        fs::copy(from, self.place(name)?)
    }

    fn put(&mut self, name: &Path, content: &[u8]) -> io::Result<u64> {
        fs::write(self.place(name)?, content)?;
        Ok(content.len() as u64)
    }

    fn finish(&mut self) -> io::Result<()> {
        fs::File::open(&self.0)?.sync_all()
    }
}

/// A bundle as one tar file, with everything in one folder.
pub struct Archive {
    tar: tar::Builder<io::BufWriter<fs::File>>,
    root: PathBuf,
}

impl Archive {
    /// A new file at `path`.
    pub fn create(path: &Path) -> Result<Self, ExportError> {
        let file = match fs::File::create_new(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(ExportError::Exists(path.to_owned()));
            }
            other => other.map_err(io_error(path))?,
        };
        Ok(Self {
            tar: tar::Builder::new(io::BufWriter::new(file)),
            root: path.file_stem().unwrap_or_default().into(),
        })
    }

    fn append(&mut self, name: &Path, size: u64, content: impl io::Read) -> io::Result<u64> {
        let mut header = tar::Header::new_gnu();
        header.set_size(size);
        header.set_mode(0o644);
        self.tar
            .append_data(&mut header, self.root.join(name), content.take(size))?;
        Ok(size)
    }
}

impl Target for Archive {
    fn copy(&mut self, from: &Path, name: &Path) -> io::Result<u64> {
        let file = fs::File::open(from)?;
        let size = file.metadata()?.len();
        self.append(name, size, file)
    }

    fn put(&mut self, name: &Path, content: &[u8]) -> io::Result<u64> {
        self.append(name, content.len() as u64, content)
    }

    fn finish(&mut self) -> io::Result<()> {
        self.tar.finish()?;
        self.tar.get_mut().flush()?;
        self.tar.get_ref().get_ref().sync_all()
    }
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> ExportError + use<> {
    let path = path.to_owned();
    move |source| ExportError::Io { path, source }
}
