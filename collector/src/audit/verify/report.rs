//! What verification found, for people and for programs.

use super::super::frames::Place;
use super::super::head::Head;
use crate::audit::show::{record_kind, time};
use crate::audit::shredding::Shredded;
use crate::heads::check::ChainReport;
use norma_wire::audit::Record;
use norma_wire::json;
use norma_wire::pb;
use serde::{Serialize, Serializer};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

/// Faults that are listed for people.
const MOST_FAULTS: usize = 20;

/// The outcome of a verification.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// Everything that is not as the collector left it, in the order of the log; then what is wrong with the tlog.
    pub faults: Vec<Fault>,
    /// Segments that a copy has of the log, by number; absent where it is to be the whole.
    pub part: Option<Range>,
    /// A record that is being written, or that a crash left unfinished.
    pub torn: Option<Torn>,
    /// Files read.
    pub files: u64,
    /// Records that could be read.
    pub records: u64,
    /// Records that are proven to be what the collector wrote.
    pub proven: Vec<Range>,
    /// Segments that policy removed: each proven by its tombstone, its manifest and its entry in the tlog.
    pub removed: Vec<Removed>,
    /// Segments whose keys were destroyed: what is left of their archive files is proven by hashes alone.
    pub shredded: Vec<Shredded>,
    /// Records by what they are.
    pub by_record: BTreeMap<String, u64>,
    /// Events by kind.
    pub by_kind: BTreeMap<String, u64>,
    /// What is there of each node and epoch.
    pub outboxes: Vec<OutboxReport>,
    /// What nodes signed of their events, held against these; empty where that could not be checked.
    pub batches: Vec<ChainReport>,
    /// The last record read; keep it elsewhere to notice a log that was cut or rewritten.
    #[serde(serialize_with = "as_text")]
    pub head: Head,
    /// What the tlog proves; absent where there is none.
    pub log: Option<LogReport>,
    /// What was not proven, and why.
    pub notes: Vec<String>,
}

/// The tlog over the segments.
#[derive(Debug, Default, Serialize)]
pub struct LogReport {
    /// Name of the log.
    pub origin: String,
    /// Entries.
    pub size: u64,
    /// Sealed segments.
    pub segments: u64,
    /// Whether the SHA-256 of their files was worked out; otherwise it is what their manifests state.
    pub digests: bool,
    /// Heads of segments while they were open.
    pub heads: u64,
    /// When the newest head was made, by the collector's clock, nanoseconds since 1970; 0 where there is none.
    pub last_head_ns: u64,
    /// The verifier key under which the checkpoint is signed.
    pub signed_by: Option<String>,
    /// Nothing was said about keys.
    pub unsigned: bool,
    /// Witnesses of the policy that cosigned the newest checkpoint with a quorum, and when, in seconds since 1970.
    pub cosigned_by: Vec<(String, u64)>,
    /// Records up to this one are under that quorum; 0 where there is none.
    pub witnessed_records: u64,
    /// Remembered checkpoints that the log goes on from.
    pub remembered: u64,
}

/// Something that is not as the collector left it.
#[derive(Debug, Serialize)]
pub struct Fault {
    /// The file.
    pub file: PathBuf,
    /// Where in it what is wrong begins.
    pub offset: u64,
    /// The record that it is about, by the index that it has or should have; 0 where it is about none.
    pub index: u64,
    /// What is wrong.
    pub what: String,
    /// Records that are missing or not proven because of it, as far as known.
    pub lost: Option<Range>,
}

/// An unfinished record at the end of the newest file.
#[derive(Debug, Serialize)]
pub struct Torn {
    /// The file.
    pub file: PathBuf,
    /// Where in it the record begins.
    pub offset: u64,
    /// The index that it will have.
    pub index: u64,
    /// How much of it is there.
    pub bytes: u64,
}

/// Sequences `first` to `last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Range {
    /// From this one
    pub first: u64,
    /// to this one.
    pub last: u64,
}

/// What is there of one node and epoch.
#[derive(Debug, Default, Serialize)]
pub struct OutboxReport {
    /// The node.
    pub node: String,
    /// The epoch, in hex.
    pub epoch: String,
    /// First sequence that is accounted for here.
    pub first_sequence: u64,
    /// Last one.
    pub last_sequence: u64,
    /// Events stored.
    pub events: u64,
    /// Events that were refused.
    pub rejected: u64,
    /// Sequences that never arrived.
    pub missing: u64,
    /// Of these, the ones that the node says other logs acknowledged.
    pub elsewhere: u64,
    /// Names of these logs.
    pub other_logs: BTreeSet<String>,
    /// The ones that neither another log is said to hold nor a loss event of the agent admits.
    pub unexplained: Vec<Range>,
    /// Some of the missing ones are known from the manifests of removed segments, and an event that accounts for them
    /// may have been removed as well.
    pub removed: bool,
    /// The same in a form that other logs can be held against.
    #[serde(skip)]
    pub(in crate::audit) detail: Contents,
}

