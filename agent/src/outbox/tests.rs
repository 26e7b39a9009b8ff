use super::*;
use norma_wire::pb::{EventId, Kind, Open, Severity, Verdict, VerdictKind};
use proptest::prelude::*;
use segment::{Item, Record, Scanner};
use std::fs::OpenOptions;

const LIMITS: Limits = Limits {
    max_bytes: 1 << 20,
    segment_bytes: 4096,
    max_age: Duration::from_secs(3600),
};

fn event(path: &str, alert: bool) -> Event {
    let kind = if alert {
        VerdictKind::Novel
    } else {
        VerdictKind::Expected
    };
    Event {
        kind: Kind::Open as i32,
        verdict: Some(Verdict {
            kind: kind as i32,
            severity: Severity::High as i32,
            ..Verdict::default()
        }),
        detail: Some(norma_wire::Detail::Open(Open {
            path: path.into(),
            ..Open::default()
        })),
        ..Event::default()
    }
}

fn open(directory: &Path, limits: Limits) -> (Outbox, Vec<Repair>) {
    let begin = std::time::Instant::now();
    loop {
        match Outbox::open(directory, "n", limits) {
            // A process that another test starts has all files of this one until it runs its own program.
            Err(OutboxError::Locked { .. }) if begin.elapsed() < Duration::from_secs(20) => {
                std::thread::yield_now();
            }
            opened => return opened.unwrap(),
        }
    }
}

fn read_all(reader: &mut SpoolReader) -> Vec<Event> {
    let mut events = Vec::new();
    loop {
        let batch = reader.next_batch(7, 1 << 20).unwrap();
        if batch.events.is_empty() {
            return events;
        }
        events.extend(batch.events.iter().map(|bytes| Event::decode(&**bytes).unwrap()));
    }
}

fn sequences(events: &[Event]) -> Vec<u64> {
    events
        .iter()
        .map(|event| event.id.as_ref().unwrap().sequence)
        .collect()
}

#[test]
fn what_was_appended_comes_out_in_order_over_segments_and_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let mut epoch = None;
    for round in 0..3 {
        let (mut outbox, repairs) = open(dir.path(), LIMITS);
        assert_eq!(repairs, []);
        assert_eq!(*epoch.get_or_insert(outbox.epoch()), outbox.epoch());
        assert_eq!(outbox.next_sequence(), round * 200 + 1);
        for number in 0..200 {
            assert!(outbox.append(&mut event(&format!("/{number}"), false)));
        }
        outbox.close();
    }
    let (outbox, _) = open(dir.path(), LIMITS);
    assert_eq!(
        sequences(&read_all(&mut outbox.reader())),
        (1..=600).collect::<Vec<_>>()
    );
}

#[test]
fn nothing_is_read_before_it_is_on_stable_storage() {
    let dir = tempfile::tempdir().unwrap();
    let (mut outbox, _) = open(dir.path(), LIMITS);
    let mut reader = outbox.reader();
    outbox.append(&mut event("/a", false));
    assert!(read_all(&mut reader).is_empty());
    outbox.close();
    assert_eq!(sequences(&read_all(&mut reader)), [1]);
}

#[test]
fn acknowledged_segments_are_removed_and_not_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let (mut outbox, _) = open(dir.path(), LIMITS);
    for number in 0..300 {
        outbox.append(&mut event(&format!("/{number}"), false));
    }
    outbox.close();
    let before = outbox.bytes();
    outbox.reader().acknowledge(250);
    outbox.tick();
    assert!(outbox.bytes() < before / 2);
    drop(outbox);
    let (outbox, _) = open(dir.path(), LIMITS);
    assert_eq!(
        sequences(&read_all(&mut outbox.reader())),
        (251..=300).collect::<Vec<_>>()
    );
}

