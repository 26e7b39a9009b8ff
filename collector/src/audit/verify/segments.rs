//! The segments under verification: record by record, and each against what the tlog and its manifest say.

use super::coverage::Coverage;
use super::ledger::{Group, Ledger};
use super::removed::Removals;
use super::report::{Counts, Fault, Range, Report, Torn};
use super::sealed::{Sound, disagreement, told};
use super::shredded::Shreddings;
use super::{Expected, VerifyError, unreadable};
use crate::audit::ahead::Pool;
use crate::audit::entry::Sealed;
use crate::audit::format::FrameError;
use crate::audit::frames::Frames;
use crate::audit::head::Head;
use crate::audit::recover::frame_follows;
use crate::audit::scan::{Defect, Found, Scan, State};
use crate::audit::segment::Segment;
use crate::audit::summary::Summary;
use crate::audit::tombstone;
use crate::heads::check::{Chains, Contradiction, Origin};
use norma_tlog::{Hash, VerifierKey};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// One verification.
pub struct Run {
    path: PathBuf,
    ledger: Option<Ledger>,
    head: Option<Head>,
    expected: Option<Head>,
    expected_seen: bool,
    coverage: Coverage,
    /// What nodes signed; `None` from where it cannot be followed from the first record on.
    chains: Option<Chains>,
    contradictions: Vec<Fault>,
    counts: Counts,
    report: Report,
    /// Whether the digests of files are worked out.
    digests: bool,
    /// Threads that hash ahead; none where one thread does everything.
    pool: Option<Pool>,
    /// Digest of the manifest before, as the tlog has it.
    previous: Hash,
    /// The newest record read.
    reached: u64,
    /// First and last segment of a copy that says that it is a part of a log.
    part: Option<(u64, u64)>,
    /// The log's keys, where a trust policy has one; otherwise none.
    keys: Vec<VerifierKey>,
    /// Segments that policy removed.
    removals: Removals,
    /// Segments whose keys were destroyed.
    shreddings: Shreddings,
}

/// How a file was read.
struct Walked {
    summary: Summary,
    /// State after its last record; `None` where something is wrong with it.
    after: Option<State>,
    /// Up to which record heads of the tlog agree.
    agreed: u64,
}

impl Run {
    pub fn new(path: &Path, ledger: Option<Ledger>, head: Option<Head>, expected: &Expected) -> Self {
        Self {
            keys: ledger.as_ref().map(Ledger::keys).unwrap_or_default(),
            removals: Removals::default(),
            shreddings: Shreddings::default(),
            path: path.to_owned(),
            ledger,
            head,
            expected: expected.head,
            expected_seen: false,
            coverage: Coverage::default(),
            chains: Some(Chains::new(expected.node_authorities.clone())),
            contradictions: Vec::new(),
            counts: Counts::default(),
            report: Report::default(),
            digests: expected.digests,
            pool: None,
            previous: Hash::default(),
            reached: 0,
            part: None,
        }
    }

    /// Has so many threads hash and decode ahead; one or none leaves everything to the caller's.
    pub fn with_threads(&mut self, threads: usize) {
        if threads > 1 {
            match Pool::start(threads) {
                Ok(pool) => self.pool = Some(pool),
                Err(error) => tracing::warn!(%error, "cannot start threads; verifying with one"),
            }
        }
    }

    /// It is a copy of these segments alone.
    pub fn part(&mut self, first: u64, last: u64) {
        self.part = Some((first, last));
        self.report.part = Some(Range { first, last });
    }

    pub fn note(&mut self, note: &str) {
        self.report.notes.push(note.to_owned());
    }

    /// Something that is wrong beside the records.
    pub fn fault(&mut self, fault: Fault) {
        self.report.faults.push(fault);
    }

    /// One file, whatever else there is.
    pub fn alone(&mut self, segment: &Segment) -> Result<(), VerifyError> {
        let walked = self.walk(segment, None, &Group::default(), true, None)?;
        if walked.summary.last >= segment.first_index {
            self.report.prove(segment.first_index, walked.summary.last);
        }
        Ok(())
    }

