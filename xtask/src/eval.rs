//! `cargo xtask eval`: how much is found, and how much is found wrongly.
//!
//! Real programs in real containers do normal things for a while and are then attacked ([`stage`]); what the
//! collector has of it is held against what was done ([`score`]). What is played are files ([`plan`]). A run is
//! recorded ([`recording`]), and a recording can be scored again (`--replay`), so that two versions of the agent are
//! compared on the same input. Some recordings are kept in the repository, with their score ([`kept`]).

mod image;
mod kept;
mod plan;
mod recording;
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
use recording::Recording;
use report::Report;
use stage::{Stage, Times};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// The head of docs/evaluation.md.
const DOCUMENT: &str = "# Evaluation\n\n\
    Written by `cargo xtask eval --write-docs`; tests/eval/README.md says what is played.";

/// Arguments of `cargo xtask eval`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Only this workload (a folder of tests/eval/workloads); can be given several times.
    #[arg(long, value_name = "NAME")]
    workload: Vec<String>,
    /// Minutes of learning and of normal things together; the attacks take some more.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(2..=1440))]
    minutes: u64,
    /// How many times as fast as the clocks is judged: workloads do in a minute what they otherwise do in so many.
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u32).range(1..=1440))]
    speed: u32,
    /// Clients make no bursts of load: for a recording that is to be kept, of which connections would be nearly all.
    #[arg(long)]
    light: bool,
    /// Score the recordings in this folder again, instead of playing.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["workload", "minutes", "speed", "light", "record", "keep"])]
    replay: Option<PathBuf>,
    /// Leave the recording here: the trace of the node, and what was done when.
    #[arg(long, value_name = "DIR")]
    record: Option<PathBuf>,
    /// Leave a recording of each workload here, cut out of that of the run, or of the one that is replayed.
    #[arg(long, value_name = "DIR")]
    split: Option<PathBuf>,
    /// Write the table to docs/evaluation.md and docs/evaluation.json.
    #[arg(long)]
    write_docs: bool,
    /// Replay the recordings that are kept in tests/data/traces, and write their score there. After a change of
    /// detection, the difference is what it is worth.
    #[arg(long, conflicts_with_all = ["replay", "workload", "minutes", "speed", "light", "record", "split", "keep"])]
    kept: bool,
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
        Some(folder) => {
            let programs = programs(arguments)?;
            let recordings = Recording::all(folder)?;
            if let Some(to) = &arguments.split {
                for recording in &recordings {
                    recording.split(&programs, to)?;
                }
            }
            Report::replayed(&recordings, &programs)?
        }
        None if arguments.kept => kept::write(&programs(arguments)?)?,
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
        fs::write(docs.join("evaluation.md"), report.markdown(DOCUMENT)).context("docs/evaluation.md")?;
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
    let plan = Plan::read(&arguments.workload)?;
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
    let pace = (arguments.speed, arguments.light);
    let mut stage = Stage::start(&scratch, &programs, &plan, &cache, pace)?;
    // What the programs had to say is the first thing one needs where something went wrong.
    let forecasts = stage.play(times).map_err(|error| error.context(stage.tails()))?;
    let (truth, seen, trace) = stage.finish()?;
    if arguments.record.is_some() || arguments.split.is_some() {
        let folder = match &arguments.record {
            Some(folder) => folder.clone(),
            None => scratch.folder("recording")?,
        };
        let recording = Recording::keep(&folder, &trace, &truth)?;
        if let Some(to) = &arguments.split {
            recording.split(&programs, to)?;
        }
    }
    let rows = score::score(&truth, &seen, &forecasts);
    Ok(Report::new(&truth, rows, true))
}
