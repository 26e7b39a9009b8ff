use super::cut::cut_out;
use super::file::{Effort, Reader, TraceError, Writer};
use super::replay::{Ending, Replay};
use super::tape::{Recorded, Tape, TapeOptions};
use super::*;
use crate::identity::system::{Doubted, Program, System};
use crate::pipeline::Source;
use crate::sensor::SensorError;
use proptest::prelude::*;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

fn start() -> Start {
    Start {
        node: "n".to_owned(),
        boot_id: "b".to_owned(),
        agent_version: "0.0.1".to_owned(),
        abi: norma_abi::ABI_VERSION,
        at: BootTime(1),
        wall_offset_ns: 5,
        speed: 1,
    }
}

fn round(now: u64) -> Round {
    Round {
        now: BootTime(now),
        wall_offset_ns: 5,
    }
}

/// A node whose records, answers and time come from a script: of each round its records and the executable of the
/// process 7.
struct Script {
    rounds: Vec<(Vec<&'static [u8]>, &'static str)>,
    at: usize,
}

impl Script {
    fn new() -> Self {
        Self {
            rounds: vec![
                (vec![b"a", b"bb"], "/bin/one"),
                (vec![], "/bin/one"),
                (vec![b"c"], "/bin/two"),
            ],
            at: 0,
        }
    }
}

impl Source for Script {
    fn poll(&mut self, _: Duration, on_record: &mut dyn FnMut(&[u8])) -> io::Result<usize> {
        let records = self.rounds[self.at].0.clone();
        self.at += 1;
        for record in &records {
            on_record(record);
        }
        Ok(records.len())
    }

    fn counters(&mut self) -> Result<Totals, SensorError> {
        let mut totals = Totals::default();
        totals.lost[1] = 3;
        Ok(totals)
    }

    fn losses(&mut self) -> Result<Losses, SensorError> {
        Ok([((CgroupId(9), 1), 3)].into_iter().collect())
    }

    fn forget_losses(&mut self, _: CgroupId) {}

    fn now(&self) -> BootTime {
        BootTime(1_000_000_000 * (self.at as u64 + 1))
    }

    fn wall_offset_ns(&self) -> i64 {
        5
    }
}

struct Exe(&'static str);

impl System for Exe {
    fn now(&self) -> BootTime {
        BootTime(0)
    }
    fn processes(&self) -> Vec<Listed> {
        Vec::new()
    }
    fn process(&self, _: u32) -> Seen {
        Seen {
            exe: self.0.to_owned(),
            ..Seen::default()
        }
    }
    fn cgroups(&self) -> Vec<(CgroupId, Vec<u8>)> {
        vec![(CgroupId(9), b"nine".to_vec())]
    }
    fn programs(&self, of: &Doubted) -> Option<Programs> {
        let at = BootTime(9);
        let program = |group: &CgroupId| Program {
            pid: 7,
            start_ticks: 1,
            cgroup: *group,
            at,
            seen: self.process(7),
        };
        Some(Programs {
            from: at,
            until: at,
            all: of.groups.iter().map(program).collect(),
        })
    }
    fn tree(&self) -> Option<Tree> {
        Some(Tree {
            at: BootTime(9),
            groups: self.cgroups(),
        })
    }
    fn container(&self, _: &str) -> Option<RuntimeState> {
        None
    }
    fn container_at(&self, _: &str) -> Option<RuntimeState> {
        None
    }
    fn sockets(&self) -> Vec<Observation> {
        Vec::new()
    }
    fn news(&self) -> Option<Arc<Snapshot>> {
        None
    }
    fn poke(&self) {}
}

/// What a round is to whoever takes it: records, when it is, what 7 runs.
type Taken = (Vec<Vec<u8>>, u64, String);

fn take(source: &mut impl Source, system: &impl System) -> Taken {
    let mut records = Vec::new();
    source
        .poll(Duration::ZERO, &mut |record| records.push(record.to_vec()))
        .unwrap();
    source.counters().unwrap();
    (records, source.now().0, system.process(7).exe)
}

/// Records the script; gives what was taken, and the file.
fn record(folder: &std::path::Path, max_bytes: u64) -> (Vec<Taken>, PathBuf) {
    let file = folder.join("t.trace");
    let options = TapeOptions {
        file: file.clone(),
        max_bytes,
    };
    let tape = Tape::start(&options, start()).unwrap();
    let script = Script::new();
    let exes: Vec<&str> = script.rounds.iter().map(|round| round.1).collect();
    Recorded::new(Exe("/bin/zero"), tape.clone()).cgroups();
    let mut source = Recorded::new(script, tape.clone());
    let taken = exes
        .into_iter()
        .map(|exe| take(&mut source, &Recorded::new(Exe(exe), tape.clone())))
        .collect();
    tape.finish();
    (taken, file)
}

#[test]
fn what_was_taken_is_taken_again_with_its_answers_and_times() {
    let folder = tempfile::tempdir().unwrap();
    let (taken, file) = record(folder.path(), u64::MAX);
    let (mut replay, started) = Replay::open(&file).unwrap();
    assert_eq!(started, start());
    assert_eq!(
        System::cgroups(&replay),
        [(CgroupId(9), b"nine".to_vec())],
        "before the first round"
    );
    for round in &taken {
        let system = replay.clone();
        assert_eq!(take(&mut replay, &system), *round);
    }
    assert_eq!(replay.counters().unwrap().lost[1], 3);
    assert_eq!(replay.losses().unwrap()[&(CgroupId(9), 1)], 3);
    assert_eq!(System::process(&replay, 8), Seen::default());
    replay
        .poll(Duration::ZERO, &mut |_| panic!("nothing is left"))
        .unwrap();
    assert!(replay.ended().load(std::sync::atomic::Ordering::Acquire));
    let played = replay.played();
    assert_eq!((played.records, played.unanswered), (3, 1));
    assert_eq!(played.ending, Ending::Whole);
}

#[test]
fn a_cut_trace_is_played_up_to_the_cut_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let (_, file) = record(folder.path(), u64::MAX);
    let whole = std::fs::read(&file).unwrap();
    for length in 0..whole.len() {
        std::fs::write(&file, &whole[..length]).unwrap();
        match Replay::open(&file) {
            Ok((mut replay, _)) => {
                let ended = replay.ended();
                for _ in 0..5 {
                    replay.poll(Duration::ZERO, &mut |_| {}).unwrap();
                }
                assert!(ended.load(std::sync::atomic::Ordering::Acquire));
                assert!(matches!(replay.played().ending, Ending::Broken(_)), "{length}");
            }
            Err(error) => assert!(matches!(error, TraceError::Foreign | TraceError::Cut), "{error}"),
        }
    }
}

