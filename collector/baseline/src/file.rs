//! The file form: MessagePack behind a header that is looked at first.
//!
//! ```text
//! 0   8  "NormaBL" and a zero byte
//! 8   2  version, little-endian
//! 10  1  what it holds: a Content
//! 11  1  zero
//! 12  8  length of the body in bytes, little-endian
//! 20  4  CRC-32C of bytes 8 to 20 and of the body, little-endian
//! 24     body: MessagePack
//! ```
//!
//! The sum finds damage, not malice: what must not be forged is signed inside. A body is never larger than a
//! file may be, and what is read of it is bounded by its length.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

const MAGIC: [u8; 8] = *b"NormaBL\0";
const HEADER: usize = 24;
/// The version that is written, and the newest that is read.
pub const VERSION: u16 = 1;
/// Largest body: some hundred times what limits allow for a workload.
pub const BODY_MAX: u64 = 256 << 20;

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Content {
    /// [`Saved`](crate::evidence::Saved): a recorder's state.
    Recorder = 1,
    /// [`Evidence`](crate::evidence::Evidence).
    Evidence = 2,
    /// [`Norm`](crate::norm::Norm).
    Norm = 3,
    /// [`Overlay`](crate::overlay::Overlay).
    Overlay = 4,
    /// [`Sealed`](crate::bundle::Sealed): a bundle.
    Bundle = 5,
}

impl Content {
    const ALL: [Self; 5] = [
        Self::Recorder,
        Self::Evidence,
        Self::Norm,
        Self::Overlay,
        Self::Bundle,
    ];
}

impl fmt::Display for Content {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Recorder => "a recorder's state",
            Self::Evidence => "evidence",
            Self::Norm => "a norm",
            Self::Overlay => "decisions",
            Self::Bundle => "a bundle",
        })
    }
}

/// What can be written to a file of its own.
pub trait Filed: Serialize + DeserializeOwned {
    /// What the header says.
    const CONTENT: Content;
}

impl Filed for crate::evidence::Saved {
    const CONTENT: Content = Content::Recorder;
}

impl Filed for crate::evidence::Evidence {
    const CONTENT: Content = Content::Evidence;
}

impl Filed for crate::norm::Norm {
    const CONTENT: Content = Content::Norm;
}

impl Filed for crate::overlay::Overlay {
    const CONTENT: Content = Content::Overlay;
}

/// Bytes that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// It does not begin as such files do.
    #[error("not a baseline file")]
    NotOne,
    /// It ends too early.
    #[error("cut short: {found} of {expected} bytes")]
    CutShort {
        /// Bytes that are there.
        found: u64,
        /// Bytes that there should be.
        expected: u64,
    },
    /// Something follows that does not belong to it.
    #[error("{0} bytes too many at the end")]
    Trailing(u64),
    /// A newer program wrote it.
    #[error("version {found} of the file format is not known; this program reads up to version {newest}")]
    UnknownVersion {
        /// The file's.
        found: u16,
        /// The newest that is read.
        newest: u16,
    },
    /// It holds something else.
    #[error("holds {found}, not {wanted}")]
    OtherContent {
        /// What it holds.
        found: String,
        /// What was to be read.
        wanted: Content,
    },
    /// More than is read.
    #[error("{found} bytes are more than the {most} that are read")]
    TooLarge {
        /// Bytes.
        found: u64,
        /// Most.
        most: u64,
    },
    /// The sum is not that of the header.
    #[error("damaged: the checksum is {found:08x} and should be {expected:08x}")]
    Damaged {
        /// Of what is there.
        found: u32,
        /// As the header has it.
        expected: u32,
    },
    /// Undamaged, and yet not what it should be.
    #[error("cannot be understood: {0}")]
    Body(#[from] rmp_serde::decode::Error),
}

/// A file that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The operating system's answer.
    #[error("{}: {reason}", path.display())]
    System {
        /// The file.
        path: PathBuf,
        /// The answer.
        reason: io::Error,
    },
    /// What is in it.
    #[error("{}: {reason}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: FormatError,
    },
}

/// The bytes of a file.
pub fn to_bytes<T: Filed>(value: &T) -> Result<Vec<u8>, rmp_serde::encode::Error> {
    let mut bytes = vec![0; HEADER];
    rmp_serde::encode::write(&mut bytes, value)?;
    let length = (bytes.len() - HEADER) as u64;
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
    bytes[10] = T::CONTENT as u8;
    bytes[12..20].copy_from_slice(&length.to_le_bytes());
    let sum = checksum(&bytes[8..20], &bytes[HEADER..]);
    bytes[20..24].copy_from_slice(&sum.to_le_bytes());
    Ok(bytes)
}

