//! What verification found, for people and for programs.

use super::super::head::Head;
use super::super::segment::Segment;
use crate::audit::show::record_kind;
use norma_wire::audit::{Record, record::Body};
use norma_wire::id::EventHead;
use norma_wire::json;
use norma_wire::pb;
use prost::Message as _;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// The outcome of a verification.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// The first bad record, if any.
    pub bad: Option<Bad>,
    /// A record that is being written, or that a crash left unfinished.
    pub torn: Option<Torn>,
    /// Files read.
    pub files: u64,
    /// Records proven.
    pub records: u64,
    /// Records by what they are.
    pub by_record: BTreeMap<String, u64>,
    /// Events by kind.
    pub by_kind: BTreeMap<String, u64>,
    /// What is there of each node and epoch.
    pub outboxes: Vec<OutboxReport>,
    /// The last record proven; keep it elsewhere to notice a log that was cut or rewritten.
    #[serde(serialize_with = "as_text")]
    pub head: Head,
    /// What was not proven, and why.
    pub notes: Vec<String>,
}

/// The first record that is not what the collector wrote.
#[derive(Debug, Serialize)]
pub struct Bad {
    /// The file.
    pub file: PathBuf,
    /// Where in it the record begins.
    pub offset: u64,
    /// The index that it has or should have.
    pub index: u64,
    /// What is wrong.
    pub what: String,
    /// Records 1 to this one are proven all the same.
    pub proven: u64,
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
    /// Of these, the ones that no loss event of the agent admits.
    pub unexplained: Vec<Range>,
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_intact(&self) -> bool {
        self.bad.is_none()
    }

    pub(super) fn count(&mut self, record: &Record) {
        self.records += 1;
        if let Some(Body::Event(bytes)) = &record.body {
            let kind = EventHead::decode(bytes.clone()).map_or(0, |head| head.kind);
            *self.by_kind.entry(json::name::<pb::Kind>(kind)).or_default() += 1;
        }
        let name = record_kind(record.body.as_ref());
        *self.by_record.entry(name.to_owned()).or_default() += 1;
    }
}

impl Bad {
    pub(super) fn new(segment: &Segment, offset: u64, index: u64, what: String, proven: u64) -> Self {
        Self {
            file: segment.path.clone(),
            offset,
            index,
            what,
            proven,
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
        match &self.bad {
            None => writeln!(f, "intact: {} records in {} files", self.records, self.files)?,
            Some(bad) => {
                writeln!(
                    f,
                    "NOT INTACT: {} at byte {} (record {})",
                    bad.file.display(),
                    bad.offset,
                    bad.index
                )?;
                writeln!(f, "  what is wrong: {}", bad.what)?;
                match bad.proven {
                    0 => writeln!(f, "  still proven: nothing")?,
                    proven => writeln!(f, "  still proven: every record up to and including {proven}")?,
                }
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
            } else if outbox.unexplained.is_empty() {
                writeln!(f, "{} missing, all accounted for by loss events", outbox.missing)?;
            } else {
                let ranges = outbox
                    .unexplained
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join(", ");
                writeln!(f, "{} missing, NOT ACCOUNTED FOR: {ranges}", outbox.missing)?;
            }
        }
        writeln!(f, "head: {}", self.head)
    }
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
