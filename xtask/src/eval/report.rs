//! The table, for people, for the documentation and for programs.

use super::recording::Recording;
use super::score::{Promise, Row};
use super::truth::Truth;
use anyhow::{Context as _, Result};
use norma_rig::Programs;
use serde::Serialize;
use std::fmt::Write as _;

/// What is aimed at: false findings for each day of a workload.
const FALSE_PER_DAY: f64 = 1.0;
/// And by what factor a prediction may be off.
const OFF: f64 = 2.0;
/// Kinds of behaviour that are learned.
const FIELDS: usize = 8;

/// What came of a run.
#[derive(Debug, Serialize)]
pub struct Report {
    machine: String,
    speed: u32,
    learned_hours: f64,
    normal_days: f64,
    lost: u64,
    /// Played now; otherwise a recording was judged again.
    live: bool,
    rows: Vec<Row>,
}

impl Report {
    /// Of these rows.
    pub fn new(truth: &Truth, rows: Vec<Row>, live: bool) -> Self {
        Self {
            machine: truth.machine.clone(),
            speed: truth.speed,
            learned_hours: truth.learn.seconds() * f64::from(truth.speed) / 3_600.0,
            normal_days: truth.normal.seconds() * f64::from(truth.speed) / 86_400.0,
            lost: truth.lost,
            live,
            rows,
        }
    }

    /// Of recordings, judged again. What is said of the machine is of the first.
    ///
    /// # Errors
    /// One cannot be read, or there is none.
    pub fn replayed(recordings: &[Recording], programs: &Programs) -> Result<Self> {
        let mut report: Option<Self> = None;
        for recording in recordings {
            let (truth, rows) = recording.score(programs)?;
            match &mut report {
                Some(report) => report.rows.extend(rows),
                None => report = Some(Self::new(&truth, rows, false)),
            }
        }
        report.context("there is no recording")
    }

    /// A row for each workload.
    #[cfg(test)]
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// For a terminal.
    pub fn text(&self) -> String {
        let mut text = format!(
            "{:<10} {:>8} {:>7} {:>10} {:>8} {:>7} {:>8} {:>9} {:>11}\n",
            "workload",
            "ready h",
            "fields",
            "predicted",
            "new/day",
            "false",
            "per day",
            "attacks",
            "latency ms"
        );
        for row in &self.rows {
            let cells = cells(row);
            writeln!(
                text,
                "{:<10} {:>8} {:>7} {:>10} {:>8} {:>7} {:>8} {:>9} {:>11}",
                row.workload, cells[0], cells[1], cells[2], cells[3], cells[4], cells[5], cells[6], cells[7]
            )
            .ok();
        }
        text + "\n" + &self.losses() + &self.summary() + &self.details()
    }

    /// As a document; `head` says what it is and by which command it is written.
    pub fn markdown(&self, head: &str) -> String {
        let mut text = format!(
            "{head}\n\n{}. Judged with a clock that is {} times as fast: {:.1} hours of learning, {:.2} days of normal \
             things for each workload. {}\n\n\
             | Workload | Hours to ready | Fields ready when normal things began | New a day of these: predicted | New \
             a day: actual | False findings | A workload-day | Attack steps found | Act to alert, median ms |\n\
             |---|---|---|---|---|---|---|---|---|\n",
            self.machine,
            self.speed,
            self.learned_hours,
            self.normal_days,
            if self.live {
                "Played live."
            } else {
                "Recordings, judged again."
            }
        );
        for row in &self.rows {
            writeln!(text, "| {} | {} |", row.workload, cells(row).join(" | ")).ok();
        }
        writeln!(text, "\n{}{}", self.losses(), self.summary()).ok();
        text + "```text\n" + &self.details() + "```\n"
    }

    /// Says where the score is one of a machine that was too busy as well.
    fn losses(&self) -> String {
        match self.lost {
            0 => String::new(),
            lost => format!("{lost} records were lost on the way from the kernel. "),
        }
    }

