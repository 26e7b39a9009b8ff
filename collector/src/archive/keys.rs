//! The keys of encrypted archive files, one for each segment, so that one can be destroyed without the others.
//!
//! A segment's key lies wrapped (AES Key Wrap, RFC 3394) under a key-encryption key of a file or a token, in a file of its
//! own in a directory of the collector, and nowhere else: what an object store keeps under a lock cannot be read without
//! it. Such a file is text in one form:
//!
//! ```text
//! norma.dev/audit-segment-key/v1
//! segment NUMBER
//! records FIRST LAST
//! manifest HASH                               SHA-256 of the segment's manifest
//! kek ID                                      names the key that it is wrapped under
//! wrapped BASE64                              40 bytes
//! ```

mod kek;

pub use kek::{Kek, KekError, KekSource, WrapError};

use crate::audit::Manifest;
use crate::audit::text::{Lines, Malformed};
use crate::durable;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use norma_tlog::Hash;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Length of a segment's key and of a key-encryption key: AES-256.
pub const KEY_BYTES: usize = 32;
const WRAPPED_BYTES: usize = KEY_BYTES + 8;
const TITLE: &str = "norma.dev/audit-segment-key/v1";
const EXTENSION: &str = "key";
const LOCK: &str = "lock";

/// What encrypts one segment.
#[derive(Clone, PartialEq, Eq)]
pub struct SegmentKey {
    pub(super) bytes: [u8; KEY_BYTES],
    /// Name of the file that has it, by which archive files refer to it.
    pub(super) name: String,
}

impl fmt::Debug for SegmentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SegmentKey({})", self.name)
    }
}

/// Why a segment's key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A file or directory.
    #[error("cannot use {}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// Not a segment's key.
    #[error("{}: it is not the key of a segment: {source}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: Malformed,
    },
    /// The key of another segment, or of another log.
    #[error("{}: it is the key of another segment: put back the one that was written for this log", .0.display())]
    Another(PathBuf),
    /// Another key-encryption key.
    #[error(
        "{}: it is wrapped under the key-encryption key {wrapped}, and {given} was given; give that one, or wrap it anew \
         with `norma-collector audit archive rewrap`", path.display()
    )]
    Kek {
        /// The file.
        path: PathBuf,
        /// Names the one that it is wrapped under.
        wrapped: String,
        /// Names the one that was given.
        given: String,
    },
    /// It does not unwrap.
    #[error("{}: it was changed: it does not unwrap; put it back from a backup", .0.display())]
    Changed(PathBuf),
    /// No random bytes.
    #[error("the cryptographic library does not make a key")]
    Library,
    /// The key-encryption key does not do its work.
    #[error("cannot wrap or unwrap the key of a segment: {0}")]
    Wrap(#[from] WrapError),
}

/// The keys of the segments of a log.
#[derive(Clone, Debug)]
pub struct SegmentKeys {
    directory: PathBuf,
    kek: Kek,
}

/// What became of the keys when they were wrapped anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rewrapped {
    /// They were wrapped anew.
    pub changed: u64,
    /// They were wrapped under the new key already.
    pub before: u64,
}

impl SegmentKeys {
    /// Those in `directory`, under this key-encryption key.
    pub fn new(directory: &Path, kek: Kek) -> Self {
        Self {
            directory: directory.to_owned(),
            kek,
        }
    }

    /// Names the key that new ones are wrapped under.
    pub fn kek(&self) -> &str {
        self.kek.id()
    }

    /// The key of a segment; `None` where there is none any more, or never was.
    pub fn of(&self, manifest: &Manifest) -> Result<Option<SegmentKey>, KeyError> {
        let path = file(&self.directory, manifest.records.0);
        let Some(wrapped) = Wrapped::read(&path)? else {
            return Ok(None);
        };
        if wrapped.manifest != manifest.digest() || wrapped.segment != manifest.segment {
            return Err(KeyError::Another(path));
        }
        wrapped.unwrap(&self.kek, &path).map(Some)
    }

