//! The spool in a process of its own, which is killed, or refused by the disk, at each of its writes, syncs, renames,
//! cuts and removals.

use super::model::Model;
use super::*;
use norma_rig::inject::{self, can_inject, cycles};
use std::io::{IoSlice, Write as _};
use std::process::Command;
use std::time::Instant;

const DIRECTORY: &str = "NORMA_TEST_OUTBOX";
/// The test that is such a process.
const LIFE: &str = "outbox::tests::boundaries::a_life_of_the_spool";
const BOUNDED: Limits = Limits {
    max_bytes: 24 << 10,
    ..LIMITS
};
/// Each with the distance between the calls of it at which is killed.
const BOUNDARIES: [(&str, usize); 8] = [
    ("pwrite64", 97),
    ("fdatasync", 5),
    ("fsync", 4),
    ("rename", 5),
    ("write", 6),
    ("unlink", 3),
    ("fallocate", 1),
    ("utimensat", 2),
];
/// What the disk refuses for a while.
const REFUSALS: [&str; 8] = [
    "pwrite64:error=EIO:when=40..44",
    "pwrite64:error=ENOSPC:when=90+41",
    "fdatasync:error=EIO:when=3+4",
    "fsync:error=EIO:when=2+3",
    "rename:error=EIO:when=2+3",
    "unlink:error=EIO:when=1+3",
    "utimensat:error=EIO:when=1+2",
    "fallocate:error=ENOSPC:when=1",
];

/// Appends, syncs, reads and acknowledges until it is killed or has done enough; says each step before the next one.
#[test]
#[ignore = "a process that another test starts"]
fn a_life_of_the_spool() {
    let Some(directory) = std::env::var_os(DIRECTORY) else {
        return;
    };
    let directory = PathBuf::from(directory);
    let mut said = OpenOptions::new()
        .append(true)
        .open(directory.join("said"))
        .unwrap();
    let mut say = |line: String| {
        // By a call of its own, so that nothing is injected here.
        let line = format!("{line}\n");
        let written = said.write_vectored(&[IoSlice::new(line.as_bytes())]);
        assert_eq!(written.unwrap(), line.len());
    };
    let Ok((mut outbox, _)) = Outbox::open(&directory.join("spool"), "n", BOUNDED) else {
        return;
    };
    let life = std::process::id();
    for round in 0..40 {
        for number in 0..20 {
            let path = format!("/some/path/that/is/not/short/{life}/{round}/{number}");
            let mut event = event(&path, number % 10 == 0);
            match outbox.append(&mut event) {
                true => say(format!("taken {} {path}", event.id.unwrap().sequence)),
                false => say("refused".to_owned()),
            }
        }
        outbox.sync_soon();
        outbox.tick();
        let mut reader = outbox.reader();
        let begin = Instant::now();
        while reader.durable() + 1 < outbox.next_sequence() && begin.elapsed() < Duration::from_millis(20) {
            std::thread::yield_now();
        }
        for event in read_all(&mut reader) {
            say(format!("sent {}", hex(&event.encode_to_vec())));
            if round % 4 == 0 {
                reader.acknowledge(event.id.unwrap().sequence);
            }
        }
    }
    outbox.close();
}

fn hex(bytes: &[u8]) -> String {
    norma_wire::text::Hex(bytes).to_string()
}

fn bytes_of(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2)
        .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap())
        .collect()
}

/// Lives once with a fault, and holds what that life said, and what it left, against the model; whether it was killed.
fn live(folder: &Path, fault: &str, model: &mut Model) -> bool {
    let said = folder.join("said");
    std::fs::write(&said, "").unwrap();
    let [strace, words @ ..] = inject::below(fault);
    let status = Command::new(strace)
        .args(words)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", LIFE, "--ignored", "--nocapture", "--test-threads=1"])
        .env(DIRECTORY, folder)
        .stdout(std::process::Stdio::null())
        .status()
        .unwrap();
    let text = std::fs::read_to_string(&said).unwrap();
    for line in text.lines() {
        let mut words = line.splitn(3, ' ');
        match (words.next(), words.next(), words.next()) {
            (Some("taken"), Some(sequence), Some(path)) => {
                let before = model.taken.insert(sequence.parse().unwrap(), path.to_owned());
                assert_eq!(before, None, "{fault}: {sequence} was given twice");
            }
            (Some("refused"), ..) => model.refused += 1,
            (Some("sent"), Some(event), _) => {
                let event = Event::decode(&*bytes_of(event)).unwrap();
                model
                    .read(&event)
                    .unwrap_or_else(|what| panic!("{fault}: {what}"));
            }
            _ => panic!("{fault}: `{line}`"),
        }
    }
    let (mut outbox, _) = open(&folder.join("spool"), BOUNDED);
    outbox.tick();
    outbox.close();
    model
        .deliver(&outbox, 1.0, false)
        .unwrap_or_else(|what| panic!("{fault}: {what}"));
    assert_eq!(model.unaccounted(), Vec::<u64>::new(), "{fault}");
    assert_eq!(model.uncounted(), 0, "{fault}");
    // What is not in the way of the next life, and is delivered again where it is not acknowledged.
    outbox.reader().acknowledge(outbox.next_sequence() / 2);
    !status.success()
}

#[test]
fn killed_or_refused_at_each_boundary_every_event_is_delivered_or_accounted_for() {
    const NAME: &str = "killed_or_refused_at_each_boundary_every_event_is_delivered_or_accounted_for";
    if !can_inject(NAME) {
        return;
    }
    let scratch = norma_rig::Scratch::new("outbox-boundaries").unwrap();
    let mut killed = 0;
    // Killed in all ways one after the other, in one spool.
    let folder = scratch.folder("killed").unwrap();
    let mut model = Model::default();
    let rounds = cycles(2);
    for round in 0..rounds {
        for (boundary, distance) in BOUNDARIES {
            let when = 1 + round * distance;
            killed += usize::from(live(
                &folder,
                &format!("{boundary}:signal=KILL:when={when}"),
                &mut model,
            ));
        }
    }
    println!(
        "{killed} of {} were killed at a boundary",
        rounds * BOUNDARIES.len()
    );
    assert!(killed > rounds * BOUNDARIES.len() / 2, "{killed}");
    for (number, refusal) in REFUSALS.into_iter().enumerate() {
        let folder = scratch.folder(&format!("refused-{number}")).unwrap();
        let mut model = Model::default();
        live(&folder, refusal, &mut model);
        live(&folder, refusal, &mut model);
    }
}
