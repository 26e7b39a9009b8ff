//! An archive file against itself: its records must make the very segment that its manifest describes, and its columns
//! must say what its records say. Of one that is encrypted, without its key, the leaf hashes must make the tree of the
//! manifest.

use super::columns::{CLUSTER_KEY, MANIFEST_KEY, Rows, SCHEMA, SCHEMA_KEY};
use super::keys::SegmentKeys;
use super::modular::{Opened, is_encrypted};
use super::{ArchiveError, at, format};
use crate::audit::{Digested, Frame, MAGIC, Manifest, Place, push_frame};
use norma_tlog::tree::Growing;
use norma_wire::audit::Record;
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use prost::Message as _;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

/// What an archive file is proven to hold.
#[derive(Clone, Debug)]
pub struct Checked {
    /// The manifest of its segment, which its records agree with in every value; of a file that is closed, its leaf
    /// hashes.
    pub manifest: Manifest,
    /// How its records could be read.
    pub contents: Contents,
    /// The cluster that it says it is of.
    pub cluster: String,
}

/// How the records of an archive file could be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contents {
    /// They are not encrypted.
    Plain,
    /// They are, and the key is there.
    Opened,
    /// They are, and there is no key: nothing but their leaf hashes was read.
    Closed,
}

/// Checks the file at `path`.
pub fn check(path: &Path, keys: Option<&SegmentKeys>) -> Result<Checked, ArchiveError> {
    rebuild(path, keys, &mut io::sink())
}

/// Checks the file at `path`, and writes the segment that it was made of, byte for byte. What is closed is not written.
pub fn rebuild(
    path: &Path,
    keys: Option<&SegmentKeys>,
    out: &mut dyn Write,
) -> Result<Checked, ArchiveError> {
    let file = File::open(path).map_err(at(path))?;
    let reader = SerializedFileReader::new(file).map_err(format(path))?;
    let metadata = reader.metadata().file_metadata().key_value_metadata();
    let value = |key: &str| {
        metadata
            .into_iter()
            .flatten()
            .find(|pair| pair.key == key)
            .and_then(|pair| pair.value.clone())
            .ok_or_else(|| {
                differs(
                    path,
                    format!("its metadata has no `{key}`: it is no archive of Norma"),
                )
            })
    };
    let schema = value(SCHEMA_KEY)?;
    if schema != SCHEMA {
        return Err(differs(
            path,
            format!("its schema is {schema}, this version reads {SCHEMA}; use a newer norma-collector"),
        ));
    }
    let text = value(MANIFEST_KEY)?;
    let manifest = Manifest::parse(text.as_bytes())
        .map_err(|error| differs(path, format!("its manifest cannot be read: {error}")))?;
    let cluster = value(CLUSTER_KEY)?;
    if !is_encrypted(reader.metadata()) {
        let group = |number| reader.get_row_group(number).map_err(format(path));
        let groups = (0..reader.num_row_groups())
            .map(|number| Rows::read(group(number)?.as_ref()).map_err(format(path)));
        records(path, &manifest, groups, out)?;
        return Ok(Checked {
            manifest,
            cluster,
            contents: Contents::Plain,
        });
    }
    let key = match keys {
        Some(keys) => keys.of(&manifest)?,
        None => None,
    };
    let contents = match key {
        Some(key) => {
            let file = File::open(path).map_err(at(path))?;
            let opened = Opened::new(file, &key).map_err(format(path))?;
            let groups =
                (0..opened.groups()).map(|number| Rows::read(&opened.group(number)).map_err(format(path)));
            records(path, &manifest, groups, out)?;
            Contents::Opened
        }
        None => {
            leaves(path, &manifest, &reader)?;
            Contents::Closed
        }
    };
    Ok(Checked {
        manifest,
        cluster,
        contents,
    })
}

/// Holds the leaf hashes against the manifest.
fn leaves(path: &Path, manifest: &Manifest, reader: &SerializedFileReader<File>) -> Result<(), ArchiveError> {
    let mut tree = Growing::default();
    let mut next = manifest.records.0;
    for group in 0..reader.num_row_groups() {
        let rows = reader
            .get_row_group(group)
            .and_then(|group| Rows::read_plain(group.as_ref()))
            .map_err(format(path))?;
        for (index, leaf) in rows {
            if index != next {
                return Err(differs(
                    path,
                    format!("record {next} should come, and {index} is there"),
                ));
            }
            tree.push(leaf);
            next = next.wrapping_add(1);
        }
    }
    if tree.root() == manifest.root && next == manifest.records.1.wrapping_add(1) {
        Ok(())
    } else {
        Err(differs(
            path,
            "its leaf hashes are not those of its manifest: they were changed, removed or added".to_owned(),
        ))
    }
}

/// Makes the segment again, and holds it against the manifest.
fn records(
    path: &Path,
    manifest: &Manifest,
    groups: impl Iterator<Item = Result<Rows, ArchiveError>>,
    out: &mut dyn Write,
) -> Result<(), ArchiveError> {
    let mut summary = Digested::new(manifest.records.0);
    let mut chain = manifest.chain.0;
    out.write_all(&MAGIC).map_err(at(path))?;
    for (group, rows) in groups.enumerate() {
        let rows = rows?;
        let mut again = Rows::default();
        let mut frame = Vec::new();
        for payload in rows.payloads() {
            let next = summary.last.wrapping_add(1);
            let record = Record::decode(payload).map_err(|error| {
                differs(
                    path,
                    format!("the payload of record {next} is not a record: {error}"),
                )
            })?;
            frame.clear();
            let (leaf, link) = push_frame(&mut frame, &chain, payload);
            again.push(&record, payload, leaf);
            chain = link;
            if let Some(frame) = Frame::take(&mut frame.as_slice(), leaf) {
                summary.follow(&frame, &record, Place::of(&record).as_ref());
            }
            out.write_all(&frame).map_err(at(path))?;
        }
        if again != rows {
            return Err(differs(
                path,
                format!(
                    "in row group {group} a column says something else than the payloads: it was changed"
                ),
            ));
        }
    }
    if Manifest::of(&summary, manifest.segment, manifest.previous) == *manifest {
        Ok(())
    } else {
        Err(differs(
            path,
            "its records are not those of its manifest: records were changed, removed or added".to_owned(),
        ))
    }
}

fn differs(path: &Path, what: String) -> ArchiveError {
    ArchiveError::Differs {
        path: path.to_owned(),
        what,
    }
}
