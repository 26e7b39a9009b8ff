//! `baseline list`.

use crate::shelf::{Kept, Shelf};
use crate::words::FieldState;
use crate::{Output, Place, Program, json};
use clap::Args;
use norma_baseline::norm::Standing;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

/// Options of `list`.
#[derive(Debug, Args)]
pub struct Options {
    /// Only workloads whose name contains this.
    workload: Option<String>,
    #[command(flatten)]
    place: Place,
    /// Form of the output.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// A baseline in short.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Whose.
    pub workload: Arc<str>,
    /// Image digest and command.
    pub revision: Arc<str>,
    /// It is the newest revision that is known of the workload.
    pub newest: bool,
    /// The revision that it inherits from.
    pub inherits: Option<Arc<str>>,
    /// All kinds of behaviour are judged, or never will be.
    pub ready: bool,
    /// A person ended learning.
    pub locked: bool,
    /// There was no room for all that was seen; what is novel is less certain.
    pub overflowed: bool,
    /// Distinct behaviours that were seen.
    pub facts: usize,
    /// How many behaviours there are of each standing.
    pub standings: BTreeMap<&'static str, usize>,
    /// Complete short sampling units.
    pub units: u64,
    /// What a unit is.
    pub unit: &'static str,
    /// Starts that were seen.
    pub starts: u64,
    /// Containers that were observed, over all nodes.
    pub replicas: u64,
    /// Nodes that contributed.
    pub nodes: usize,
    /// When it was first observed, seconds since 1970.
    pub first_seen: u64,
    /// When it was last observed, seconds since 1970.
    pub last_seen: u64,
    /// Per kind of behaviour.
    pub fields: Vec<FieldState>,
}

impl Row {
    /// Of one baseline.
    pub fn of(shelf: &Shelf, kept: &Kept) -> Self {
        let survey = kept.norm.survey();
        let subject = kept.subject();
        let total = kept.total();
        let mut standings = BTreeMap::new();
        for (_, standing) in kept.norm.standings() {
            *standings.entry(Standing::name(standing)).or_default() += 1;
        }
        let newest = shelf.revisions(&subject.workload).next_back();
        let nodes: std::collections::BTreeSet<_> =
            kept.evidence.sources().map(|(source, _)| &source.node).collect();
        Self {
            workload: Arc::clone(&subject.workload),
            revision: Arc::clone(&subject.revision),
            newest: newest.is_some_and(|newest| newest.subject() == subject),
            inherits: kept.norm.predecessor().map(Arc::clone),
            ready: kept.is_ready(),
            locked: shelf.overlay.whole(subject).locked.is_some(),
            overflowed: survey.overflowed,
            facts: kept.evidence.facts().count(),
            standings,
            units: total.units[0],
            unit: survey.sampling.unit(),
            starts: total.starts,
            replicas: total.replicas,
            nodes: nodes.len(),
            first_seen: total.from.as_unix(),
            last_seen: total.until.as_unix(),
            fields: FieldState::all(survey),
        }
    }

    /// The lines that say whose it is and what it rests on.
    pub fn head(&self, kept: &Kept) -> String {
        let mut out = format!("{}\n", self.workload);
        // Writing to a String cannot fail.
        let mut line = |words: std::fmt::Arguments<'_>| {
            let _infallible = writeln!(out, "  {words}");
        };
        let age = if self.newest { "newest" } else { "an earlier one" };
        line(format_args!("revision  {} ({age})", or_unknown(&self.revision)));
        if let Some(inherits) = &self.inherits {
            line(format_args!("inherits  {}", or_unknown(inherits)));
        }
        let state = match (self.locked, self.ready) {
            (true, _) => "locked: what is not known is novel",
            (false, true) => "ready: what is not known is novel",
            (false, false) => "learning",
        };
        let open = if kept.has_open_field() {
            ", but for open kinds"
        } else {
            ""
        };
        line(format_args!("state     {state}{open}"));
        line(format_args!(
            "observed  {} {}, {} starts, {} replicas on {} nodes, from {} to {}",
            self.units,
            self.unit,
            self.starts,
            self.replicas,
            self.nodes,
            kept.total().from,
            kept.total().until
        ));
        let counts: Vec<String> = self
            .standings
            .iter()
            .map(|(standing, count)| format!("{count} {standing}"))
            .collect();
        line(format_args!(
            "knows     {} behaviours seen; {}",
            self.facts,
            if counts.is_empty() {
                "none counts yet".to_owned()
            } else {
                counts.join(", ")
            }
        ));
        if self.overflowed {
            line(format_args!(
                "OVERFLOW  not all that was seen found room: what is novel here is less certain"
            ));
        }
        out
    }
}

fn or_unknown(revision: &str) -> &str {
    if revision.is_empty() { "unknown" } else { revision }
}

impl Options {
    pub(crate) fn run(&self, program: &Program) -> anyhow::Result<String> {
        let shelf = self.place.read(program)?;
        let is_asked = |kept: &&Kept| {
            self.workload
                .as_ref()
                .is_none_or(|part| kept.subject().workload.contains(part.as_str()))
        };
        let rows: Vec<(Row, &Kept)> = shelf
            .all()
            .iter()
            .filter(is_asked)
            .map(|kept| (Row::of(&shelf, kept), kept))
            .collect();
        if self.output == Output::Json {
            return json(&rows.iter().map(|(row, _)| row).collect::<Vec<_>>());
        }
        if rows.is_empty() {
            return Ok("No baselines.\n".to_owned());
        }
        Ok(rows
            .iter()
            .map(|(row, kept)| {
                let mut out = row.head(kept);
                for field in &row.fields {
                    out.push_str("    ");
                    out.push_str(&field.line());
                    out.push('\n');
                }
                out
            })
            .collect::<Vec<_>>()
            .join("\n"))
    }
}