#[test]
fn a_full_tape_ends_and_what_is_on_it_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let (_, file) = record(folder.path(), 1);
    let (mut replay, _) = Replay::open(&file).unwrap();
    for _ in 0..5 {
        replay.poll(Duration::ZERO, &mut |_| {}).unwrap();
    }
    assert_eq!(replay.played().ending, Ending::Full);
}

#[test]
fn what_is_no_trace_or_another_ones_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("t.trace");
    let said = |bytes: &[u8]| {
        std::fs::write(&file, bytes).unwrap();
        Replay::open(&file).map(|_| ()).unwrap_err().to_string()
    };
    assert_eq!(
        said(b"#!/bin/sh\necho\n"),
        "this is no trace: `norma-agent run --record` writes them"
    );
    assert!(said(b"NORMATRC\x02\0\0\0").starts_with("the trace has version 2, this agent reads version 1"));
    let other = Start {
        abi: norma_abi::ABI_VERSION + 1,
        ..start()
    };
    Writer::create(&file, other, Effort::Quick)
        .unwrap()
        .finish(false)
        .unwrap();
    let error = Replay::open(&file).map(|_| ()).unwrap_err().to_string();
    assert!(
        error.contains("replay them with agent 0.0.1, or record anew"),
        "{error}"
    );
    Writer::create(&file, start(), Effort::Quick)
        .unwrap()
        .finish(false)
        .unwrap();
    let whole = std::fs::read(&file).unwrap();
    let mut trailing = whole.clone();
    trailing.extend_from_slice(b"xyz");
    std::fs::write(&file, &trailing).unwrap();
    let (replay, _) = Replay::open(&file).unwrap();
    assert!(matches!(replay.played().ending, Ending::Broken(_)));
}

#[test]
fn a_trace_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let (_, file) = record(folder.path(), u64::MAX);
    let mode = std::fs::metadata(file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

proptest! {
    #[test]
    fn damage_is_an_error_and_never_a_panic(at in 12_usize..2_000, bit in 0_u32..8) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("t.trace");
        let mut writer = Writer::create(&file, start(), Effort::Quick).unwrap();
        for number in 0..50_u64 {
            let record = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes().repeat(4);
            writer.write(&Frame::Record(serde_bytes::ByteBuf::from(record))).unwrap();
            writer.write(&Frame::Round(round(number))).unwrap();
        }
        writer.finish(false).unwrap();
        let mut bytes = std::fs::read(&file).unwrap();
        let at = 12 + (at - 12) % (bytes.len() - 12);
        bytes[at] ^= 1 << bit;
        if let Ok((mut reader, _)) = Reader::new(&bytes[..]) {
            let mut frames = 0;
            let end = loop {
                match reader.read() {
                    Ok(Some(_)) => frames += 1,
                    end => break end,
                }
            };
            // A bit of the header of the compression may not matter.
            prop_assert!(end.is_err() || frames == 101, "{} frames", frames);
        }
    }
}

