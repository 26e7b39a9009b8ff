//! Recordings: what the agent of a run took in, and beside it what was done when.
//!
//! A recording is a pair of files in a folder, `NAME.trace` and `NAME.json`. That of a whole run is `node`; from it one
//! can be cut for each workload, which is small enough to be kept ([`super::kept`]).

use super::score::{self, Forecast, Row, Seen};
use super::truth::Truth;
use crate::run;
use anyhow::{Context as _, Result, bail};
use norma_rig::Programs;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Name of the recording of a whole run.
pub const WHOLE: &str = "node";

/// A recording.
#[derive(Clone, Debug)]
pub struct Recording {
    trace: PathBuf,
    truth: PathBuf,
}

impl Recording {
    fn named(folder: &Path, name: &str) -> Self {
        Self {
            trace: folder.join(format!("{name}.trace")),
            truth: folder.join(format!("{name}.json")),
        }
    }

    /// The recordings in a folder, in the order of their names.
    ///
    /// # Errors
    /// The folder cannot be read, or there is none in it.
    pub fn all(folder: &Path) -> Result<Vec<Self>> {
        let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
        let names: BTreeSet<String> = entries
            .flatten()
            .filter_map(|entry| Some(entry.file_name().to_str()?.strip_suffix(".trace")?.to_owned()))
            .collect();
        if names.is_empty() {
            bail!(
                "{} has no recording: `cargo xtask eval --record DIR` makes them",
                folder.display()
            );
        }
        Ok(names.iter().map(|name| Self::named(folder, name)).collect())
    }

    /// Keeps that of a whole run.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn keep(folder: &Path, trace: &Path, truth: &Truth) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        let this = Self::named(folder, WHOLE);
        fs::copy(trace, &this.trace).with_context(|| this.trace.display().to_string())?;
        this.write_truth(truth)?;
        Ok(this)
    }

    /// Cuts one for each workload out of it.
    ///
    /// # Errors
    /// The agent cannot read the trace, or they cannot be written.
    pub fn split(&self, programs: &Programs, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        let truth = self.truth()?;
        let workloads: BTreeSet<&String> = truth.containers.values().collect();
        for workload in workloads {
            let part = truth.of(workload);
            let to = Self::named(folder, workload);
            let mut command: Command = programs.agent();
            command.args(["trace", "cut"]).arg(&self.trace);
            for container in part.containers.keys() {
                command.args(["--container", container]);
            }
            command.arg("--to").arg(&to.trace);
            run::output(&mut command)?;
            to.write_truth(&part)?;
        }
        Ok(())
    }

    /// What was done.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn truth(&self) -> Result<Truth> {
        let text = fs::read(&self.truth).with_context(|| self.truth.display().to_string())?;
        serde_json::from_slice(&text).with_context(|| self.truth.display().to_string())
    }

    fn write_truth(&self, truth: &Truth) -> Result<()> {
        fs::write(&self.truth, serde_json::to_string_pretty(truth)? + "\n")
            .with_context(|| self.truth.display().to_string())
    }

    /// Has the agent judge it again; gives what was done, and the score.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn score(&self, programs: &Programs) -> Result<(Truth, Vec<Row>)> {
        let truth = self.truth()?;
        let learned = truth.normal.from.saturating_sub(truth.begin) / 1_000_000_000;
        let (_, outcome) = self.judge(programs, &["--until", &learned.to_string()])?;
        let forecasts = forecasts(&outcome["baselines"]);
        let (seen, _) = self.judge(programs, &["--events"])?;
        let rows = score::score(&truth, &seen, &forecasts);
        Ok((truth, rows))
    }

    /// `norma-agent replay`: its events and its outcome.
    fn judge(&self, programs: &Programs, options: &[&str]) -> Result<(Vec<Seen>, Value)> {
        let mut command: Command = programs.agent();
        command
            .args(["replay", "--output", "json"])
            .args(options)
            .arg(&self.trace);
        let text = run::output(&mut command)?;
        let mut lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).with_context(|| format!("not JSON: {line}")))
            .collect::<Result<_>>()?;
        let mut last = lines.pop().context("`norma-agent replay` says nothing")?;
        let seen = lines
            .into_iter()
            .map(|event| Seen {
                event,
                received: None,
            })
            .collect();
        Ok((seen, last["outcome"].take()))
    }
}

/// What the baselines said of themselves, by workload. Revisions that say more count.
pub fn forecasts(baselines: &Value) -> BTreeMap<String, Forecast> {
    let mut forecasts: BTreeMap<String, Forecast> = BTreeMap::new();
    for baseline in baselines.as_array().into_iter().flatten() {
        let mut forecast = Forecast {
            ready: baseline["ready"] == true,
            ..Forecast::default()
        };
        for field in baseline["fields"].as_array().into_iter().flatten() {
            let (Some(name), Some(state)) = (field["field"].as_str(), field["state"].as_str()) else {
                continue;
            };
            // What is still learned promises nothing, and of what is open for good, novelty says nothing.
            if !state.starts_with("ready") {
                forecast.waiting.insert(name.to_owned(), state.to_owned());
            } else if let Some(per_day) = field["expected_per_day"][0].as_f64() {
                forecast.per_day.insert(name.to_owned(), per_day);
            }
        }
        let name = baseline["workload"].as_str().unwrap_or_default().to_owned();
        if forecasts
            .get(&name)
            .is_none_or(|known| forecast.says_more_than(known))
        {
            forecasts.insert(name, forecast);
        }
    }
    forecasts
}
