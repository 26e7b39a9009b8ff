//! How many records of each node answer AU-3's questions.

use super::{Answers, QUESTIONS, answers};
use crate::audit::ReadError;
use crate::audit::walk::walk;
use norma_wire::Event;
use norma_wire::audit::{Record, record::Body};
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

/// Whose records the collector's own are.
pub const COLLECTOR: &str = "(collector)";

/// The records of all nodes, and the collector's own under [`COLLECTOR`].
#[derive(Clone, Debug, Default, Serialize)]
pub struct Coverage {
    /// By node.
    pub nodes: BTreeMap<String, Counts>,
}

/// What the records of one node answer.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Records.
    pub records: u64,
    /// Those that answer all six questions.
    pub complete: u64,
    /// Those that answer each, in the order of [`QUESTIONS`].
    pub answered: [u64; 6],
    /// Why answers are unknown: question, reason, and how often.
    pub unknown: BTreeMap<(&'static str, String), u64>,
}

impl Coverage {
    /// That of the log in the directory or file at `path`.
    pub fn read(path: &Path) -> Result<Self, ReadError> {
        let mut coverage = Self::default();
        walk(path, 0, &mut |record, event| {
            coverage.count(record, event);
            Ok(())
        })?;
        Ok(coverage)
    }

    /// Counts a record.
    pub fn count(&mut self, record: &Record, event: Option<&Event>) {
        let node = match (&record.body, event) {
            (Some(Body::Event(_)), Some(event)) => event.id.as_ref().map_or("", |id| &id.node),
            _ => COLLECTOR,
        };
        if !self.nodes.contains_key(node) {
            self.nodes.insert(node.to_owned(), Counts::default());
        }
        if let Some(counts) = self.nodes.get_mut(node) {
            counts.count(&answers(record, event));
        }
    }

    /// Of all nodes and the collector.
    pub fn total(&self) -> Counts {
        let mut total = Counts::default();
        for counts in self.nodes.values() {
            total.records += counts.records;
            total.complete += counts.complete;
            for (sum, answered) in total.answered.iter_mut().zip(counts.answered) {
                *sum += answered;
            }
            for (why, times) in &counts.unknown {
                *total.unknown.entry(why.clone()).or_default() += times;
            }
        }
        total
    }
}

impl Counts {
    fn count(&mut self, answers: &Answers) {
        self.records += 1;
        let mut complete = true;
        for ((answered, question), answer) in self.answered.iter_mut().zip(QUESTIONS).zip(answers.all()) {
            match answer.unknown() {
                None => *answered += 1,
                Some(why) => {
                    complete = false;
                    *self.unknown.entry((question, why.to_owned())).or_default() += 1;
                }
            }
        }
        self.complete += u64::from(complete);
    }
}

/// A share of all, in percent with two digits after the point; never 100 where something is missing.
pub fn percent(part: u64, all: u64) -> String {
    if all == 0 {
        return "none".to_owned();
    }
    let hundredths = u128::from(part) * 10_000 / u128::from(all);
    format!("{}.{:02} %", hundredths / 100, hundredths % 100)
}

impl Serialize for Counts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap as _;
        let answered: BTreeMap<_, _> = QUESTIONS.into_iter().zip(self.answered).collect();
        let unknown: Vec<_> = self
            .unknown
            .iter()
            .map(|((question, why), times)| {
                serde_json::json!({ "question": question, "reason": why, "records": times })
            })
            .collect();
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("records", &self.records)?;
        map.serialize_entry("complete", &self.complete)?;
        map.serialize_entry("answered", &answered)?;
        map.serialize_entry("unknown", &unknown)?;
        map.end()
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (node, counts) in &self.nodes {
            let name = if node == COLLECTOR {
                "the collector itself".to_owned()
            } else {
                format!("node {node}")
            };
            writeln!(
                f,
                "{name}: {} of {} records answer all six ({})",
                counts.complete,
                counts.records,
                percent(counts.complete, counts.records)
            )?;
            for (question, answered) in QUESTIONS.into_iter().zip(counts.answered) {
                writeln!(f, "  {question:<9} {}", percent(answered, counts.records))?;
            }
            for ((question, why), times) in &counts.unknown {
                writeln!(f, "  {question} is unknown in {times}: {why}")?;
            }
        }
        let total = self.total();
        writeln!(
            f,
            "all: {} of {} records answer all six ({}); each other one says why not",
            total.complete,
            total.records,
            percent(total.complete, total.records)
        )
    }
}
