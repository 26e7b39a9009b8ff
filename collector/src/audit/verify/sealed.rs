//! A segment against what it was sealed as, and against its heads.

use super::report::{Fault, Range};
use crate::audit::entry::{OpenHead, Sealed};
use crate::audit::head::Head;
use crate::audit::manifest::Manifest;
use crate::audit::segment::Segment;
use crate::audit::summary::Summary;
use norma_tlog::Hash;
use sha2::{Digest as _, Sha256};
use std::fs;

/// Compares a segment that is sound in itself with what it was sealed as; whether it is that, and what is wrong.
pub fn compare(segment: &Segment, manifest: &Manifest, sealed: &Sealed) -> (bool, Vec<Fault>) {
    let mut faults = Vec::new();
    if (manifest.root, manifest.records) != (sealed.root, sealed.records) {
        let what =
            "its records are not those that were sealed: the tlog has another root for them".to_owned();
        faults.push(Fault {
            file: segment.path.clone(),
            offset: 0,
            index: segment.first_index,
            what: what + &told(segment, sealed),
            lost: Some(Range {
                first: sealed.records.0,
                last: sealed.records.1,
            }),
        });
        return (false, faults);
    }
    let path = segment.manifest();
    let must = manifest.to_string();
    let wrong = match fs::read(&path) {
        Ok(there) if there == must.as_bytes() => None,
        Ok(there) => {
            let same = there
                .iter()
                .zip(must.as_bytes())
                .take_while(|(there, must)| there == must)
                .count();
            Some((
                same as u64,
                "it is not the manifest of the segment beside it".to_owned(),
            ))
        }
        Err(error) => Some((0, format!("the manifest cannot be read: {error}"))),
    };
    if let Some((offset, what)) = wrong {
        let mut fault = Fault::of_file(path.clone(), what);
        fault.offset = offset;
        faults.push(fault);
    }
    if manifest.digest() != sealed.manifest {
        let what =
            "the tlog names a manifest that says something else than the segment: it was forged".to_owned();
        faults.push(Fault::of_file(path, what));
    }
    (true, faults)
}

/// Why a head is not one of the segment that was read up to the record that it names.
pub fn disagreement(head: &OpenHead, here: Head, summary: &Summary) -> Option<String> {
    let agrees = head.records == (summary.first, here.index)
        && head.chain == here.hash
        && head.root == summary.tree.root();
    (!agrees).then(|| {
        format!(
            "a head of the tlog (of {}) has another hash for the records up to {}: records were changed",
            crate::audit::show::time(head.time_ns),
            head.records.1
        )
    })
}

/// What the manifest of a damaged segment says of it, where it is the one that the tlog names.
pub fn told(segment: &Segment, sealed: &Sealed) -> String {
    let manifest = fs::read(segment.manifest()).ok();
    let proven = manifest.filter(|bytes| Hash(Sha256::digest(bytes).into()) == sealed.manifest);
    let Some(manifest) = proven.and_then(|bytes| Manifest::parse(&bytes).ok()) else {
        return "; its manifest is not there to say what they were".to_owned();
    };
    let events: u64 = manifest.outboxes.values().map(|held| held.events).sum();
    let nodes: Vec<String> = manifest
        .outboxes
        .iter()
        .take(8)
        .map(|(outbox, held)| format!("{} {}-{}", outbox.node, held.first, held.last))
        .collect();
    format!(
        "; by its manifest, which is proven, the segment had {events} events between {} and {} ({}{})",
        crate::audit::show::time(manifest.time_ns.0),
        crate::audit::show::time(manifest.time_ns.1),
        nodes.join(", "),
        if manifest.outboxes.len() > nodes.len() {
            ", …"
        } else {
            ""
        }
    )
}
