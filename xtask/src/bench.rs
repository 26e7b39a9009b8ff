//! `cargo xtask bench`: what watching costs the watched program, and what the agent needs itself.
//!
//! A load generator runs inside a real container, and beside it on the host, which is muted. Whole phases
//! of it are taken by turns without and with the agent, which runs as in life: it knows the container's
//! baseline, judges, stores and ships to a collector.

mod cases;
mod cost;
mod counters;
mod delivery;
mod flood;
mod instructions;
mod load;
mod machine;
mod neighbours;
mod peer;
mod rates;
mod report;
mod stage;
mod statistics;
mod user_space;

use crate::build::{self, Profile};
use crate::setup::{self, Purpose};
use crate::terminal::{self, Progress};
use anyhow::{Context as _, Result, bail};
use cases::{CASES, Case};
use cost::{Norma, Pairs};
use flood::Flood;
use machine::{Machine, Placement};
use norma_rig::{Programs, Scratch};
use peer::{Peer, PeerWatcher};
use report::Report;
use stage::{Spool, Stage};
use std::path::PathBuf;

/// Arguments of `cargo xtask bench`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Pairs of phases, without and with the agent.
    #[arg(long, default_value_t = 10)]
    pairs: usize,
    /// Only these modes, and neither rates, flood nor user space.
    #[arg(long, value_delimiter = ',', value_name = "MODE")]
    only: Vec<String>,
    /// Let everything run on any processor, instead of the load on one and the agent on the others.
    #[arg(long)]
    no_pin: bool,
    /// Where the agent's outbox lies.
    #[arg(long, value_enum, default_value_t = Spool::Disk)]
    spool: Spool,
    /// Measure another program in the same way.
    #[arg(long, value_enum)]
    peer: Option<Peer>,
    /// Measure the programs in this folder instead of building them; nor is user space measured then.
    #[arg(long, value_name = "FOLDER")]
    programs: Option<PathBuf>,
    /// Count instructions instead, in a virtual machine: the figures repeat, whatever else the machine does.
    #[arg(long, conflicts_with_all = ["pairs", "no_pin", "spool", "peer", "programs"])]
    vm: bool,
    /// With --vm: take the programs that were built for a guest before.
    #[arg(long, requires = "vm")]
    no_build: bool,
    /// Form of the result.
    #[arg(long, value_enum, default_value_t = Form::Human)]
    output: Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    Human,
    Json,
}

/// `cargo xtask bench`.
pub fn main(arguments: &Arguments) -> Result<()> {
    if arguments.vm {
        return counted(arguments);
    }
    if !rustix::process::geteuid().is_root() {
        bail!("the bench starts a container and loads kernel programs, which needs root");
    }
    if arguments.output == Form::Json {
        terminal::keep_stdout_for_data();
    }
    let cases = chosen(&arguments.only)?;
    let programs = match &arguments.programs {
        Some(folder) => Programs::in_folder(folder)?,
        None => {
            setup::ensure(Purpose::Demo)?;
            build::programs(Profile::Release)?
        }
    };
    let mut progress = Progress::start("measuring");
    let report = measure(arguments, cases, &programs, &mut |what| progress.tick(what))?;
    progress.finish("measured");
    match arguments.output {
        Form::Human => report.print(),
        Form::Json => println!("{:#}", report.json()),
    }
    Ok(())
}

fn counted(arguments: &Arguments) -> Result<()> {
    if arguments.output == Form::Json {
        terminal::keep_stdout_for_data();
    }
    let mut progress = Progress::start("counting instructions in a virtual machine");
    let counted = instructions::measure(&arguments.only, !arguments.no_build, &mut |what| {
        progress.tick(what);
    })?;
    progress.finish("counted");
    match arguments.output {
        Form::Human => counted.print(),
        Form::Json => println!("{:#}", counted.json()),
    }
    Ok(())
}

fn chosen(only: &[String]) -> Result<Vec<&'static Case>> {
    for mode in only {
        if CASES.iter().all(|case| case.mode != mode) {
            let mut modes: Vec<_> = CASES.iter().map(|case| case.mode).collect();
            modes.dedup();
            bail!("there is no mode `{mode}`; there are {}", modes.join(", "));
        }
    }
    Ok(CASES
        .iter()
        .filter(|case| only.is_empty() || only.iter().any(|mode| mode == case.mode))
        .collect())
}

fn measure(
    arguments: &Arguments,
    cases: Vec<&'static Case>,
    programs: &Programs,
    tick: &mut dyn FnMut(&str),
) -> Result<Report> {
    let whole = arguments.only.is_empty();
    // Before the load average is the bench's own, and before this process has fewer processors.
    let machine = Machine::look();
    tick("the agent's work on a record");
    let user_space = (whole && arguments.programs.is_none())
        .then(|| user_space::measure().map_err(|error| format!("{error:#}")));
    let scratch = Scratch::new("bench")?;
    let placement = Placement::new(!arguments.no_pin)?;
    let conditions = vec![
        format!("{:<14}{}", "placement:", placement.words()),
        format!(
            "{:<14}{:?}, with a collector that acknowledges",
            "outbox:", arguments.spool
        ),
    ];
    let peer = arguments.peer.map(PeerWatcher::new).transpose()?;
    let mut stage = Stage::prepare(&scratch, programs, placement, arguments.spool)?;
    let doctor = stage.doctor().context("norma-agent doctor")?;

    tick("the agent learns the container");
    stage.learn(&cases)?;
    // What has just been learned is on probation for some seconds yet.
    stage.repeat_until_known()?;
    let records = delivery::measure(&mut stage, &cases, tick)?;
    let rates = if whole {
        rates::measure(&mut stage, tick)?
    } else {
        Vec::new()
    };
    stage.stop_agent()?;

    let pairs = Pairs::measure(&mut stage, &mut Norma, &cases, arguments.pairs.max(1), tick)?;
    let peer = match (peer, arguments.peer) {
        (Some(mut watcher), Some(peer)) => {
            let pairs = Pairs::measure(&mut stage, &mut watcher, &cases, arguments.pairs.max(1), tick)?;
            Some((peer.words(), pairs))
        }
        _ => None,
    };
    let flood = match whole {
        true => {
            tick("the flood");
            stage.placement.anywhere(None)?;
            stage.start_agent()?;
            let flood = Flood::measure(&mut stage)?;
            stage.stop_agent()?;
            Some(flood)
        }
        false => None,
    };
    Ok(Report {
        machine,
        conditions,
        doctor,
        cases,
        records,
        pairs,
        rates,
        flood,
        user_space,
        peer,
    })
}
