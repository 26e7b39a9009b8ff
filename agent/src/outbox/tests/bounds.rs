//! Bounds, compression, and that whatever goes is accounted for.

use super::*;

/// What is in the spool, and what it says is not: events of `open` that were read, and that losses count.
fn account(outbox: &Outbox) -> (u64, u64) {
    let events = read_all(&mut outbox.reader());
    let read = events
        .iter()
        .filter(|event| event.kind == Kind::Open as i32)
        .count();
    let lost = events
        .iter()
        .filter_map(|event| match &event.detail {
            Some(norma_wire::Detail::Loss(loss)) => Some(loss),
            _ => None,
        })
        .flat_map(|loss| &loss.counts)
        .filter(|count| count.kind == "open")
        .map(|count| count.count)
        .sum();
    (read as u64, lost)
}

fn tick_until(outbox: &mut Outbox, mut condition: impl FnMut(&Outbox) -> bool) {
    let started = std::time::Instant::now();
    while !condition(outbox) {
        assert!(started.elapsed() < Duration::from_secs(20), "in vain");
        outbox.tick();
        std::thread::yield_now();
    }
}

#[test]
fn what_waits_is_compressed_and_reads_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits {
        segment_bytes: 64 << 10,
        max_bytes: 8 << 20,
        ..LIMITS
    };
    let (mut outbox, _) = open(dir.path(), limits);
    for number in 0..8000 {
        outbox.append(&mut event(&format!("/usr/lib/{number}"), number % 10 == 0));
    }
    outbox.close();
    let mut reading = outbox.reader();
    let mut events = reading.next_batch(300, 1 << 20).unwrap().events.len();
    let before = outbox.bytes();
    tick_until(&mut outbox, |outbox| outbox.bytes() < before / 4);
    // A reader that was in the middle of a segment goes on where it was.
    events += read_all(&mut reading).len();
    assert_eq!(events, 8000);
    drop(outbox);
    let (outbox, repairs) = open(dir.path(), limits);
    assert_eq!(repairs, []);
    let events = read_all(&mut outbox.reader());
    assert_eq!(sequences(&events), (1..=8000).collect::<Vec<_>>());
    assert_eq!(events[6], {
        let mut seventh = event("/usr/lib/6", false);
        seventh.id.clone_from(&events[6].id);
        seventh
    });
}

#[test]
fn a_crash_between_dropping_and_reporting_leaves_nothing_unaccounted_and_nothing_counted_twice() {
    let dir = tempfile::tempdir().unwrap();
    let (mut outbox, _) = open(dir.path(), LIMITS);
    for number in 0..300 {
        outbox.append(&mut event(&format!("/{number}"), number % 50 == 0));
    }
    outbox.close();
    let first = dir.path().join(format!("{:020}.spool", 1));
    let last = outbox.shared.index()[0].last;
    let epoch = outbox.epoch();
    drop(outbox);
    // As far as the agent came: the segment is reduced, and the event of loss was never written.
    let job = rewrite::Job {
        path: first.clone(),
        first: 1,
        last,
        epoch,
        acked: 0,
        keep: Content::Important,
        cause: LossCause::OutboxBound,
        temporary: first.with_extension("tmp"),
    };
    let rewritten = rewrite::rewrite(&job).unwrap();
    std::fs::rename(rewritten.temporary, first).unwrap();
    for _ in 0..3 {
        let (mut outbox, repairs) = open(dir.path(), LIMITS);
        assert_eq!(repairs, []);
        outbox.tick();
        outbox.close();
        let (read, lost) = account(&outbox);
        assert!(lost > 10, "{lost}");
        assert_eq!(read + lost, 300);
    }
}

#[test]
fn what_is_too_old_goes_but_alerts_stay_and_a_clock_that_was_not_set_ages_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (mut outbox, _) = open(dir.path(), LIMITS);
    for number in 0..300 {
        outbox.append(&mut event(&format!("/{number}"), number % 100 == 0));
    }
    outbox.close();
    drop(outbox);
    let set_age = |modified: std::time::SystemTime| {
        for entry in std::fs::read_dir(dir.path()).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|it| it == "spool") {
                std::fs::File::options()
                    .write(true)
                    .open(path)
                    .unwrap()
                    .set_modified(modified)
                    .unwrap();
            }
        }
    };
    set_age(std::time::UNIX_EPOCH + Duration::from_secs(100));
    let (mut outbox, _) = open(dir.path(), LIMITS);
    outbox.tick();
    assert_eq!(account(&outbox), (300, 0));
    drop(outbox);
    set_age(std::time::SystemTime::now() - LIMITS.max_age * 2);
    let (mut outbox, _) = open(dir.path(), LIMITS);
    outbox.tick();
    outbox.close();
    assert_eq!(account(&outbox), (3, 297));
    let next = outbox.next_sequence();
    drop(outbox);
    let (outbox, _) = open(dir.path(), LIMITS);
    assert_eq!(outbox.next_sequence(), next, "sequences are not given again");
    assert_eq!(account(&outbox), (3, 297));
}