    /// The key of a segment, which is made and durable when this returns.
    pub fn make(&self, manifest: &Manifest) -> Result<SegmentKey, KeyError> {
        let _turn = lock(&self.directory)?;
        if let Some(there) = self.of(manifest)? {
            return Ok(there);
        }
        let path = file(&self.directory, manifest.records.0);
        let mut bytes = [0; KEY_BYTES];
        aws_lc_rs::rand::fill(&mut bytes).map_err(|_| KeyError::Library)?;
        let wrapped = Wrapped {
            segment: manifest.segment,
            records: manifest.records,
            manifest: manifest.digest(),
            kek: self.kek.id().to_owned(),
            wrapped: self.kek.wrap(&bytes)?,
        };
        durable::create(&path, wrapped.to_string().as_bytes(), 0o600).map_err(at(&path))?;
        Ok(SegmentKey {
            bytes,
            name: name(manifest.records.0),
        })
    }
}

/// Whether there is a key for the segment that begins with record `first`.
pub fn is_there(directory: &Path, first: u64) -> bool {
    file(directory, first).exists()
}

/// Destroys the key of the segment that begins with record `first`: overwritten, removed, and both durable. Without one
/// it does nothing.
pub fn destroy(directory: &Path, first: u64) -> Result<(), KeyError> {
    let _turn = lock(directory)?;
    let path = file(directory, first);
    let mut open = match OpenOptions::new().write(true).open(&path) {
        Ok(open) => open,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(at(&path)(error)),
    };
    let length = open.metadata().map_err(at(&path))?.len();
    open.write_all(&vec![0; length as usize])
        .and_then(|()| open.sync_all())
        .and_then(|()| fs::remove_file(&path))
        .and_then(|()| durable::sync_directory(&path))
        .map_err(at(&path))
}

/// Wraps all keys in `directory` that are under `from` anew, under `to`. It can be repeated after a crash.
pub fn rewrap(directory: &Path, from: &Kek, to: &Kek) -> Result<Rewrapped, KeyError> {
    let _turn = lock(directory)?;
    let mut done = Rewrapped::default();
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory).map_err(at(directory))? {
        let path = entry.map_err(at(directory))?.path();
        if path.extension().is_some_and(|found| found == EXTENSION) {
            paths.push(path);
        }
    }
    paths.sort();
    for path in paths {
        let Some(wrapped) = Wrapped::read(&path)? else {
            continue;
        };
        if wrapped.kek == to.id() {
            wrapped.unwrap(to, &path)?;
            done.before += 1;
            continue;
        }
        let key = wrapped.unwrap(from, &path)?;
        let anew = Wrapped {
            kek: to.id().to_owned(),
            wrapped: to.wrap(&key.bytes)?,
            ..wrapped
        };
        durable::replace(&path, anew.to_string().as_bytes(), durable::Sync::Now).map_err(at(&path))?;
        done.changed += 1;
    }
    Ok(done)
}

struct Wrapped {
    segment: u64,
    records: (u64, u64),
    manifest: Hash,
    kek: String,
    wrapped: [u8; WRAPPED_BYTES],
}

impl Wrapped {
    fn read(path: &Path) -> Result<Option<Self>, KeyError> {
        match fs::read(path) {
            Ok(bytes) => Self::parse(&bytes)
                .map(Some)
                .map_err(|source| KeyError::Malformed {
                    path: path.to_owned(),
                    source,
                }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(at(path)(error)),
        }
    }

    fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut lines = Lines::of(bytes)?;
        if lines.word()? != TITLE {
            return Err(lines.wrong(&format!("`{TITLE}`")));
        }
        let wrapped = Self {
            segment: lines.number("segment")?,
            records: lines.pair("records")?,
            manifest: lines.hash("manifest")?,
            kek: lines.values("kek", 1)?.concat(),
            wrapped: {
                let text = lines.values("wrapped", 1)?.concat();
                let bytes = STANDARD.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
                bytes.ok_or_else(|| lines.wrong(&format!("`wrapped` and {WRAPPED_BYTES} bytes in base64")))?
            },
        };
        lines.canonical(&wrapped)?;
        Ok(wrapped)
    }

