//! Tests that cannot run here say so.

use std::io::Write as _;

/// Prints `skipped: WHY` past the test runner's capture, which hides the output of tests that pass.
pub fn skipped(test: &str, why: &str) {
    let line = format!("skipped: {test}: {why}\n");
    if let Err(error) = std::io::stderr().write_all(line.as_bytes()) {
        eprintln!("{line}(and standard error failed: {error})");
    }
}

/// Whether the calling test may start containers and load kernel programs; says so where it may not.
pub fn unless_root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        skipped(test, "needs root for containers and kernel programs");
    }
    root
}
