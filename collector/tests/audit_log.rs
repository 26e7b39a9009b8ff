//! The audit log as its users see it: whatever is done to its files, verification names the first bad record,
//! and a crash costs nothing that was acknowledged.

#![expect(
    clippy::unwrap_used,
    reason = "a failure in a helper is a failure of the test"
)]

#[path = "verified/arrival.rs"]
mod arrival;
#[path = "verified/both.rs"]
mod verified;

use arrival::arrival;
use norma_collector::audit::verify::{Expected, Report};
use norma_collector::audit::{
    AuditSettings, Head, MAGIC, OVERHEAD, OpenError, Outbox, PREFIX, WriterSettings, open, walk,
};
use proptest::prelude::*;
use proptest::sample::Index;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;
use verified::verify;

const SMALL_FILES: u64 = 1500;

/// Small files, and checkpoints only where a segment is sealed and at the ends.
fn settings(directory: &Path) -> AuditSettings {
    AuditSettings {
        writer: WriterSettings {
            segment_bytes: SMALL_FILES,
            segment_age: Duration::from_secs(3600),
            commit_interval: Duration::ZERO,
        },
        checkpoint_interval: Duration::from_secs(3600),
        key: directory.with_extension("key").into(),
        next_key: None,
        origin: Some("log.example/test".to_owned()),
    }
}

fn outbox() -> Outbox {
    Outbox {
        node: "worker-1".into(),
        epoch: 5,
    }
}

/// Writes one event per element, of that size, each committed alone.
fn write(directory: &Path, first: u64, paddings: &[usize]) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (log, writing) = open(directory, &settings(directory)).unwrap();
        for (sequence, padding) in (first..).zip(paddings) {
            let appended = log
                .append(outbox(), vec![arrival(sequence, *padding)])
                .await
                .unwrap();
            assert_eq!(appended.durable_sequence, sequence);
        }
        writing.stop("test").await.unwrap();
    });
}

struct Log {
    path: PathBuf,
    _directory: TempDir,
}

/// A frame: which file, where in it, and its record's index.
#[derive(Clone, Debug)]
struct Frame {
    file: usize,
    start: usize,
    end: usize,
    index: u64,
}

impl Log {
    fn new(paddings: &[usize]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit");
        write(&path, 1, paddings);
        Self {
            path,
            _directory: directory,
        }
    }

    fn path(&self) -> &Path {
        &self.path
    }

    /// As if the collector had crashed before it promised anything: no head, no manifests, no checkpoints.
    fn forget_promises(&self) {
        fs::remove_file(self.path().join("head")).unwrap();
        fs::remove_dir_all(self.path().join("tlog")).unwrap();
        for file in self.files() {
            let manifest = file.with_extension("manifest");
            if manifest.exists() {
                fs::remove_file(manifest).unwrap();
            }
        }
    }

