//! `cargo xtask test`: every check and test, from formatting to the end-to-end tests on real containers.

mod manifests;
mod policy;
pub(crate) mod suite;
mod validators;

use crate::build::{self, Profile};
use crate::setup::{self, Purpose};
use crate::terminal::{clock, heading, red};
use crate::{fuzz, run};
use anyhow::{Result, bail};
use norma_rig::Scratch;
use norma_rig::program::ENV_PROGRAMS;
use std::process::Command;
use std::time::{Duration, Instant};
use suite::{Count, Ledger};

/// How long each fuzz target runs: enough to find what any input finds.
const FUZZ_TIME: Duration = Duration::from_secs(10);

/// The kernel that stands for those with BPF-LSM; `cargo xtask vm` runs them all.
const LSM_KERNEL: &str = "6.12";

/// Of the kernel tests, those that only BPF-LSM can pass in full: that nothing is missing, and files.
/// Of the end-to-end tests, what is not done to this machine: its clock is set.
const GUEST_TESTS: [&str; 3] = ["proof::", "file::", "clock::"];

/// Arguments of `cargo xtask test`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Run only the tests whose name contains this, and no other check.
    filter: Option<String>,
    /// Do not look for what is missing on the machine.
    #[arg(long)]
    no_setup: bool,
}

/// `cargo xtask test`.
pub fn main(arguments: &Arguments) -> Result<()> {
    let started = Instant::now();
    if !arguments.no_setup {
        setup::ensure(Purpose::All)?;
    }
    Scratch::sweep();
    heading("Building the programs");
    let programs = build::programs(Profile::Dev)?;
    let mut ledger = Ledger::default();
    if arguments.filter.is_none() {
        checks(&mut ledger);
    }
    tests(&mut ledger, arguments.filter.as_deref(), &programs);
    if arguments.filter.is_none() {
        lsm_kernel(&mut ledger);
        fuzz_targets(&mut ledger);
        ledger.run("Kubernetes manifests", manifests::validate);
    }
    heading(&format!("Summary, after {}", clock(started.elapsed())));
    for skipped in ledger.skipped() {
        println!("skipped: {skipped}");
    }
    for test in ledger.unsteady() {
        println!("unsteady: {test} failed once and passed when it was run again, alone");
    }
    for failure in ledger.failures() {
        println!("{}", red(&format!("FAILED: {failure}")));
    }
    println!("{}", ledger.total());
    if ledger.failures().is_empty() {
        Ok(())
    } else {
        bail!("something failed; see above")
    }
}

fn checks(ledger: &mut Ledger) {
    ledger.run("formatting", || {
        let (passed, _) = run::in_view(run::cargo().args(["fmt", "--all", "--check"]))?;
        Ok(Count::one(passed))
    });
    ledger.run("clippy", || {
        let mut command = run::cargo();
        command.args([
            "clippy",
            "--quiet",
            "--workspace",
            "--all-targets",
            "--",
            "--deny",
            "warnings",
        ]);
        Ok(Count::one(run::in_view(&mut command)?.0))
    });
    ledger.run("dependency policy", policy::check);
}

fn tests(ledger: &mut Ledger, filter: Option<&str>, programs: &norma_rig::Programs) {
    let cargo = |arguments: &[&str]| {
        let mut command = run::cargo();
        command
            .arg("test")
            .args(arguments)
            .args(["--workspace", "--no-fail-fast"]);
        command.args(filter).env(ENV_PROGRAMS, programs.path(""));
        command
    };
    ledger.run("unit and property tests", || {
        suite::run(&mut cargo(&["--lib", "--bins"]))
    });
    ledger.run("documentation tests", || suite::run(&mut cargo(&["--doc"])));
    validators::prepare();
    // The kernel tests have a sensor each, and most of their time is the kernel's wait before a hook is gone. Those of the
    // collector mostly wait for an interval to pass. The end-to-end tests measure what happens on the machine: one at a
    // time.
    for (name, threads) in [("kernel", 4), ("collector", 2), ("e2e", 1)] {
        ledger.run(&format!("{name} tests"), || {
            suite::run_shared(name, |alone| {
                let mut command = cargo(&["--test", name]);
                command.args(["--", &format!("--test-threads={threads}")]);
                if let Some(test) = alone {
                    command.args(["--exact", test]);
                }
                command
            })
        });
    }
    ledger.run("other integration tests", || {
        suite::run(cargo(&["--test", "*"]).args(["--exclude", "norma-rig"]))
    });
}

/// What only a kernel with BPF-LSM, or only a machine of one's own, can show. `cargo xtask vm` runs everything on every kernel.
fn lsm_kernel(ledger: &mut Ledger) {
    ledger.run("a kernel with BPF-LSM, in a virtual machine", || {
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args([
                "vm",
                LSM_KERNEL,
                "--no-setup",
                "--test",
                "kernel",
                "--test",
                "e2e",
                "--",
            ])
            .args(GUEST_TESTS);
        suite::run(&mut command)
    });
}

fn fuzz_targets(ledger: &mut Ledger) {
    for target in fuzz::TARGETS {
        ledger.run(&format!("fuzz target {}", target.name), || {
            match fuzz::is_there(target) {
                true => fuzz::run(target, FUZZ_TIME).map(|()| Count::one(true)),
                false => Ok(Count::skipped(&format!(
                    "fuzz target {}: not in the tree",
                    target.name
                ))),
            }
        });
    }
}
