//! Proofs of one record that a stranger can check: a C2SP tlog-proof of the entry that binds its segment, which
//! carries, as `extra`, the record and its way to the segment's root.
//!
//! ```text
//! norma.dev/audit-record/v1
//! record BASE64                   the payload, as it is stored
//! leaf INDEX                      within the segment, from 0
//! HASH                            the way from the leaf to the root, one a line (RFC 6962 §2.1.1)
//!
//! the entry of the tlog
//! ```
//!
//! What is checked: the record's leaf hash leads, with the number of records that the entry names, to the root that it
//! names; the entry's leaf hash leads to the root of the checkpoint; the checkpoint is signed, and cosigned, as the
//! trust policy demands.

use super::entry::Entry;
use super::format::{Frame, FrameError};
use super::leaf::leaf;
use super::read::ReadError;
use super::scan::{Defect, Found, Scan};
use super::segment::Segment;
use super::text::Malformed;
use super::tlog::{Tiles, TlogError};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use norma_tlog::policy::{Trusted, Untrusted};
use norma_tlog::proof::{Proof, ProofError};
use norma_tlog::tile::WIDTH;
use norma_tlog::tree::{Tree, Unproven, check_inclusion, inclusion};
use norma_tlog::{Hash, Policy};
use norma_wire::audit::{Record, record::Body};
use norma_wire::id::EventHead;
use norma_wire::pb::EventId;
use prost::Message as _;
use std::io;
use std::path::Path;

const TITLE: &str = "norma.dev/audit-record/v1";

/// What a proof is wanted of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// An event, by node, epoch and sequence.
    Event(EventId),
    /// Any record, by its index.
    Record(u64),
}

impl std::str::FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(index) = text.parse() {
            return Ok(Self::Record(index));
        }
        let wrong = || {
            format!(
                "`{text}` is neither an event such as `worker-1/0000000000000005/17` (node, epoch in hex, sequence) nor the index of a record"
            )
        };
        let mut parts = text.rsplitn(3, '/');
        let (Some(sequence), Some(epoch), Some(node)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(wrong());
        };
        Ok(Self::Event(EventId {
            node: node.to_owned(),
            epoch: u64::from_str_radix(epoch, 16).map_err(|_| wrong())?,
            sequence: sequence.parse().map_err(|_| wrong())?,
        }))
    }
}

/// Why there is no proof.
#[derive(Debug, thiserror::Error)]
pub enum ProveError {
    /// The log cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The tlog cannot be read.
    #[error(transparent)]
    Tlog(#[from] TlogError),
    /// No checkpoint.
    #[error("there is no tlog in this directory; a collector of this version makes one at its next start")]
    NoTlog,
    /// An entry is not what was written.
    #[error("entry {index} of the tlog cannot be read: {error}; run `norma-collector audit verify`")]
    Entry {
        /// Its index.
        index: u64,
        /// What is wrong.
        error: Malformed,
    },
    /// Nothing of the kind.
    #[error("the log has no such record; `norma-collector audit gaps` tells what did not arrive")]
    NotFound,
    /// Its key was destroyed.
    #[error("the records are not there any more, and nobody can read their archive file: {0}")]
    Shredded(String),
    /// Policy removed it.
    #[error(
        "records {first} to {last} (segment {segment}) were removed from this disk ({reason}){}; make the segment again \
         from its archive file with `norma-collector audit archive restore`, in this directory or a copy of it",
        archive.as_ref().map(|url| format!(" and are kept at {url}")).unwrap_or_default()
    )]
    Removed {
        /// Number of the segment.
        segment: u64,
        /// Its first record.
        first: u64,
        /// Its last record.
        last: u64,
        /// By which policy.
        reason: String,
        /// Where it is kept.
        archive: Option<String>,
    },
    /// It is too new.
    #[error("record {0} is not under a checkpoint yet; the next one comes within the checkpoint interval")]
    TooNew(u64),
    /// The files and the tlog do not agree.
    #[error("record {0} does not lead to the root that the tlog has; run `norma-collector audit verify`")]
    Disagrees(u64),
}

/// Makes a proof from the log in `directory`; under the newest checkpoint that counts by `policy`, where one is given.
pub fn prove(directory: &Path, wanted: &Wanted, policy: Option<&Policy>) -> Result<Proof, ProveError> {
    let (tiles, checkpoint, note) = Tiles::open(directory)?.ok_or(ProveError::NoTlog)?;
    let (segment, record) = find(directory, wanted)?;
    // A checkpoint with its quorum is worth more than a newer one without.
    let cosigned = match tiles.witnessed()? {
        Some((note, checkpoint))
            if policy.is_none_or(|policy| policy.check(&note).is_ok_and(|trusted| trusted.quorum)) =>
        {
            binding(&tiles.at(checkpoint.size), segment.first_index, record)?
                .map(|found| (found, tiles.at(checkpoint.size), note))
        }
        _ => None,
    };
    let newest = || -> Result<_, ProveError> {
        let found = binding(&tiles, segment.first_index, record)?;
        Ok(found.map(|found| (found, tiles.at(checkpoint.size), note.clone())))
    };
    let found = match cosigned {
        Some(found) => Some(found),
        None => newest()?,
    };
    let ((index, entry), tiles, checkpoint) = found.ok_or(ProveError::TooNew(record))?;
    let extra = extra(&segment, &entry, record)?;
    Ok(Proof {
        extra: Some(extra.into_bytes()),
        index,
        path: inclusion(&tiles, index, tiles.size())?,
        checkpoint,
    })
}