/// The record of an exit in a control group.
fn exit_in(cgroup: u64, pid: u32) -> Vec<u8> {
    use norma_abi::{ABI_VERSION, ExitBody, Header, KIND_EXIT};
    use zerocopy::{FromZeros as _, IntoBytes as _};
    let body = ExitBody::new_zeroed();
    let header = Header {
        abi: ABI_VERSION,
        kind: KIND_EXIT,
        len: u32::try_from(size_of::<Header>() + size_of::<ExitBody>()).unwrap(),
        cgroup_id: cgroup,
        pid,
        start_ns: u64::from(pid),
        ..Header::new_zeroed()
    };
    [header.as_bytes(), body.as_bytes()].concat()
}

fn frames(file: &std::path::Path) -> Vec<Frame> {
    let (mut reader, _) = Reader::open(file).unwrap();
    std::iter::from_fn(|| reader.read().unwrap()).collect()
}

#[test]
fn what_is_cut_out_is_whole_and_has_nothing_of_others() {
    let folder = tempfile::tempdir().unwrap();
    let (file, to) = (folder.path().join("t.trace"), folder.path().join("part.trace"));
    let mut writer = Writer::create(&file, start(), Effort::Quick).unwrap();
    let groups = [
        (1, "init"),
        (7, "pods/0123456789abcdef"),
        (8, "pods/fedcba9876543210"),
    ];
    let groups = groups.map(|(id, path)| (CgroupId(id), ByteBuf::from(path.as_bytes())));
    let asked = |question, answer| Frame::Asked(question, answer);
    let listed = |pid, parent, cgroup| Listed {
        pid,
        parent,
        start_ticks: 0,
        cgroup: CgroupId(cgroup),
    };
    let seen = |exe: &str| {
        Answer::Process(Seen {
            exe: exe.to_owned(),
            argv: vec!["secret".to_owned()],
            mnt_ns: 3,
            pid_ns: 4,
        })
    };
    let before = [
        asked(Question::Cgroups, Answer::Cgroups(groups.to_vec())),
        asked(
            Question::Processes,
            Answer::Processes(vec![listed(1, 0, 1), listed(70, 1, 7), listed(80, 1, 8)]),
        ),
        asked(Question::Process(1), seen("/sbin/init")),
        asked(Question::Process(70), seen("/bin/own")),
        asked(Question::Process(80), seen("/bin/other")),
        Frame::Record(ByteBuf::from(exit_in(7, 70))),
        Frame::Record(ByteBuf::from(exit_in(8, 80))),
        Frame::Record(ByteBuf::from(exit_in(1, 90))),
        Frame::Round(round(5)),
    ];
    for frame in &before {
        writer.write(frame).unwrap();
    }
    writer.finish(false).unwrap();

    let cut = cut_out(&file, &to, &["01234567".to_owned()]).unwrap();
    assert_eq!((cut.records, cut.left), (3, 1));
    let text = format!("{:?}", frames(&to));
    for left_out in ["other", "fedcba", "pid: 80", "/sbin/init"] {
        assert!(!text.contains(left_out), "{left_out} is left: {text}");
    }
    assert_eq!(
        text.matches("secret").count(),
        1,
        "its own arguments only: {text}"
    );
    assert!(text.contains("/bin/own") && text.contains("Round"));
    assert!(matches!(
        frames(&to).last(),
        Some(Frame::End(End {
            records: 1,
            full: false
        }))
    ));

    let refused = |ids: &[&str]| {
        let ids: Vec<String> = ids.iter().map(|id| (*id).to_owned()).collect();
        cut_out(&file, &to, &ids).unwrap_err().to_string()
    };
    assert!(refused(&["01"]).contains("at least its first 8 characters"));
    assert!(refused(&["0123456789", "aaaaaaaa"]).ends_with("has no control group of container aaaaaaaa"));
    std::fs::write(&file, b"NORMATRC").unwrap();
    assert!(refused(&["0123456789"]).contains("this is no trace"));
}

#[test]
fn what_there_was_at_a_moment_is_played_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("t.trace");
    let options = TapeOptions {
        file: file.clone(),
        max_bytes: 1 << 20,
    };
    let tape = Tape::start(&options, start()).unwrap();
    let asked = Doubted {
        groups: vec![CgroupId(9)],
        pids: Vec::new(),
    };
    let recorded = Recorded::new(Exe("/bin/zero"), tape.clone());
    let (tree, programs) = (recorded.tree(), recorded.programs(&asked));
    assert!(tree.is_some() && programs.is_some());
    tape.finish().unwrap();
    let (replay, _) = Replay::open(&file).unwrap();
    assert_eq!((replay.tree(), replay.programs(&asked)), (tree, programs));
    // An older answer says nothing of what is there later.
    assert_eq!((replay.tree(), replay.programs(&asked)), (None, None));
}
