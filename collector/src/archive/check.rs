//! An archive file against itself: its records must make the very segment that its manifest describes, and its columns
//! must say what its records say.

use super::columns::{CLUSTER_KEY, MANIFEST_KEY, Rows, SCHEMA, SCHEMA_KEY};
use super::{ArchiveError, at, format};
use crate::audit::{Frame, MAGIC, Manifest, Summary, push_frame};
use norma_wire::audit::Record;
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use prost::Message as _;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

/// What an archive file is proven to hold.
#[derive(Clone, Debug)]
pub struct Checked {
    /// The manifest of its segment, which its records agree with in every value.
    pub manifest: Manifest,
    /// The cluster that it says it is of.
    pub cluster: String,
}

/// Checks the file at `path`.
pub fn check(path: &Path) -> Result<Checked, ArchiveError> {
    rebuild(path, &mut io::sink())
}

/// Checks the file at `path`, and writes the segment that it was made of, byte for byte.
pub fn rebuild(path: &Path, out: &mut dyn Write) -> Result<Checked, ArchiveError> {
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
    let mut summary = Summary::new(manifest.records.0);
    let mut chain = manifest.chain.0;
    out.write_all(&MAGIC).map_err(at(path))?;
    for group in 0..reader.num_row_groups() {
        let rows = reader
            .get_row_group(group)
            .and_then(|group| Rows::read(group.as_ref()))
            .map_err(format(path))?;
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
            again.push(&record, payload);
            frame.clear();
            chain = push_frame(&mut frame, &chain, payload);
            if let Some(frame) = Frame::take(&mut frame.as_slice()) {
                summary.follow(&frame, &record);
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
    if Manifest::of(&summary, manifest.segment, manifest.previous) != manifest {
        return Err(differs(
            path,
            "its records are not those of its manifest: records were changed, removed or added".to_owned(),
        ));
    }
    Ok(Checked {
        manifest,
        cluster: value(CLUSTER_KEY)?,
    })
}

fn differs(path: &Path, what: String) -> ArchiveError {
    ArchiveError::Differs {
        path: path.to_owned(),
        what,
    }
}