#[test]
fn on_a_full_disk_an_alert_takes_the_place_of_older_events_and_every_one_is_accounted_for() {
    if !norma_rig::skip::unless_root(
        "on_a_full_disk_an_alert_takes_the_place_of_older_events_and_every_one_is_accounted_for",
    ) {
        return;
    }
    let scratch = norma_rig::Scratch::new("outbox-full").unwrap();
    let disk = scratch.small_disk("spool", 2 << 20).unwrap();
    let limits = Limits {
        segment_bytes: 256 << 10,
        max_bytes: 1 << 30,
        ..LIMITS
    };
    let (mut outbox, _) = open(&disk, limits);
    let mut given = 0;
    let long = "x".repeat(300);
    while outbox.refused() < 50 {
        given += 1;
        outbox.append(&mut event(&format!("/{given}/{long}"), false));
    }
    for _ in 0..20 {
        given += 1;
        assert!(
            outbox.append(&mut event(&format!("/{given}/{long}"), true)),
            "an alert was refused"
        );
    }
    // Killed, with what is counted in the ledger alone.
    std::mem::forget(outbox);
    let copy = scratch.join("copy");
    std::fs::create_dir(&copy).unwrap();
    for entry in std::fs::read_dir(&disk).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
    }
    let (mut outbox, _) = open(&copy, limits);
    outbox.tick();
    outbox.close();
    let (read, lost) = account(&outbox);
    assert_eq!(read + lost, given, "read {read}, lost {lost}");
    let alerts = read_all(&mut outbox.reader())
        .iter()
        .filter(|event| event.kind == Kind::Open as i32 && keeps(event))
        .count();
    assert_eq!(alerts, 20);
}

#[derive(Clone, Debug)]
enum Step {
    Append { count: u32, alerts: bool },
    Close,
    Acknowledge { part: f64 },
    Tick,
    Kill,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1..200u32, any::<bool>()).prop_map(|(count, alerts)| Step::Append { count, alerts }),
        1 => Just(Step::Close),
        1 => (0.0..1.0f64).prop_map(|part| Step::Acknowledge { part }),
        3 => Just(Step::Tick),
        2 => Just(Step::Kill),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever is appended, acknowledged, dropped, packed and killed: what the collector gets ascends, and each event
    /// is delivered or counted as lost (twice at most where it was delivered and dropped at the same time).
    #[test]
    fn every_event_is_delivered_or_accounted_for(steps in proptest::collection::vec(step(), 1..60)) {
        let dir = tempfile::tempdir().unwrap();
        let limits = Limits { max_bytes: 24 << 10, ..LIMITS };
        let (mut outbox, _) = open(dir.path(), limits);
        let mut given = std::collections::BTreeSet::new();
        let (mut delivered, mut admitted) = (std::collections::BTreeSet::new(), Vec::new());
        let mut take = |outbox: &Outbox, part: f64, acknowledge: bool| {
            let events = read_all(&mut outbox.reader());
            let some = (events.len() as f64 * part) as usize;
            for event in &events[..some] {
                let sequence = event.id.as_ref().unwrap().sequence;
                match &event.detail {
                    Some(norma_wire::Detail::Loss(loss)) => admitted.push((loss.first_sequence, loss.last_sequence)),
                    _ => { delivered.insert(sequence); }
                }
                if acknowledge { outbox.reader().acknowledge(sequence); }
            }
            events.is_sorted_by_key(|event| event.id.as_ref().unwrap().sequence)
        };
        for step in steps {
            match step {
                Step::Append { count, alerts } => for _ in 0..count {
                    let mut event = event("/some/path/that/is/not/short", alerts);
                    prop_assert!(outbox.append(&mut event));
                    given.insert(event.id.unwrap().sequence);
                },
                Step::Close => outbox.close(),
                Step::Acknowledge { part } => prop_assert!(take(&outbox, part, true)),
                Step::Tick => outbox.tick(),
                Step::Kill => {
                    drop(outbox);
                    let (again, repairs) = open(dir.path(), limits);
                    prop_assert_eq!(repairs, []);
                    outbox = again;
                }
            }
        }
        outbox.tick();
        outbox.close();
        prop_assert!(take(&outbox, 1.0, false));
        for sequence in given {
            let lost = admitted.iter().any(|(first, last)| (*first..=*last).contains(&sequence));
            prop_assert!(lost || delivered.contains(&sequence), "{sequence} is neither delivered nor admitted");
        }
    }
}