    /// All files of a directory.
    pub fn directory(&mut self, segments: Vec<Segment>) -> Result<(), VerifyError> {
        let mut files: BTreeMap<u64, Segment> = segments
            .into_iter()
            .map(|segment| (segment.first_index, segment))
            .collect();
        let mut before = Some(State::default());
        for number in 0.. {
            let group = self
                .ledger
                .as_mut()
                .map(|ledger| ledger.next_segment(number))
                .unwrap_or_default();
            if let Some(sealed) = &group.sealed {
                let segment = Segment::new(&self.path, sealed.records.0);
                self.shreddings.take(&segment, sealed, &self.keys);
            }
            let Some(segment) = self.file_of(&group, &mut files) else {
                match group.records() {
                    Some(_) if self.is_elsewhere(number) => {
                        self.previous = group.sealed.map_or(self.previous, |sealed| sealed.manifest);
                    }
                    Some((first, last)) => self.missing(number, first, last, &group),
                    None => break,
                }
                before = None;
                continue;
            };
            let newest = files.is_empty() && group.sealed.is_none();
            let anchored = before.is_some();
            let walked = match self.walk(&segment, before.take(), &group, newest, files.values().next()) {
                Err(error) if error.is_missing() && segment.tombstone().exists() => {
                    // Policy removed it after the files were listed.
                    if let Some((first, last)) = group.records() {
                        self.missing(number, first, last, &group);
                    }
                    continue;
                }
                walked => walked?,
            };
            before.clone_from(&walked.after);
            let sealed = match (&group.sealed, &walked.after) {
                (Some(sealed), Some(_)) => self.compare(&segment, &walked.summary, number, sealed),
                (Some(sealed), None) => {
                    self.lost(&segment, sealed, walked.summary.last);
                    false
                }
                (None, _) => false,
            };
            let proven = if sealed || anchored {
                walked.summary.last
            } else {
                walked.agreed
            };
            if group.sealed.is_some() && walked.after.is_some() && !sealed {
                before = None;
            } else if proven >= segment.first_index {
                self.report.prove(segment.first_index, proven);
            }
            self.previous = group.sealed.map(|sealed| sealed.manifest).unwrap_or_default();
            if self.ledger.is_none() && walked.after.is_none() {
                break;
            }
        }
        Ok(())
    }

    /// The file that the tlog speaks of next, or the next one where it says nothing.
    fn file_of(&mut self, group: &Group, files: &mut BTreeMap<u64, Segment>) -> Option<Segment> {
        let Some((first, _)) = group.records() else {
            return files.pop_first().map(|(_, segment)| segment);
        };
        while let Some(stray) = files.first_entry().filter(|entry| *entry.key() < first) {
            let segment = stray.remove();
            let mut fault = Fault::of_file(
                segment.path,
                "the tlog knows no segment that begins with this record: the file was added".to_owned(),
            );
            fault.index = segment.first_index;
            self.report.faults.push(fault);
        }
        files.remove(&first)
    }

    /// Whether a copy does not claim to have a segment.
    fn is_elsewhere(&self, number: u64) -> bool {
        self.part
            .is_some_and(|(first, last)| !(first..=last).contains(&number))
    }

    fn missing(&mut self, number: u64, first: u64, last: u64, group: &Group) {
        let segment = Segment::new(&self.path, first);
        let tombstone = group
            .sealed
            .as_ref()
            .and_then(|sealed| tombstone::examine(&segment, sealed, &self.keys));
        let wrong = match tombstone {
            Some(Ok((tombstone, manifest))) => {
                self.previous = tombstone.manifest;
                self.removals.take(&tombstone, &manifest, &mut self.coverage);
                return;
            }
            Some(Err(wrong)) => format!("; {wrong}"),
            None => String::new(),
        };
        let mut what = format!("segment {number} is missing: it had records {first} to {last}{wrong}");
        if let Some(sealed) = &group.sealed {
            what += &told(&segment, sealed);
            self.previous = sealed.manifest;
        }
        self.report.faults.push(Fault {
            file: segment.path,
            offset: 0,
            index: first,
            what,
            lost: Some(Range { first, last }),
        });
    }

    /// Reads a file to its end or to the first record that is wrong; most likely `next` follows.
    fn walk(
        &mut self,
        segment: &Segment,
        before: Option<State>,
        group: &Group,
        newest: bool,
        next: Option<&Segment>,
    ) -> Result<Walked, VerifyError> {
        let first = segment.first_index;
        let Some(pool) = &mut self.pool else {
            let scan = Scan::open(&segment.path, first, before).map_err(unreadable(&segment.path))?;
            return self.follow(scan, segment, group, newest);
        };
        let next = next.map(|next| next.path.as_path());
        let (frames, length) = pool
            .read(&segment.path, next)
            .map_err(unreadable(&segment.path))?;
        let scan = Scan::new(frames, length, first, before);
        self.follow(scan, segment, group, newest)
    }

