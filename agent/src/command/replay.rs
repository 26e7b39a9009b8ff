//! `replay`: a recorded trace, judged again.

use super::status::kind_of_behaviour;
use super::{ExitStatus, Output, SPEED_MAX, say};
use crate::clock::{Course, WallClock};
use crate::config::{self, Config};
use crate::event::ProcessNames;
use crate::identity::{Identity, Naming};
use crate::judge::Judge;
use crate::judge::baseline::{Baselines, Settings, Summary};
use crate::pipeline::{Parts, Pipeline, Source as _};
use crate::posture::Posture;
use crate::respond::Known;
use crate::ship::Standing;
use crate::telemetry::StatusFile;
use crate::trace::Start;
use crate::trace::replay::{Ending, Played, Replay};
use anyhow::Context as _;
use clap::Args;
use norma_baseline::Timestamp;
use norma_wire::pb::Severity;
use norma_wire::{Event, describe, id};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;
use tokio::sync::watch;

/// Options of `replay`.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// The trace, as `norma-agent run --record` wrote it.
    #[arg(value_name = "FILE")]
    trace: PathBuf,
    /// Judge by this configuration; what it says of node, collector, state and sensors is left aside. Without one,
    /// by the defaults.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Go on from the baselines in this state directory, and leave there what was learned. Without one, all is
    /// learned anew and nothing is left.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Judge and learn as if so many times the time had passed; the same as when it was recorded where this is not
    /// said. Only where workloads did in minutes what they otherwise do in hours does the outcome mean anything.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=SPEED_MAX))]
    speed: Option<u32>,
    /// End after so many seconds of the recorded time.
    #[arg(long, value_name = "SECONDS")]
    until: Option<u64>,
    /// Print every event, not only findings.
    #[arg(long)]
    events: bool,
    /// Form of the output; `json` prints one document per line: the events, then the outcome.
    #[arg(long, value_enum, default_value_t = Output::Human)]
    output: Output,
}

pub(super) fn run(options: &Options) -> anyhow::Result<ExitStatus> {
    let name = options.trace.display();
    let (mut replay, start) =
        Replay::open(&options.trace).with_context(|| format!("cannot replay {name}"))?;
    if let Some(seconds) = options.until {
        replay.end_after(Duration::from_secs(seconds));
    }
    let scratch = tempfile::tempdir().context("cannot make a temporary directory")?;
    let state = options.state.as_deref().unwrap_or(scratch.path());
    std::fs::create_dir_all(state).with_context(|| format!("cannot make {}", state.display()))?;
    let config = match &options.config {
        Some(file) => config::load(file, None)?,
        None => defaults(scratch.path(), &start.node)?,
    };
    let speed = options.speed.unwrap_or(start.speed);
    let tally = Arc::new(Mutex::new(Tally::default()));
    let mut pipeline = pipeline(&config, state, &start, (&replay, speed), {
        let (tally, replay) = (Arc::clone(&tally), replay.clone());
        let (all, output) = (options.events, options.output);
        move |event| {
            let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
            tally.take(event, &replay, all, output);
        }
    })?;
    let stop = replay.ended();
    pipeline.run(&stop).context("the trace cannot be read")?;
    let survey = pipeline.survey();
    drop(pipeline);
    let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(error) = tally.failed.take() {
        return Err(error);
    }
    let outcome = Outcome {
        start: &start,
        speed,
        played: replay.played(),
        findings: &tally.findings,
        survey: &survey,
    };
    match options.output {
        Output::Human => outcome.human()?,
        Output::Json => say(&outcome.machine().to_string())?,
    }
    Ok(match outcome.played.ending {
        Ending::Whole | Ending::Asked | Ending::Full => ExitStatus::Success,
        Ending::Broken(_) => ExitStatus::Failure,
    })
}

/// A configuration that says nothing.
fn defaults(scratch: &Path, node: &str) -> anyhow::Result<Config> {
    let file = scratch.join("agent.yaml");
    std::fs::write(&file, "{}\n").context("cannot write a configuration")?;
    Ok(config::load(&file, Some(node))?)
}

