//! The collector's audit log, read with the collector's own commands.

use crate::program::{Programs, output};
use crate::wait::wait_until;
use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The log of one collector.
#[derive(Clone, Debug)]
pub struct AuditLog {
    programs: Programs,
    path: PathBuf,
}

impl AuditLog {
    /// The log in `path`.
    pub fn new(programs: &Programs, path: &Path) -> Self {
        Self {
            programs: programs.clone(),
            path: path.to_owned(),
        }
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Every record, as `audit show --output json` gives it: one JSON object per line.
    pub fn records(&self) -> Result<Vec<Value>> {
        self.records_of(&[])
    }

    /// The records that `audit show` gives with further options.
    pub fn records_of(&self, options: &[&str]) -> Result<Vec<Value>> {
        let mut command = self.programs.collector();
        let text = output(
            command
                .args(["audit", "show", "--output", "json"])
                .args(options)
                .arg(&self.path),
        )?;
        text.lines()
            .map(|line| serde_json::from_str(line).with_context(|| format!("not JSON: {line}")))
            .collect()
    }

    /// The events among the records.
    pub fn events(&self) -> Result<Vec<Value>> {
        Ok(self.records()?.iter().filter_map(event_of).cloned().collect())
    }

    /// The events of one kind, which is much faster on a large log.
    pub fn events_of(&self, kind: &str) -> Result<Vec<Value>> {
        let mut command = self.programs.collector();
        command.args(["audit", "show", "--output", "json", "--kind", kind]);
        let text = output(command.arg(&self.path))?;
        text.lines()
            .map(|line| serde_json::from_str::<Value>(line).with_context(|| format!("not JSON: {line}")))
            .map(|record| record.map(|record| record["event"].clone()))
            .collect()
    }

    /// Waits for an event that `is_it` accepts.
    pub fn wait_for(&self, what: &str, limit: Duration, is_it: impl Fn(&Value) -> bool) -> Result<Value> {
        // A log of a hundred thousand records is not read anew at each look.
        let mut next = 1;
        wait_until(&format!("{what} in the audit log"), limit, || {
            let records = self
                .records_of(&["--from", &next.to_string()])
                .unwrap_or_default();
            if let Some(last) = records.last() {
                next = number(&last["index"]).context("a record without an index")? + 1;
            }
            Ok(records
                .iter()
                .filter_map(event_of)
                .find(|event| is_it(event))
                .cloned())
        })
    }

    /// What `audit verify` says; fails where it fails.
    pub fn verify(&self) -> Result<String> {
        self.verify_with(&[])
    }

    /// What `audit verify` says with further options; fails where it fails.
    pub fn verify_with(&self, options: &[&OsStr]) -> Result<String> {
        let mut command = self.programs.collector();
        output(command.args(["audit", "verify"]).args(options).arg(&self.path))
    }

    /// Sequences of each (node, epoch), as they lie in the log.
    fn sequences(&self) -> Result<BTreeMap<(String, u64), Vec<u64>>> {
        let mut streams: BTreeMap<(String, u64), Vec<u64>> = BTreeMap::new();
        for event in self.events()? {
            let id = &event["id"];
            let node = id["node"].as_str().context("an event without a node")?.to_owned();
            let epoch = number(&id["epoch"]).context("an event without an epoch")?;
            let sequence = number(&id["sequence"]).context("an event without a sequence")?;
            streams.entry((node, epoch)).or_default().push(sequence);
        }
        Ok(streams)
    }

    /// Checks that no sequence of a (node, epoch) is there twice, and that loss events account for each that is
    /// missing.
    pub fn check_accounted(&self) -> Result<()> {
        for ((node, epoch), sequences) in self.sequences()? {
            if let Some([_, twice]) = sequences.array_windows().find(|[one, next]| next <= one) {
                bail!("node {node}, epoch {epoch}: sequence {twice} is there twice, or too late");
            }
        }
        let mut command = self.programs.collector();
        output(command.args(["audit", "gaps"]).arg(&self.path)).map(drop)
    }

    /// Checks that each (node, epoch) has every sequence from 1 on exactly once. Gives how many sequences there are.
    pub fn check_sequences(&self) -> Result<u64> {
        let records = self.records()?;
        let streams = self.sequences()?;
        let total = streams.values().map(|sequences| sequences.len() as u64).sum();
        let gaps = records
            .iter()
            .filter_map(|record| record.pointer("/body/gap").or_else(|| record.get("gap")))
            .count();
        if gaps > 0 {
            bail!("the log has {gaps} records of a gap");
        }
        for ((node, epoch), mut sequences) in streams {
            sequences.sort_unstable();
            for (expected, sequence) in (1u64..).zip(&sequences) {
                if *sequence != expected {
                    let what = if *sequence < expected {
                        "is there twice"
                    } else {
                        "comes where another is missing"
                    };
                    bail!("node {node}, epoch {epoch}: sequence {sequence} {what} (expected {expected})");
                }
            }
        }
        Ok(total)
    }
}

fn event_of(record: &Value) -> Option<&Value> {
    record.pointer("/body/event").or_else(|| record.get("event"))
}

/// A number that JSON carries as a number or, beyond 53 bits, as text.
pub fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}
