//! Segments under verification that policy removed.

use super::coverage::Coverage;
use super::report::{Fault, Range, Removed};
use crate::audit::manifest::Manifest;
use crate::audit::segment::Segment;
use crate::audit::tombstone::Tombstone;
use norma_wire::audit::{Record, record::Body};
use std::collections::BTreeSet;
use std::path::Path;

/// What was seen of removals so far.
#[derive(Default)]
pub struct Removals {
    proven: Vec<Tombstone>,
    /// Texts of tombstones that the log has as records.
    recorded: BTreeSet<String>,
}

impl Removals {
    /// Takes a segment that is gone into account.
    pub fn take(&mut self, tombstone: &Tombstone, manifest: &Manifest, coverage: &mut Coverage) {
        coverage.follow_removed(manifest);
        self.proven.push(tombstone.clone());
    }

    /// Takes a record into account.
    pub fn follow(&mut self, record: &Record) {
        if let Some(Body::Removed(removed)) = &record.body {
            self.recorded.insert(removed.tombstone.clone());
        }
    }

    /// The verdict. A tombstone that the log does not speak of is none, unless what speaks of it may be removed as well,
    /// or is not in this copy, which `is_part` says.
    pub fn finish(self, directory: &Path, is_part: bool) -> (Vec<Removed>, Vec<Fault>) {
        let mut faults = Vec::new();
        let mut list = Vec::new();
        for tombstone in &self.proven {
            let recorded = self.recorded.contains(&tombstone.to_string());
            let may_be_removed = is_part
                || self
                    .proven
                    .iter()
                    .any(|other| other.segment > tombstone.segment && other.records.1 > tombstone.after);
            if !recorded && !may_be_removed {
                let segment = Segment::new(directory, tombstone.records.0);
                let mut fault = Fault::of_file(
                    segment.path,
                    format!(
                        "segment {} is missing: it has a signed tombstone, but the log has no record of its removal: \
                         whoever has the key removed it",
                        tombstone.segment
                    ),
                );
                fault.index = tombstone.records.0;
                fault.lost = Some(Range {
                    first: tombstone.records.0,
                    last: tombstone.records.1,
                });
                faults.push(fault);
                continue;
            }
            list.push(Removed {
                segment: tombstone.segment,
                records: Range {
                    first: tombstone.records.0,
                    last: tombstone.records.1,
                },
                removed_ns: tombstone.removed_ns,
                reason: tombstone.reason.clone(),
                archive: tombstone.archive.as_ref().map(|kept| kept.url.clone()),
                recorded,
            });
        }
        (list, faults)
    }
}
