//! Accounting of the ring, and the report of what is attached.

use crate::watch::{Group, Watch, directory, scope};
use norma_abi::{KIND_OPEN, KINDS, SCOPE_MUTE_OPEN};
use norma_agent::observation::{Act, CgroupId};
use norma_agent::sensor::{SensorError, capability_names, kind_name};
use std::collections::{HashMap, HashSet};
use std::fs::{self, File};

/// Kind of the record that an observation came from.
fn kind(act: &Act) -> usize {
    match act {
        Act::Exec(_) => 1,
        Act::Fork(_) => 2,
        Act::Exit(_) => 3,
        Act::Open(_) => 4,
        Act::Connect(_) => 5,
        Act::Listen(_) => 6,
        Act::Cgroup(_) => 7,
        Act::Operation(operation) => usize::from(operation.op.definition().kind),
        Act::Socket(_) => 11,
        Act::Dns(_) => 12,
    }
}

#[test]
fn what_is_seen_is_delivered_or_counted_as_lost() {
    let (Some(mut watch), Some(_group)) = (Watch::with_ring(4096), Group::make()) else {
        return;
    };
    let (_keep, directory) = directory();
    let file = directory.join("file");
    fs::write(&file, "x").unwrap();
    for _ in 0..2_000 {
        File::open(&file).unwrap();
    }
    // Quiet the rest of the machine, so that there are moments without events.
    watch
        .controls()
        .set_scope(CgroupId(1), scope(0, SCOPE_MUTE_OPEN))
        .unwrap();
    for attempt in 0.. {
        let before = watch.sensor.counters().unwrap();
        while watch.drain() > 0 {}
        let after = watch.sensor.counters().unwrap();
        if before.seen != after.seen {
            assert!(attempt < 500, "no moment without events");
            continue;
        }
        let mut delivered = [0; KINDS];
        for observation in &watch.seen {
            delivered[kind(&observation.act)] += 1;
        }
        for (kind, delivered) in delivered.into_iter().enumerate() {
            assert_eq!(
                after.seen[kind],
                delivered + after.lost[kind],
                "{:?}",
                kind_name(kind)
            );
            assert_eq!(after.failed[kind], 0, "{:?}", kind_name(kind));
        }
        assert!(after.lost[usize::from(KIND_OPEN)] > 1_000, "{after:?}");
        assert_eq!(after.all_lost(), after.lost.iter().sum::<u64>());
        break;
    }
    // Lost records leave gaps in a processor's numbers, and nothing else does.
    let mut last = HashMap::new();
    for observation in &watch.seen {
        let previous = last.insert(observation.cpu, observation.seq).unwrap_or(0);
        assert!(observation.seq > previous, "numbers of a processor rise");
    }
}

#[test]
fn nothing_is_lost_at_rest_and_numbers_have_no_gaps() {
    let Some(mut watch) = Watch::start() else { return };
    let (_keep, directory) = directory();
    let file = directory.join("file");
    fs::write(&file, "x").unwrap();
    for _ in 0..1_000 {
        File::open(&file).unwrap();
    }
    let end = directory.join("end");
    fs::write(&end, "x").unwrap();
    watch.open(&end);
    assert_eq!(watch.sensor.counters().unwrap().all_lost(), 0);
    let mut numbers = HashMap::<u32, Vec<u64>>::new();
    for observation in &watch.seen {
        numbers.entry(observation.cpu).or_default().push(observation.seq);
    }
    for (cpu, mut numbers) in numbers {
        numbers.sort_unstable();
        let expect: Vec<u64> = (1..=numbers.len() as u64).collect();
        assert_eq!(numbers, expect, "processor {cpu}");
    }
}

#[test]
fn a_full_ring_wakes_the_reader_long_before_its_time() {
    let Some(mut watch) = Watch::with_ring(1 << 16) else {
        return;
    };
    while watch.drain() > 0 {}
    let flood = std::thread::spawn(|| {
        for _ in 0..20_000 {
            drop(File::open("/dev/null").unwrap());
        }
    });
    let started = std::time::Instant::now();
    let mut opens = 0;
    while opens < 100 && started.elapsed().as_secs() < 20 {
        let mut here = 0;
        watch
            .sensor
            .poll(std::time::Duration::from_secs(20), &mut |_| here += 1)
            .unwrap();
        opens += here;
    }
    flood.join().unwrap();
    assert!(
        started.elapsed().as_secs() < 20,
        "the reader slept through a full ring"
    );
}

#[test]
fn the_report_names_every_capability_with_its_tier_and_blind_spots() {
    let Some(mut watch) = Watch::start() else { return };
    let names: Vec<_> = watch
        .report
        .capabilities
        .iter()
        .map(|capability| capability.name)
        .collect();
    assert_eq!(names, capability_names().collect::<Vec<_>>());
    assert_eq!(
        names.iter().collect::<HashSet<_>>().len(),
        names.len(),
        "{names:?}"
    );
    for capability in &watch.report.capabilities {
        assert!(
            capability.tier.is_some() || !capability.passed_over.is_empty(),
            "{capability:?} says no reason"
        );
    }
    assert!(!watch.report.kernel.is_empty());
    for (name, count) in watch.sensor.verified_instructions() {
        println!("{name}: {count} verified instructions");
        assert!(*count < 500_000, "{name} walks {count} instructions");
    }
    drop(watch.controls());
    assert!(matches!(watch.sensor.controls(), Err(SensorError::ControlsTaken)));
}
