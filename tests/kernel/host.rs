//! Acts on the kernel and the machine. How each act is seen is proven deed by deed (`proof`); here is what must
//! not be reported, what is refused, and what is counted.

use crate::watch::Watch;
use io_uring::{IoUring, opcode};
use norma_agent::observation::{Observation, Operation, Outcome};
use norma_agent::sensor::Tier;
use norma_rig::skip::skipped;
use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const NOBODY: u32 = 65_534;
const EPERM: u32 = 1;

fn mine(name: &str) -> impl Fn(&Observation, &Operation) -> bool {
    move |seen, operation| seen.actor.process.pid == std::process::id() && operation.op.name() == name
}

#[test]
fn requests_of_io_uring_are_counted_by_kind_and_not_reported_one_by_one() {
    const NOP: u64 = 0;
    const BURST: u64 = 100;
    let Some(mut watch) = Watch::start() else { return };
    if watch.tier("io-uring") != Some(Tier::BtfTracepoint) {
        skipped("kernel", "requests of io_uring are not told apart here");
        return;
    }
    let Ok(mut ring) = IoUring::new(8) else {
        skipped("kernel", "no io_uring here");
        return;
    };
    let mut submit = || {
        // SAFETY: a request that refers to no memory.
        unsafe { ring.submission().push(&opcode::Nop::new().build()) }.unwrap();
        ring.submit_and_wait(1).unwrap();
        ring.completion().for_each(drop);
    };
    let kind = |seen: &Observation, operation: &Operation| {
        mine("host.io-uring-op")(seen, operation) && operation.args[0] == NOP
    };
    let total = |watch: &Watch| -> u64 { watch.operations(kind).iter().map(|seen| seen.args[1]).sum() };
    (0..BURST).for_each(|_| submit());
    watch.operation("the first request", kind);
    assert!(
        watch.operations(kind).len() <= 2,
        "a burst is one report, or two where a second passed"
    );
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut submitted = BURST;
    while total(&watch) < BURST {
        assert!(Instant::now() < deadline, "{} of {submitted} told", total(&watch));
        submit();
        submitted += 1;
        watch.drain();
    }
    assert!(total(&watch) <= submitted);
}

#[test]
fn devices_that_everybody_opens_are_no_raw_devices() {
    let Some(mut watch) = Watch::start() else { return };
    if watch.tier("device").is_none() {
        skipped("kernel", "raw devices are not seen here");
        return;
    }
    for path in ["/dev/null", "/dev/zero", "/dev/urandom"] {
        File::open(path).unwrap();
    }
    let Ok(_log) = File::open("/dev/kmsg") else {
        skipped("kernel", "/dev/kmsg cannot be opened here");
        return;
    };
    const READ: u64 = 2;
    const CHARACTER: u64 = 2;
    let kmsg = 1 << 20 | 11;
    let (_, device) = watch.operation("open of /dev/kmsg", |seen, operation| {
        mine("host.device")(seen, operation) && operation.args[0] == kmsg
    });
    assert_eq!((device.args[1], device.args[2]), (READ, CHARACTER));
    let others =
        watch.operations(|seen, operation| mine("host.device")(seen, operation) && operation.args[0] != kmsg);
    assert!(others.is_empty(), "{others:?}");
}

#[test]
fn a_refused_change_of_the_time_is_seen_with_the_time() {
    let Some(mut watch) = Watch::start() else { return };
    let mut child = Command::new("/bin/date")
        .args(["--set", "@1000000000"])
        .uid(NOBODY)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let pid = child.id();
    assert!(!child.wait().unwrap().success());
    let (_, set) = watch.operation("refused time", |seen, operation| {
        seen.actor.process.pid == pid && operation.op.name() == "host.clock-set"
    });
    assert_eq!(set.outcome, Outcome::Failed(EPERM));
    assert_eq!((set.args[0], set.args[1]), (0, 1_000_000_000_000_000_000));
}

#[test]
fn the_agents_own_programs_are_not_reported() {
    let Some(mut watch) = Watch::start() else { return };
    // Another sensor in this process loads and attaches all of its programs.
    let Some(_other) = Watch::start() else { return };
    File::open("/dev/kmsg").ok();
    let mut child = Command::new("/bin/true").spawn().unwrap();
    let pid = child.id();
    child.wait().unwrap();
    watch.exec("a mark", |seen, _| seen.actor.process.pid == pid);
    for name in ["host.bpf-load", "host.bpf-attach", "host.perf-event"] {
        let own = watch.operations(mine(name));
        assert!(own.is_empty(), "{} of {name}: {:?}", own.len(), own[0]);
    }
}
