//! The entries of the tlog: text, so that whoever reads the log needs nothing of Norma.
//!
//! A sealed segment is one entry, which names its manifest by digest instead of holding it: an entry has at most
//! 65,535 bytes (c2sp.org/tlog-tiles), and the manifest of a large fleet has a line for each node. The open segment
//! is bound by *heads*: entries with the time, the newest durable record, and the root over the segment so far. A
//! head is made with every checkpoint, also when nothing happened: an Ed25519 checkpoint of an unchanged tree would
//! be the same bytes again, and silence could not be told from a collector that is stopped, or from one whose newest
//! records were removed. Extension lines of the checkpoint could carry a head as well, but no monitor audits them,
//! witnesses make no statement about them, and an old one could not be looked up afterwards (c2sp.org/tlog-checkpoint
//! advises against them).

use super::format;
use super::text::{Lines, Malformed};
use norma_tlog::Hash;
use std::fmt;

const SEGMENT: &str = "norma.dev/audit-segment/v1";
const HEAD: &str = "norma.dev/audit-head/v1";

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A segment was sealed.
    Segment(Sealed),
    /// How far the open segment had come at a time.
    Head(OpenHead),
}

/// A sealed segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// Its number, from 0.
    pub segment: u64,
    /// First and last record.
    pub records: (u64, u64),
    /// Root of the tree over their payloads.
    pub root: Hash,
    /// SHA-256 of its manifest.
    pub manifest: Hash,
}

/// The open segment at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenHead {
    /// By the collector's clock, nanoseconds since 1970-01-01 UTC.
    pub time_ns: u64,
    /// Its number, from 0, which is how many were sealed before.
    pub segment: u64,
    /// First and newest durable record.
    pub records: (u64, u64),
    /// Root of the tree over their payloads.
    pub root: Hash,
    /// Chain hash of the newest.
    pub chain: format::Hash,
}

impl Entry {
    /// Number of segments that are sealed once this entry is in the log.
    pub fn sealed(&self) -> u64 {
        match self {
            Self::Segment(sealed) => sealed.segment.saturating_add(1),
            Self::Head(head) => head.segment,
        }
    }

    /// First and last of the records that it speaks of.
    pub fn records(&self) -> (u64, u64) {
        match self {
            Self::Segment(sealed) => sealed.records,
            Self::Head(head) => head.records,
        }
    }

    /// Reads an entry, which has one form only.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut lines = Lines::of(bytes)?;
        let entry = match lines.word()? {
            SEGMENT => Self::Segment(Sealed {
                segment: lines.number("segment")?,
                records: lines.pair("records")?,
                root: lines.hash("root")?,
                manifest: lines.hash("manifest")?,
            }),
            HEAD => Self::Head(OpenHead {
                time_ns: lines.number("time")?,
                segment: lines.number("segment")?,
                records: lines.pair("records")?,
                root: lines.hash("root")?,
                chain: format::Hash(lines.hash("chain")?.0),
            }),
            _ => return Err(lines.wrong("a kind of entry that this version knows")),
        };
        lines.canonical(&entry)?;
        Ok(entry)
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = self.records();
        match self {
            Self::Segment(sealed) => {
                writeln!(f, "{SEGMENT}\nsegment {}", sealed.segment)?;
                writeln!(f, "records {first} {last}\nroot {}", sealed.root)?;
                writeln!(f, "manifest {}", sealed.manifest)
            }
            Self::Head(head) => {
                writeln!(f, "{HEAD}\ntime {}\nsegment {}", head.time_ns, head.segment)?;
                writeln!(f, "records {first} {last}\nroot {}", head.root)?;
                writeln!(f, "chain {}", Hash(head.chain.0))
            }
        }
    }
}
