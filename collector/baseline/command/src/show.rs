//! `baseline show`.

use crate::list::Row;
use crate::pick;
use crate::shelf::{Kept, Shelf};
use crate::words::{FieldState, unit};
use crate::{Output, Place, Program, json};
use clap::{Args, builder::PossibleValuesParser};
use norma_baseline::evidence::Tally;
use norma_baseline::fact::{Fact, Field};
use norma_baseline::norm::Standing;
use norma_baseline::overlay::{Decision, Item, SignedDecision};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Options of `show`.
#[derive(Debug, Args)]
pub struct Options {
    /// The workload: its name, or a part that only one has.
    workload: String,
    /// The revision, or a part that only one has; the newest where none is given.
    #[arg(long)]
    revision: Option<String>,
    /// Only this kind of behaviour.
    #[arg(long, value_parser = PossibleValuesParser::new(Field::ALL.map(Field::name)))]
    field: Option<String>,
    /// Only behaviours of this standing, such as `pending` or `rejected`.
    #[arg(long, value_parser = PossibleValuesParser::new(STANDINGS.map(Standing::name)))]
    standing: Option<String>,
    #[command(flatten)]
    place: Place,
    /// Form of the output.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

const STANDINGS: [Standing; 7] = [
    Standing::Learned,
    Standing::Inherited,
    Standing::Approved,
    Standing::Pending,
    Standing::Withheld,
    Standing::Rejected,
    Standing::Absent,
];

/// A behaviour with what is known of it.
#[derive(Debug, Serialize)]
struct Behaviour {
    id: String,
    field: &'static str,
    standing: &'static str,
    /// A pattern stands for many behaviours.
    pattern: bool,
    text: String,
    /// Short sampling units after start-up in which it was seen.
    units: u64,
    /// Starts in which it was seen.
    starts: u64,
    /// Replicas in which it was seen, over all nodes.
    replicas: u64,
    first_seen: Option<u64>,
    last_seen: Option<u64>,
    fact: Fact,
    #[serde(skip)]
    tally: Option<Tally>,
}

/// What somebody decided.
#[derive(Debug, Serialize)]
pub struct Ruling {
    verb: &'static str,
    /// Id and text of the behaviour; nothing where all was decided on.
    id: Option<String>,
    text: Option<String>,
    /// Nothing where it holds for all revisions.
    revision: Option<String>,
    who: String,
    key: String,
    at: u64,
    why: String,
    #[serde(skip)]
    when: String,
}

impl Ruling {
    /// Of a signed decision.
    pub fn of(signed: &SignedDecision) -> Self {
        let decision: &Decision = signed.decision();
        let fact = match &decision.item {
            Item::Fact(fact) => Some(fact),
            Item::Whole => None,
        };
        Self {
            verb: decision.verb.name(),
            id: fact.map(|fact| fact.code().to_string()),
            text: fact.map(Fact::to_string),
            revision: decision.revision.as_deref().map(str::to_owned),
            who: decision.who.to_string(),
            key: signed.signature().key.to_string(),
            at: decision.at.as_unix(),
            why: decision.why.to_string(),
            when: decision.at.to_string(),
        }
    }

    /// In a line.
    pub fn line(&self) -> String {
        let what = match (&self.id, &self.text) {
            (Some(id), Some(text)) => format!("{id} {text}"),
            _ => "all that was seen until then".to_owned(),
        };
        let of = match &self.revision {
            Some(revision) => format!(" of revision {revision}"),
            None => String::new(),
        };
        format!(
            "{} {} {what}{of}: by {} (key {}): {}",
            self.when,
            self.verb,
            self.who,
            self.key.get(..16).unwrap_or(&self.key),
            self.why
        )
    }
}

#[derive(Debug, Serialize)]
struct Document {
    #[serde(flatten)]
    row: Row,
    behaviours: Vec<Behaviour>,
    decisions: Vec<Ruling>,
}

impl Options {
    pub(crate) fn run(&self, program: &Program) -> anyhow::Result<String> {
        let shelf = self.place.read(program)?;
        let workload = pick::workload(&shelf, &self.workload)?;
        let kept = pick::revision(&shelf, &workload, self.revision.as_deref())?;
        let mut row = Row::of(&shelf, kept);
        row.fields.retain(|field| self.is_asked(field.field));
        let document = Document {
            behaviours: self.behaviours(kept),
            decisions: decisions(&shelf, kept),
            row,
        };
        match self.output {
            Output::Json => json(&document),
            Output::Human => Ok(human(kept, &document)),
        }
    }

