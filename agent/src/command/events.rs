//! `events`: what containers do, live, with sensors of its own.

use super::{ExitStatus, Output, say};
use crate::clock::{WallClock, boot_now};
use crate::identity::{Hierarchy, Identified, Identity, Place, Sources};
use crate::judge::policy::PolicySet;
use crate::respond::Enforcement;
use crate::sensor::{Sensor, SensorConfig, Totals, growth, kind_name};
use crate::{decode, event};
use anyhow::Context as _;
use clap::{Args, ValueEnum};
use norma_wire::describe;
use norma_wire::pb::{self, Kind, LossCause};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const CADENCE: Duration = Duration::from_millis(10);
/// How often the kernel side's counters are looked at.
const COUNTERS_EVERY_NS: u64 = 1_000_000_000;

/// Options of `events`.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// Form of the output; `json` prints one document per line.
    #[arg(long, value_enum, default_value_t = Output::Human)]
    output: Output,
    /// Only containers whose id, name, workload or pod contains this.
    #[arg(long, value_name = "TEXT")]
    container: Option<String>,
    /// Only these kinds.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "KIND")]
    kind: Vec<EventKind>,
    /// Show what the host itself does, too.
    #[arg(long, conflicts_with = "container")]
    host: bool,
    /// End after this many events.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Further directory in which an OCI runtime keeps its state (runc --root).
    #[arg(long = "runtime-root", value_name = "DIR")]
    runtime_roots: Vec<PathBuf>,
    /// Size of the kernel ring in bytes, a power of two.
    #[arg(long, default_value_t = crate::config::DEFAULT_RING_BYTES)]
    ring_bytes: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum EventKind {
    Exec,
    Exit,
    Open,
    Connect,
    Listen,
    File,
    Privilege,
    Host,
    Socket,
    Dns,
    Loss,
}

impl EventKind {
    fn number(self) -> i32 {
        let kind = match self {
            Self::Exec => Kind::Exec,
            Self::Exit => Kind::Exit,
            Self::Open => Kind::Open,
            Self::Connect => Kind::Connect,
            Self::Listen => Kind::Listen,
            Self::File => Kind::File,
            Self::Privilege => Kind::Privilege,
            Self::Host => Kind::Host,
            Self::Socket => Kind::Socket,
            Self::Dns => Kind::Dns,
            Self::Loss => Kind::Loss,
        };
        kind as i32
    }
}

pub(super) fn run(options: &Options) -> anyhow::Result<ExitStatus> {
    let stop = stop_on_signal()?;
    let (mut sensor, coverage) = Sensor::start(&SensorConfig {
        ring_bytes: options.ring_bytes,
        ..SensorConfig::default()
    })?;
    for capability in coverage
        .capabilities
        .iter()
        .filter(|capability| capability.tier.is_none())
    {
        let reason = capability.reason().unwrap_or_default();
        tracing::warn!(
            capability = capability.name,
            reason,
            "not seen; see `norma-agent doctor`"
        );
    }
    let mut enforcement = Enforcement::start(sensor.controls()?, PolicySet::default(), options.host)?;
    let hierarchy = Hierarchy::find().context("no cgroup v2 hierarchy is mounted")?;
    let mut identity = Identity::start(
        hierarchy,
        Sources {
            runtime_roots: options.runtime_roots.clone(),
            ..Sources::default()
        },
    );
    enforcement.follow(&identity.take_placed());
    let clock = WallClock::read();
    let mut printer = Printer {
        options,
        clock,
        printed: 0,
    };
    let mut ready = Vec::new();
    let mut counted = Totals::default();
    let mut last_look = 0;
    while !stop.load(Ordering::Acquire) && !printer.is_done() {
        sensor.poll(CADENCE, &mut |record| match decode::decode(record) {
            Ok(observation) => identity.identify(observation, &mut ready),
            Err(error) => tracing::error!(%error, "a record of the kernel side did not decode"),
        })?;
        let now = boot_now();
        identity.tick(now, &mut ready);
        identity.expire(now);
        enforcement.follow(&identity.take_placed());
        for identified in ready.drain(..) {
            printer.print(&identified)?;
        }
        if now.0 > last_look + COUNTERS_EVERY_NS {
            last_look = now.0;
            let before = std::mem::replace(&mut counted, sensor.counters()?);
            printer.print_losses(&counted, &before)?;
        }
    }
    Ok(ExitStatus::Success)
}

struct Printer<'a> {
    options: &'a Options,
    clock: WallClock,
    printed: u64,
}

impl Printer<'_> {
    fn is_done(&self) -> bool {
        self.options.count.is_some_and(|count| self.printed >= count)
    }

    fn print(&mut self, identified: &Identified) -> anyhow::Result<()> {
        if self.is_done() || !self.is_wanted_place(&identified.place) {
            return Ok(());
        }
        match event::from_observation(identified, &self.clock) {
            Some(event) => self.print_event(&event),
            None => Ok(()),
        }
    }

    /// Prints what has not been seen since the last look.
    fn print_losses(&mut self, now: &Totals, before: &Totals) -> anyhow::Result<()> {
        for (cause, growth) in [
            (LossCause::RingFull, growth(&now.lost, &before.lost)),
            (LossCause::Unreadable, growth(&now.failed, &before.failed)),
            (
                LossCause::PassedOver,
                growth(&now.passed_over, &before.passed_over),
            ),
        ] {
            if growth.is_empty() {
                continue;
            }
            let counts = growth.into_iter().map(|(kind, count)| pb::KindCount {
                kind: kind_name(kind).unwrap_or("unknown").to_owned(),
                count,
            });
            self.print_event(&event::loss(pb::Loss {
                cause: cause as i32,
                counts: counts.collect(),
                ..pb::Loss::default()
            }))?;
        }
        Ok(())
    }

    fn print_event(&mut self, event: &norma_wire::Event) -> anyhow::Result<()> {
        let kinds = &self.options.kind;
        if !kinds.is_empty() && !kinds.iter().any(|kind| kind.number() == event.kind) {
            return Ok(());
        }
        self.printed += 1;
        match self.options.output {
            Output::Json => say(&serde_json::to_string(event)?),
            Output::Human => say(&describe::sentence(event)),
        }
    }

    fn is_wanted_place(&self, place: &Place) -> bool {
        let Some(container) = place.container() else {
            return self.options.host;
        };
        self.options.container.as_ref().is_none_or(|text| {
            [
                &container.id.0,
                &container.name,
                &container.workload.0,
                &container.pod,
            ]
            .iter()
            .any(|name| name.contains(text.as_str()))
        })
    }
}

/// A flag that SIGINT and SIGTERM set.
fn stop_on_signal() -> anyhow::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    std::thread::Builder::new()
        .name("norma-signals".to_owned())
        .spawn(move || {
            runtime.block_on(async {
                use tokio::signal::unix::{SignalKind, signal};
                if let (Ok(mut interrupt), Ok(mut terminate)) =
                    (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
                {
                    tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
                }
                flag.store(true, Ordering::Release);
            });
        })?;
    Ok(stop)
}