    /// Follows a file record by record.
    fn follow<F: Frames>(
        &mut self,
        mut scan: Scan<F>,
        segment: &Segment,
        group: &Group,
        newest: bool,
    ) -> Result<Walked, VerifyError> {
        self.report.files += 1;
        let mut walked = Walked {
            summary: Summary::new(segment.first_index),
            after: None,
            agreed: 0,
        };
        let mut heads = group.heads.iter().peekable();
        let mut origin = Origin {
            file: segment.path.as_path().into(),
            offset: 0,
            index: 0,
        };
        loop {
            let offset = scan.offset();
            match scan.next() {
                Ok(Some(found)) => {
                    let Found { record, place, .. } = found;
                    walked.summary.follow(&found.frame, record, place);
                    let here = Head {
                        index: record.index,
                        hash: found.frame.hash,
                    };
                    let mut fault = self.check_heads(here);
                    while let Some(head) = heads.next_if(|head| head.records.1 <= here.index) {
                        fault = fault.or_else(|| disagreement(head, here, &walked.summary));
                        walked.agreed = here.index;
                    }
                    if let Some(what) = fault {
                        self.bad_record(segment, offset, here.index, what, group);
                        walked.summary.last = here.index - 1;
                        return Ok(walked);
                    }
                    self.report.records += 1;
                    self.counts.count(record, place);
                    self.coverage.follow(record, place);
                    self.removals.follow(record);
                    self.shreddings.follow(record);
                    origin.offset = offset;
                    origin.index = record.index;
                    self.follow_batches(&origin, &found);
                    self.report.head = here;
                    self.reached = here.index;
                }
                Ok(None) => break,
                Err(defect) => {
                    if !self.is_unfinished(segment, &scan, &defect, newest)? {
                        self.bad_record(
                            segment,
                            scan.offset(),
                            scan.next_index(),
                            defect.to_string(),
                            group,
                        );
                        return Ok(walked);
                    }
                    break;
                }
            }
        }
        if let Some(head) = heads.last().filter(|_| group.sealed.is_none()) {
            let last = walked.summary.last;
            let what = format!(
                "the file ends with record {last}, but a head of the tlog says that record {} was durable: the end was \
                 removed",
                head.records.1
            );
            self.bad_record(segment, scan.offset(), last + 1, what, group);
            return Ok(walked);
        }
        if let Some(sealed) = group
            .sealed
            .as_ref()
            .filter(|sealed| sealed.records.1 > walked.summary.last)
        {
            let (last, sealed) = (walked.summary.last, sealed.records.1);
            let what = format!(
                "the file ends with record {last}, and was sealed with record {sealed}: its end was removed"
            );
            self.bad_record(segment, scan.offset(), last + 1, what, group);
            return Ok(walked);
        }
        walked.after = Some(scan.into_state());
        Ok(walked)
    }

    /// Holds events against what nodes signed of them, for as long as every record from the first on was there.
    fn follow_batches(&mut self, origin: &Origin, found: &Found<'_>) {
        let record = found.record;
        if record.index != self.reached + 1 || !self.report.faults.is_empty() {
            if let Some(chains) = self.chains.take() {
                self.contradicted(chains.finish().1);
                self.note(&format!(
                    "what nodes signed of their batches is not checked from record {} on: it takes every record from \
                     the first",
                    record.index
                ));
            }
            return;
        }
        if let Some(chains) = &mut self.chains {
            let event = found.place.zip(found.event);
            let told = chains.follow(record, event, origin);
            self.contradicted(told);
        }
    }

    fn contradicted(&mut self, contradictions: Vec<Contradiction>) {
        let faults = contradictions
            .into_iter()
            .map(|Contradiction { origin, what }| Fault {
                file: origin.file.to_path_buf(),
                offset: origin.offset,
                index: origin.index,
                what,
                lost: None,
            });
        self.contradictions.extend(faults);
    }

    /// Something is wrong with a record, and nothing after it in its segment is proven.
    fn bad_record(&mut self, segment: &Segment, offset: u64, index: u64, what: String, group: &Group) {
        let last = group
            .records()
            .map(|(_, last)| last)
            .filter(|last| *last >= index);
        self.report.faults.push(Fault {
            file: segment.path.clone(),
            offset,
            index,
            what,
            lost: last.map(|last| Range { first: index, last }),
        });
    }

