//! cargo-deny: licences, sources, bans, and known vulnerabilities where their database can be had.

use super::suite::Count;
use crate::run;
use anyhow::Result;

/// Checks what the workspace depends on.
pub fn check() -> Result<Count> {
    if run::find_program("cargo-deny").is_none() {
        return Ok(Count::skipped(
            "dependency policy: cargo-deny is not installed (cargo install cargo-deny --locked, about 6 minutes)",
        ));
    }
    let deny = |checks: &[&str]| {
        let mut command = run::cargo();
        command
            .args(["deny", "--log-level", "warn", "check", "--hide-inclusion-graph"])
            .args(checks);
        command
    };
    let (passed, _) = run::in_view(&mut deny(&["bans", "licenses", "sources"]))?;
    let mut count = Count::one(passed);
    let fetched = run::cargo()
        .args(["deny", "fetch", "db"])
        .output()
        .is_ok_and(|output| output.status.success());
    count.add(if fetched {
        Count::one(run::in_view(&mut deny(&["advisories"]))?.0)
    } else {
        Count::skipped("known vulnerabilities: the RustSec advisory database cannot be fetched from here")
    });
    Ok(count)
}
