//! A sealed segment becomes an archive file.

use super::check::Contents;
use super::columns::{CLUSTER_KEY, MANIFEST_KEY, MESSAGE, Rows, SCHEMA, SCHEMA_KEY, properties};
use super::keys::{SegmentKey, SegmentKeys};
use super::layout::Cluster;
use super::modular::encryption;
use super::{ArchiveError, at, format};
use crate::audit::{Digested, Manifest, Scan, Segment};
use crate::durable;
use parquet::file::metadata::KeyValue;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Rows of a row group: enough to compress well, few enough to be read in parallel.
const GROUP_ROWS: usize = 128 << 10;
/// Bytes of payload of a row group, which are in memory while it is written.
const GROUP_BYTES: usize = 64 << 20;

/// An archive file that is on stable storage.
#[derive(Clone, Debug)]
pub struct Written {
    /// Where it lies below the archive's directory, with `/` between folders.
    pub object: String,
    /// The file.
    pub path: PathBuf,
    /// What it holds.
    pub manifest: Manifest,
    /// Its length.
    pub bytes: u64,
}

/// Reads the manifest of a sealed segment; `None` for one that is open.
pub fn manifest_of(segment: &Segment) -> Result<Option<Manifest>, ArchiveError> {
    let path = segment.manifest();
    match fs::read(&path) {
        Ok(bytes) => Manifest::parse(&bytes)
            .map(Some)
            .map_err(|error| ArchiveError::Differs {
                path,
                what: format!("it is not a manifest: {error}"),
            }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(at(&path)(error)),
    }
}

/// Writes the archive file of a sealed segment below `root`, unless it is there already.
///
/// With `keys` it is encrypted, with a key of its own. What is not what was sealed is not archived.
pub fn write(
    segment: &Segment,
    manifest: Manifest,
    root: &Path,
    cluster: &Cluster,
    keys: Option<&SegmentKeys>,
) -> Result<Written, ArchiveError> {
    let object = cluster.object(&manifest);
    let path = root.join(&object);
    let folder = path.parent().unwrap_or(root);
    durable::create_folders(folder).map_err(at(folder))?;
    // One of before contents were to be encrypted, of which nothing is counted on yet.
    let is_plain = || Ok::<_, ArchiveError>(super::check::check(&path, keys)?.contents == Contents::Plain);
    if !path.exists() || (keys.is_some() && is_plain()?) {
        let temporary = path.with_extension("new");
        let key = keys.map(|keys| keys.make(&manifest)).transpose()?;
        fill(segment, &manifest, &temporary, cluster, key.as_ref())?;
        fs::rename(&temporary, &path)
            .and_then(|()| durable::sync_directory(&path))
            .map_err(at(&path))?;
    }
    // Read back: what is counted on from here is what lies on the disk.
    let checked = super::check::check(&path, keys)?;
    if checked.contents == Contents::Closed {
        return Err(ArchiveError::Closed(path));
    }
    if checked.manifest != manifest {
        return Err(ArchiveError::Differs {
            path,
            what: format!(
                "it holds another segment than {}; move it away and it is written anew",
                segment.path.display()
            ),
        });
    }
    let bytes = fs::metadata(&path).map_err(at(&path))?.len();
    Ok(Written {
        object,
        path,
        manifest,
        bytes,
    })
}

fn fill(
    segment: &Segment,
    manifest: &Manifest,
    path: &Path,
    cluster: &Cluster,
    key: Option<&SegmentKey>,
) -> Result<(), ArchiveError> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o640)
        .open(path)
        .map_err(at(path))?;
    let schema = parse_message_type(MESSAGE).map_err(format(path))?;
    let metadata = vec![
        KeyValue::new(SCHEMA_KEY.to_owned(), SCHEMA.to_owned()),
        KeyValue::new(CLUSTER_KEY.to_owned(), cluster.to_string()),
        KeyValue::new(MANIFEST_KEY.to_owned(), manifest.to_string()),
    ];
    let encryption = key.map(encryption).transpose().map_err(format(path))?;
    let properties = properties(metadata, encryption).map_err(format(path))?;
    let mut writer = SerializedFileWriter::new(BufWriter::new(file), Arc::new(schema), Arc::new(properties))
        .map_err(format(path))?;
    let mut scan = Scan::open(&segment.path, segment.first_index, None).map_err(at(&segment.path))?;
    let mut summary = Digested::new(segment.first_index);
    let mut rows = Rows::default();
    loop {
        let found = match scan.next() {
            Ok(Some(found)) => found,
            Ok(None) => break,
            Err(defect) => {
                return Err(ArchiveError::Segment {
                    path: segment.path.clone(),
                    what: format!("at byte {}: {defect}", scan.offset()),
                });
            }
        };
        summary.follow(&found.frame, found.record, found.place);
        rows.push(found.record, found.frame.payload, found.frame.leaf);
        if rows.len() >= GROUP_ROWS || rows.bytes() >= GROUP_BYTES {
            flush(&mut writer, &mut rows).map_err(format(path))?;
        }
    }
    if Manifest::of(&summary, manifest.segment, manifest.previous) != *manifest {
        return Err(ArchiveError::Segment {
            path: segment.path.clone(),
            what: "its records are not those of its manifest".to_owned(),
        });
    }
    flush(&mut writer, &mut rows).map_err(format(path))?;
    let file = writer.into_inner().map_err(format(path))?;
    let file = file.into_inner().map_err(|error| at(path)(error.into_error()))?;
    file.sync_all().map_err(at(path))
}

fn flush(writer: &mut SerializedFileWriter<BufWriter<File>>, rows: &mut Rows) -> parquet::errors::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    std::mem::take(rows).write(writer.next_row_group()?)
}
