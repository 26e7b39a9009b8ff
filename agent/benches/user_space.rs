//! What the agent does with each record, in nanoseconds: decode it, know who acted, judge it.
//!
//! The records are real ones: a container does something under the kernel programs, the bytes of the ring
//! are kept, and the same bytes then go through the same stages as in the agent, again and again.
//!
//! `cargo bench -p norma-agent --bench user_space`, as root, after `cargo build --release --workspace --bins`;
//! `-- --json` for programs. The mean of a record depends on what is recorded with it, so each row names it.

use anyhow::{Context as _, Result, ensure};
use norma_agent::decode::decode;
use norma_agent::identity::{Hierarchy, Identified, Identity, Place};
use norma_agent::judge::baseline::{Baselines, Learning, Settings};
use norma_agent::judge::policy::PolicySet;
use norma_agent::judge::{Judge, Sensitive};
use norma_agent::sensor::{Sensor, SensorConfig};
use norma_rig::container::ORDERS;
use norma_rig::{Container, ContainerSpec, Programs, Scratch};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// That of the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Modes of `norma-load`, each with what its records are.
const LOADS: &[(&str, &str)] = &[
    ("open", "opens"),
    ("create", "creates"),
    ("tcp", "connections"),
    ("udp", "datagrams"),
    ("spawn", "programs"),
    ("mixed", "mixed"),
];
/// How long each is recorded, in seconds.
const RECORDED: &str = "0.1";
/// Most records that are kept of each: what a reader finds in a ring that is nearly full.
const KEPT: usize = 20_000;
/// Fewer are the load's own start: what it does then is not seen on this kernel.
const FEWEST: usize = 200;
/// Records between two looks at what became known, as in one round of the agent.
const ROUND: usize = 1_000;
/// Times that the records are gone through for one figure, of which the median counts.
const RUNS: usize = 15;
/// Least time of one run.
const RUN: Duration = Duration::from_millis(20);
const LIMIT: Duration = Duration::from_secs(60);

/// Does what it is ordered, and nothing else.
const WORKLOAD: &str = "while read -r -u 3 order; do eval \"$order\"; done";

fn main() -> Result<()> {
    // Under `cargo test --benches` there is nothing to measure; and recording needs root.
    let arguments: Vec<String> = std::env::args().collect();
    let machine = arguments.iter().any(|argument| argument == "--json");
    let bench = arguments.iter().any(|argument| argument == "--bench");
    if !bench || !norma_rig::skip::unless_root("the benchmark of user space") {
        return Ok(());
    }
    let scratch = Scratch::new("user-space")?;
    let programs = Programs::find()?;
    let mut spec = ContainerSpec::script("recorded", &format!("exec 3<>{ORDERS}; {WORKLOAD}"));
    spec.programs.push(programs.path("norma-load"));
    let container = Container::start(&scratch, &spec)?;
    let (mut sensor, _) = Sensor::start(&SensorConfig::default()).context("the sensor does not start")?;
    let mut recorded = Vec::new();
    for (mode, what) in LOADS {
        recorded.push((*what, record(&mut sensor, &container, mode)?));
    }
    drop(sensor);
    let mut rows = Vec::new();
    for (what, records) in &recorded {
        if records.len() < FEWEST {
            eprintln!(
                "skipped: {what}: this kernel makes {} records of it",
                records.len()
            );
            continue;
        }
        rows.push(measure(what, records, &scratch)?);
    }
    if machine {
        println!("{}", Value::from(rows));
    } else {
        print(&rows);
    }
    Ok(())
}

/// The container's records while it works.
fn record(sensor: &mut Sensor, container: &Container, mode: &str) -> Result<Vec<Vec<u8>>> {
    let cgroup = container.cgroup_id()?;
    let (before, started) = (container.output().len(), Instant::now());
    container.order(&format!("norma-load {mode} {RECORDED}; echo \"ordered: $?\""))?;
    let mut records = Vec::new();
    let mut ended = false;
    // Once more after the end: what was done last may have been on its way.
    while !ended {
        let output = container.output();
        ended = output.get(before..).unwrap_or_default().contains("ordered: 0\n");
        ensure!(started.elapsed() < LIMIT, "the load did not end: {output}");
        sensor.poll(Duration::from_millis(1), &mut |record| {
            let ours = decode(record).is_ok_and(|observation| observation.actor.cgroup.0 == cgroup);
            if ours && records.len() < KEPT {
                records.push(record.to_vec());
            }
        })?;
    }
    Ok(records)
}

