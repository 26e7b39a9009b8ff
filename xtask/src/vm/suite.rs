//! What is checked in a guest, and what came of it.

use super::machine::{Acceleration, Ended, quoted};
use super::programs::GuestPrograms;
use crate::run;
use crate::test::suite::{Count, failed_tests};
use anyhow::{Context as _, Result};
use norma_rig::guest::{ENV_EMULATED, ENV_GUEST};
use norma_rig::program::ENV_PROGRAMS;
use serde_json::{Value, json};
use std::fmt;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// What a guest needs besides its test programs, to boot and to end.
const BESIDES: Duration = Duration::from_secs(180);
/// How long doctor may take, which loads every program.
const DOCTOR_LIMIT: Duration = Duration::from_secs(120);

/// What stands for the test programs where none are built.
const SMOKE_NAME: &str = "smoke";
const SMOKE: &str = include_str!("guest/smoke.sh");

/// What is run.
#[derive(Clone, Debug)]
pub struct Suite {
    /// Whether doctor is asked, which takes as long as some tests together.
    pub doctor: bool,
    /// Whether it is shown that the agent sees a program start, where there are no test programs.
    pub smoke: bool,
    /// Test programs.
    pub tests: Vec<String>,
    /// Arguments of theirs.
    pub arguments: Vec<String>,
    /// When the guest is ended, whatever it does.
    pub limit: Duration,
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = [(self.doctor, "doctor"), (self.smoke, SMOKE_NAME)];
        let first = first.iter().filter(|(asked, _)| *asked).map(|(_, name)| *name);
        let all: Vec<_> = first.chain(self.tests.iter().map(String::as_str)).collect();
        f.write_str(&all.join(", "))
    }
}

impl Suite {
    /// The job for the guest.
    pub fn job(&self, programs: &GuestPrograms, acceleration: Acceleration) -> String {
        let mut job = environment(programs, acceleration);
        job.push_str("status=0\n");
        if self.doctor {
            job.push_str(&format!(
                "echo 'running doctor'\n\
                 RUST_LOG=norma_agent::sensor=debug timeout {} norma-agent doctor --output json >/run/job/doctor.json 2>/run/job/doctor.txt\n\
                 echo $? >/run/job/doctor.status\n",
                DOCTOR_LIMIT.as_secs()
            ));
        }
        if self.smoke {
            job.push_str(&format!(
                "(\n{SMOKE}) >/run/job/{SMOKE_NAME}.txt 2>&1\n\
                 code=$?; echo $code >/run/job/{SMOKE_NAME}.status; [ $code = 0 ] || status=$code\n"
            ));
        }
        let arguments: Vec<_> = self
            .arguments
            .iter()
            .map(|word| quoted(Path::new(word)))
            .collect();
        // One that hangs is ended while the guest can still tell what the others came to.
        let each = self.limit.saturating_sub(BESIDES) / (self.tests.len() as u32).max(1);
        for test in &self.tests {
            job.push_str(&format!(
                "timeout {} {folder}/{test} --test-threads={} {} 2>&1 | tee /run/job/{test}.txt\n\
                 code=${{PIPESTATUS[0]}}; echo $code >/run/job/{test}.status; [ $code = 0 ] || status=$code\n",
                each.as_secs().max(1),
                threads(test),
                arguments.join(" "),
                folder = programs.there.display(),
            ));
        }
        job.push_str("exit $status\n");
        job
    }
}

/// As on this machine: each kernel test has a sensor of its own, and the kernel's waits before a hook is gone
/// take most of its time. The end-to-end tests measure what happens on the machine.
fn threads(test: &str) -> u32 {
    if test == "kernel" { 3 } else { 1 }
}

/// Lines that prepare the guest's shell for the programs.
pub fn environment(programs: &GuestPrograms, acceleration: Acceleration) -> String {
    let emulated = match acceleration {
        Acceleration::Tcg | Acceleration::Icount => format!("export {ENV_EMULATED}=1\n"),
        Acceleration::Kvm => String::new(),
    };
    format!(
        "{emulated}export PATH={programs}:$PATH {ENV_GUEST}=1 {ENV_PROGRAMS}={programs} NORMA_PROOF=/run/job RUST_BACKTRACE=1\ncd {}\n",
        quoted(&run::root().join("tests")),
        programs = programs.there.display(),
    )
}

/// A test program's outcome.
#[derive(Clone, Debug)]
pub struct TestResult {
    /// Its name.
    pub name: String,
    /// What it came to.
    pub count: Count,
    /// Names of tests that failed, or what went wrong with all of them.
    pub failures: Vec<String>,
    /// Whether it came to its end, whatever that was.
    pub ended: bool,
}

/// What came of a kernel.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What doctor found; null where it did not come to that.
    pub doctor: Value,
    /// Each test program.
    pub tests: Vec<TestResult>,
    /// What is wrong besides tests.
    pub problems: Vec<String>,
}

