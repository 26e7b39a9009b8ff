//! Wires the stages and owns the order of start and stop.
//!
//! Start: everything that can fail for a reason that a person must mend is done first (configuration,
//! state directory, outbox), then the sensors are attached, then the pipeline runs, then shipping. Stop:
//! the pipeline empties the ring and closes the outbox, shipping goes on until everything is
//! acknowledged or its deadline ends. A stage that ends by itself ends the agent: never a silent half.

use crate::clock::{Course, WallClock, boot_now, offset};
use crate::config::Config;
use crate::enrol;
use crate::event::{self, Hashes, ProcessNames};
use crate::fleet;
use crate::identity::system::Running;
use crate::identity::{Hierarchy, Identity, Naming, Tellers, cri, engine};
use crate::judge::baseline::{Baselines, Settings};
use crate::judge::memory::Keeper;
use crate::judge::{Finder, Judge};
use crate::metrics::Sources;
use crate::observation::BootTime;
use crate::outbox::{Outbox, Repair};
use crate::pipeline::{JudgeTimes, Parts, Pipeline};
use crate::posture::Posture;
use crate::respond::{Enforcement, Known};
use crate::sensor::{CoverageReport, Sensor};
use crate::ship::{self, Beside, Checkpoints, Promises, ShipStatus, Shipping, Standing};
use crate::telemetry::{SharedSnapshot, StatusFile};
use crate::trace::Start;
use crate::trace::tape::{Recorded, Tape, TapeOptions};
use anyhow::Context as _;
use norma_baseline_command::inbox;
use norma_wire::pb::{self, Hello, Kind};
use norma_wire::text::Hex;
use norma_wire::{Detail, Event};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// How long shipping may go on after a stop was asked for.
const DRAIN_DEADLINE: Duration = Duration::from_secs(5);
/// Name of the sensor's capability to see which capabilities processes use.
const CAPABILITY_USE: &str = "capability-use";
/// How long the start waits for the container runtime's first answer, so that what runs already is known by its
/// right name from the first event on.
const RUNTIME_PATIENCE: Duration = Duration::from_secs(3);

/// What is asked of one run, besides the configuration.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    /// Where what is taken in is recorded.
    pub tape: Option<TapeOptions>,
    /// How much faster than the clocks is judged and learned, in an evaluation; `None` in all others.
    pub speed: Option<u32>,
}

