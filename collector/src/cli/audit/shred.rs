//! `norma-collector audit shred`.

use crate::archive::Outcome;
use crate::archive::shred::{DIRECTORY, Wish, hand_over};
use crate::archive::write::manifest_of;
use crate::audit::Segment;
use crate::cli::{Failure, Output};
use clap::Args;
use jiff::Timestamp;
use serde_json::json;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Hashes, manifests and proofs stay. What is under a legal hold, or on the collector's disk in plain and cannot be
/// removed yet, is refused. Who wants it, and why, become a record of the audit log before the key is destroyed.
#[derive(Debug, Args)]
pub struct ShredArgs {
    /// Segments, by their numbers
    #[arg(value_name = "SEGMENT", required_unless_present_any = ["from", "to"], conflicts_with_all = ["from", "to"])]
    segments: Vec<u64>,
    /// All segments with records that were received from this time on, such as 2026-11-01T00:00:00Z
    #[arg(long, value_name = "TIME", requires = "to")]
    from: Option<Timestamp>,
    /// And up to this time: whole segments, also what they have of before and after
    #[arg(long, value_name = "TIME", requires = "from")]
    to: Option<Timestamp>,
    /// Only say which segments that would be
    #[arg(long)]
    dry_run: bool,
    /// Why, on one line
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Who wants it, such as a name and a case number
    #[arg(long, value_name = "TEXT")]
    who: String,
    /// State directory of the collector (`state_dir` in its configuration)
    #[arg(long, value_name = "DIR", default_value = "/var/lib/norma-collector")]
    state: PathBuf,
    /// Form of the answer
    #[arg(long, value_enum, default_value = "human")]
    output: Output,
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::Other(error.to_string())
}

impl ShredArgs {
    pub fn execute(self) -> Result<(), Failure> {
        let log = self.state.join("audit");
        if !log.is_dir() {
            return Err(failed(format!(
                "{} is not the state directory of a collector; name it with --state",
                self.state.display()
            )));
        }
        let segments = match (self.from, self.to) {
            (Some(from), Some(to)) => of_time(&log, from, to)?,
            _ => self.segments.iter().copied().collect(),
        };
        if segments.is_empty() {
            return Err(failed("no sealed segment has records of that time"));
        }
        let mut done = Vec::new();
        let mut refused = 0;
        for segment in segments {
            let (state, words) = if self.dry_run {
                ("asked", format!("segment {segment} would be shredded"))
            } else {
                self.shred(segment)?
            };
            refused += u64::from(state == "refused");
            match self.output {
                Output::Human if state == "refused" => eprintln!("{words}"),
                Output::Human => println!("{words}"),
                Output::Json => {}
            }
            done.push(json!({ "segment": segment, "state": state, "detail": words }));
        }
        if matches!(self.output, Output::Json) {
            println!("{:#}", json!({ "segments": done }));
        }
        if refused > 0 { Err(Failure::Told) } else { Ok(()) }
    }

    fn shred(&self, segment: u64) -> Result<(&'static str, String), Failure> {
        let directory = self.state.join(DIRECTORY);
        let wish = Wish {
            segment,
            reason: self.reason.clone(),
            who: self.who.clone(),
        };
        let outcome = hand_over(&directory, &wish).map_err(|error| {
            failed(format!(
                "cannot hand it over in {}: {error}; do it as the owner of that directory",
                directory.display()
            ))
        })?;
        Ok(match outcome {
            Outcome::Done => (
                "shredded",
                format!("segment {segment} is shredded, and that is in the audit log"),
            ),
            Outcome::Waiting => (
                "waiting",
                format!(
                    "segment {segment} waits: no collector runs on {}; it is shredded when one does",
                    self.state.display()
                ),
            ),
            Outcome::Slow => (
                "waiting",
                format!(
                    "segment {segment} waits: the collector has not come to it yet; its log says when it has"
                ),
            ),
            Outcome::Refused(why) => ("refused", format!("segment {segment} is not shredded: {why}")),
        })
    }
}

/// Numbers of the sealed segments with records of a time, whether or not they are still on this disk.
fn of_time(log: &Path, from: Timestamp, to: Timestamp) -> Result<BTreeSet<u64>, Failure> {
    if from > to {
        return Err(failed("--from is after --to"));
    }
    let known =
        Segment::known(log).map_err(|error| failed(format!("cannot read {}: {error}", log.display())))?;
    let mut numbers = BTreeSet::new();
    for segment in known {
        let Some(manifest) = manifest_of(&segment).map_err(failed)? else {
            continue;
        };
        let (first, last) = manifest.time_ns;
        if i128::from(first) <= to.as_nanosecond() && i128::from(last) >= from.as_nanosecond() {
            numbers.insert(manifest.segment);
        }
    }
    Ok(numbers)
}
