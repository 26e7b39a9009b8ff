//! Bursts: what was delivered and what was counted as lost add up to exactly what was done.

use crate::watch::{Group, Watch, scope};
use norma_abi::{KIND_CONNECT, KIND_EXEC, KIND_OPEN, SCOPE_ANY, SCOPE_RECOGNISE};
use norma_agent::decode::decode;
use norma_agent::observation::{Act, CgroupId};
use norma_agent::sensor::Sensor;
use norma_rig::guest::repetitions;
use std::collections::{HashMap, HashSet};
use std::io::Read as _;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A burst in a control group of its own, so that its count is that of the group.
struct Burst {
    kind: u16,
    word: &'static str,
    count: u64,
    group: Group,
    child: Option<Child>,
}

impl Burst {
    fn new(kind: u16, word: &'static str, count: u64) -> Option<Self> {
        Some(Self {
            kind,
            word,
            count: repetitions(count),
            group: Group::make()?,
            child: None,
        })
    }

    fn start(&mut self, port: u16) {
        let child = Command::new(env!("CARGO_BIN_EXE_norma-burst"))
            .args([self.word, &self.count.to_string(), "2"])
            .arg(self.group.path.join("cgroup.procs"))
            .arg(port.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        self.child = Some(child);
    }

    fn is_over(&mut self) -> bool {
        self.child.as_mut().unwrap().try_wait().unwrap().is_some()
    }

    fn done(&mut self) -> u64 {
        let mut text = String::new();
        let mut child = self.child.take().unwrap();
        child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        assert!(child.wait().unwrap().success(), "{}", self.word);
        text.trim().parse().unwrap()
    }
}

/// Accepts and drops connections until the test ends.
fn server() -> u16 {
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            drop(connection);
        }
    });
    port
}

type Delivered = HashMap<(CgroupId, u16), u64>;

fn drain(sensor: &mut Sensor, timeout: Duration, delivered: &mut Delivered) {
    sensor
        .poll(timeout, &mut |record| {
            let observation = decode(record).unwrap_or_else(|error| panic!("{error}: {record:?}"));
            let kind = match observation.act {
                Act::Open(_) => KIND_OPEN,
                Act::Exec(_) => KIND_EXEC,
                Act::Connect(_) => KIND_CONNECT,
                _ => return,
            };
            *delivered.entry((observation.actor.cgroup, kind)).or_default() += 1;
        })
        .unwrap();
}

/// Runs the bursts side by side; gives, for each, (done, delivered, lost).
fn run(watch: &mut Watch, bursts: &mut [Burst], read_meanwhile: bool) -> Vec<(u64, u64, u64)> {
    let port = server();
    let mut delivered = Delivered::new();
    for burst in bursts.iter_mut() {
        burst.start(port);
    }
    while !bursts.iter_mut().all(Burst::is_over) {
        if read_meanwhile {
            drain(&mut watch.sensor, Duration::from_millis(1), &mut delivered);
        } else {
            std::thread::yield_now();
        }
    }
    drain(&mut watch.sensor, Duration::ZERO, &mut delivered);
    let losses = watch.sensor.losses().unwrap();
    bursts
        .iter_mut()
        .map(|burst| {
            let of = |map: &Delivered| map.get(&(burst.group.id(), burst.kind)).copied().unwrap_or(0);
            let lost = losses
                .get(&(burst.group.id(), usize::from(burst.kind)))
                .copied()
                .unwrap_or(0);
            let seen = of(&delivered);
            (burst.done(), seen, lost)
        })
        .collect()
}

#[test]
fn a_burst_of_opens_execs_and_connects_adds_up() {
    let Some(mut watch) = Watch::start() else { return };
    let Some(mut bursts) = [
        Burst::new(KIND_OPEN, "open", 200_000),
        Burst::new(KIND_EXEC, "exec", 20_000),
        Burst::new(KIND_CONNECT, "connect", 20_000),
    ]
    .into_iter()
    .collect::<Option<Vec<_>>>() else {
        return;
    };
    let results = run(&mut watch, &mut bursts, true);
    let totals = watch.sensor.counters().unwrap();
    for (burst, (done, delivered, lost)) in bursts.iter().zip(results) {
        // What others did may have been passed over as well.
        let passed_over = totals.passed_over[usize::from(burst.kind)];
        println!(
            "{}: {done} done, {delivered} delivered, {lost} lost, at most {passed_over} passed over",
            burst.word
        );
        assert_eq!(done, burst.count);
        let told = delivered + lost..=delivered + lost + passed_over;
        assert!(told.contains(&done), "{}; {totals:?}", burst.word);
    }
    assert_eq!(totals.failed.iter().sum::<u64>(), 0, "{totals:?}");
}

#[test]
fn a_burst_that_nobody_reads_is_lost_by_number_and_by_whose_it_was() {
    let Some(mut watch) = Watch::with_ring(64 << 10) else {
        return;
    };
    let (Some(one), Some(other)) = (
        Burst::new(KIND_OPEN, "open", 30_000),
        Burst::new(KIND_OPEN, "open", 20_000),
    ) else {
        return;
    };
    let mut bursts = [one, other];
    let results = run(&mut watch, &mut bursts, false);
    for (burst, (done, delivered, lost)) in bursts.iter().zip(results) {
        assert_eq!(done, burst.count);
        assert_eq!(delivered + lost, done);
        assert!(lost > burst.count / 2, "{lost} of {done}");
    }
}

#[test]
fn what_is_recognised_in_a_burst_adds_up_with_what_is_delivered_and_lost() {
    let Some(mut watch) = Watch::with_ring(64 << 10) else {
        return;
    };
    let Some(mut burst) = Burst::new(KIND_OPEN, "open", 100_000) else {
        return;
    };
    let group = burst.group.id();
    let mut controls = watch.sensor.controls().unwrap();
    controls
        .set_scope(group, scope(SCOPE_ANY, SCOPE_RECOGNISE))
        .unwrap();
    let mut table = watch.sensor.known().unwrap();
    burst.start(0);
    let (mut delivered, mut places, mut over) = (0, HashSet::new(), false);
    // Once more after the end, for what was on its way.
    while !over {
        over = burst.is_over();
        let sensor = &mut watch.sensor;
        sensor
            .poll(Duration::from_millis(1), &mut |record| {
                let observation = decode(record).unwrap_or_else(|error| panic!("{error}: {record:?}"));
                if let Act::Open(open) = &observation.act
                    && observation.actor.cgroup == group
                {
                    delivered += 1;
                    places.extend(open.id.and_then(|id| table.enter(id)));
                }
            })
            .unwrap();
    }
    let losses = watch.sensor.losses().unwrap();
    let lost = losses.get(&(group, usize::from(KIND_OPEN))).copied().unwrap_or(0);
    let recognised: u64 = places.iter().map(|place| table.count(*place)).sum();
    let done = burst.done();
    println!("{done} done, {delivered} delivered, {lost} lost, {recognised} recognised");
    assert_eq!(delivered + lost + recognised, done);
    assert!(recognised > done / 2);
    let totals = watch.sensor.counters().unwrap();
    assert_eq!(totals.recognised[usize::from(KIND_OPEN)], recognised);
}
