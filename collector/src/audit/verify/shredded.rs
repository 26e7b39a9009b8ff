//! Segments under verification whose contents were made unreadable.

use super::report::Fault;
use crate::audit::entry::Sealed;
use crate::audit::segment::Segment;
use crate::audit::shredding::{self, Shredded, Shredding};
use norma_tlog::VerifierKey;
use norma_wire::audit::{Record, record::Body};
use std::collections::BTreeMap;

/// What was seen of shreddings so far.
#[derive(Default)]
pub struct Shreddings {
    /// Notes that lie beside the segments, and which.
    noted: Vec<(Segment, Result<Shredding, String>)>,
    /// What the log's records say, by segment.
    recorded: BTreeMap<u64, Shredding>,
    /// Records from the first to the last of each segment that is not here.
    away: Vec<(u64, u64)>,
}

impl Shreddings {
    /// Takes a segment into account, whether or not its file is there.
    pub fn take(&mut self, segment: &Segment, sealed: &Sealed, keys: &[VerifierKey]) {
        if let Some(found) = shredding::examine(segment, sealed, keys) {
            self.noted.push((segment.clone(), found));
        }
        if !segment.path.exists() {
            self.away.push(sealed.records);
        }
    }

    /// Takes a record into account.
    pub fn follow(&mut self, record: &Record) {
        if let Some(Body::Shredded(shredded)) = &record.body
            && let Ok(stated) = Shredding::parse(&shredded.statement)
        {
            self.recorded.insert(stated.segment, stated);
        }
    }

    /// The verdict. A note that the log does not speak of is somebody's who has the key, unless what speaks of it may
    /// have been removed, or is not in this copy, which `is_part` says.
    pub fn finish(self, is_part: bool) -> (Vec<Shredded>, Vec<Fault>) {
        let mut faults = Vec::new();
        let mut told: BTreeMap<u64, Shredded> = self
            .recorded
            .values()
            .map(|stated| (stated.segment, stated.told()))
            .collect();
        for (segment, found) in self.noted {
            let what = match found {
                Ok(noted) if self.recorded.get(&noted.segment) == Some(&noted) => continue,
                Ok(noted)
                    if !self.recorded.contains_key(&noted.segment)
                        && (is_part || self.away.iter().any(|(_, last)| *last > noted.after)) =>
                {
                    told.insert(noted.segment, noted.told());
                    continue;
                }
                Ok(noted) => format!(
                    "segment {} has a note that it was shredded, and the log has no such record: whoever has the key \
                     wrote it",
                    noted.segment
                ),
                Err(wrong) => wrong,
            };
            let mut fault = Fault::of_file(segment.shredding(), what);
            fault.index = segment.first_index;
            faults.push(fault);
        }
        (told.into_values().collect(), faults)
    }
}
