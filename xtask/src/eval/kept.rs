//! Recordings that are kept in the repository, and their score: whoever changes detection sees in the difference of
//! that file what came of it. Replayed they need no root, no network and no container.

use super::recording::Recording;
use super::report::Report;
use crate::run;
use anyhow::{Context as _, Result};
use norma_rig::Programs;
use std::fs;
use std::path::PathBuf;

/// Where they are.
const FOLDER: &str = "tests/data/traces";
/// Their score, beside them.
const SCORE: &str = "score.md";
const HEAD: &str = "# Score of the recordings\n\n\
    Written by `cargo xtask eval --kept`; a test fails where the agent judges otherwise. README.md says what was \
    recorded.";

fn folder() -> PathBuf {
    run::root().join(FOLDER)
}

fn replay(programs: &Programs) -> Result<Report> {
    Report::replayed(&Recording::all(&folder())?, programs)
}

/// Replays them, and writes their score.
///
/// # Errors
/// One cannot be read, or the score not be written.
pub fn write(programs: &Programs) -> Result<Report> {
    let report = replay(programs)?;
    fs::write(folder().join(SCORE), report.markdown(HEAD)).context(SCORE)?;
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever somebody committed as the score: this holds.
    #[test]
    fn every_attack_step_of_the_recordings_is_found_and_their_score_is_the_one_beside_them() {
        let report = replay(&Programs::find().unwrap()).unwrap();
        for row in report.rows() {
            for step in &row.attacks {
                assert!(
                    step.found.is_some(),
                    "{}: {} was not found",
                    row.workload,
                    step.name
                );
            }
        }
        let steps: usize = report.rows().iter().map(|row| row.attacks.len()).sum();
        assert!(steps >= 10, "{steps} attack steps");
        let score = fs::read_to_string(folder().join(SCORE)).unwrap();
        assert!(
            score == report.markdown(HEAD),
            "{FOLDER}/{SCORE} is not what the agent comes to; it would be the following. If it is better, write it with \
             `cargo xtask eval --kept`.\n{}",
            report.text()
        );
    }
}
