//! The audit log as an outsider checks it: with the files, a trust policy, and what others remember.

#![expect(
    clippy::unwrap_used,
    reason = "a failure in a helper is a failure of the test"
)]

#[path = "verified/arrival.rs"]
mod arrival;
#[path = "verified/log.rs"]
mod log;
#[path = "verified/both.rs"]
mod verified;

use arrival::arrival;
use jiff::Timestamp;
use log::{Log, PADDING, all_files, copy_all};
use norma_collector::audit::export::{Archive, ExportError, Folder, export};
use norma_collector::audit::gaps::gaps;
use norma_collector::audit::prove::{CheckError, ProveError, Wanted, check, prove};
use norma_collector::audit::verify::Expected;
use norma_collector::audit::{AuditSettings, OpenError, Outbox, SealError, open, reread};
use norma_tlog::key::Use;
use norma_tlog::{Checkpoint, Note, Policy, Rotation, SigningKey, VerifierKey};
use norma_wire::Event;
use norma_wire::audit::record::Body;
use proptest::prelude::*;
use proptest::sample::Index;
use prost::Message as _;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;
use verified::verify;

#[test]
fn a_log_is_proven_from_its_files_and_the_key_of_its_collector() {
    let log = Log::new(20);
    let report = log.verify();
    assert!(report.is_intact(), "{report}");
    let found = report.log.as_ref().unwrap();
    let sealed = log.files("log").len() as u64 - 1;
    assert_eq!(found.segments, sealed);
    assert_eq!(log.files("manifest").len() as u64, sealed);
    assert_eq!(found.signed_by, Some(log.policy().logs[0].to_string()));
    assert_eq!(report.proven.len(), 1, "{report}");
    assert_eq!(report.proven[0].last, report.head.index);
    // It goes on after a restart, and from what was promised before.
    let kept = log.checkpoint();
    log.write(21, 30);
    let report = log.verify_with(vec![kept]);
    assert!(report.is_intact(), "{report}");
    assert_eq!(report.by_kind.get("exec").copied(), Some(30));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Manifests and entries have one form: what is read is written again as it was.
    #[test]
    fn manifests_are_read_in_their_one_form_alone(place: Index, with in any::<u8>()) {
        let log = Log::new(8);
        let good = fs::read(&log.files("manifest")[0]).unwrap();
        prop_assert_eq!(reread(&good).map(String::into_bytes), Some(good.clone()));
        let mut bytes = good;
        let place = place.index(bytes.len());
        bytes[place] = with;
        if let Some(text) = reread(&bytes) {
            prop_assert_eq!(text.as_bytes(), bytes);
        }
    }

    /// No byte of any file can be changed unnoticed, and the file is named.
    #[test]
    fn a_changed_byte_of_any_file_is_found(places in proptest::collection::vec(any::<Index>(), 12), bit in 0u8..8) {
        let log = Log::new(14);
        let files = all_files(&log.audit());
        prop_assert!(files.iter().any(|file| file.ends_with("tile/0/000.p/1")), "{files:?}");
        for (number, file) in files.iter().enumerate() {
            let good = fs::read(file).unwrap();
            let mut bytes = good.clone();
            let place = places[number % places.len()].index(bytes.len());
            bytes[place] ^= 1 << bit;
            fs::write(file, &bytes).unwrap();
            match verify(&log.audit(), &Expected { policy: Some(log.policy()), ..Expected::default() }) {
                Ok(report) => {
                    // A head that cannot be read is not used, and says so.
                    let told = !report.is_intact() || report.notes.iter().any(|note| note.contains("head file"));
                    prop_assert!(told, "{}: byte {place}\n{report}", file.display());
                }
                Err(error) => prop_assert!(error.to_string().contains(file.to_str().unwrap())),
            }
            fs::write(file, good).unwrap();
        }
        prop_assert!(log.verify().is_intact());
    }
}

