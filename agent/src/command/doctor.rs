//! `doctor`: what can be seen on this node, and what cannot.

use super::{ExitStatus, Output, say};
use crate::sensor::{CoverageReport, Sensor, SensorConfig};
use clap::Args;
use serde_json::json;

/// The smallest ring does for a look.
const RING_BYTES: u32 = 64 << 10;

/// Options of `doctor`.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// Form of the output.
    #[arg(long, value_enum, default_value_t = Output::Human)]
    output: Output,
}

pub(super) fn run(options: &Options) -> anyhow::Result<ExitStatus> {
    let (_sensor, report) = match Sensor::start(&SensorConfig {
        ring_bytes: RING_BYTES,
    }) {
        Ok(started) => started,
        Err(error) if options.output == Output::Json => {
            say(&json!({"usable": false, "error": error.to_string()}).to_string())?;
            return Ok(ExitStatus::Unavailable);
        }
        Err(error) => return Err(error.into()),
    };
    match options.output {
        Output::Human => human(&report)?,
        Output::Json => say(&machine(&report).to_string())?,
    }
    Ok(if report.is_complete() {
        ExitStatus::Success
    } else {
        ExitStatus::Failure
    })
}

fn human(report: &CoverageReport) -> anyhow::Result<()> {
    say(&format!("kernel {}", report.kernel))?;
    for (name, value) in &report.facts {
        say(&format!("  {name}: {value}"))?;
    }
    say("")?;
    for capability in &report.capabilities {
        match capability.tier {
            Some(tier) => say(&format!("[ok]      {:<13} {tier}", capability.name))?,
            None => say(&format!("[MISSING] {:<13} not seen at all", capability.name))?,
        }
        if let Some(reason) = &capability.reason {
            say(&format!("            why: {reason}"))?;
        }
        for spot in &capability.blind_spots {
            say(&format!("            not seen: {spot}"))?;
        }
    }
    Ok(())
}

fn machine(report: &CoverageReport) -> serde_json::Value {
    let facts: serde_json::Map<String, serde_json::Value> = report
        .facts
        .iter()
        .map(|(name, value)| (name.clone(), json!(value)))
        .collect();
    let capabilities: Vec<_> = report
        .capabilities
        .iter()
        .map(|capability| {
            json!({
                "name": capability.name,
                "attached": capability.tier.is_some(),
                "tier": capability.tier.map(|tier| tier.to_string()),
                "blind_spots": capability.blind_spots,
                "reason": capability.reason,
            })
        })
        .collect();
    json!({"usable": true, "kernel": report.kernel, "facts": facts, "capabilities": capabilities})
}