/// What is in a log of one node and epoch, and what is said there of other logs.
#[derive(Debug, Default)]
pub(in crate::audit) struct Contents {
    /// Names that the log has for itself.
    pub names: BTreeSet<String>,
    /// What is in it, in ascending order.
    pub arrived: Vec<Range>,
    /// What loss events admit.
    pub admitted: Vec<Range>,
    /// What the node says that logs acknowledged.
    pub held: Vec<Told>,
    /// What the node says that may be in two logs.
    pub in_doubt: Vec<Told>,
}

/// Sequences, and the logs that a node names for them.
#[derive(Debug)]
pub(in crate::audit) struct Told {
    /// The sequences.
    pub range: Range,
    /// Names of logs.
    pub logs: BTreeSet<String>,
}

impl From<&pb::Held> for Told {
    fn from(held: &pb::Held) -> Self {
        Self {
            range: Range {
                first: held.first_sequence,
                last: held.last_sequence,
            },
            logs: held.logs.iter().cloned().collect(),
        }
    }
}

/// A segment that policy removed.
#[derive(Debug, Serialize)]
pub struct Removed {
    /// Its number.
    pub segment: u64,
    /// Its records.
    pub records: Range,
    /// When it was removed, nanoseconds since 1970.
    pub removed_ns: u64,
    /// By which policy.
    pub reason: String,
    /// Where it is kept.
    pub archive: Option<String>,
    /// Whether the log has the record of its removal; it may have been removed itself.
    pub recorded: bool,
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_intact(&self) -> bool {
        self.faults.is_empty()
    }

    /// Records `first` to `last` are proven; they come in ascending order.
    pub(super) fn prove(&mut self, first: u64, last: u64) {
        match self.proven.last_mut() {
            Some(range) if range.last + 1 == first => range.last = last,
            _ => self.proven.push(Range { first, last }),
        }
    }

    fn write_removed(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Some(first), Some(last)) = (self.removed.first(), self.removed.last()) else {
            return Ok(());
        };
        let records: u64 = self.removed.iter().map(|removed| removed.records.count()).sum();
        writeln!(
            f,
            "removed by policy: {} segments from {} to {}, {records} records; each is proven by its tombstone and its \
             manifest, its content is not here",
            self.removed.len(),
            first.segment,
            last.segment
        )?;
        let mut reasons: BTreeMap<&str, u64> = BTreeMap::new();
        for removed in &self.removed {
            *reasons.entry(&removed.reason).or_default() += 1;
        }
        for (reason, count) in reasons {
            writeln!(f, "  {count} by {reason}")?;
        }
        Ok(())
    }

    /// States what was counted.
    pub(super) fn counted(&mut self, counts: Counts) {
        self.by_kind = counts
            .by_kind
            .into_iter()
            .map(|(kind, count)| (json::name::<pb::Kind>(kind), count))
            .collect();
        self.by_record = counts
            .by_record
            .into_iter()
            .map(|(name, count)| (name.to_owned(), count))
            .collect();
    }
}

/// Records and events by what they are, while they are counted.
#[derive(Debug, Default)]
pub(super) struct Counts {
    by_record: BTreeMap<&'static str, u64>,
    by_kind: BTreeMap<i32, u64>,
}

impl Counts {
    /// Counts a record, of whose event `place` tells what it is.
    pub fn count(&mut self, record: &Record, place: Option<&Place>) {
        if let Some(place) = place {
            *self.by_kind.entry(place.kind).or_default() += 1;
        }
        *self
            .by_record
            .entry(record_kind(record.body.as_ref()))
            .or_default() += 1;
    }
}

impl Fault {
    pub(super) fn of_file(file: PathBuf, what: String) -> Self {
        Self {
            file,
            offset: 0,
            index: 0,
            what,
            lost: None,
        }
    }
}

impl Range {
    /// How many sequences it has.
    pub fn count(&self) -> u64 {
        (self.last - self.first).saturating_add(1)
    }
}

impl OutboxReport {
    /// What accounts for what is missing, where all of it is accounted for.
    pub(in super::super) fn accounted(&self) -> String {
        let logs = || {
            let names: Vec<_> = self.other_logs.iter().map(String::as_str).collect();
            names.join(", ")
        };
        match self.elsewhere {
            0 => "all accounted for by loss events".to_owned(),
            all if all == self.missing => format!("all acknowledged by other logs: {}", logs()),
            some => format!(
                "{some} acknowledged by other logs ({}), the rest accounted for by loss events",
                logs()
            ),
        }
    }