    /// What is wrong where a record is one that the head file or the expected head names.
    fn check_heads(&mut self, here: Head) -> Option<String> {
        if self
            .head
            .is_some_and(|head| head.index == here.index && head.hash != here.hash)
        {
            return Some("the head file names another hash for this record: the log was replaced".to_owned());
        }
        if let Some(expected) = self.expected.filter(|expected| expected.index == here.index) {
            if expected.hash != here.hash {
                return Some(
                    "the expected head names another hash for this record: the log was rewritten".to_owned(),
                );
            }
            self.expected_seen = true;
        }
        None
    }

    fn is_unfinished<F: Frames>(
        &mut self,
        segment: &Segment,
        scan: &Scan<F>,
        defect: &Defect,
        newest: bool,
    ) -> Result<bool, VerifyError> {
        let index = scan.next_index();
        let Defect::Frame(FrameError::Incomplete { have, .. }) = defect else {
            return Ok(false);
        };
        let unfinished = newest
            && self.head.is_none_or(|head| head.index < index)
            && !frame_follows(&segment.path, scan.offset()).map_err(unreadable(&segment.path))?;
        if unfinished {
            self.report.torn = Some(Torn {
                file: segment.path.clone(),
                offset: scan.offset(),
                index,
                bytes: *have,
            });
        }
        Ok(unfinished)
    }

    /// Compares a segment that is sound in itself with what it was sealed as; whether it is that.
    fn compare(&mut self, segment: &Segment, summary: &Summary, number: u64, sealed: &Sealed) -> bool {
        let previous = self.previous;
        let sound = Sound {
            segment,
            summary,
            number,
            previous,
        };
        let compared = sound.compare(sealed, self.digests);
        self.report.faults.extend(compared.faults);
        compared.is_it
    }

    /// Adds to the newest fault what a proven manifest says of the segment that is damaged.
    fn lost(&mut self, segment: &Segment, sealed: &Sealed, good: u64) {
        let told = told(segment, sealed);
        if let Some(fault) = self.report.faults.last_mut() {
            fault.what += &told;
            fault.lost = (sealed.records.1 > good).then_some(Range {
                first: good + 1,
                last: sealed.records.1,
            });
        }
    }

    /// The verdict.
    pub fn finish(mut self) -> Report {
        let last = self.report.head.index;
        if self.report.faults.is_empty() {
            let cut = match (self.head, self.expected) {
                (Some(head), _) if head.index > last => Some(("the head file", head)),
                (_, Some(expected)) if !self.expected_seen && expected.index > last => {
                    Some(("the expected head", expected))
                }
                _ => None,
            };
            if let Some((name, head)) = cut {
                let mut fault = Fault::of_file(
                    self.path.clone(),
                    format!(
                        "the log ends with record {last}, but {name} says that record {} was durable: its end was \
                         removed",
                        head.index
                    ),
                );
                fault.index = last + 1;
                self.report.faults.push(fault);
            }
        }
        let (removed, faults) = std::mem::take(&mut self.removals).finish(&self.path, self.part.is_some());
        self.report.removed = removed;
        self.report.faults.extend(faults);
        let (shredded, faults) = std::mem::take(&mut self.shreddings).finish(self.part.is_some());
        self.report.shredded = shredded;
        self.report.faults.extend(faults);
        match self.ledger.take() {
            Some(ledger) => {
                let (mut log, faults) = ledger.finish(self.reached);
                log.digests = self.digests;
                self.report.faults.extend(faults);
                if log.unsigned {
                    self.note(
                        "no trust policy was given: that the checkpoint was signed, and by whom, is not proven \
                         (--policy)",
                    );
                }
                self.report.log = Some(log);
            }
            None => self.note(
                "there is no tlog: only the chain of records is proven, which whoever can write the files can make \
                 anew. A collector of this version makes one at its next start",
            ),
        }
        if let Some(chains) = self.chains.take() {
            let (batches, contradictions) = chains.finish();
            self.report.batches = batches;
            self.contradicted(contradictions);
        }
        self.contradictions.sort_by_key(|fault| fault.index);
        self.report.counted(self.counts);
        self.report.outboxes = self.coverage.finish();
        self.report.faults.append(&mut self.contradictions);
        self.report
    }
}

impl Group {
    /// First and last record that the tlog knows of the segment.
    fn records(&self) -> Option<(u64, u64)> {
        let sealed = self.sealed.as_ref().map(|sealed| sealed.records);
        sealed.or_else(|| self.heads.last().map(|head| head.records))
    }
}