/// The segment that has the record, and its index.
fn find(directory: &Path, wanted: &Wanted) -> Result<(Segment, u64), ProveError> {
    let segments = Segment::known(directory).map_err(|source| io_error(directory, source))?;
    match wanted {
        Wanted::Record(index) => {
            let segment = segments
                .into_iter()
                .rev()
                .find(|segment| segment.first_index <= *index);
            let segment = segment.ok_or(ProveError::NotFound)?;
            is_there(&segment)?;
            Ok((segment, *index))
        }
        Wanted::Event(id) => {
            for segment in segments.into_iter().rev() {
                if !may_hold(&segment, id) {
                    continue;
                }
                is_there(&segment)?;
                let mut found = None;
                walk(&segment, |record, _| {
                    if let Some(Body::Event(bytes)) = &record.body
                        && EventHead::decode(bytes.clone()).is_ok_and(|head| head.id.as_ref() == Some(id))
                    {
                        found = Some(record.index);
                    }
                    found.is_none()
                })?;
                if let Some(index) = found {
                    return Ok((segment, index));
                }
            }
            Err(ProveError::NotFound)
        }
    }
}

/// An error where policy removed a segment.
fn is_there(segment: &Segment) -> Result<(), ProveError> {
    if segment.path.exists() {
        return Ok(());
    }
    let stated = super::shredding::read(segment);
    if let Some((_, stated)) = stated.map_err(|error| io_error(&segment.shredding(), error))? {
        return Err(ProveError::Shredded(stated.told().to_string()));
    }
    match super::tombstone::read(segment) {
        Ok(Some((_, tombstone))) => Err(ProveError::Removed {
            segment: tombstone.segment,
            first: tombstone.records.0,
            last: tombstone.records.1,
            reason: tombstone.reason,
            archive: tombstone.archive.map(|kept| kept.url),
        }),
        Ok(None) => Err(ProveError::NotFound),
        Err(source) => Err(io_error(&segment.tombstone(), source)),
    }
}

/// Whether a manifest does not exclude that the segment has an event.
fn may_hold(segment: &Segment, id: &EventId) -> bool {
    let manifest = std::fs::read(segment.manifest()).ok();
    let manifest = manifest.and_then(|bytes| super::manifest::Manifest::parse(&bytes).ok());
    manifest.is_none_or(|manifest| {
        manifest.outboxes.iter().any(|(outbox, held)| {
            outbox.node == id.node
                && outbox.epoch == id.epoch
                && (held.first..=held.last).contains(&id.sequence)
        })
    })
}

