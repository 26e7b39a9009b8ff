//! What did not arrive, and what accounts for it.

use super::verify::{Expected, OutboxReport, Range, VerifyError, verify};
use serde::Serialize;
use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

/// What is missing in a log.
#[derive(Debug, Serialize)]
pub struct Gaps {
    /// Nodes and epochs of which sequences are missing.
    pub outboxes: Vec<Gap>,
    /// Nodes and epochs that are complete.
    pub complete: u64,
    /// Records that are damaged or gone, which may have had any of them.
    pub unproven: Vec<Range>,
    /// Records that policy removed; what of their sequences did not arrive is known from their manifests.
    pub removed: Vec<Range>,
}

/// What is missing of one node and epoch.
#[derive(Debug, Serialize)]
pub struct Gap {
    /// The node.
    pub node: String,
    /// The epoch, in hex.
    pub epoch: String,
    /// What the log accounts for.
    pub sequences: Range,
    /// How many did not arrive.
    pub missing: u64,
    /// Of these, the ones that the node says other logs acknowledged.
    pub elsewhere: u64,
    /// Names of these logs.
    pub other_logs: BTreeSet<String>,
    /// The ones that nothing accounts for.
    pub unexplained: Vec<Range>,
    /// An event that accounts for some may have been in a segment that policy removed.
    pub removed: bool,
    #[serde(skip)]
    accounted: String,
}

/// Finds out what is missing in the log at `path`.
pub fn gaps(path: &Path) -> Result<Gaps, VerifyError> {
    let report = verify(path, &Expected::default())?;
    let (missing, complete): (Vec<OutboxReport>, Vec<_>) =
        report.outboxes.into_iter().partition(|outbox| outbox.missing > 0);
    Ok(Gaps {
        outboxes: missing.into_iter().map(Gap::from).collect(),
        complete: complete.len() as u64,
        unproven: report.faults.iter().filter_map(|fault| fault.lost).collect(),
        removed: report.removed.iter().map(|removed| removed.records).collect(),
    })
}

impl From<OutboxReport> for Gap {
    fn from(outbox: OutboxReport) -> Self {
        Self {
            accounted: outbox.accounted(),
            elsewhere: outbox.elsewhere,
            other_logs: outbox.other_logs,
            node: outbox.node,
            epoch: outbox.epoch,
            sequences: Range {
                first: outbox.first_sequence,
                last: outbox.last_sequence,
            },
            missing: outbox.missing,
            unexplained: outbox.unexplained,
            removed: outbox.removed,
        }
    }
}

impl Gaps {
    /// Whether the log has all that it should have, or says why not.
    pub fn are_explained(&self) -> bool {
        self.unproven.is_empty() && self.outboxes.iter().all(|gap| gap.unexplained.is_empty())
    }
}

impl fmt::Display for Gaps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for gap in &self.outboxes {
            write!(
                f,
                "node {} epoch {}: {} of sequences {} did not arrive, ",
                gap.node, gap.epoch, gap.missing, gap.sequences
            )?;
            if gap.unexplained.is_empty() {
                writeln!(f, "{}", gap.accounted)?;
            } else {
                let ranges: Vec<String> = gap.unexplained.iter().map(ToString::to_string).collect();
                let more = if gap.removed {
                    " (what accounts for it may have been removed by policy)"
                } else {
                    ""
                };
                writeln!(f, "NOT ACCOUNTED FOR: {}{more}", ranges.join(", "))?;
            }
        }
        if let (Some(first), Some(last)) = (self.removed.first(), self.removed.last()) {
            writeln!(
                f,
                "{} segments between records {} and {} were removed by policy; their sequences are accounted for by \
                 their manifests",
                self.removed.len(),
                first.first,
                last.last
            )?;
        }
        for range in &self.unproven {
            writeln!(
                f,
                "records {range} are missing or damaged: run `norma-collector audit verify`"
            )?;
        }
        writeln!(f, "complete: {} nodes and epochs", self.complete)
    }
}