#[test]
fn a_spool_that_was_emptied_goes_on_with_its_epoch_and_sequence() {
    let dir = tempfile::tempdir().unwrap();
    let (mut outbox, _) = open(dir.path(), LIMITS);
    let epoch = outbox.epoch();
    outbox.append(&mut event("/a", false));
    outbox.close();
    for _ in 0..2 {
        outbox.reader().acknowledge(1);
        outbox.tick();
        drop(outbox);
        outbox = open(dir.path(), LIMITS).0;
        assert_eq!((outbox.epoch(), outbox.next_sequence()), (epoch, 2));
    }
}

#[test]
fn a_spool_whose_segments_are_gone_is_a_new_one() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("acked"), "41").unwrap();
    let (outbox, _) = open(dir.path(), LIMITS);
    assert_eq!(outbox.next_sequence(), 1);
}

#[test]
fn an_unfinished_record_is_cut_off_and_its_sequence_given_again() {
    let dir = tempfile::tempdir().unwrap();
    let (mut outbox, _) = open(dir.path(), LIMITS);
    for _ in 0..3 {
        outbox.append(&mut event("/a", false));
    }
    outbox.close();
    drop(outbox);
    let segment = dir.path().join(format!("{:020}.spool", 1));
    let file = OpenOptions::new().write(true).open(&segment).unwrap();
    file.set_len(file.metadata().unwrap().len() - 5).unwrap();
    let (mut outbox, repairs) = open(dir.path(), LIMITS);
    assert_eq!(repairs.len(), 1);
    assert_eq!(outbox.next_sequence(), 3);
    outbox.append(&mut event("/b", false));
    outbox.close();
    assert_eq!(sequences(&read_all(&mut outbox.reader())), [1, 2, 3]);
}

#[test]
fn a_damaged_record_is_skipped_and_reported_with_its_sequence() {
    let dir = tempfile::tempdir().unwrap();
    let (mut outbox, _) = open(dir.path(), LIMITS);
    for _ in 0..5 {
        outbox.append(&mut event("/a", false));
    }
    outbox.close();
    drop(outbox);
    let segment = dir.path().join(format!("{:020}.spool", 1));
    let mut bytes = std::fs::read(&segment).unwrap();
    let third = Scanner::new(bytes.clone())
        .unwrap()
        .filter_map(|item| {
            if let Item::Record { end, .. } = item {
                Some(end)
            } else {
                None
            }
        })
        .nth(1)
        .unwrap();
    bytes[usize::try_from(third).unwrap() + 20] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let (mut outbox, repairs) = open(dir.path(), LIMITS);
    assert_eq!(repairs, []);
    let mut reader = outbox.reader();
    assert_eq!(sequences(&read_all(&mut reader)), [1, 2, 4, 5]);
    outbox.tick();
    outbox.close();
    let events = read_all(&mut reader);
    let Some(norma_wire::Detail::Loss(loss)) = &events[0].detail else {
        panic!("{events:?}")
    };
    assert_eq!((loss.first_sequence, loss.last_sequence), (3, 3));
}

#[test]
fn at_the_bound_alerts_stay_longest_and_every_drop_is_accounted_for() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits {
        max_bytes: 64 << 10,
        ..LIMITS
    };
    let (mut outbox, _) = open(dir.path(), limits);
    for number in 0..3000 {
        outbox.append(&mut event(&format!("/{number}"), number % 100 == 0));
    }
    outbox.tick();
    outbox.close();
    assert!(outbox.bytes() <= limits.max_bytes + limits.segment_bytes);
    let events = read_all(&mut outbox.reader());
    let alerts = events
        .iter()
        .filter(|event| event.kind == Kind::Open as i32 && keeps(event))
        .count();
    let plain = events
        .iter()
        .filter(|event| event.kind == Kind::Open as i32 && !keeps(event))
        .count() as u64;
    let dropped: u64 = events
        .iter()
        .filter_map(|event| match &event.detail {
            Some(norma_wire::Detail::Loss(loss)) => {
                Some(loss.counts.iter().map(|count| count.count).sum::<u64>())
            }
            _ => None,
        })
        .sum();
    assert_eq!(alerts, 30);
    assert_eq!(plain + dropped, 2970);
    assert!(dropped > 0);
}