/// The stages of a running agent, with the trace in the place of the node.
fn pipeline(
    config: &Config,
    state: &Path,
    start: &Start,
    (replay, speed): (&Replay, u32),
    listener: impl FnMut(&Event) + Send + 'static,
) -> anyhow::Result<Pipeline> {
    let baselines = Baselines::open(
        &state.join("baselines"),
        Settings {
            node: start.node.clone(),
            learning: config.learning,
            sensitive: config.sensitive.clone(),
            trusted_keys: config.trusted_keys.clone(),
            release_after: Some(config.release_after),
            course: Course::new(WallClock::new(start.wall_offset_ns), start.at, speed),
        },
    )?;
    let naming = Naming {
        key: config.workload_label.clone(),
        node: start.node.clone(),
    };
    let (_, standing) = watch::channel(Standing::AsExpected);
    // Nobody hands anything over.
    let (_, inbox) = mpsc::channel();
    // Nothing is shipped.
    let (_, notices) = mpsc::channel();
    Ok(Pipeline::new(Parts {
        sensor: Box::new(replay.clone()),
        identity: Identity::of(Arc::new(replay.clone()), naming),
        judge: Judge::new(config.policies.clone(), baselines, config.sensitive.clone()),
        sensitive: Box::new(replay.clone()),
        // The files are the node's.
        hashes: None,
        posture: Posture::open(state, config.posture.clone()),
        names: ProcessNames::new(&start.node, &start.boot_id),
        enforcement: None,
        known: Known::new(None),
        outbox: None,
        listener: Some(Box::new(listener)),
        standing,
        status: StatusFile::new(state, &start.node, None),
        host_events: config.host_events,
        inbox,
        notices,
    }))
}

/// What is counted and printed while the trace is played.
#[derive(Default)]
struct Tally {
    /// By severity.
    findings: BTreeMap<String, u64>,
    /// The output could not be written.
    failed: Option<anyhow::Error>,
}

impl Tally {
    fn take(&mut self, event: &Event, replay: &Replay, all: bool, output: Output) {
        let finding = id::is_alert(event);
        if finding {
            *self.findings.entry(severity(event)).or_default() += 1;
        }
        if !(finding || all) || self.failed.is_some() {
            return;
        }
        let mut event = event.clone();
        if event.process.is_none() {
            // What the agent says of itself has the time of its clock, which is another than the trace's.
            let now = replay.now();
            event.boot_ns = now.0;
            event.wall_ns = WallClock::new(replay.wall_offset_ns()).wall_ns(now);
        }
        let line = match output {
            Output::Human => {
                let at = Timestamp::from_unix(event.wall_ns / 1_000_000_000);
                Ok(format!("{at} {}", describe::sentence(&event)))
            }
            Output::Json => serde_json::to_string(&event).context("an event cannot be written as JSON"),
        };
        self.failed = line.and_then(|line| say(&line)).err();
    }
}

fn severity(event: &Event) -> String {
    let severity: Severity = id::severity(event);
    severity
        .as_str_name()
        .trim_start_matches("SEVERITY_")
        .to_lowercase()
}

struct Outcome<'a> {
    start: &'a Start,
    speed: u32,
    played: Played,
    findings: &'a BTreeMap<String, u64>,
    survey: &'a [Summary],
}

impl Outcome<'_> {
    fn machine(&self) -> serde_json::Value {
        let (ending, why) = match &self.played.ending {
            Ending::Whole => ("whole", None),
            Ending::Asked => ("asked", None),
            Ending::Full => ("full", None),
            Ending::Broken(why) => ("broken", Some(why)),
        };
        json!({"outcome": {
            "node": self.start.node,
            "agent_version": self.start.agent_version,
            "begin_boot_ns": self.start.at.0,
            "speed": self.speed,
            "records": self.played.records,
            "seconds": self.played.time.as_secs_f64(),
            "ending": ending,
            "why": why,
            "unanswered": self.played.unanswered,
            "findings": self.findings,
            "baselines": self.survey,
        }})
    }

    fn human(&self) -> anyhow::Result<()> {
        say("")?;
        for baseline in self.survey {
            let state = if baseline.ready { "complete" } else { "learning" };
            say(&format!(
                "baseline {} ({}): {state}, {} behaviours, learned for {}",
                baseline.workload,
                baseline.revision,
                baseline.facts,
                humantime::format_duration(Duration::from_secs(baseline.learned_seconds))
            ))?;
            for field in &baseline.fields {
                say(&format!("  {}", kind_of_behaviour(&serde_json::to_value(field)?)))?;
            }
        }
        let speed = match self.speed {
            1 => String::new(),
            speed => format!(", judged as {speed} times as long"),
        };
        say(&format!(
            "replayed {} records of {} of node {}{speed}",
            self.played.records,
            humantime::format_duration(Duration::from_secs(self.played.time.as_secs())),
            self.start.node
        ))?;
        if self.played.unanswered > 0 {
            say(&format!(
                "{} questions have no answer in the trace: the agent that recorded it did not ask them",
                self.played.unanswered
            ))?;
        }
        match &self.played.ending {
            Ending::Whole | Ending::Asked => {}
            Ending::Full => say("the trace had reached its largest size here; the agent went on")?,
            Ending::Broken(why) => say(&format!("NOT THE WHOLE: {why}; what was before is above"))?,
        }
        let found: Vec<String> = self
            .findings
            .iter()
            .map(|(severity, count)| format!("{count} {severity}"))
            .collect();
        say(&match found.is_empty() {
            true => "findings: none".to_owned(),
            false => format!("findings: {}", found.join(", ")),
        })
    }
}