    fn unwrap(&self, kek: &Kek, path: &Path) -> Result<SegmentKey, KeyError> {
        if self.kek != kek.id() {
            return Err(KeyError::Kek {
                path: path.to_owned(),
                wrapped: self.kek.clone(),
                given: kek.id().to_owned(),
            });
        }
        let bytes = kek.unwrap(&self.wrapped)?;
        Ok(SegmentKey {
            bytes: bytes.ok_or_else(|| KeyError::Changed(path.to_owned()))?,
            name: name(self.records.0),
        })
    }
}

impl fmt::Display for Wrapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{TITLE}\nsegment {}", self.segment)?;
        writeln!(f, "records {} {}", self.records.0, self.records.1)?;
        writeln!(f, "manifest {}\nkek {}", self.manifest, self.kek)?;
        writeln!(f, "wrapped {}", STANDARD.encode(self.wrapped))
    }
}

fn name(first: u64) -> String {
    format!("audit-{first:020}.{EXTENSION}")
}

fn file(directory: &Path, first: u64) -> PathBuf {
    directory.join(name(first))
}

/// Nobody else makes, wraps or destroys keys while the answer lives: one that is being wrapped anew would come back.
fn lock(directory: &Path) -> Result<File, KeyError> {
    let made = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory);
    made.map_err(at(directory))?;
    let path = directory.join(LOCK);
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(at(&path))?;
    lock.lock().map_err(at(&path))?;
    Ok(lock)
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> KeyError + use<> {
    let path = path.to_owned();
    move |source| KeyError::Io { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Digested;

    fn kek(byte: u8) -> Kek {
        Kek::of([byte; KEY_BYTES])
    }

    fn manifest(segment: u64) -> Manifest {
        Manifest::of(&Digested::new(5), segment, Hash::default())
    }

    #[test]
    fn a_key_is_wrapped_anew_and_destroyed_for_good() {
        let directory = tempfile::tempdir().unwrap();
        let keys = SegmentKeys::new(directory.path(), kek(1));
        let key = keys.make(&manifest(3)).unwrap();
        assert_eq!(keys.of(&manifest(3)).unwrap(), Some(key.clone()));
        assert_eq!(keys.make(&manifest(3)).unwrap(), key);
        assert!(matches!(keys.of(&manifest(4)), Err(KeyError::Another(_))));

        let other = SegmentKeys::new(directory.path(), kek(2));
        assert!(matches!(other.of(&manifest(3)), Err(KeyError::Kek { .. })));
        let done = rewrap(directory.path(), &kek(1), &kek(2)).unwrap();
        assert_eq!((done.changed, done.before), (1, 0));
        let done = rewrap(directory.path(), &kek(1), &kek(2)).unwrap();
        assert_eq!((done.changed, done.before), (0, 1));
        assert_eq!(other.of(&manifest(3)).unwrap(), Some(key));
        assert!(keys.of(&manifest(3)).is_err());

        let path = directory.path().join(name(5));
        let good = fs::read_to_string(&path).unwrap();
        let at = good.find("wrapped ").unwrap() + "wrapped ".len();
        let other_letter = if good[at..].starts_with('A') { "B" } else { "A" };
        fs::write(&path, [&good[..at], other_letter, &good[at + 1..]].concat()).unwrap();
        assert!(matches!(other.of(&manifest(3)), Err(KeyError::Changed(_))));
        fs::write(&path, &good).unwrap();

        destroy(directory.path(), 5).unwrap();
        assert_eq!(other.of(&manifest(3)).unwrap(), None);
        destroy(directory.path(), 5).unwrap();
    }
}