#[test]
fn a_second_agent_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let _first = open(dir.path(), LIMITS);
    assert!(matches!(
        Outbox::open(dir.path(), "n", LIMITS),
        Err(OutboxError::Locked { .. })
    ));
}

#[test]
fn a_collector_that_is_ahead_is_never_given_a_sequence_twice() {
    let dir = tempfile::tempdir().unwrap();
    let (mut outbox, _) = open(dir.path(), LIMITS);
    outbox.append(&mut event("/a", false));
    outbox.append(&mut event("/delivered", false));
    outbox.reader().acknowledge(1);
    assert_eq!(outbox.give_anew(1), None);
    // The second was not delivered, and its place is taken.
    assert_eq!(outbox.give_anew(9), Some(1));
    assert_eq!(outbox.give_anew(9), None);
    outbox.append(&mut event("/b", false));
    outbox.close();
    drop(outbox);
    let (outbox, _) = open(dir.path(), LIMITS);
    assert_eq!(sequences(&read_all(&mut outbox.reader())), [10, 11]);
}

/// A spool of several segments, whose files it gives.
fn several(directory: &Path) -> (u64, Vec<PathBuf>) {
    let (mut outbox, _) = open(directory, LIMITS);
    for number in 0..300 {
        outbox.append(&mut event(&format!("/{number}"), false));
    }
    outbox.close();
    let paths: Vec<PathBuf> = outbox.shared.index().iter().map(|it| it.path.clone()).collect();
    assert!(paths.len() > 3);
    (outbox.epoch(), paths)
}

#[test]
fn any_damage_of_a_header_costs_no_event_and_no_epoch_in_either_form() {
    for older in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let (epoch, paths) = several(dir.path());
        if older {
            paths.iter().for_each(|path| model::make_older(path));
        }
        let length = if older {
            segment::UNCHECKED_LEN
        } else {
            segment::HEADER_LEN
        };
        for (path, position) in (0..length).flat_map(|at| paths.iter().map(move |path| (path, at))) {
            let sound = std::fs::read(path).unwrap();
            let mut bytes = sound.clone();
            bytes[position] ^= 0x41;
            std::fs::write(path, bytes).unwrap();
            let (outbox, repairs) = open(dir.path(), LIMITS);
            assert_eq!(
                (outbox.epoch(), repairs.len()),
                (epoch, 1),
                "{position} of {path:?}: {repairs:?}"
            );
            assert_eq!(
                sequences(&read_all(&mut outbox.reader())),
                (1..=300).collect::<Vec<_>>()
            );
            drop(outbox);
            // A first version may have become a second one: what it has is the same.
            assert_eq!(std::fs::read(path).unwrap(), sound, "{position}");
        }
    }
}

#[test]
fn a_segment_of_another_spool_decides_nothing_wherever_it_stands() {
    for place in [1, 2, 150, 10_000] {
        let dir = tempfile::tempdir().unwrap();
        let (epoch, paths) = several(dir.path());
        let name = dir.path().join(format!("{place:020}.spool"));
        let mut foreign = SegmentFile::create(&name, 7, place).unwrap();
        let mut other = event("/elsewhere", false);
        other.id = Some(EventId {
            node: "m".into(),
            epoch: 7,
            sequence: place,
        });
        let event = other.encode_to_vec().into();
        foreign
            .append(&Record {
                sequence: place,
                kind: 3,
                keep: false,
                event,
            })
            .unwrap();
        let before: u64 = if place == 1 {
            paths[1].file_stem().unwrap().to_str().unwrap().parse().unwrap()
        } else {
            1
        };
        let (mut outbox, repairs) = open(dir.path(), LIMITS);
        assert_eq!((outbox.epoch(), outbox.next_sequence()), (epoch, 301));
        assert_eq!(repairs.len(), 1, "{repairs:?}");
        assert_eq!(
            sequences(&read_all(&mut outbox.reader())),
            (before..=300).collect::<Vec<_>>()
        );
        outbox.tick();
        outbox.close();
        let losses = read_all(&mut outbox.reader())
            .iter()
            .filter(|event| event.kind == Kind::Loss as i32)
            .count();
        assert_eq!(losses, 0);
    }
}

