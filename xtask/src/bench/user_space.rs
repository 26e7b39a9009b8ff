//! The agent's own work on each record, measured over recorded bytes by its own benchmark.

use crate::run;
use anyhow::{Context as _, Result};
use serde_json::Value;

/// Most processor time from the bytes in the ring to the identified event, in nanoseconds.
pub const BOUND: f64 = 400.0;

/// One kind of record.
#[derive(Clone, Debug)]
pub struct UserSpace {
    /// What the records are.
    pub records: String,
    /// How many were recorded.
    pub count: u64,
    /// Mean length in bytes.
    pub bytes: f64,
    /// Nanoseconds for each: decoding.
    pub decode: f64,
    /// Decoding and identity: median, least, most of the runs.
    pub identify: (f64, f64, f64),
    /// The same and the verdict.
    pub judge: f64,
}

/// Runs `cargo bench`.
pub fn measure() -> Result<(Vec<UserSpace>, Value)> {
    let mut command = run::cargo();
    command.args([
        "bench",
        "--quiet",
        "--package",
        "norma-agent",
        "--bench",
        "user_space",
        "--",
        "--json",
    ]);
    let output = run::output(&mut command).map_err(|error| {
        // A build that fails says a lot; its first error is what one needs here.
        let text = format!("{error:#}");
        let line = text
            .lines()
            .find(|line| line.contains("error"))
            .unwrap_or_default();
        anyhow::anyhow!("{}", line.to_owned())
    })?;
    let line = output
        .lines()
        .rfind(|line| line.starts_with('['))
        .with_context(|| format!("the benchmark said: {output}"))?;
    let value: Value = serde_json::from_str(line).context("the benchmark gives no JSON")?;
    let rows = value.as_array().into_iter().flatten().map(|row| {
        let number = |pointer: &str| row.pointer(pointer).and_then(Value::as_f64).unwrap_or(f64::NAN);
        UserSpace {
            records: row["records"].as_str().unwrap_or_default().to_owned(),
            count: row["count"].as_u64().unwrap_or(0),
            bytes: number("/bytes"),
            decode: number("/decode_ns/median"),
            identify: (
                number("/identify_ns/median"),
                number("/identify_ns/min"),
                number("/identify_ns/max"),
            ),
            judge: number("/judge_ns/median"),
        }
    });
    Ok((rows.collect(), value))
}