#[test]
fn damage_to_one_segment_leaves_the_others_proven() {
    let log = Log::new(20);
    let file = &log.files("log")[2];
    let mut bytes = fs::read(file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(file, &bytes).unwrap();
    let report = log.verify();
    assert_eq!(report.faults.len(), 1, "{report}");
    let lost = report.faults[0].lost.unwrap();
    assert_eq!(report.faults[0].file, *file);
    assert!(
        report.faults[0].what.contains("by its manifest, which is proven"),
        "{report}"
    );
    assert_eq!(report.proven.len(), 2, "{report}");
    assert_eq!(
        (report.proven[0].first, report.proven[0].last),
        (1, lost.first - 1)
    );
    assert_eq!(
        (report.proven[1].first, report.proven[1].last),
        (lost.last + 1, report.head.index)
    );
}

#[test]
fn a_segment_that_is_gone_swapped_or_there_twice_is_named() {
    let log = Log::new(20);
    let files = log.files("log");
    let gone = log.copy();
    fs::remove_file(&gone.files("log")[1]).unwrap();
    let report = gone.verify();
    assert!(
        report.faults[0]
            .what
            .starts_with("segment 1 is missing: it had records"),
        "{report}"
    );
    assert_eq!(report.proven.len(), 2, "{report}");

    let swapped = log.copy();
    let (first, second) = (&swapped.files("log")[1], &swapped.files("log")[2]);
    let (one, two) = (fs::read(first).unwrap(), fs::read(second).unwrap());
    fs::write(first, two).unwrap();
    fs::write(second, one).unwrap();
    assert_eq!(
        swapped
            .verify()
            .faults
            .iter()
            .filter(|fault| fault.lost.is_some())
            .count(),
        2
    );

    let doubled = log.copy();
    let stray = doubled.audit().join("audit-00000000000000000003.log");
    fs::copy(&files[1], &stray).unwrap();
    let report = doubled.verify();
    assert!(report.faults.iter().any(|fault| fault.file == stray), "{report}");
    assert!(log.verify().is_intact());
}

#[test]
fn an_older_copy_with_the_same_key_is_found_by_what_somebody_remembers() {
    let log = Log::new(12);
    let backup = log.copy();
    log.write(13, 20);
    let remembered = log.checkpoint();
    assert!(backup.verify().is_intact(), "it is consistent in itself");
    let report = backup.verify_with(vec![remembered.clone()]);
    assert!(report.faults[0].what.contains("older copy"), "{report}");
    // It goes on otherwise, until it is longer than what was remembered.
    backup.write(13, 40);
    assert!(backup.verify().is_intact());
    let report = backup.verify_with(vec![remembered]);
    assert!(report.faults[0].what.contains("has another root"), "{report}");
}

#[test]
fn a_tail_that_was_cut_with_head_and_all_is_found_by_the_checkpoint() {
    let log = Log::new(8);
    let newest = log.files("log").pop().unwrap();
    let length = fs::metadata(&newest).unwrap().len();
    fs::OpenOptions::new()
        .write(true)
        .open(&newest)
        .unwrap()
        .set_len(length - 100)
        .unwrap();
    fs::remove_file(log.audit().join("head")).unwrap();
    let report = log.verify();
    assert!(!report.is_intact(), "{report}");
    assert_eq!(report.faults[0].file, newest);
    assert!(matches!(
        log.refusal(),
        OpenError::Damaged { .. } | OpenError::Shortened { .. }
    ));
}

#[test]
fn forgery_without_the_key_is_found() {
    let log = Log::new(12);
    // A manifest that says something else.
    let forged = log.copy();
    let manifest = &forged.files("manifest")[0];
    let text = fs::read_to_string(manifest)
        .unwrap()
        .replace("outbox worker-1", "outbox worker-2");
    fs::write(manifest, text).unwrap();
    let report = forged.verify();
    assert_eq!(report.faults[0].file, *manifest, "{report}");
    // A log made anew with another key.
    let other = Log::new(12);
    let expected = Expected {
        policy: Some(log.policy()),
        ..Expected::default()
    };
    let report = verify(&other.audit(), &expected).unwrap();
    assert!(
        report
            .faults
            .iter()
            .any(|fault| fault.what.contains("log.example/test")),
        "{report}"
    );
    // No tlog at all where signatures are wanted.
    fs::remove_dir_all(log.audit().join("tlog")).unwrap();
    assert!(!log.verify().is_intact());
}

#[test]
fn witnesses_are_counted_as_the_policy_says() {
    let log = Log::new(6);
    let witness = SigningKey::generate("w.example").unwrap().0;
    let vkey = witness.verifier(Use::Witness);
    let text = format!("log {}\nwitness w {vkey}\nquorum w\n", log.policy().logs[0]);
    let expected = Expected {
        policy: Some(Policy::parse(&text).unwrap()),
        ..Expected::default()
    };
    let report = verify(&log.audit(), &expected).unwrap();
    assert!(report.faults[0].what.contains("cosignatures"), "{report}");
    let mut note = log.checkpoint();
    note.signatures.push(witness.cosign(&note.text, 1_700_000_000));
    fs::write(log.audit().join("tlog/witnessed"), note.to_string()).unwrap();
    let report = verify(&log.audit(), &expected).unwrap();
    assert!(report.is_intact(), "{report}");
    assert_eq!(report.log.unwrap().witnessed_records, report.head.index);
}

#[test]
fn a_crash_after_any_file_is_completed_without_a_second_checkpoint_of_one_size() {
    let log = Log::new(3);
    let before = log.copy();
    let size = |log: &Log| log.checkpoint().text.parse::<Checkpoint>().unwrap().size;
    log.write(4, 14);
    let all: Vec<PathBuf> = all_files(&log.audit())
        .into_iter()
        .map(|path| path.strip_prefix(log.audit()).unwrap().to_owned())
        .collect();
    let is_new = |path: &PathBuf| !before.audit().join(path).exists();
    // What a seal makes is made in this order; a crash leaves a beginning of it.
    let rank = |path: &PathBuf| {
        let text = path.to_string_lossy().into_owned();
        match () {
            () if text.ends_with(".log") => (0, text),
            () if text.ends_with(".manifest") => (1, text),
            () if text.contains("entries") => (2, text),
            () => (3, text),
        }
    };
    let mut new: Vec<PathBuf> = all.into_iter().filter(is_new).collect();
    new.sort_by_key(rank);
    let logs = new
        .iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .count();
    assert!(logs > 2);
    // The first file was open before and is complete now.
    let first = log.files("log")[0].clone();
    for there in logs..=logs + 3 {
        let crashed = before.copy();
        fs::copy(&first, crashed.files("log")[0].clone()).unwrap();
        fs::copy(log.audit().join("head"), crashed.audit().join("head")).unwrap();
        for path in &new[..logs] {
            fs::copy(log.audit().join(path), crashed.audit().join(path)).unwrap();
        }
        let size_before = size(&crashed);
        if there > logs {
            let manifest = log.files("manifest")[0].clone();
            fs::copy(&manifest, crashed.audit().join(manifest.file_name().unwrap())).unwrap();
        }
        if there > logs + 1 {
            let next = format!("tlog/tile/entries/000.p/{}", size_before + 1);
            fs::copy(log.audit().join(&next), crashed.audit().join(&next)).unwrap();
        }
        if there > logs + 2 {
            let next = format!("tlog/tile/0/000.p/{}", size_before + 1);
            fs::copy(log.audit().join(&next), crashed.audit().join(&next)).unwrap();
        }
        crashed.write(15, 16);
        let report = crashed.verify_with(vec![before.checkpoint()]);
        assert!(report.is_intact(), "{there}: {report}");
        assert!(size(&crashed) > size_before);
    }
}

#[test]
fn a_log_without_manifests_is_sealed_when_it_is_opened() {
    let log = Log::new(16);
    fs::remove_dir_all(log.audit().join("tlog")).unwrap();
    for manifest in log.files("manifest") {
        fs::remove_file(manifest).unwrap();
    }
    log.write(17, 17);
    let report = log.verify();
    assert!(report.is_intact(), "{report}");
    assert_eq!(report.log.unwrap().segments, log.files("log").len() as u64 - 1);
}

#[test]
fn a_log_that_does_not_belong_to_its_promises_is_not_gone_on_with() {
    let log = Log::new(12);
    let key = log.copy();
    fs::remove_file(key.folder.path().join("audit.key")).unwrap();
    assert!(matches!(key.refusal(), OpenError::NoKey { .. }));

    let other = log.copy();
    let (_, text) = SigningKey::generate("log.example/test").unwrap();
    fs::write(other.folder.path().join("audit.key"), text).unwrap();
    let refused = other.refusal();
    assert!(refused.to_string().contains("its key"), "{refused}");

    let renamed = AuditSettings {
        origin: Some("another.example".to_owned()),
        ..log.settings()
    };
    let refused = open(&log.audit(), &renamed).map(|_| ()).unwrap_err().to_string();
    assert!(refused.contains("audit.origin"), "{refused}");

    // The tlog of an older copy below newer segments.
    let old = Log::new(1);
    let new = old.copy();
    new.write(2, 30);
    fs::remove_dir_all(new.audit().join("tlog")).unwrap();
    copy_all(&old.audit().join("tlog"), &new.audit().join("tlog"));
    let refused = new.refusal();
    assert!(
        matches!(refused, OpenError::Seal(SealError::Apart { .. })),
        "{refused}"
    );
    assert!(refused.to_string().contains("its end was removed"), "{refused}");

    let gone = log.copy();
    fs::remove_file(&gone.files("log")[0]).unwrap();
    assert!(matches!(gone.refusal(), OpenError::Seal(_)));
}

#[tokio::test]
async fn who_slept_through_a_change_of_the_key_is_shown_the_way_to_the_new_one() {
    // It has a runtime of its own.
    let log = tokio::task::spawn_blocking(|| Log::new(3)).await.unwrap();
    let note = log.checkpoint().to_string().into_bytes();
    let old = log.policy().logs[0].clone();
    let next = log.folder.path().join("next.key");
    let keys = |key: PathBuf, next_key: Option<PathBuf>| AuditSettings {
        key: key.into(),
        next_key: next_key.map(Into::into),
        ..log.settings()
    };
    let first = log.folder.path().join("audit.key");
    let same = open(&log.audit(), &keys(first.clone(), Some(first.clone()))).map(|_| ());
    assert!(same.unwrap_err().to_string().contains("audit.next_key"));
    // Twice: the statement is made once.
    for _ in 0..2 {
        let (_, writing) = open(&log.audit(), &keys(first.clone(), Some(next.clone()))).unwrap();
        writing.stop("test").await.unwrap();
    }
    assert_eq!(
        fs::read_dir(log.audit().join("tlog/rotation")).unwrap().count(),
        1
    );

    let (open_log, writing) = open(&log.audit(), &keys(next, None)).unwrap();
    let promises = open_log.promises().clone();
    promises.watch().wait_for(Option::is_some).await.unwrap();
    let size = promises.remembers(&note).unwrap().unwrap().unwrap();
    let (_, sent) = promises.since(size).unwrap().unwrap();
    let new: VerifierKey = sent.key.parse().unwrap();
    assert_ne!(new, old);
    assert!(Rotation::lead(
        sent.rotations.iter().map(Vec::as_slice),
        &old,
        &new
    ));
    let (forger, _) = SigningKey::generate("log.example/test").unwrap();
    let text = String::from_utf8(note).unwrap();
    let text = text.split("\n\n").next().unwrap().to_owned() + "\n";
    let forged = Note {
        signatures: vec![forger.sign(&text)],
        text,
    };
    let forged = forged.to_string().into_bytes();
    assert!(
        promises.remembers(&forged).unwrap().is_none(),
        "no key of this log signed it"
    );
    writing.stop("test").await.unwrap();
}

#[test]
fn one_event_is_proven_to_a_stranger_and_nothing_else() {
    let log = Log::new(20);
    let policy = log.policy();
    for sequence in [1, 7, 20] {
        let wanted: Wanted = format!("worker-1/0000000000000005/{sequence}").parse().unwrap();
        let text = prove(&log.audit(), &wanted, Some(&policy)).unwrap().to_string();
        let proven = check(&text, &policy).unwrap();
        let Some(Body::Event(bytes)) = proven.record.body else {
            panic!()
        };
        assert_eq!(Event::decode(bytes).unwrap().id.unwrap().sequence, sequence);

        let stranger = Policy::of_log(
            SigningKey::generate("log.example/test")
                .unwrap()
                .0
                .verifier(Use::Log),
        );
        assert!(matches!(check(&text, &stranger), Err(CheckError::Untrusted(_))));
        for (number, line) in text.lines().enumerate() {
            // Each character of a base64 line carries some of the proof; the last one may not.
            let Some(at) = line.len().checked_sub(5).filter(|at| line.is_char_boundary(*at)) else {
                continue;
            };
            let other = if line.as_bytes()[at] == b'A' { "B" } else { "A" };
            let changed = format!("{}{other}{}", &line[..at], &line[at + 1..]);
            let changed = text
                .lines()
                .enumerate()
                .map(|(here, line)| if here == number { &changed } else { line });
            let changed = changed.collect::<Vec<_>>().join("\n") + "\n";
            assert!(check(&changed, &policy).is_err(), "line {number} of\n{text}");
        }
    }
    // The record before the first event is one of the collector.
    let record = prove(&log.audit(), &Wanted::Record(2), None).unwrap().to_string();
    assert!(matches!(
        check(&record, &policy).unwrap().record.body,
        Some(Body::Started(_))
    ));
    let none = "worker-1/0000000000000005/21".parse().unwrap();
    assert!(matches!(
        prove(&log.audit(), &none, None),
        Err(ProveError::NotFound)
    ));
    assert!("worker-1/17".parse::<Wanted>().is_err());
}

#[test]
fn a_bundle_is_verified_where_there_is_nothing_else() {
    let log = Log::new(20);
    let (from, to) = (Timestamp::UNIX_EPOCH, Timestamp::MAX);
    let whole = log.folder.path().join("whole");
    let exported = export(&log.audit(), from, to, &mut Folder::create(&whole).unwrap()).unwrap();
    assert_eq!(exported.segments, (0, log.files("log").len() as u64 - 2));
    let expected = Expected {
        policy: Some(log.policy()),
        ..Expected::default()
    };
    let report = verify(&whole, &expected).unwrap();
    assert!(report.is_intact() && report.part.is_some(), "{report}");
    assert_eq!(report.proven.len(), 1);
    assert_eq!((report.proven[0].first, report.proven[0].last), exported.records);
    assert!(matches!(Folder::create(&whole), Err(ExportError::Exists(_))));

    // A segment from the middle alone.
    let manifests = log.files("manifest");
    let manifest = fs::read_to_string(&manifests[2]).unwrap();
    let times = manifest
        .lines()
        .find_map(|line| line.strip_prefix("time "))
        .unwrap();
    let time: i128 = times.split(' ').next().unwrap().parse().unwrap();
    let time = Timestamp::from_nanosecond(time).unwrap();
    let archive = log.folder.path().join("part.tar");
    let exported = export(&log.audit(), time, time, &mut Archive::create(&archive).unwrap()).unwrap();
    assert_eq!(exported.segments, (2, 2));
    tar::Archive::new(fs::File::open(&archive).unwrap())
        .unpack(log.folder.path())
        .unwrap();
    let part = log.folder.path().join("part");
    let report = verify(&part, &expected).unwrap();
    assert!(report.is_intact(), "{report}");
    assert_eq!((report.proven[0].first, report.proven[0].last), exported.records);
    assert!(
        fs::read_to_string(part.join("VERIFY.txt"))
            .unwrap()
            .contains("log.example/test")
    );
    // What it says that it has, it must have.
    fs::write(part.join("extent"), "segments 1 2\n").unwrap();
    assert!(!verify(&part, &expected).unwrap().is_intact());
}

#[test]
fn gaps_are_told_with_what_accounts_for_them() {
    let log = Log::new(3);
    log.write(6, 7);
    let found = gaps(&log.audit()).unwrap();
    assert_eq!(found.outboxes[0].missing, 2);
    assert_eq!(found.outboxes[0].unexplained[0].to_string(), "4-5");
    assert!(!found.are_explained());
    assert!(gaps(&Log::new(2).audit()).unwrap().are_explained());
}

#[test]
fn a_file_is_sealed_by_age_also_when_nothing_more_comes() {
    let log = Log {
        folder: tempfile::tempdir().unwrap(),
    };
    let mut settings = log.settings();
    settings.writer.segment_bytes = 1 << 20;
    settings.writer.segment_age = Duration::from_secs(1);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (audit, writing) = open(&log.audit(), &settings).unwrap();
        let outbox = Outbox {
            node: "worker-1".into(),
            epoch: 5,
        };
        audit.append(outbox, vec![arrival(1, PADDING)]).await.unwrap();
        tokio::time::timeout(Duration::from_secs(60), async {
            while log.files("manifest").is_empty() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
        .await
        .unwrap();
        writing.stop("test").await.unwrap();
    });
    let report = log.verify();
    assert!(report.is_intact(), "{report}");
}