    fn files(&self) -> Vec<PathBuf> {
        let mut files: Vec<_> = fs::read_dir(self.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
            .collect();
        files.sort();
        files
    }

    fn frames(&self) -> Vec<Frame> {
        let mut frames = Vec::new();
        for (file, path) in self.files().iter().enumerate() {
            let bytes = fs::read(path).unwrap();
            let mut start = MAGIC.len();
            while start < bytes.len() {
                let length = u32::from_le_bytes(bytes[start..start + 4].try_into().unwrap()) as usize;
                let end = start + OVERHEAD + length;
                frames.push(Frame {
                    file,
                    start,
                    end,
                    index: frames.len() as u64 + 1,
                });
                start = end;
            }
        }
        frames
    }

    fn edit(&self, file: usize, change: impl FnOnce(&mut Vec<u8>)) {
        let path = &self.files()[file];
        let mut bytes = fs::read(path).unwrap();
        change(&mut bytes);
        fs::write(path, bytes).unwrap();
    }

    fn verify(&self) -> Report {
        verify(self.path(), &Expected::default()).unwrap()
    }

    /// Checks that exactly the records before `index` are proven and that `index` is named, where it lies.
    fn expect_bad(&self, index: u64, at: Option<(usize, usize)>) {
        let report = self.verify();
        let bad = report
            .faults
            .first()
            .unwrap_or_else(|| panic!("not noticed:\n{report}"));
        let before = report
            .proven
            .first()
            .filter(|range| range.first == 1)
            .map_or(0, |range| range.last);
        assert_eq!(bad.index, index, "{report}");
        // More where only something was added.
        assert!(before + 1 >= index, "{report}");
        if let Some((file, offset)) = at {
            assert_eq!(
                (&bad.file, bad.offset),
                (&self.files()[file], offset as u64),
                "{report}"
            );
        }
    }
}

fn paddings() -> impl Strategy<Value = Vec<usize>> {
    proptest::collection::vec(0usize..600, 3..16)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_log_is_intact_and_counts_what_was_appended(paddings in paddings()) {
        let log = Log::new(&paddings);
        let report = log.verify();
        prop_assert!(report.is_intact() && report.torn.is_none(), "{report}");
        prop_assert_eq!(report.by_kind.get("exec").copied(), Some(paddings.len() as u64));
        prop_assert_eq!(report.records, log.frames().len() as u64);
        prop_assert!(verify(log.path(), &Expected::head(report.head)).unwrap().is_intact());
    }

    #[test]
    fn a_flipped_bit_anywhere_is_found_at_its_record(paddings in paddings(), byte: Index, bit in 0u8..8) {
        let log = Log::new(&paddings);
        let frames = log.frames();
        let total: usize = frames.iter().map(|frame| frame.end - frame.start).sum();
        let mut place = byte.index(total);
        let frame = frames.iter().find(|frame| {
            let size = frame.end - frame.start;
            if place < size { true } else { place -= size; false }
        }).unwrap();
        log.edit(frame.file, |bytes| bytes[frame.start + place] ^= 1 << bit);
        log.expect_bad(frame.index, Some((frame.file, frame.start)));
    }

    #[test]
    fn a_removed_record_is_found(paddings in paddings(), which: Index) {
        let log = Log::new(&paddings);
        let frames = log.frames();
        let frame = which.get(&frames[..frames.len() - 1]);
        log.edit(frame.file, |bytes| drop(bytes.drain(frame.start..frame.end)));
        log.expect_bad(frame.index, None);
    }

    #[test]
    fn swapped_records_are_found(paddings in paddings(), which: Index) {
        let log = Log::new(&paddings);
        let frames = log.frames();
        let pairs: Vec<_> = frames.windows(2).filter(|pair| pair[0].file == pair[1].file).collect();
        let pair = which.get(&pairs);
        log.edit(pair[0].file, |bytes| bytes[pair[0].start..pair[1].end].rotate_left(pair[0].end - pair[0].start));
        log.expect_bad(pair[0].index, Some((pair[0].file, pair[0].start)));
    }

    #[test]
    fn an_inserted_copy_is_found(paddings in paddings(), from: Index, to: Index) {
        let log = Log::new(&paddings);
        let frames = log.frames();
        let (from, to) = (from.get(&frames), to.get(&frames));
        // A copy right before its original takes the place of that.
        let same = from.index == to.index + 1 && from.file == to.file;
        let copy = fs::read(&log.files()[from.file]).unwrap()[from.start..from.end].to_vec();
        log.edit(to.file, |bytes| drop(bytes.splice(to.end..to.end, copy)));
        let end = if same { from.end } else { to.end };
        log.expect_bad(to.index + 1 + u64::from(same), Some((to.file, end)));
    }

    #[test]
    fn a_log_cut_anywhere_is_noticed_by_its_head(paddings in paddings(), which: Index, part: Index) {
        let log = Log::new(&paddings);
        let frames = log.frames();
        let newest = frames.last().unwrap().file;
        let candidates: Vec<_> = frames.iter().filter(|frame| frame.file == newest).collect();
        let frame = which.get(&candidates);
        log.edit(newest, |bytes| bytes.truncate(frame.start + part.index(frame.end - frame.start)));
        log.expect_bad(frame.index, None);
    }

    #[test]
    fn a_crash_while_writing_costs_only_what_was_being_written(paddings in paddings(), part: Index, junk: bool) {
        let log = Log::new(&paddings);
        let frames = log.frames();
        // The `stopped` record stands for the one being written; the head lags behind it.
        let last = frames.last().unwrap();
        let size = last.end - last.start;
        let there = 1 + part.index(size - 1);
        log.edit(last.file, |bytes| {
            bytes.truncate(last.start + there);
            if junk {
                // Blocks that were allocated and never written.
                bytes.resize(last.end, 0);
            }
        });
        log.forget_promises();
        let next = paddings.len() as u64 + 1;
        write(log.path(), next, &[10]);
        let report = log.verify();
        prop_assert!(report.is_intact(), "{report}");
        prop_assert_eq!(report.by_record.get("recovered").copied(), Some(1));
        prop_assert_eq!(report.by_kind.get("exec").copied(), Some(next));
    }

    #[test]
    fn damage_before_the_end_is_never_cut_off(paddings in paddings(), which: Index, byte: Index) {
        let log = Log::new(&paddings);
        let frames = log.frames();
        let newest = frames.last().unwrap().file;
        let candidates: Vec<_> = frames.iter().filter(|frame| frame.file == newest).collect();
        let frame = which.get(&candidates[..candidates.len() - 1]);
        log.edit(newest, |bytes| bytes[frame.start + byte.index(frame.end - frame.start)] ^= 0x55);
        log.forget_promises();
        let before = fs::read(&log.files()[newest]).unwrap();
        let refused = open(log.path(), &settings(log.path())).map(|_| ()).unwrap_err();
        prop_assert!(matches!(&refused, OpenError::Damaged { index, .. } if *index == frame.index), "{refused}");
        prop_assert_eq!(fs::read(&log.files()[newest]).unwrap(), before);
    }

    #[test]
    fn arbitrary_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let (proven, defect) = walk(&[&MAGIC, bytes.as_slice()].concat(), 1);
        prop_assert!(proven == 0 && defect.is_some());
    }
}

