//! What is about to be done is shown, and done only when a person says so.

use anyhow::bail;
use std::io::{IsTerminal as _, Write as _};

/// Most lines that are shown; nobody reads more before saying yes.
const LINES: usize = 60;

/// Shows what is to be done on standard error, and asks unless `yes` was said already.
pub fn confirm(headline: &str, lines: &[String], yes: bool) -> anyhow::Result<()> {
    let mut out = std::io::stderr().lock();
    writeln!(out, "{headline}")?;
    for line in lines.iter().take(LINES) {
        writeln!(out, "  {line}")?;
    }
    if let Some(more @ 1..) = lines.len().checked_sub(LINES) {
        writeln!(out, "  and {more} more")?;
    }
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        bail!("nothing was done: there is nobody to ask; say --yes to do it without asking");
    }
    write!(out, "Sign and do this? [y/N] ")?;
    out.flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => bail!("nothing was done"),
    }
}