/// What the bytes of a file stand for.
pub fn from_bytes<T: Filed>(bytes: &[u8]) -> Result<T, FormatError> {
    let Some((header, body)) = bytes.split_first_chunk::<HEADER>() else {
        return Err(if bytes.starts_with(&MAGIC) {
            FormatError::CutShort {
                found: bytes.len() as u64,
                expected: HEADER as u64,
            }
        } else {
            FormatError::NotOne
        });
    };
    let header = Header::parse(header)?;
    if header.content != T::CONTENT as u8 {
        let found = Content::ALL
            .into_iter()
            .find(|content| *content as u8 == header.content);
        return Err(FormatError::OtherContent {
            found: found.map_or_else(|| "something unknown".to_owned(), |content| content.to_string()),
            wanted: T::CONTENT,
        });
    }
    let found = body.len() as u64;
    if found < header.length {
        return Err(FormatError::CutShort {
            found: found + HEADER as u64,
            expected: header.length + HEADER as u64,
        });
    }
    if found > header.length {
        return Err(FormatError::Trailing(found - header.length));
    }
    let sum = checksum(&bytes[8..20], body);
    if sum != header.sum {
        return Err(FormatError::Damaged {
            found: sum,
            expected: header.sum,
        });
    }
    decode(body)
}

/// MessagePack of exactly these bytes. Collections grow as they are read, so none gets larger than what is there.
fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, FormatError> {
    let mut rest = body;
    let mut deserializer = rmp_serde::Deserializer::new(&mut rest);
    deserializer.set_max_depth(NESTING_MAX);
    let value = T::deserialize(&mut deserializer)?;
    if !rest.is_empty() {
        return Err(FormatError::Trailing(rest.len() as u64));
    }
    Ok(value)
}

/// Deeper than anything that is written.
const NESTING_MAX: usize = 64;

struct Header {
    content: u8,
    length: u64,
    sum: u32,
}

impl Header {
    fn parse(header: &[u8; HEADER]) -> Result<Self, FormatError> {
        let [magic @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = header;
        if magic != &MAGIC {
            return Err(FormatError::NotOne);
        }
        let [
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            v0,
            v1,
            content,
            _,
            l0,
            l1,
            l2,
            l3,
            l4,
            l5,
            l6,
            l7,
            s0,
            s1,
            s2,
            s3,
        ] = *header;
        let version = u16::from_le_bytes([v0, v1]);
        if version == 0 || version > VERSION {
            return Err(FormatError::UnknownVersion {
                found: version,
                newest: VERSION,
            });
        }
        let length = u64::from_le_bytes([l0, l1, l2, l3, l4, l5, l6, l7]);
        if length > BODY_MAX {
            return Err(FormatError::TooLarge {
                found: length,
                most: BODY_MAX,
            });
        }
        Ok(Self {
            content,
            length,
            sum: u32::from_le_bytes([s0, s1, s2, s3]),
        })
    }
}

fn checksum(header: &[u8], body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(header), body)
}

/// Reads a file.
pub fn read<T: Filed>(path: &Path) -> Result<T, FileError> {
    let system = |reason| FileError::System {
        path: path.to_owned(),
        reason,
    };
    let format = |reason| FileError::Format {
        path: path.to_owned(),
        reason,
    };
    let file = File::open(path).map_err(system)?;
    let most = BODY_MAX + HEADER as u64;
    let length = file.metadata().map_err(system)?.len();
    if length > most {
        return Err(format(FormatError::TooLarge { found: length, most }));
    }
    let mut bytes = Vec::with_capacity(length as usize);
    // It can have grown since.
    file.take(most).read_to_end(&mut bytes).map_err(system)?;
    from_bytes(&bytes).map_err(format)
}

/// Writes a file whole, or leaves what is there: after a crash at any point it is the old one or the new one.
pub fn write<T: Filed>(path: &Path, value: &T) -> Result<(), FileError> {
    let system = |reason| FileError::System {
        path: path.to_owned(),
        reason,
    };
    let bytes = to_bytes(value).map_err(|error| system(io::Error::other(error)))?;
    write_atomically(path, &bytes).map_err(system)
}

fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = PathBuf::from(temporary);
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)?;
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::{Evidence, Saved};
    use crate::norm::Norm;
    use crate::overlay::Overlay;
    use crate::testing::any_evidence;
    use proptest::prelude::*;

    fn bytes() -> Vec<u8> {
        let reads = (0..20).map(|number| (format!("/{number}"), [number, 1]));
        to_bytes(&crate::testing::evidence_of("n", 1, reads)).unwrap()
    }

    fn error(bytes: &[u8]) -> String {
        from_bytes::<Evidence>(bytes).unwrap_err().to_string()
    }

    #[test]
    fn each_fault_has_its_own_message() {
        let good = bytes();
        assert!(from_bytes::<Evidence>(&good).is_ok());
        assert_eq!(error(b"hello"), "not a baseline file");
        assert_eq!(error(&good[..10]), "cut short: 10 of 24 bytes");
        let length = good.len();
        assert_eq!(
            error(&good[..length - 1]),
            format!("cut short: {} of {length} bytes", length - 1)
        );
        assert_eq!(
            error(&[good.as_slice(), b"x"].concat()),
            "1 bytes too many at the end"
        );

        let changed = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            error(&bytes)
        };
        assert_eq!(
            changed(8, 2),
            "version 2 of the file format is not known; this program reads up to version 1"
        );
        assert_eq!(changed(10, 4), "holds decisions, not evidence");
        assert_eq!(changed(10, 99), "holds something unknown, not evidence");
        assert!(
            changed(19, 1).contains("bytes are more than the"),
            "{}",
            changed(19, 1)
        );
        assert!(changed(40, !good[40]).starts_with("damaged: the checksum is"));
    }

    #[test]
    fn a_file_is_written_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("evidence");
        let evidence = from_bytes::<Evidence>(&bytes()).unwrap();
        write(&path, &Evidence::new()).unwrap();
        write(&path, &evidence).unwrap();
        assert_eq!(read::<Evidence>(&path).unwrap(), evidence);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);

        std::fs::write(&path, b"hello").unwrap();
        let error = read::<Evidence>(&path).unwrap_err().to_string();
        assert_eq!(error, format!("{}: not a baseline file", path.display()));
    }

    /// With a header that is right, so that the body is looked at.
    fn framed(content: Content, body: &[u8]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend([content as u8, 0]);
        bytes.extend((body.len() as u64).to_le_bytes());
        let sum = checksum(&bytes[8..20], body);
        bytes.extend(sum.to_le_bytes());
        bytes.extend(body);
        bytes
    }

    #[test]
    fn a_claimed_length_allocates_nothing() {
        // An array, a map, a text and bytes of four thousand million entries each.
        for claim in [0xdd, 0xdf, 0xdb, 0xc6] {
            let body = [0x92, claim, 0xff, 0xff, 0xff, 0xff];
            assert!(from_bytes::<Evidence>(&framed(Content::Evidence, &body)).is_err());
            let body = [0x92, 0x92, claim, 0xff, 0xff, 0xff, 0xff];
            assert!(from_bytes::<Evidence>(&framed(Content::Evidence, &body)).is_err());
        }
        let deep = vec![0x91; 100_000];
        assert!(from_bytes::<Evidence>(&framed(Content::Evidence, &deep)).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_refused_without_panic(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(from_bytes::<Evidence>(&body).is_err());
            drop(from_bytes::<Evidence>(&framed(Content::Evidence, &body)));
            drop(from_bytes::<Saved>(&framed(Content::Recorder, &body)));
            drop(from_bytes::<Norm>(&framed(Content::Norm, &body)));
            drop(from_bytes::<Overlay>(&framed(Content::Overlay, &body)));
            drop(from_bytes::<crate::bundle::Sealed>(&framed(Content::Bundle, &body)));
        }

        /// Bytes of a file that was right, with a few of them changed and the sum put right.
        #[test]
        fn changed_bytes_are_read_or_refused_without_panic(
            evidence in any_evidence(),
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        ) {
            let mut body = to_bytes(&evidence).unwrap().split_off(HEADER);
            for (at, byte) in changes {
                let at = at.index(body.len());
                body[at] = byte;
            }
            if let Ok(read) = from_bytes::<Evidence>(&framed(Content::Evidence, &body)) {
                let mut merged = evidence;
                merged.merge(&read);
                prop_assert!(merged.total().from <= merged.total().until);
                for (_, fact, tally) in merged.tallies() {
                    prop_assert!(tally.incidence() > 0, "{fact}");
                }
            }
        }
    }
}
