//! `doctor`: what can be seen on this node, and what cannot.

mod tellers;

use super::{ExitStatus, Output, say};
use crate::sensor::{CoverageReport, Sensor, SensorConfig};
use clap::Args;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::PathBuf;
use tellers::Teller;

/// The smallest ring does for a look.
const RING_BYTES: u32 = 64 << 10;

/// Options of `doctor`.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// Form of the output.
    #[arg(long, value_enum, default_value_t = Output::Human)]
    output: Output,
    /// Judge by what this configuration wants to see, instead of everything.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(super) fn run(options: &Options) -> anyhow::Result<ExitStatus> {
    let config = options
        .config
        .as_ref()
        .map(|path| crate::config::load(path, None))
        .transpose()?;
    let tellers = tellers::look(config.as_ref())?;
    let wanted = config.map_or_else(SensorConfig::default, |config| config.sensor);
    let config = SensorConfig {
        ring_bytes: RING_BYTES,
        reserved_ring_bytes: RING_BYTES,
        ..wanted
    };
    let (sensor, report) = match Sensor::start(&config) {
        Ok(started) => started,
        Err(error) if options.output == Output::Json => {
            say(&json!({"usable": false, "error": error.to_string()}).to_string())?;
            return Ok(ExitStatus::Unavailable);
        }
        Err(error) => return Err(error.into()),
    };
    match options.output {
        Output::Human => human(&report, &tellers)?,
        Output::Json => say(&machine(&report, &sensor, &tellers).to_string())?,
    }
    Ok(if report.is_complete() {
        ExitStatus::Success
    } else {
        ExitStatus::Failure
    })
}

fn human(report: &CoverageReport, tellers: &[Teller]) -> anyhow::Result<()> {
    say(&format!("kernel {}", report.kernel))?;
    for (name, value) in &report.facts {
        say(&format!("  {name}: {value}"))?;
    }
    say("")?;
    for capability in &report.capabilities {
        match capability.tier {
            Some(tier) => say(&format!("[ok]      {:<16} {tier}", capability.name))?,
            None if !capability.wanted => say(&format!("[off]     {:<16} not needed", capability.name))?,
            None => say(&format!("[MISSING] {:<16} not seen at all", capability.name))?,
        }
        for missing in &capability.missing {
            say(&format!("            missing: {missing}"))?;
        }
        for spot in &capability.blind_spots {
            say(&format!("            not seen: {spot}"))?;
        }
    }
    say("")?;
    say("who tells what containers are")?;
    for teller in tellers {
        say(&format!("  {:<10} {}", teller.of, teller.words()))?;
    }
    say("")?;
    say("why better tiers are not in use")?;
    for (why, capabilities) in passed_over(report) {
        say(&format!("  {why}"))?;
        say(&format!("    {}", capabilities.join(", ")))?;
    }
    say("")?;
    say("evasions")?;
    for technique in &report.techniques {
        let (state, limit) = technique.words();
        say(&format!(
            "  {state:<12} {:<19} {}",
            technique.technique,
            technique.technique.what()
        ))?;
        if let Some(limit) = limit {
            say(&format!("  {:<12} {:<19} but {limit}", "", ""))?;
        }
    }
    Ok(())
}

/// Each reason once, with the capabilities that it concerns.
fn passed_over(report: &CoverageReport) -> BTreeMap<String, Vec<&'static str>> {
    let mut reasons = BTreeMap::<String, Vec<&'static str>>::new();
    for capability in &report.capabilities {
        for (tier, why) in &capability.passed_over {
            reasons
                .entry(format!("{tier}: {why}"))
                .or_default()
                .push(capability.name);
        }
    }
    reasons
}

fn machine(report: &CoverageReport, sensor: &Sensor, tellers: &[Teller]) -> serde_json::Value {
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
                "what": capability.what,
                "wanted": capability.wanted,
                "attached": capability.tier.is_some(),
                "tier": capability.tier.map(|tier| tier.to_string()),
                "blind_spots": capability.blind_spots,
                "missing": capability.missing,
                "reason": capability.reason(),
            })
        })
        .collect();
    let techniques: Vec<_> = report
        .techniques
        .iter()
        .map(|technique| {
            let (state, limit) = technique.words();
            json!({
                "name": technique.technique.name(),
                "what": technique.technique.what(),
                "seen": state,
                "limit": limit,
                "by": technique.by,
            })
        })
        .collect();
    let instructions: serde_json::Map<String, serde_json::Value> = sensor
        .verified_instructions()
        .iter()
        .map(|(program, count)| (program.clone(), json!(count)))
        .collect();
    let tellers: Vec<_> = tellers.iter().map(Teller::json).collect();
    json!({
        "usable": true,
        "tellers": tellers,
        "kernel": report.kernel,
        "facts": facts,
        "capabilities": capabilities,
        "evasions": techniques,
        "verified_instructions": instructions,
    })
}