impl Outcome {
    /// Reads what the job left in `folder`.
    pub fn read(suite: &Suite, folder: &Path, ended: &Ended) -> Result<Self> {
        let text = |name: &str| fs::read_to_string(folder.join(name)).unwrap_or_default();
        let mut problems = Vec::new();
        let doctor: Value = serde_json::from_str(&text("doctor.json")).unwrap_or_default();
        match text("doctor.status").trim() {
            "0" | "1" if doctor["usable"] == true => {}
            // Not asked, or the guest ended before the answer, which is told anyway.
            "" => {}
            status => problems.push(format!(
                "doctor: exit status {status}: {}{}",
                doctor["error"].as_str().unwrap_or_default(),
                text("doctor.txt").trim()
            )),
        }
        if ended.status.is_none() {
            let console = text("console.txt");
            let lines: Vec<_> = console.lines().collect();
            let end = lines[lines.len().saturating_sub(15)..].join("\n");
            problems.push(format!("{}; its console ends with:\n{end}", ended.why));
        }
        let names = suite.tests.iter().map(String::as_str);
        let tests = suite
            .smoke
            .then_some(SMOKE_NAME)
            .into_iter()
            .chain(names)
            .map(|name| {
                test_result(
                    name,
                    &text(&format!("{name}.txt")),
                    &text(&format!("{name}.status")),
                )
            })
            .collect();
        let outcome = Self {
            doctor,
            tests,
            problems,
        };
        outcome.write_verifier(folder, &text("doctor.txt"))?;
        Ok(outcome)
    }

    /// Nothing failed.
    pub fn is_good(&self) -> bool {
        self.problems.is_empty() && self.tests.iter().all(|test| test.count.failed() == 0)
    }

    /// For programs, and for the table that is made later.
    pub fn json(&self) -> Value {
        let tests: Vec<_> = self
            .tests
            .iter()
            .map(|test| {
                json!({
                    "name": test.name,
                    "passed": test.count.passed(),
                    "failed": test.count.failed(),
                    "skipped": test.count.skips(),
                    "failures": test.failures,
                    "ended": test.ended,
                })
            })
            .collect();
        json!({"doctor": self.doctor, "tests": tests, "problems": self.problems})
    }

    /// How much the verifier had to walk through, and what it refused.
    fn write_verifier(&self, folder: &Path, log: &str) -> Result<()> {
        let mut text = String::new();
        for (program, count) in self.doctor["verified_instructions"]
            .as_object()
            .into_iter()
            .flatten()
        {
            text.push_str(&format!("{count:>9}  {program}\n"));
        }
        for capability in self.doctor["capabilities"].as_array().into_iter().flatten() {
            if let (Some(name), Some(reason)) = (capability["name"].as_str(), capability["reason"].as_str()) {
                text.push_str(&format!("\n{name}: {reason}\n"));
            }
        }
        text.push_str("\nlog of doctor, with what the verifier said to programs that it refused:\n");
        text.push_str(log);
        fs::write(folder.join("verifier.txt"), text).context("cannot write verifier.txt")
    }
}

fn test_result(name: &str, output: &str, status: &str) -> TestResult {
    let lines: Vec<String> = output.lines().map(str::to_owned).collect();
    let mut count = Count::of_lines(&lines);
    let mut failures = failed_tests(&lines);
    let status = status.trim();
    if name == SMOKE_NAME && status == "0" {
        count.add(Count::one(true));
    }
    let ended = !matches!(status, "" | "124");
    // A runner that died has no closing line, and counted nothing.
    if status != "0" && count.failed() == 0 {
        count.add(Count::one(false));
        let last = output.lines().last().unwrap_or("no output");
        failures.push(match status {
            "124" => format!("{name} was not over in time; it printed last: {last}"),
            "" => format!("{name} did not come to its end; it printed last: {last}"),
            status => format!("{name} ended with status {status}; it printed last: {last}"),
        });
    }
    TestResult {
        name: name.to_owned(),
        count,
        failures,
        ended,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(output: &str, status: &str) -> (String, Vec<String>) {
        let result = test_result("kernel", output, status);
        (result.count.to_string(), result.failures)
    }

    #[test]
    fn failed_tests_are_named() {
        let output = "test a::b ... ok\ntest c ... FAILED\n\nfailures:\n    c\n\ntest result: FAILED. 1 passed; 1 failed; 0 ignored";
        assert_eq!(
            result(output, "101"),
            ("1 passed, 1 failed".to_owned(), vec!["c".to_owned()])
        );
    }

    #[test]
    fn a_runner_that_never_finished_has_failed() {
        let (count, failures) = result("test a ... ok\ntest b ... ", "124");
        assert_eq!(count, "0 passed, 1 failed");
        assert_eq!(
            failures,
            ["kernel was not over in time; it printed last: test b ... "]
        );
    }
}
