//! The manifest of a sealed segment: a file beside it, whose digest is in the tlog.
//!
//! ```text
//! norma.dev/audit-manifest/v1
//! segment NUMBER                              from 0
//! file NAME
//! format VERSION                              of the file
//! records FIRST LAST
//! time EARLIEST LATEST                        when the collector wrote them, ns since 1970-01-01 UTC
//! root HASH                                   RFC 6962 tree over the records' payloads
//! chain BEFORE LAST                           chain hashes
//! bytes LENGTH                                of the file
//! sha256 HASH                                 of the file
//! previous HASH                               SHA-256 of the manifest before, 32 zero bytes for the first
//! outbox NODE EPOCH FIRST LAST EVENTS REJECTED    for each, ascending; EPOCH in hex
//! gap NODE EPOCH FIRST LAST                   for each, in the order of the records
//! ```
//!
//! Hashes are in base64. There is one form only: who has the segment and the manifest before can make it again, byte
//! for byte, and that is how it is verified.

use super::format::{FORMAT, Hash as Link};
use super::segment::Segment;
use super::summary::{Digested, Held, Missing, Summary};
use super::text::{Lines, Malformed};
use super::watermark::Outbox;
use norma_tlog::Hash;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fmt;

const TITLE: &str = "norma.dev/audit-manifest/v1";

/// What a manifest says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Number of the segment, from 0.
    pub segment: u64,
    /// Version of the file's format.
    pub format: u64,
    /// First and last record.
    pub records: (u64, u64),
    /// When the earliest and the latest were written.
    pub time_ns: (u64, u64),
    /// Root of the tree over their payloads.
    pub root: Hash,
    /// Chain hash before the first and of the last.
    pub chain: (Link, Link),
    /// Length of the file.
    pub bytes: u64,
    /// SHA-256 of the file.
    pub sha256: Hash,
    /// SHA-256 of the manifest before.
    pub previous: Hash,
    /// What is there of each outbox.
    pub outboxes: BTreeMap<Outbox, Held>,
    /// What did not arrive.
    pub gaps: Vec<Missing>,
}

impl Manifest {
    /// Of a segment that gets no more records.
    pub fn of(whole: &Digested, segment: u64, previous: Hash) -> Self {
        Self::with(whole, whole.sha256(), segment, previous)
    }

    /// As [`Self::of`], where the digest of the file is known from elsewhere.
    pub fn with(summary: &Summary, sha256: Hash, segment: u64, previous: Hash) -> Self {
        Self {
            segment,
            format: u64::from(FORMAT),
            records: (summary.first, summary.last),
            time_ns: summary.time_ns,
            root: summary.tree.root(),
            chain: summary.chain,
            bytes: summary.bytes,
            sha256,
            previous,
            outboxes: summary
                .outboxes
                .iter()
                .map(|(outbox, held)| (outbox.clone(), *held))
                .collect(),
            gaps: summary.gaps.clone(),
        }
    }

    /// SHA-256 of it, as the next one and the tlog name it.
    pub fn digest(&self) -> Hash {
        Hash(Sha256::digest(self.to_string()).into())
    }

    /// Reads a manifest, which has one form only.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut lines = Lines::of(bytes)?;
        if lines.word()? != TITLE {
            return Err(lines.wrong(&format!("`{TITLE}`")));
        }
        let segment = lines.number("segment")?;
        let _named_by_its_records = lines.values("file", 1)?;
        let manifest = Self {
            segment,
            format: lines.number("format")?,
            records: lines.pair("records")?,
            time_ns: lines.pair("time")?,
            root: lines.hash("root")?,
            chain: {
                let values = lines.values("chain", 2)?;
                let link = |at: usize| {
                    lines
                        .parse::<Hash>(values.get(at).copied())
                        .map(|hash| Link(hash.0))
                };
                (link(0)?, link(1)?)
            },
            bytes: lines.number("bytes")?,
            sha256: lines.hash("sha256")?,
            previous: lines.hash("previous")?,
            outboxes: outboxes(&mut lines)?,
            gaps: gaps(&mut lines)?,
        };
        lines.canonical(&manifest)?;
        Ok(manifest)
    }
}

fn outboxes(lines: &mut Lines<'_>) -> Result<BTreeMap<Outbox, Held>, Malformed> {
    let mut outboxes = BTreeMap::new();
    while let Some(values) = lines.more("outbox", 6)? {
        let number = |at: usize| lines.parse(values.get(at).copied());
        let held = Held {
            first: number(2)?,
            last: number(3)?,
            events: number(4)?,
            rejected: number(5)?,
        };
        outboxes.insert(outbox(lines, &values)?, held);
    }
    Ok(outboxes)
}

fn gaps(lines: &mut Lines<'_>) -> Result<Vec<Missing>, Malformed> {
    let mut gaps = Vec::new();
    while let Some(values) = lines.more("gap", 4)? {
        gaps.push(Missing {
            outbox: outbox(lines, &values)?,
            first: lines.parse(values.get(2).copied())?,
            last: lines.parse(values.get(3).copied())?,
        });
    }
    Ok(gaps)
}

fn outbox(lines: &Lines<'_>, values: &[&str]) -> Result<Outbox, Malformed> {
    match values {
        [node, epoch, ..] => Ok(Outbox {
            node: (*node).to_owned(),
            epoch: u64::from_str_radix(epoch, 16).map_err(|_| lines.wrong("an epoch in hex"))?,
        }),
        _ => Err(lines.wrong("a node and an epoch")),
    }
}

impl fmt::Display for Manifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{TITLE}\nsegment {}", self.segment)?;
        writeln!(
            f,
            "file {}\nformat {}",
            Segment::name(self.records.0),
            self.format
        )?;
        writeln!(f, "records {} {}", self.records.0, self.records.1)?;
        writeln!(
            f,
            "time {} {}\nroot {}",
            self.time_ns.0, self.time_ns.1, self.root
        )?;
        writeln!(f, "chain {} {}", Hash(self.chain.0.0), Hash(self.chain.1.0))?;
        writeln!(f, "bytes {}\nsha256 {}", self.bytes, self.sha256)?;
        writeln!(f, "previous {}", self.previous)?;
        for (Outbox { node, epoch }, held) in &self.outboxes {
            writeln!(
                f,
                "outbox {node} {epoch:016x} {} {} {} {}",
                held.first, held.last, held.events, held.rejected
            )?;
        }
        for gap in &self.gaps {
            let Outbox { node, epoch } = &gap.outbox;
            writeln!(f, "gap {node} {epoch:016x} {} {}", gap.first, gap.last)?;
        }
        Ok(())
    }
}
