use super::*;
use crate::audit::{self as log, AuditSettings, WriterSettings};
use crate::baselines::{shelf, start};
use norma_baseline::Timestamp;
use norma_baseline::bundle::{Entry, Sealed};
use norma_baseline::estimate::{Criteria, Settled};
use norma_baseline::evidence::{Recorder, SourceId, Start, Tuning};
use norma_baseline::fact::{Access, Fact};
use norma_baseline::file;
use norma_baseline::never::Circumstances;
use norma_baseline::norm::Inputs;
use norma_baseline::overlay::{Decision, Item, Overlay, Subject, Verb};
use norma_baseline::pattern::Unprotected;
use norma_baseline::signature::Signer;
use norma_baseline_command::inbox::Outcome;

const NOW: Timestamp = Timestamp::from_unix(1_800_000_000);

fn lock(who: &str, signer: &Signer) -> Overlay {
    let decision = Decision {
        workload: "w".into(),
        revision: None,
        item: Item::Whole,
        verb: Verb::Lock,
        who: who.into(),
        at: NOW,
        why: "a test".into(),
    };
    vec![decision.sign(signer).unwrap()].into()
}

/// A bundle of what another fleet's node saw of `w`.
fn bundle(signer: &Signer) -> Vec<u8> {
    let source = SourceId {
        node: "elsewhere".into(),
        generation: 1,
    };
    let mut recorder = Recorder::open(None, source, Tuning::default(), NOW);
    recorder.container_started("c", Start::Found);
    let fact = Fact::File {
        exe: "/bin/app",
        path: "/etc/app.conf",
        access: Access::Read,
    };
    recorder.observe(&fact, "c", Circumstances::default().learnable().unwrap(), NOW);
    let norm = Inputs {
        subject: &Subject {
            workload: "w".into(),
            revision: "1".into(),
        },
        evidence: recorder.evidence(),
        predecessor: None,
        overlay: &Overlay::new(),
        settled: &Settled::default(),
        replicas: 1,
        criteria: &Criteria::default(),
        protection: &Unprotected,
        facts_max: 100,
    }
    .compile();
    let entry = |name: &str, content| Entry {
        name: name.to_owned(),
        content,
    };
    let entries = vec![
        entry("0.norm", file::to_bytes(&norm).unwrap()),
        entry("0.evidence", file::to_bytes(recorder.evidence()).unwrap()),
        entry("decisions", file::to_bytes(&lock("alice", signer)).unwrap()),
    ];
    file::to_bytes(&Sealed::seal(entries, "alice", NOW, signer).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_handed_over_is_in_force_and_in_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let (directory, audit_dir) = (dir.path().join("baselines"), dir.path().join("audit"));
    let signer = Signer::of_seed(&[1; 32]).unwrap();
    let foreign = Signer::of_seed(&[2; 32]).unwrap();
    let keys: TrustedKeys = [signer.key()].into_iter().collect();
    let settings = AuditSettings {
        writer: WriterSettings {
            segment_bytes: 1 << 20,
            segment_age: Duration::from_secs(3600),
            commit_interval: Duration::from_millis(1),
        },
        checkpoint_interval: Duration::from_secs(10),
        key: dir.path().join("audit.key").into(),
        next_key: None,
        origin: None,
    };
    let (log, writing) = log::open(&audit_dir, &settings).unwrap();
    let stop = CancellationToken::new();
    let (baselines, task) = start(&directory, keys.clone(), stop.clone()).unwrap();
    let inbox = take(&directory, keys, baselines, log, stop.clone()).unwrap();

    let hand = |overlay: Overlay| {
        let directory = directory.clone();
        tokio::task::spawn_blocking(move || inbox::hand_over_decisions(&directory, &overlay).unwrap())
    };
    // The inbox is taken from as soon as its thread has the lock.
    while hand(lock("alice", &signer)).await.unwrap() == Outcome::Waiting {}
    let Outcome::Refused(why) = hand(lock("mallory", &foreign)).await.unwrap() else {
        panic!()
    };
    assert!(why.contains("not trusted"), "{why}");
    let (bytes, place) = (bundle(&signer), directory.clone());
    let taken = tokio::task::spawn_blocking(move || inbox::hand_over_bundle(&place, &bytes).unwrap());
    assert_eq!(taken.await.unwrap(), Outcome::InForce);

    let read = shelf(&directory).unwrap();
    assert!(read.faults.is_empty(), "{:?}", read.faults);
    assert_eq!(read.all().len(), 1);
    assert_eq!(read.all()[0].evidence.facts().count(), 1);
    assert_eq!(read.overlay.decisions().count(), 1, "mallory's is not there");

    stop.cancel();
    inbox.await.unwrap();
    task.await.unwrap();
    writing.stop("test").await.unwrap();
    let mut shown = Vec::new();
    let filter = log::show::Filter {
        kinds: vec!["baseline_decision".to_owned()],
        ..log::show::Filter::default()
    };
    log::show::show(&audit_dir, &filter, log::show::Form::Human, &mut shown).unwrap();
    let shown = String::from_utf8(shown).unwrap();
    assert!(shown.contains("alice") && shown.contains("lock w"), "{shown}");
    assert!(shown.contains("REFUSED") && shown.contains("mallory"), "{shown}");
    assert!(shown.contains("import `evidence of 1 behaviours`"), "{shown}");
}