    fn summary(&self) -> String {
        let attacks: usize = self.rows.iter().map(|row| row.attacks.len()).sum();
        let found: usize = self.rows.iter().map(Row::found).sum();
        let wrong: u64 = self.rows.iter().map(|row| row.false_findings).sum();
        let days: f64 = self.rows.iter().map(|row| row.days).sum();
        let rate = if days > 0.0 { wrong as f64 / days } else { 0.0 };
        let ready = self
            .rows
            .iter()
            .filter(|row| row.hours_to_ready.is_some())
            .count();
        let promises = || {
            self.rows
                .iter()
                .flat_map(|row| row.fields.iter().map(move |promise| (row, promise)))
        };
        let kept = promises()
            .filter(|(row, promise)| is_near(promise, row.days))
            .count();
        format!(
            "{ready} of {} workloads became ready. {found} of {attacks} attack steps were found. {wrong} false findings \
             in {days:.2} workload-days, {rate:.2} a day (aim: under {FALSE_PER_DAY}). Of {} fields that were ready, what \
             came was within a factor of {OFF} of the prediction for {kept}.\n",
            self.rows.len(),
            promises().count(),
        )
    }

    fn details(&self) -> String {
        let mut text = String::new();
        for row in &self.rows {
            if row.untold {
                writeln!(text, "{}: the agent told of none of its containers", row.workload).ok();
            }
            for (field, state) in &row.waiting {
                writeln!(
                    text,
                    "{}: novelty of {field} was no finding: {state}",
                    row.workload
                )
                .ok();
            }
            for promise in row.fields.iter().filter(|promise| !is_near(promise, row.days)) {
                let Promise {
                    field,
                    predicted_per_day,
                    new_per_day,
                } = promise;
                writeln!(
                    text,
                    "{}: {new_per_day:.2} new behaviours a day of {field}, {predicted_per_day:.2} were predicted",
                    row.workload
                )
                .ok();
            }
            for wrong in &row.false_texts {
                writeln!(text, "{}: FALSE {wrong}", row.workload).ok();
            }
            if row.session_findings > 0 {
                let count = row.session_findings;
                writeln!(
                    text,
                    "{}: {count} findings about the administrator's session",
                    row.workload
                )
                .ok();
            }
            for step in &row.attacks {
                let outcome = match &step.found {
                    Some(found) => format!("found: {found}"),
                    None => "MISSED".to_owned(),
                };
                let (name, technique, all) = (&step.name, &step.technique, step.findings);
                writeln!(
                    text,
                    "{}: {name} ({technique}), {all} findings: {outcome}",
                    row.workload
                )
                .ok();
            }
        }
        text
    }
}

/// Whether what came is what was to be expected, in so many days.
fn is_near(promise: &Promise, days: f64) -> bool {
    let (more, less) = (
        promise.predicted_per_day.max(promise.new_per_day),
        promise.predicted_per_day.min(promise.new_per_day),
    );
    // Of less than one in all of the time, none is what is to be expected.
    more <= OFF * less || more * days < 1.0
}

fn cells(row: &Row) -> [String; 8] {
    let mut latencies: Vec<f64> = row.attacks.iter().filter_map(|step| step.latency_ms).collect();
    latencies.sort_by(f64::total_cmp);
    let none = || "–".to_owned();
    [
        row.hours_to_ready
            .map_or_else(none, |hours| format!("{hours:.1}")),
        format!("{} of {FIELDS}", row.fields.len()),
        format!("{:.2}", row.predicted_per_day()),
        format!("{:.2}", row.new_per_day()),
        row.false_findings.to_string(),
        format!("{:.2}", row.false_per_day()),
        match row.attacks.len() {
            0 => none(),
            all => format!("{} of {all}", row.found()),
        },
        latencies
            .get(latencies.len() / 2)
            .map_or_else(none, |latency| format!("{latency:.0}")),
    ]
}