    fn is_asked(&self, field: &str) -> bool {
        self.field.as_deref().is_none_or(|asked| asked == field)
    }

    fn behaviours(&self, kept: &Kept) -> Vec<Behaviour> {
        // What is seen and has no standing was forgotten, or found no room.
        let mut all: BTreeMap<Fact, Standing> = kept
            .evidence
            .facts()
            .map(|(_, fact)| (fact.owned(), Standing::Absent))
            .collect();
        all.extend(
            kept.norm
                .standings()
                .map(|(fact, standing)| (fact.owned(), standing)),
        );
        let mut patterns = 0;
        for pattern in kept.norm.patterns().facts() {
            patterns += 1;
            all.insert(pattern, Standing::Learned);
        }
        let mut shown = Vec::with_capacity(all.len() + patterns);
        for (fact, standing) in all {
            let is_shown = self.is_asked(fact.field().name())
                && self
                    .standing
                    .as_deref()
                    .is_none_or(|asked| asked == standing.name());
            if !is_shown {
                continue;
            }
            let tally = kept.evidence.tally_of(&fact);
            shown.push(Behaviour {
                id: fact.code().to_string(),
                field: fact.field().name(),
                standing: standing.name(),
                pattern: matches!(fact, Fact::FilePattern { .. } | Fact::DnsPattern { .. }),
                text: fact.to_string(),
                units: tally.map_or(0, |tally| tally.units[0]),
                starts: tally.map_or(0, |tally| tally.starts),
                replicas: tally.map_or(0, |tally| tally.replicas),
                first_seen: tally.map(|tally| tally.first_seen.as_unix()),
                last_seen: tally.map(|tally| tally.last_seen.as_unix()),
                fact,
                tally,
            });
        }
        shown
    }
}

/// The decisions that are about this baseline.
fn decisions(shelf: &Shelf, kept: &Kept) -> Vec<Ruling> {
    let subject = kept.subject();
    shelf
        .overlay
        .decisions()
        .filter(|signed| {
            let decision = signed.decision();
            decision.workload == subject.workload
                && decision
                    .revision
                    .as_ref()
                    .is_none_or(|revision| *revision == subject.revision)
        })
        .map(Ruling::of)
        .collect()
}

fn human(kept: &Kept, document: &Document) -> String {
    let row = &document.row;
    let mut out = row.head(kept);
    for field in &row.fields {
        out.push('\n');
        out.push_str(&field.line());
        out.push('\n');
        out.push_str(&estimates(kept, field));
        for behaviour in &document.behaviours {
            if behaviour.field == field.field {
                out.push_str(&behaviour.line(row));
            }
        }
    }
    out.push_str("\nDecisions:\n");
    if document.decisions.is_empty() {
        out.push_str("  none\n");
    }
    for ruling in &document.decisions {
        out.push_str("  ");
        out.push_str(&ruling.line());
        out.push('\n');
    }
    out
}

/// The line below a field's: how the estimate came about.
fn estimates(kept: &Kept, field: &FieldState) -> String {
    let mut out = String::new();
    let (Some([small, large]), Some(unseen)) = (field.by_units, field.unseen) else {
        return out;
    };
    let sampling = kept.norm.survey().sampling;
    let startup = field
        .at_startup
        .map(|bounds| format!("; at start-up {bounds}"))
        .unwrap_or_default();
    // Writing to a String cannot fail.
    let _infallible = writeln!(
        out,
        "  {:.1} % of it known, {unseen} never seen; new a day by units of {}: {small}, of {}: {large}{startup}; \
         nothing new in the last {:.0} units",
        field.coverage * 100.0,
        unit(sampling, 0),
        unit(sampling, 1),
        field.quiet
    );
    out
}

impl Behaviour {
    fn line(&self, row: &Row) -> String {
        let seen = match &self.tally {
            None => "not seen in this revision".to_owned(),
            Some(tally) => {
                let starts = if row.starts > 0 {
                    format!(", {} of {} starts", self.starts, row.starts)
                } else {
                    String::new()
                };
                format!(
                    "in {} of {} {}{starts}, {} of {} replicas, since {}",
                    self.units,
                    row.units,
                    row.unit,
                    self.replicas.min(row.replicas),
                    row.replicas,
                    tally.first_seen
                )
            }
        };
        let pattern = if self.pattern { "pattern: " } else { "" };
        format!(
            "  {} {:<9} {pattern}{}\n      {seen}\n",
            self.id, self.standing, self.text
        )
    }
}