#[test]
fn a_header_that_cannot_be_mended_tells_by_its_name_where_the_segment_before_ends() {
    let dir = tempfile::tempdir().unwrap();
    let (_, paths) = several(dir.path());
    let bytes = std::fs::read(&paths[0]).unwrap();
    std::fs::write(&paths[0], &bytes[..bytes.len() - 5]).unwrap();
    let length = std::fs::metadata(&paths[1]).unwrap().len();
    std::fs::write(&paths[1], vec![0; usize::try_from(length).unwrap()]).unwrap();
    let (mut outbox, _) = open(dir.path(), LIMITS);
    let mut reader = outbox.reader();
    let read = sequences(&read_all(&mut reader));
    outbox.tick();
    outbox.close();
    let mut told = Vec::new();
    for event in read_all(&mut reader) {
        if let Some(norma_wire::Detail::Loss(loss)) = event.detail {
            told.extend(loss.first_sequence..=loss.last_sequence);
        }
    }
    assert!(told.len() > 20);
    told.extend(read);
    told.sort_unstable();
    told.dedup();
    assert_eq!(told, (1..=300).collect::<Vec<_>>());
}

fn spool(count: u64) -> (tempfile::TempDir, PathBuf, Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let mut file = SegmentFile::create(&path, 7, 1).unwrap();
    for sequence in 1..=count {
        let record = Record {
            sequence,
            kind: 3,
            keep: false,
            event: vec![u8::try_from(sequence % 251).unwrap(); 40].into(),
        };
        file.append(&record).unwrap();
    }
    let bytes = std::fs::read(&path).unwrap();
    (dir, path, bytes)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever bytes stand after the header, the scanner ends, covers them, and gives no made-up record.
    #[test]
    fn scanning_is_total(tail in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let (_dir, _, mut bytes) = spool(0);
        bytes.extend(&tail);
        for item in Scanner::new(bytes.clone()).unwrap() {
            if let Item::Record { end, .. } = item { prop_assert!(end <= bytes.len() as u64); }
        }
    }

    /// One changed byte costs at most the record in which it stands.
    #[test]
    fn a_flipped_byte_costs_one_record(position in segment::HEADER_LEN..800usize, flip in 1..=255u8) {
        let (_dir, _, mut bytes) = spool(20);
        let position = position.min(bytes.len() - 1);
        bytes[position] ^= flip;
        let found: Vec<u64> = Scanner::new(bytes)
            .unwrap()
            .filter_map(|item| if let Item::Record { record, .. } = item { Some(record.sequence) } else { None })
            .collect();
        prop_assert!(found.len() >= 19, "{found:?}");
        prop_assert!(found.is_sorted());
    }

    /// A file cut anywhere gives every record before the cut.
    #[test]
    fn a_cut_file_keeps_what_is_before(cut in segment::HEADER_LEN..2000usize) {
        let (_dir, _, mut bytes) = spool(20);
        let whole: Vec<u64> = Scanner::new(bytes.clone())
            .unwrap()
            .filter_map(|item| if let Item::Record { end, .. } = item { Some(end) } else { None })
            .filter(|end| *end <= cut as u64)
            .collect();
        bytes.truncate(cut);
        let found = Scanner::new(bytes).unwrap().filter(|item| matches!(item, Item::Record { .. })).count();
        prop_assert_eq!(found, whole.len());
    }
}

#[path = "tests/bounds.rs"]
mod bounds;

#[path = "tests/boundaries.rs"]
mod boundaries;
#[path = "tests/model.rs"]
mod model;