    pub(super) fn reach(&mut self, first: u64, last: u64) {
        if self.first_sequence == 0 {
            self.first_sequence = first;
        }
        self.last_sequence = last;
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let (Some(part), true) = (&self.part, self.faults.is_empty()) {
            writeln!(
                f,
                "intact, and only a part of the log: segments {part} of it, {} records in {} files; what is before \
                 and after is not in this copy",
                self.records, self.files
            )?;
        } else if self.faults.is_empty() {
            writeln!(f, "intact: {} records in {} files", self.records, self.files)?;
        } else {
            let count = self.faults.len();
            writeln!(
                f,
                "NOT INTACT: {count} fault{}",
                if count == 1 { "" } else { "s" }
            )?;
            for fault in self.faults.iter().take(MOST_FAULTS) {
                write!(f, "  {} at byte {}", fault.file.display(), fault.offset)?;
                match fault.index {
                    0 => writeln!(f)?,
                    index => writeln!(f, " (record {index})")?,
                }
                writeln!(f, "    what is wrong: {}", fault.what)?;
                if let Some(lost) = &fault.lost {
                    writeln!(f, "    missing or not proven: records {lost}")?;
                }
            }
            if count > MOST_FAULTS {
                writeln!(f, "  … and {} more (--output json has all)", count - MOST_FAULTS)?;
            }
            match list(&self.proven) {
                none if none.is_empty() => writeln!(f, "still proven: nothing")?,
                ranges => writeln!(f, "still proven: records {ranges}")?,
            }
        }
        if let Some(log) = &self.log {
            log.fmt(f)?;
        }
        self.write_removed(f)?;
        if !self.shredded.is_empty() {
            writeln!(
                f,
                "shredded: {} segments, whose contents nobody can read any more; hashes, manifests and entries prove \
                 what they were",
                self.shredded.len()
            )?;
            for shredded in &self.shredded {
                writeln!(f, "  {shredded}")?;
            }
        }
        if let Some(torn) = &self.torn {
            writeln!(
                f,
                "unfinished: {} bytes of record {} at byte {} of {}; it is being written, or a crash left it",
                torn.bytes,
                torn.index,
                torn.offset,
                torn.file.display()
            )?;
        }
        for note in &self.notes {
            writeln!(f, "note: {note}")?;
        }
        write_counts(f, "records", &self.by_record)?;
        write_counts(f, "events", &self.by_kind)?;
        for outbox in &self.outboxes {
            write!(
                f,
                "node {} epoch {}: sequences {}-{}, {} events, {} rejected, ",
                outbox.node,
                outbox.epoch,
                outbox.first_sequence,
                outbox.last_sequence,
                outbox.events,
                outbox.rejected
            )?;
            if outbox.missing == 0 {
                writeln!(f, "complete")?;
            } else if outbox.removed && !outbox.unexplained.is_empty() {
                let ranges = list(&outbox.unexplained);
                writeln!(
                    f,
                    "{} missing, not accounted for by what is still there (segments were removed): {ranges}",
                    outbox.missing
                )?;
            } else if outbox.unexplained.is_empty() {
                writeln!(f, "{} missing, {}", outbox.missing, outbox.accounted())?;
            } else {
                let ranges = list(&outbox.unexplained);
                writeln!(f, "{} missing, NOT ACCOUNTED FOR: {ranges}", outbox.missing)?;
            }
        }
        for batches in self
            .batches
            .iter()
            .filter(|batches| batches.heads > 0 || !batches.is_sound())
        {
            writeln!(f, "{batches}")?;
        }
        writeln!(f, "head: {}", self.head)
    }
}

impl fmt::Display for LogReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "log {}: {} entries, {} sealed segments, {} heads, the newest of {}",
            self.origin,
            self.size,
            self.segments,
            self.heads,
            time(self.last_head_ns)
        )?;
        let digests = if self.digests {
            "worked out, and as the manifests state them"
        } else {
            "as the manifests state them (--digests works them out; roots and chains are over the same bytes)"
        };
        writeln!(f, "SHA-256 of files: {digests}")?;
        if let Some(key) = &self.signed_by {
            writeln!(f, "signed by: {key}")?;
        }
        for (witness, seconds) in &self.cosigned_by {
            let when = time(seconds.saturating_mul(1_000_000_000));
            writeln!(f, "cosigned by: {witness} at {when}")?;
        }
        if !self.cosigned_by.is_empty() {
            writeln!(
                f,
                "under a quorum of witnesses: records up to {}",
                self.witnessed_records
            )?;
        }
        if self.remembered > 0 {
            writeln!(f, "goes on from: {} remembered checkpoints", self.remembered)?;
        }
        Ok(())
    }
}

fn list(ranges: &[Range]) -> String {
    ranges
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

fn write_counts(f: &mut fmt::Formatter<'_>, what: &str, counts: &BTreeMap<String, u64>) -> fmt::Result {
    let list = counts
        .iter()
        .map(|(name, count)| format!("{count} {name}"))
        .collect::<Vec<_>>()
        .join(", ");
    writeln!(f, "{what}: {}", if list.is_empty() { "none" } else { &list })
}

fn as_text<S: Serializer>(head: &Head, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(head)
}
