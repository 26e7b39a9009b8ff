//! Suites and what they came to.

use crate::run;
use crate::terminal::heading;
use anyhow::Result;
use std::fmt;
use std::process::Command;

/// So many failures of one suite can come from what else happens on the machine; more cannot.
const MOST_RUN_AGAIN: usize = 2;

/// What a suite, or all of them, came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Count {
    passed: u64,
    failed: u64,
    skipped: Vec<String>,
    unsteady: Vec<String>,
}

impl Count {
    /// A suite that is one check.
    pub fn one(passed: bool) -> Self {
        Self {
            passed: u64::from(passed),
            failed: u64::from(!passed),
            ..Self::default()
        }
    }

    /// A check that could not be made.
    pub fn skipped(why: &str) -> Self {
        println!("skipped: {why}");
        Self {
            skipped: vec![why.to_owned()],
            ..Self::default()
        }
    }

    /// Adds another suite.
    pub fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped.extend(other.skipped);
        self.unsteady.extend(other.unsteady);
    }

    /// Tests that passed.
    pub fn passed(&self) -> u64 {
        self.passed
    }

    /// Tests that failed.
    pub fn failed(&self) -> u64 {
        self.failed
    }

    /// What was skipped, and why.
    pub fn skips(&self) -> &[String] {
        &self.skipped
    }

    /// Reads the closing lines of cargo's test runners, and the tests that said they were skipped.
    pub fn of_lines(lines: &[String]) -> Self {
        let mut count = Self::default();
        for line in lines {
            // The runner may have begun the line with the name of the test.
            if let Some(at) = line.find("skipped: ") {
                count.skipped.push(line[at + "skipped: ".len()..].to_owned());
            }
            let Some((_, result)) = line.split_once("test result: ") else {
                continue;
            };
            let number = |unit: &str| {
                let words: Vec<_> = result
                    .split([' ', '.', ';'])
                    .filter(|word| !word.is_empty())
                    .collect();
                words
                    .windows(2)
                    .find(|pair| pair[1] == unit)
                    .and_then(|pair| pair[0].parse::<u64>().ok())
                    .unwrap_or(0)
            };
            count.passed += number("passed");
            count.failed += number("failed");
        }
        // A skipped test returns early, which its runner takes for a pass.
        count.passed = count.passed.saturating_sub(count.skipped.len() as u64);
        count
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        match self.skipped.len() {
            0 => Ok(()),
            skipped => write!(f, ", {skipped} skipped"),
        }
    }
}

/// Runs cargo's test runners in view.
pub fn run(command: &mut Command) -> Result<Count> {
    let (succeeded, lines) = run::in_view(command)?;
    let mut count = Count::of_lines(&lines);
    // What does not build, or dies, has no closing line.
    if !succeeded && count.failed == 0 {
        count.failed = 1;
    }
    Ok(count)
}

/// Runs a suite of tests that share the machine's one kernel with everything else on it, and runs what failed again,
/// alone: where it passes then, it is counted as passed and named as unsteady. `command` makes the command of all its
/// tests (`None`), or of one.
pub fn run_shared(name: &str, mut command: impl FnMut(Option<&str>) -> Command) -> Result<Count> {
    let (succeeded, lines) = run::in_view(&mut command(None))?;
    let mut count = Count::of_lines(&lines);
    let failed = failed_tests(&lines);
    // Where a test is not named the runner itself died.
    if !succeeded && (failed.is_empty() || count.failed != failed.len() as u64) {
        count.failed = count.failed.max(1);
        return Ok(count);
    }
    if failed.len() > MOST_RUN_AGAIN {
        return Ok(count);
    }
    for test in failed {
        println!("{name}: {test} failed; it is run again, alone");
        let (passed, lines) = run::in_view(&mut command(Some(&test)))?;
        if passed && Count::of_lines(&lines).passed == 1 {
            count.failed -= 1;
            count.passed += 1;
            count.unsteady.push(format!("{name}: {test}"));
        }
    }
    Ok(count)
}

/// The tests that a runner of cargo names as failed at its end.
pub fn failed_tests(lines: &[String]) -> Vec<String> {
    let Some(last) = lines.iter().rposition(|line| line.trim() == "failures:") else {
        return Vec::new();
    };
    lines[last + 1..]
        .iter()
        .map_while(|line| line.strip_prefix("    "))
        .map(|name| name.trim().to_owned())
        .collect()
}

/// All suites of a run; a failing one does not keep the next from running.
#[derive(Debug, Default)]
pub struct Ledger {
    total: Count,
    failures: Vec<String>,
}

impl Ledger {
    /// Runs a suite and notes what it came to.
    pub fn run(&mut self, name: &str, suite: impl FnOnce() -> Result<Count>) {
        heading(name);
        if norma_rig::interrupt::check().is_err() {
            self.note(name, Count::one(false));
            return;
        }
        let count = suite().unwrap_or_else(|error| {
            println!("error: {error:#}");
            Count::one(false)
        });
        self.note(name, count);
    }

    fn note(&mut self, name: &str, count: Count) {
        if count.failed > 0 {
            self.failures.push(format!("{name} ({count})"));
        }
        self.total.add(count);
    }

    /// The suites that failed.
    pub fn failures(&self) -> &[String] {
        &self.failures
    }

    /// What was skipped, and why.
    pub fn skipped(&self) -> &[String] {
        &self.total.skipped
    }

    /// The tests that did not pass at first.
    pub fn unsteady(&self) -> &[String] {
        &self.total.unsteady
    }

    /// The sum.
    pub fn total(&self) -> &Count {
        &self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(text: &str) -> String {
        Count::of_lines(&text.lines().map(str::to_owned).collect::<Vec<_>>()).to_string()
    }

    #[test]
    fn closing_lines_are_summed() {
        let text = "test a ... ok\ntest result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out\n\
                    test result: FAILED. 2 passed; 4 failed; 0 ignored; 0 measured; 0 filtered out";
        assert_eq!(count(text), "5 passed, 4 failed");
    }

    #[test]
    fn failed_tests_are_those_that_the_last_list_names() {
        let text = "failures:\n\n---- a::b stdout ----\n    not a name\n\nfailures:\n    a::b\n    c\n\n\
                    test result: FAILED. 2 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out";
        let lines: Vec<_> = text.lines().map(str::to_owned).collect();
        assert_eq!(failed_tests(&lines), ["a::b", "c"]);
        assert!(failed_tests(&[]).is_empty());
    }

    #[test]
    fn a_skipped_test_is_not_a_passed_one() {
        let text = "test x ... skipped: x: needs root\nok\ntest result: ok. 2 passed; 0 failed; 0 ignored";
        assert_eq!(count(text), "1 passed, 0 failed, 1 skipped");
    }
}