/// The entry that binds a record: that of its sealed segment, or else the first head that has it.
fn binding(tiles: &Tiles, first: u64, record: u64) -> Result<Option<(u64, Entry)>, ProveError> {
    let of = |entry: &Entry| entry.records();
    // Records of entries never go back, so that the first entry which reaches the record can be searched for.
    let (mut low, mut high) = (0, tiles.size());
    while low < high {
        let middle = low + (high - low) / 2;
        if of(&entry_at(tiles, middle)?).1 < record {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    let mut head = None;
    for index in low..tiles.size() {
        let entry = entry_at(tiles, index)?;
        match entry {
            Entry::Segment(_) if of(&entry).0 == first => return Ok(Some((index, entry))),
            Entry::Head(_) if of(&entry).0 == first => head = head.or(Some((index, entry))),
            Entry::Segment(_) | Entry::Head(_) => break,
        }
    }
    Ok(head)
}

fn entry_at(tiles: &Tiles, index: u64) -> Result<Entry, ProveError> {
    let bundle = tiles.bundle(index / WIDTH)?;
    let entry = bundle
        .get((index % WIDTH) as usize)
        .map_or(&[][..], Vec::as_slice);
    Entry::parse(entry).map_err(|error| ProveError::Entry { index, error })
}

/// The record, and its way to the root that the entry names.
fn extra(segment: &Segment, entry: &Entry, record: u64) -> Result<String, ProveError> {
    let (first, last) = entry.records();
    let mut tree = Tree::default();
    let mut payload = Vec::new();
    walk(segment, |found, frame| {
        tree.push(frame.leaf);
        if found.index == record {
            payload = frame.payload.to_vec();
        }
        found.index < last
    })?;
    let root = match entry {
        Entry::Segment(sealed) => sealed.root,
        Entry::Head(head) => head.root,
    };
    if tree.root() != root {
        return Err(ProveError::Disagrees(record));
    }
    let place = record - first;
    let path = inclusion(&tree, place, tree.size()).map_err(|_| ProveError::Disagrees(record))?;
    let mut text = format!("{TITLE}\nrecord {}\nleaf {place}\n", STANDARD.encode(payload));
    for hash in path {
        text += &format!("{hash}\n");
    }
    Ok(text + &format!("\n{entry}"))
}

/// Shows the records of a segment with their frames, until told to stop.
fn walk(segment: &Segment, mut show: impl FnMut(&Record, &Frame<'_>) -> bool) -> Result<(), ProveError> {
    let path = &segment.path;
    let mut scan = Scan::open(path, segment.first_index, None).map_err(|source| io_error(path, source))?;
    loop {
        match scan.next() {
            Ok(Some(Found { record, frame, .. })) => {
                if !show(record, &frame) {
                    return Ok(());
                }
            }
            // What is after it is being written, or verification says what is wrong with it.
            Ok(None) | Err(Defect::Frame(FrameError::Incomplete { .. })) => return Ok(()),
            Err(defect) => {
                return Err(ReadError::Damaged {
                    path: path.clone(),
                    offset: scan.offset(),
                    defect,
                }
                .into());
            }
        }
    }
}

fn io_error(path: &Path, source: io::Error) -> ProveError {
    ReadError::Io {
        path: path.to_owned(),
        source,
    }
    .into()
}

/// Why a proof proves nothing.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// Not a proof.
    #[error("it is not a proof: {0}")]
    Form(#[from] ProofError),
    /// The part about the record.
    #[error("it does not have a record of an audit log with its way to an entry: {0}")]
    Extra(&'static str),
    /// Signatures.
    #[error("its checkpoint does not count: {0}")]
    Untrusted(#[from] Untrusted),
    /// Witnesses.
    #[error("its checkpoint does not have the cosignatures that the trust policy demands; it has {0}")]
    Quorum(usize),
    /// The record.
    #[error("the record is not in the segment: {0}")]
    Record(Unproven),
    /// The entry.
    #[error("the segment is not in the log: {0}")]
    Entry(Unproven),
}

/// What a proof proves.
#[derive(Debug)]
pub struct Proven {
    /// The record.
    pub record: Record,
    /// The entry that binds it.
    pub entry: Entry,
    /// The checkpoint, and who signed it.
    pub trusted: Trusted,
}

/// Checks a proof with the trust policy alone.
pub fn check(text: &str, policy: &Policy) -> Result<Proven, CheckError> {
    let proof = Proof::parse(text)?;
    let trusted = policy.check(&proof.checkpoint)?;
    if !trusted.quorum {
        return Err(CheckError::Quorum(trusted.cosigned.len()));
    }
    let extra = proof.extra.ok_or(CheckError::Extra("there is no `extra` line"))?;
    let extra = String::from_utf8(extra).map_err(|_| CheckError::Extra("it is not text"))?;
    let (head, entry_text) = extra
        .split_once("\n\n")
        .ok_or(CheckError::Extra("no empty line before the entry"))?;
    let mut lines = head.split('\n');
    let mut value = |name: &str| lines.next().and_then(|line| line.strip_prefix(name));
    if value(TITLE) != Some("") {
        return Err(CheckError::Extra("it does not begin with its title"));
    }
    let payload = value("record ").and_then(|value| STANDARD.decode(value).ok());
    let payload = payload.ok_or(CheckError::Extra("no `record`"))?;
    let place: Option<u64> = value("leaf ").and_then(|value| value.parse().ok());
    let place = place.ok_or(CheckError::Extra("no `leaf`"))?;
    let path: Result<Vec<Hash>, _> = lines.map(str::parse).collect();
    let path = path.map_err(|_| CheckError::Extra("a hash of the way cannot be read"))?;
    let entry =
        Entry::parse(entry_text.as_bytes()).map_err(|_| CheckError::Extra("the entry cannot be read"))?;
    let (first, last) = entry.records();
    let root = match &entry {
        Entry::Segment(sealed) => sealed.root,
        Entry::Head(head) => head.root,
    };
    let size = (last + 1).saturating_sub(first);
    check_inclusion(place, leaf(&payload), size, root, &path).map_err(CheckError::Record)?;
    let checkpoint = &trusted.checkpoint;
    let hash = Hash::leaf(entry_text.as_bytes());
    check_inclusion(proof.index, hash, checkpoint.size, checkpoint.root, &proof.path)
        .map_err(CheckError::Entry)?;
    let record =
        Record::decode(payload.as_slice()).map_err(|_| CheckError::Extra("the payload is not a record"))?;
    if record.index != first + place {
        return Err(CheckError::Extra("the record has another index than its place"));
    }
    Ok(Proven {
        record,
        entry,
        trusted,
    })
}
