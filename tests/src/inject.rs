//! Faults at single system calls of a program that knows nothing of them: strace kills it at one, or has one fail.

use crate::skip::{skipped, unless_root};
use std::process::Command;

/// Whether faults can be injected here; says so where not.
pub fn can_inject(test: &str) -> bool {
    if !unless_root(test) {
        return false;
    }
    let [program, arguments @ ..] = below("fsync:error=EIO:when=99");
    match Command::new(program).args(arguments).arg("true").output() {
        Ok(output) if output.status.success() => true,
        Ok(output) => {
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            skipped(test, &format!("strace cannot trace here: {told}"));
            false
        }
        Err(_) => {
            skipped(test, "strace is not installed");
            false
        }
    }
}

/// What a program is started below so that `fault` happens to it, such as `fdatasync:signal=KILL:when=3`; each thread
/// has its own count. The program stays the caller's own child, and strace is beside it.
pub fn below(fault: &str) -> [String; 8] {
    let inject = format!("inject={fault}");
    let words = [
        "strace",
        "-D",
        "-f",
        "--seccomp-bpf",
        "-e",
        &inject,
        "-o",
        "/dev/null",
    ];
    words.map(str::to_owned)
}

/// How often what is done in cycles is done: `NORMA_CYCLES`, or `default`.
pub fn cycles(default: usize) -> usize {
    let asked = std::env::var("NORMA_CYCLES").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(default)
}