/// Runs the agent until it is told to stop.
///
/// # Errors
/// What keeps it from starting, or a stage that ended by itself.
pub fn run(config: &Config, options: &RunOptions) -> anyhow::Result<()> {
    let begin = boot_now();
    let speed = options.speed.unwrap_or(1);
    if speed > 1 {
        tracing::warn!(
            speed,
            "time is judged faster than it passes: this is for evaluations only"
        );
    }
    let course = Course::new(WallClock::read(), begin, speed);
    std::fs::create_dir_all(&config.state_dir)
        .with_context(|| format!("cannot make the state directory {}", config.state_dir.display()))?;
    let baselines_dir = config.state_dir.join(norma_baseline_command::DIRECTORY);
    let mut baselines = Baselines::open(
        &baselines_dir,
        Settings {
            node: config.node.as_str().to_owned(),
            learning: config.learning,
            sensitive: config.sensitive.clone(),
            trusted_keys: config.trusted_keys.clone(),
            release_after: Some(config.release_after),
            course,
        },
    )?;
    let (outbox, repairs) = match &config.collector {
        Some(_) => {
            let (outbox, repairs) = Outbox::open(
                &config.state_dir.join("outbox"),
                config.node.as_str(),
                config.outbox,
            )?;
            (Some(outbox), repairs)
        }
        None => {
            tracing::warn!("no `collector` is configured: alerts are only logged, events are not kept");
            (None, Vec::new())
        }
    };

    let shared = (config.share && config.collector.is_some()).then(|| {
        let (link, shipping_end) = fleet::link();
        baselines.join_fleet(link);
        shipping_end
    });

    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("norma-io")
        .enable_all()
        .build()
        .context("cannot start the I/O runtime")?;
    // Asks while the sensors are attached.
    let mut tellers = tellers(runtime.handle(), config);

    let (mut sensor, coverage) = Sensor::start(&config.sensor)?;
    log_coverage(&coverage);
    let boot_id = boot_id();
    let tape = options
        .tape
        .as_ref()
        .map(|tape| record(tape, config, (&boot_id, begin, speed)))
        .transpose()?;
    if coverage
        .capabilities
        .iter()
        .any(|capability| capability.name == CAPABILITY_USE && capability.tier.is_some())
    {
        baselines.see_capabilities();
    }
    let enforcement = Enforcement::start(sensor.controls()?, config.policies.clone(), config.host_events)?;
    // What the kernel side recognises does not cross, and so would not be on the trace.
    let recognises = config.sensor.known > 0 && tape.is_none();
    let known = Known::new(recognises.then(|| sensor.known()).transpose()?);
    let hierarchy = Hierarchy::find().context(
        "no cgroup v2 hierarchy is mounted; mount one: mount -t cgroup2 none /sys/fs/cgroup/unified",
    )?;
    runtime.block_on(tellers.asked(RUNTIME_PATIENCE));
    let running = Running::new(hierarchy, &config.runtime_roots, &config.engines, tellers);
    let identity = Identity::of(
        match &tape {
            Some(tape) => Arc::new(Recorded::new(running, tape.clone())),
            None => Arc::new(running),
        },
        Naming {
            key: config.workload_label.clone(),
            node: config.node.as_str().to_owned(),
        },
    );

    let reader = outbox.as_ref().map(Outbox::reader);
    let shipping = Arc::new(Mutex::new(ShipStatus::default()));
    let (standing_tx, standing) = watch::channel(Standing::AsExpected);
    let hello = Hello {
        node: config.node.as_str().to_owned(),
        epoch: outbox.as_ref().map_or(0, Outbox::epoch),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        boot_id,
        ..Hello::default()
    };
    let (of_shipping, notices) = std::sync::mpsc::channel();
    let beside = Beside {
        fleet: shared,
        promises: Promises {
            checkpoints: Checkpoints::open(&config.state_dir),
            events: of_shipping,
        },
    };
    let names = ProcessNames::new(&hello.node, &hello.boot_id);
    let finder = Finder::start(config.sensitive.clone()).context("cannot start a thread")?;
    let snapshot = SharedSnapshot::default();
    let status = StatusFile::new(
        &config.state_dir,
        config.node.as_str(),
        config.collector.as_ref().map(|_| Arc::clone(&shipping)),
    );
    let mut judge = Judge::new(config.policies.clone(), baselines, config.sensitive.clone());
    // A trace begins with nothing known, and so does what is recorded to become one.
    if tape.is_none() {
        let (memory, keeper) =
            Keeper::open(&config.state_dir, &hello.boot_id).context("cannot start a thread")?;
        judge.remember(memory, keeper, boot_now());
    }
    let mut pipeline = Pipeline::new(Parts {
        names,
        posture: Posture::open(&config.state_dir, config.posture.clone()),
        sensor: match &tape {
            Some(tape) => Box::new(Recorded::new(sensor, tape.clone())),
            None => Box::new(sensor),
        },
        identity,
        judge,
        sensitive: match &tape {
            Some(tape) => Box::new(Recorded::new(finder, tape.clone())),
            None => Box::new(finder),
        },
        hashes: config
            .hash
            .map(Hashes::start)
            .transpose()
            .context("cannot start a thread")?,
        enforcement: Some(enforcement),
        known,
        outbox,
        listener: None,
        standing,
        status: match config.metrics {
            Some(_) => status.shared_with(Arc::clone(&snapshot)),
            None => status,
        },
        host_events: config.host_events,
        inbox: inbox::take(&baselines_dir, config.trusted_keys.clone())
            .context("cannot take decisions on baselines")?,
        notices,
    });
    for event in opening(config, &coverage, &repairs) {
        pipeline.announce(event);
    }

    let _metrics = match config.metrics {
        Some(listen) => {
            let judging = Arc::new(JudgeTimes::default());
            pipeline.time_judging(Arc::clone(&judging));
            let sources = Sources {
                node: config.node.as_str().to_owned(),
                coverage,
                snapshot,
                shipping: config.collector.as_ref().map(|_| Arc::clone(&shipping)),
                judging,
            };
            let serving = runtime
                .block_on(norma_metrics::serve(listen, Arc::new(move || sources.page())))
                .context("metrics.listen: cannot listen there")?;
            tracing::info!(address = %serving.address, "metrics can be read");
            Some(serving)
        }
        None => None,
    };

    let stop = Arc::new(AtomicBool::new(false));
    let (ended_tx, mut ended) = watch::channel(false);
    let thread = {
        let stop = Arc::clone(&stop);
        std::thread::Builder::new()
            .name("norma-pipeline".to_owned())
            .spawn(move || {
                let result = pipeline.run(&stop);
                ended_tx.send_replace(true);
                result
            })?
    };
    let (ship_stop, ship_stopped) = watch::channel(false);
    let result = runtime.block_on(async {
        if let Some(target) = config.collector.clone().filter(|target| target.renew) {
            tokio::spawn(enrol::renew::run(target));
        }
        let shipper = reader.zip(config.collector.clone()).map(|(reader, target)| {
            let shipping = Shipping {
                target,
                hello,
                reader,
                beside,
                status: Arc::clone(&shipping),
                standing: standing_tx,
                chain_file: config.state_dir.join("outbox").join("chain"),
            };
            tokio::spawn(ship::run(shipping, ship_stopped))
        });
        tracing::info!(node = config.node.as_str(), policies = config.policies.len(), "watching");
        tokio::select! {
            signal = wait_for_signal() => tracing::info!(signal = signal?, "stopping"),
            _ = ended.wait_for(|ended| *ended) => {}
        }
        stop.store(true, Ordering::Release);
        let result = tokio::task::block_in_place(|| thread.join());
        if let Some((records, file)) = tape.as_ref().and_then(Tape::finish) {
            tracing::info!(file = %file.display(), records, "the trace is complete");
        }
        ship_stop.send_replace(true);
        if let Some(shipper) = shipper
            && tokio::time::timeout(DRAIN_DEADLINE, shipper).await.is_err()
        {
            tracing::warn!("not everything is acknowledged; the rest stays in the outbox and is shipped at the next start");
        }
        anyhow::Ok(result)
    })?;
    match result {
        Ok(result) => result.context("the event ring cannot be read any more"),
        Err(_) => anyhow::bail!("the pipeline ended unexpectedly"),
    }
}

fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .unwrap_or_default()
        .trim()
        .to_owned()
}

/// Begins to record.
fn record(
    options: &TapeOptions,
    config: &Config,
    (boot_id, at, speed): (&str, BootTime, u32),
) -> anyhow::Result<Tape> {
    let start = Start {
        node: config.node.as_str().to_owned(),
        boot_id: boot_id.to_owned(),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        abi: norma_abi::ABI_VERSION,
        at,
        wall_offset_ns: offset(),
        speed,
    };
    let tape = Tape::start(options, start)
        .with_context(|| format!("cannot write the trace {}", options.file.display()))?;
    tracing::warn!(
        file = %options.file.display(),
        "everything that is seen is recorded: arguments, paths and addresses of all that runs"
    );
    Ok(tape)
}

async fn wait_for_signal() -> anyhow::Result<&'static str> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    })
}

/// SHA-256 of the running program's file, in hex; empty where it cannot be read.
fn program_sha256() -> String {
    use sha2::Digest as _;
    let hashed = std::fs::File::open("/proc/self/exe").and_then(|mut file| {
        let mut hash = sha2::Sha256::new();
        std::io::copy(&mut file, &mut hash)?;
        Ok(hash.finalize())
    });
    match hashed {
        Ok(hash) => Hex(&hash).to_string(),
        Err(error) => {
            tracing::warn!(%error, "cannot read the agent's own program: its digest is not reported");
            String::new()
        }
    }
}

/// The events with which an agent's story begins.
fn opening(config: &Config, coverage: &CoverageReport, repairs: &[Repair]) -> Vec<Event> {
    let started = event::own(
        Kind::Lifecycle,
        Detail::Lifecycle(pb::Lifecycle {
            state: "started".to_owned(),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            config_revision: config.revision.clone(),
            program_sha256: program_sha256(),
            detail: if config.host_events {
                String::new()
            } else {
                "what the host itself does is not reported (events.host is false)".to_owned()
            },
        }),
    );
    let capabilities = coverage
        .capabilities
        .iter()
        .map(|capability| pb::Capability {
            name: capability.name.to_owned(),
            tier: capability.tier.map(|tier| tier.to_string()).unwrap_or_default(),
            blind_spots: capability
                .blind_spots
                .iter()
                .map(|spot| (*spot).to_owned())
                .collect(),
            reason: capability.reason().unwrap_or_default(),
            off: !capability.wanted,
        })
        .collect();
    let evasions = coverage
        .techniques
        .iter()
        .map(|report| {
            let (seen, limit) = report.words();
            pb::Evasion {
                name: report.technique.name().to_owned(),
                seen: seen.to_owned(),
                limit: limit.unwrap_or_default().to_owned(),
            }
        })
        .collect();
    let coverage = event::own(
        Kind::Coverage,
        Detail::Coverage(pb::Coverage {
            kernel: coverage.kernel.clone(),
            capabilities,
            evasions,
        }),
    );
    let repairs = repairs.iter().map(|repair| {
        tracing::warn!(bytes = repair.bytes, "{}", repair.what);
        event::own(
            Kind::Recovery,
            Detail::Recovery(pb::Recovery {
                what: repair.what.clone(),
                bytes_dropped: repair.bytes,
            }),
        )
    });
    [started, coverage].into_iter().chain(repairs).collect()
}

/// Starts to ask the container runtime and the engines beside it.
fn tellers(handle: &tokio::runtime::Handle, config: &Config) -> Tellers {
    let pods = cri::start(
        handle,
        cri::Options {
            socket: config.cri_socket.clone(),
            workload_key: config.workload_label.clone(),
        },
    );
    let engines = engine::ENGINES.into_iter().filter(|_| config.ask_engines);
    let engines = engines.map(|engine| {
        let socket = config.engines.socket(engine).clone();
        engine::start(handle, engine::Options { engine, socket })
    });
    Tellers::new(Some(pods), engines.collect())
}

fn log_coverage(coverage: &CoverageReport) {
    for capability in &coverage.capabilities {
        match capability.tier {
            Some(tier) => tracing::info!(capability = capability.name, %tier, "attached"),
            None if !capability.wanted => {}
            None => tracing::warn!(
                capability = capability.name,
                reason = capability.reason().unwrap_or_default(),
                "NOT attached: such acts are not seen; see `norma-agent doctor`"
            ),
        }
    }
}