fn measure(what: &str, records: &[Vec<u8>], scratch: &Scratch) -> Result<Value> {
    let mut identity = identity()?;
    let mut judge = judge(what, scratch)?;
    // Learn it first, so that what follows is what a baseline knows.
    let mut workload = 0;
    each(records, &mut identity, |identified| {
        workload += usize::from(matches!(identified.place, Place::Workload(_)));
        drop(judge.judge(identified));
    });
    ensure!(
        workload * 10 >= records.len() * 9,
        "only {workload} of {} records of `{what}` were put down to the container",
        records.len()
    );
    for _ in 0..2 {
        let wall = norma_agent::clock::WallClock::read();
        judge.tick(&identity.containers(), norma_agent::clock::boot_now(), wall);
    }

    let decoded = nanoseconds(records.len(), || {
        for record in records {
            std::hint::black_box(decode(std::hint::black_box(record)).is_ok());
        }
    });
    let identified = nanoseconds(records.len(), || {
        each(records, &mut identity, |identified| {
            std::hint::black_box(identified);
        });
    });
    let judged = nanoseconds(records.len(), || {
        each(records, &mut identity, |identified| {
            std::hint::black_box(judge.judge(identified));
        });
    });
    let bytes: usize = records.iter().map(Vec::len).sum();
    Ok(json!({
        "records": what,
        "count": records.len(),
        "bytes": bytes as f64 / records.len() as f64,
        "decode_ns": decoded,
        "identify_ns": identified,
        "judge_ns": judged,
    }))
}

/// The records through decoding and identity, round by round.
fn each(records: &[Vec<u8>], identity: &mut Identity, mut see: impl FnMut(&Identified)) {
    let mut ready = Vec::new();
    for round in records.chunks(ROUND) {
        for record in round {
            if let Ok(observation) = decode(record) {
                identity.identify(observation, &mut ready);
            }
        }
        for identified in ready.drain(..) {
            see(&identified);
        }
    }
}

/// For each of `count`, of several runs.
fn nanoseconds(count: usize, mut run: impl FnMut()) -> Value {
    let mut figures: Vec<f64> = (0..RUNS)
        .map(|_| {
            let (started, mut times) = (Instant::now(), 0u32);
            while started.elapsed() < RUN {
                run();
                times += 1;
            }
            started.elapsed().as_nanos() as f64 / f64::from(times) / count as f64
        })
        .collect();
    figures.sort_by(f64::total_cmp);
    json!({ "median": figures[RUNS / 2], "min": figures[0], "max": figures[RUNS - 1] })
}

fn identity() -> Result<Identity> {
    let hierarchy = Hierarchy::find().context("no cgroup v2 hierarchy is mounted")?;
    Ok(Identity::start(
        hierarchy,
        norma_agent::identity::Sources::default(),
    ))
}

fn judge(name: &str, scratch: &Scratch) -> Result<Judge> {
    // Learned as soon as somebody looks.
    let baselines = Baselines::open(
        &scratch.folder(&format!("baselines-{name}"))?,
        Settings {
            node: "bench".to_owned(),
            learning: Learning::Window(Duration::from_nanos(1)),
            ..Settings::default()
        },
    )?;
    Ok(Judge::new(PolicySet::default(), baselines, Sensitive::default()))
}

fn print(rows: &[Value]) {
    println!(
        "{:<14} {:>8} {:>7} {:>8} {:>14} {:>17} {:>11}",
        "records", "recorded", "bytes", "decode", "and identify", "(min to max)", "and judge"
    );
    for row in rows {
        let number = |pointer: &str| row.pointer(pointer).and_then(Value::as_f64).unwrap_or(f64::NAN);
        println!(
            "{:<14} {:>8} {:>7.0} {:>8.0} {:>14.0} {:>17} {:>11.0}",
            row["records"].as_str().unwrap_or_default(),
            row["count"],
            number("/bytes"),
            number("/decode_ns/median"),
            number("/identify_ns/median"),
            format!(
                "({:.0} to {:.0})",
                number("/identify_ns/min"),
                number("/identify_ns/max")
            ),
            number("/judge_ns/median"),
        );
    }
    println!("nanoseconds for each record, of one thread");
}