#[test]
fn a_removed_file_is_noticed() {
    let log = Log::new(&[400; 12]);
    let frames = log.frames();
    let files = log.files();
    assert!(files.len() > 3);
    for (number, file) in files.iter().enumerate() {
        let bytes = fs::read(file).unwrap();
        fs::remove_file(file).unwrap();
        let first = frames.iter().find(|frame| frame.file == number).unwrap().index;
        log.expect_bad(first, None);
        fs::write(file, bytes).unwrap();
    }
    assert!(log.verify().is_intact());
}

#[test]
fn a_rewritten_log_is_noticed_by_a_head_that_was_kept_elsewhere() {
    let log = Log::new(&[10; 5]);
    let kept = log.verify().head;
    fs::remove_dir_all(log.path()).unwrap();
    write(log.path(), 1, &[11; 9]);
    assert!(log.verify().is_intact());
    let report = verify(log.path(), &Expected::head(kept)).unwrap();
    assert_eq!(
        report.faults.first().map(|fault| fault.index),
        Some(kept.index),
        "{report}"
    );
    let later = Head {
        index: 1000,
        hash: kept.hash,
    };
    assert!(!verify(log.path(), &Expected::head(later)).unwrap().is_intact());
}

#[test]
fn a_log_that_lost_its_end_is_not_continued() {
    let log = Log::new(&[10; 5]);
    let last = log.frames().pop().unwrap();
    log.edit(last.file, |bytes| bytes.truncate(last.start));
    let refused = open(log.path(), &settings(log.path())).map(|_| ()).unwrap_err();
    assert!(matches!(refused, OpenError::Shortened { .. }), "{refused}");
}

#[test]
fn a_file_that_was_begun_and_not_finished_is_begun_again() {
    for bytes in [0, 3, MAGIC.len(), MAGIC.len() + PREFIX + 5] {
        let log = Log::new(&[10; 3]);
        let next = log.frames().len() as u64 + 1;
        let file = log.path().join(format!("audit-{next:020}.log"));
        let mut content = MAGIC.to_vec();
        content.extend([9; 100]);
        fs::write(file, &content[..bytes]).unwrap();
        write(log.path(), 4, &[10]);
        let report = log.verify();
        assert!(report.is_intact(), "{report}");
        assert_eq!(report.by_record.get("recovered").copied(), Some(1));
    }
}

#[test]
fn watermarks_survive_a_restart_and_rotation() {
    let log = Log::new(&[400; 12]);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (audit, writing) = open(log.path(), &settings(log.path())).unwrap();
        assert_eq!(audit.watermark(outbox()).await.unwrap(), 12);
        assert_eq!(
            audit
                .watermark(Outbox {
                    node: "worker-1".into(),
                    epoch: 6
                })
                .await
                .unwrap(),
            0
        );
        let again = audit
            .append(outbox(), (1..=13).map(|sequence| arrival(sequence, 1)).collect())
            .await
            .unwrap();
        assert_eq!((again.durable_sequence, again.duplicates), (13, 12));
        writing.stop("test").await.unwrap();
    });
    assert_eq!(log.verify().by_kind.get("exec").copied(), Some(13));
}
