//! `status`: how the running agent is doing.

use super::{ExitStatus, Output, say};
use crate::config::DEFAULT_STATE_DIR;
use crate::telemetry::{STALE_AFTER, STATUS_FILE, age};
use anyhow::Context as _;
use clap::Args;
use serde_json::Value;
use std::path::PathBuf;
use std::time::Duration;

/// Options of `status`.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// State directory of the agent.
    #[arg(long, value_name = "DIR", default_value = DEFAULT_STATE_DIR)]
    state_dir: PathBuf,
    /// Form of the output.
    #[arg(long, value_enum, default_value_t = Output::Human)]
    output: Output,
}

pub(super) fn run(options: &Options) -> anyhow::Result<ExitStatus> {
    let path = options.state_dir.join(STATUS_FILE);
    let text = std::fs::read_to_string(&path).with_context(|| {
        format!(
            "cannot read {}; is an agent running with this state directory?",
            path.display()
        )
    })?;
    let document: Value =
        serde_json::from_str(&text).with_context(|| format!("cannot read {}", path.display()))?;
    let age = age(&path).with_context(|| format!("cannot look at {}", path.display()))?;
    let working = age < STALE_AFTER;
    match options.output {
        Output::Json => say(&document.to_string())?,
        Output::Human => human(&document, age, working)?,
    }
    Ok(if working {
        ExitStatus::Success
    } else {
        ExitStatus::Failure
    })
}

fn human(document: &Value, age: Duration, working: bool) -> anyhow::Result<()> {
    let text = |pointer: &str| {
        document
            .pointer(pointer)
            .map(ToString::to_string)
            .unwrap_or_default()
    };
    let state = if working { "working" } else { "NOT WORKING" };
    say(&format!(
        "agent on {}: {state}, last sign {:.1} s ago",
        text("/node"),
        age.as_secs_f64()
    ))?;
    say(&format!(
        "records read {}, alerts {}",
        text("/delivered"),
        text("/alerts")
    ))?;
    if let Some(kernel) = document.get("kernel").and_then(Value::as_object) {
        for (kind, totals) in kernel {
            let of = |name: &str| totals.get(name).and_then(Value::as_u64).unwrap_or(0);
            if of("seen") + of("recognised") > 0 {
                say(&format!(
                    "  {kind:<8} seen {:>10}  lost {:>6}  unreadable {:>6}  passed over {:>6}  recognised {:>10}",
                    of("seen"),
                    of("lost"),
                    of("failed"),
                    of("passed_over"),
                    of("recognised")
                ))?;
            }
        }
    }
    say(&format!(
        "known: {} behaviours of {} that the kernel side has room for, {} found no room",
        text("/known/entries"),
        text("/known/room"),
        text("/known/refused")
    ))?;
    if document.get("outbox").is_some_and(|outbox| !outbox.is_null()) {
        say(&format!(
            "outbox: next sequence {}, acknowledged {}, {} bytes, refused {}",
            text("/outbox/next_sequence"),
            text("/outbox/acknowledged"),
            text("/outbox/bytes"),
            text("/outbox/refused")
        ))?;
        let connected = document.pointer("/collector/connected").and_then(Value::as_bool) == Some(true);
        let why = document
            .pointer("/collector/last_error")
            .and_then(Value::as_str)
            .unwrap_or("not yet");
        say(&format!(
            "collector: {}",
            if connected { "connected" } else { why }
        ))?;
        if let Some(left) = document.pointer("/collector/last_left").and_then(Value::as_str) {
            say(&format!("collector that was left last: {left}"))?;
        }
    }
    if let Some(runtime) = document.get("runtime").filter(|runtime| !runtime.is_null()) {
        let answers = |teller: &Value, name: &str| match teller.get(name).and_then(Value::as_bool) {
            Some(true) => "answers",
            _ => "DOES NOT ANSWER",
        };
        let name = |teller: &Value| {
            let name = teller.get("name").and_then(Value::as_str);
            name.unwrap_or_default().to_owned()
        };
        if !name(runtime).is_empty() {
            say(&format!(
                "container runtime: {} {}, {} containers and pods told of",
                name(runtime),
                answers(runtime, "answers"),
                text("/runtime/told")
            ))?;
        }
        let engines = runtime.get("engines").and_then(Value::as_array);
        for engine in engines.into_iter().flatten() {
            say(&format!(
                "container engine: {} {}, {} containers told of",
                name(engine),
                answers(engine, "live"),
                engine.get("containers").unwrap_or(&Value::Null)
            ))?;
        }
    }
    for baseline in document
        .get("baselines")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let of = |name: &str| baseline.get(name).map(ToString::to_string).unwrap_or_default();
        let state = if of("ready") == "true" {
            "complete"
        } else {
            "learning"
        };
        say(&format!(
            "baseline {}: {state}, {} behaviours, learned for {} s",
            of("workload"),
            of("facts"),
            of("learned_seconds")
        ))?;
        for field in baseline
            .get("fields")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            say(&format!("  {}", kind_of_behaviour(field)))?;
        }
    }
    Ok(())
}

/// How far one kind of behaviour is, in a line.
pub(super) fn kind_of_behaviour(field: &Value) -> String {
    let text = |name: &str| field.get(name).and_then(Value::as_str).unwrap_or_default();
    let expected = field
        .get("expected_per_day")
        .and_then(Value::as_array)
        .map(|bounds| bounds.iter().filter_map(Value::as_f64).collect::<Vec<_>>());
    let expected = match expected.as_deref() {
        Some([point, low, high]) => format!(", {point:.2} new a day expected ({low:.2} to {high:.2})"),
        _ => String::new(),
    };
    let facts = field.get("facts").and_then(Value::as_u64).unwrap_or_default();
    format!(
        "{:<10} {facts:>6} known{expected}; {}",
        text("field"),
        text("state")
    )
}
