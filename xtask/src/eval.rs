//! `cargo xtask eval`: how much is found, and how much is found wrongly.
//!
//! Real programs in real containers do normal things for a while and are then attacked ([`stage`]); what the
//! collector has of it is held against what was done ([`score`]). What is played are files ([`plan`]). A run is
//! recorded, and a recording can be scored again (`--replay`), so that two versions of the agent are compared on the
//! same input.

mod image;
mod plan;
mod report;
mod score;
mod stage;
mod truth;

use crate::build::{self, Profile};
use crate::run;
use crate::setup::{self, Purpose};
use crate::terminal::{self, heading};
use anyhow::{Context as _, Result, bail};
use norma_rig::{Programs, Scratch};
use plan::Plan;
use report::Report;
use score::{Forecast, Seen};
use serde_json::Value;
use stage::{Stage, Times};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use truth::Truth;

/// Names of the files of a recording.
const TRACE: &str = "node.trace";
const TRUTH: &str = "truth.json";

/// Arguments of `cargo xtask eval`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Only this workload (a folder of tests/eval/workloads).
    #[arg(long, value_name = "NAME")]
    workload: Option<String>,
    /// Minutes of learning and of normal things together; the attacks take some more.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(2..=1440))]
    minutes: u64,
    /// How many times as fast as the clocks is judged: workloads do in a minute what they otherwise do in so many.
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u32).range(1..=1440))]
    speed: u32,
    /// Score this recording again, instead of playing.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["workload", "minutes", "speed", "record", "keep"])]
    replay: Option<PathBuf>,
    /// Leave the recording here: the trace of the node, and what was done when.
    #[arg(long, value_name = "DIR")]
    record: Option<PathBuf>,
    /// Write the table to docs/evaluation.md and docs/evaluation.json.
    #[arg(long)]
    write_docs: bool,
    /// Leave the scratch folder behind.
    #[arg(long)]
    keep: bool,
    /// Use the programs in this folder, instead of building them.
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
    /// Form of the table.
    #[arg(long, value_enum, default_value_t = Output::Human)]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    Human,
    Json,
}

/// `cargo xtask eval`.
pub fn main(arguments: &Arguments) -> Result<()> {
    if arguments.output == Output::Json {
        terminal::keep_stdout_for_data();
    }
    let report = match &arguments.replay {
        Some(folder) => replay(folder, &programs(arguments)?)?,
        None => play(arguments)?,
    };
    match arguments.output {
        Output::Human => {
            heading("What came of it");
            println!("{}", report.text());
        }
        Output::Json => println!("{}", serde_json::to_string_pretty(&report)?),
    }
    if arguments.write_docs {
        let docs = run::root().join("docs");
        fs::write(docs.join("evaluation.md"), report.markdown()).context("docs/evaluation.md")?;
        fs::write(
            docs.join("evaluation.json"),
            serde_json::to_string_pretty(&report)? + "\n",
        )
        .context("docs/evaluation.json")?;
    }
    Ok(())
}

fn programs(arguments: &Arguments) -> Result<Programs> {
    match &arguments.programs {
        Some(folder) => Programs::in_folder(folder),
        None => build::programs(Profile::Release),
    }
}

fn play(arguments: &Arguments) -> Result<Report> {
    if !rustix::process::geteuid().is_root() {
        bail!(
            "the evaluation starts containers and loads kernel programs, which needs root; run it as\n  \
             sudo --preserve-env=HOME,PATH cargo xtask eval"
        );
    }
    setup::ensure(Purpose::Eval)?;
    let plan = Plan::read(arguments.workload.as_deref())?;
    let programs = programs(arguments)?;
    let mut scratch = Scratch::new("eval")?;
    if arguments.keep {
        scratch.keep();
    }
    let minutes = Duration::from_secs(60 * arguments.minutes);
    let times = Times {
        learn: minutes.mul_f64(0.6),
        normal: minutes.mul_f64(0.4),
    };
    let cache = build::target_folder()?.join("eval");
    let mut stage = Stage::start(&scratch, &programs, &plan, &cache, arguments.speed)?;
    // What the programs had to say is the first thing one needs where something went wrong.
    let forecasts = stage.play(times).map_err(|error| error.context(stage.tails()))?;
    let (truth, seen, trace) = stage.finish()?;
    if let Some(folder) = &arguments.record {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        fs::copy(&trace, folder.join(TRACE)).context("the trace cannot be kept")?;
        fs::write(folder.join(TRUTH), serde_json::to_string_pretty(&truth)? + "\n").context(TRUTH)?;
    }
    Ok(Report::new(&truth, score::score(&truth, &seen, &forecasts), true))
}

/// Scores a recording.
fn replay(folder: &Path, programs: &Programs) -> Result<Report> {
    let file = folder.join(TRUTH);
    let text = fs::read(&file).with_context(|| file.display().to_string())?;
    let truth: Truth = serde_json::from_slice(&text).with_context(|| file.display().to_string())?;
    let trace = folder.join(TRACE);
    let learned = truth.normal.from.saturating_sub(truth.begin) / 1_000_000_000;
    let (_, outcome) = judge(programs, &trace, &["--until", &learned.to_string()])?;
    let forecasts = forecasts(&outcome["baselines"]);
    let (seen, _) = judge(programs, &trace, &["--events"])?;
    Ok(Report::new(
        &truth,
        score::score(&truth, &seen, &forecasts),
        false,
    ))
}

/// `norma-agent replay`: its events and its outcome.
fn judge(programs: &Programs, trace: &Path, options: &[&str]) -> Result<(Vec<Seen>, Value)> {
    let mut command: Command = programs.agent();
    command
        .args(["replay", "--output", "json"])
        .args(options)
        .arg(trace);
    let text = run::output(&mut command)?;
    let mut lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).with_context(|| format!("not JSON: {line}")))
        .collect::<Result<_>>()?;
    let mut last = lines.pop().context("`norma-agent replay` says nothing")?;
    let seen = lines
        .into_iter()
        .map(|event| Seen {
            event,
            received: None,
        })
        .collect();
    Ok((seen, last["outcome"].take()))
}

/// What the baselines said of themselves, by workload. Revisions that say more count.
fn forecasts(baselines: &Value) -> BTreeMap<String, Forecast> {
    let mut forecasts = BTreeMap::new();
    for baseline in baselines.as_array().into_iter().flatten() {
        let fields = baseline["fields"].as_array().into_iter().flatten();
        // Of what is open for good, novelty says nothing.
        let judged = fields.filter(|field| !field["state"].as_str().unwrap_or_default().starts_with("open"));
        let forecast = Forecast {
            ready: baseline["ready"] == true,
            per_day: judged
                .filter_map(|field| field["expected_per_day"][0].as_f64())
                .sum(),
        };
        let name = baseline["workload"].as_str().unwrap_or_default().to_owned();
        let known = forecasts.entry(name).or_insert(forecast);
        if forecast.ready || !known.ready {
            *known = forecast;
        }
    }
    forecasts
}
