use super::subjects::KEPT_MAX;
use super::*;
use crate::identity::{ContainerId, IdentityState};
use crate::judge::fact::Access;
use norma_baseline::overlay::{Decision, Item, Verb};
use norma_baseline::signature::Signer;

pub(super) const SECOND: u64 = 1_000_000_000;

fn wall_now() -> Timestamp {
    let course = Course::default();
    Timestamp::from_unix(course.wall_seconds(course.begin()))
}

pub(super) fn container(workload: &str, id: &str, image_digest: &str) -> Arc<Container> {
    Arc::new(Container {
        id: ContainerId(id.into()),
        name: id.into(),
        runtime: "runc".into(),
        image: String::new(),
        image_digest: image_digest.into(),
        workload: WorkloadName(workload.into()),
        pod: String::new(),
        namespace: String::new(),
        cgroup: CgroupId(1),
        cgroup_path: "/c".into(),
        state: IdentityState::Known,
        init_pid: 1,
        described: None,
        start_seen: true,
    })
}

pub(super) fn open(path: &str) -> Fact {
    Fact::Open {
        exe: "/bin/cat".into(),
        path: path.into(),
        access: Access::Read,
    }
}

pub(super) fn settings(learning: Learning) -> Settings {
    Settings {
        node: "node".to_owned(),
        learning,
        ..Settings::default()
    }
}

fn baselines(directory: &Path, window: u64) -> Baselines {
    let learning = Learning::Window(Duration::from_secs(window));
    Baselines::open(directory, settings(learning)).unwrap()
}

pub(super) fn see(baselines: &mut Baselines, container: &Arc<Container>, path: &str) -> Membership {
    baselines.observe(container, &open(path), Circumstances::default(), BootTime(0))
}

#[test]
fn novelty_begins_when_the_window_ends_and_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let running = [container("w", "c", "")];
    let mut first = baselines(dir.path(), 3);
    assert_eq!(see(&mut first, &running[0], "/a"), Membership::Learned);
    assert_eq!(see(&mut first, &running[0], "/a"), Membership::LearnedBefore);
    let mut completed = Vec::new();
    for second in 0..=3 {
        completed.extend(first.tick(&running, BootTime(second * SECOND)));
    }
    assert_eq!(completed.len(), 1);
    assert_eq!(completed[0].facts["file"], 1);
    drop(first);

    let mut second = baselines(dir.path(), 3);
    assert_eq!(see(&mut second, &running[0], "/a"), Membership::Known);
    let Membership::Novel(expectation) = see(&mut second, &running[0], "/b") else {
        panic!()
    };
    assert_eq!(expectation.usual, ["/a"]);
    assert!(expectation.actor_known && !expectation.target_known);
    assert!(
        second.tick(&running, BootTime(9 * SECOND)).is_empty(),
        "complete only once"
    );
}

#[test]
fn a_window_passes_as_fast_as_the_course_does() {
    let dir = tempfile::tempdir().unwrap();
    let running = [container("w", "c", "")];
    let settings = Settings {
        course: Course::new(WallClock::new(0), BootTime(0), 240),
        ..settings(Learning::Window(Duration::from_secs(3_600)))
    };
    let course = settings.course;
    let mut baselines = Baselines::open(dir.path(), settings).unwrap();
    see(&mut baselines, &running[0], "/a");
    let completed = (0..=20).find(|second| {
        let now = course.at(BootTime(second * SECOND));
        !baselines.tick(&running, now).is_empty()
    });
    assert_eq!(completed, Some(15), "an hour is fifteen seconds");
}

#[test]
fn what_is_novel_does_not_become_normal_by_coming_again() {
    let dir = tempfile::tempdir().unwrap();
    let running = [container("w", "c", "")];
    let mut baselines = baselines(dir.path(), 1);
    see(&mut baselines, &running[0], "/a");
    for second in 0..=1 {
        baselines.tick(&running, BootTime(second * SECOND));
    }
    for second in 2..30 {
        let membership = see(&mut baselines, &running[0], "/b");
        assert!(matches!(membership, Membership::Novel(_)), "{membership:?}");
        baselines.tick(&running, BootTime(second * SECOND));
    }
}

#[test]
fn what_sessions_do_and_what_the_image_did_not_ship_is_not_learned() {
    let dir = tempfile::tempdir().unwrap();
    let running = [container("w", "c", "")];
    let mut baselines = baselines(dir.path(), 1);
    let circumstances = [
        Circumstances {
            exec_session: true,
            ..Circumstances::default()
        },
        Circumstances {
            origin: norma_baseline::never::Origin::UpperLayer,
            ..Circumstances::default()
        },
    ];
    for (number, circumstances) in circumstances.into_iter().enumerate() {
        let fact = open(&format!("/{number}"));
        for _ in 0..2 {
            let membership = baselines.observe(&running[0], &fact, circumstances, BootTime(0));
            assert_eq!(membership, Membership::LearnedBefore);
        }
    }
    for second in 0..=1 {
        baselines.tick(&running, BootTime(second * SECOND));
    }
    assert!(matches!(
        see(&mut baselines, &running[0], "/0"),
        Membership::Novel(_)
    ));
    assert!(matches!(
        see(&mut baselines, &running[0], "/1"),
        Membership::Novel(_)
    ));
}

#[test]
fn a_new_revision_is_held_against_the_one_before() {
    let dir = tempfile::tempdir().unwrap();
    let old = [container("w", "c", "sha256:old")];
    let mut baselines = baselines(dir.path(), 1);
    see(&mut baselines, &old[0], "/a");
    for second in 0..=1 {
        baselines.tick(&old, BootTime(second * SECOND));
    }
    let new = container("w", "d", "sha256:new");
    assert_eq!(see(&mut baselines, &new, "/a"), Membership::Known);
    assert!(matches!(see(&mut baselines, &new, "/b"), Membership::Novel(_)));
    let other = container("other", "e", "sha256:new");
    assert_eq!(see(&mut baselines, &other, "/a"), Membership::Learned);
}

fn decision(verb: Verb, item: Item, signer: &Signer) -> Overlay {
    decision_at(wall_now(), verb, item, signer)
}

fn decision_at(at: Timestamp, verb: Verb, item: Item, signer: &Signer) -> Overlay {
    let decision = Decision {
        workload: "w".into(),
        revision: None,
        item,
        verb,
        who: "alice".into(),
        at,
        why: "a test".into(),
    };
    Overlay::from(vec![decision.sign(signer).unwrap()])
}

fn trusting(signer: &Signer, window: u64) -> Settings {
    Settings {
        trusted_keys: [signer.key()].into_iter().collect(),
        ..settings(Learning::Window(Duration::from_secs(window)))
    }
}

#[test]
fn what_a_person_rejected_is_a_finding_and_never_learned() {
    let dir = tempfile::tempdir().unwrap();
    let signer = Signer::of_seed(&[1; 32]).unwrap();
    let running = [container("w", "c", "")];
    let mut first = Baselines::open(dir.path(), trusting(&signer, 3)).unwrap();
    see(&mut first, &running[0], "/a");
    let reject = |path: &str| decision(Verb::Reject, Item::Fact(open(path).learned()), &signer);
    for path in ["/a", "/b"] {
        let taken = first.take_decisions(&reject(path)).unwrap();
        assert_eq!((taken.new.len(), taken.refused.len()), (1, 0));
    }
    first.tick(&running, BootTime(0));
    assert_eq!(first.reconsidered(), [CgroupId(1)]);
    let learned = |baselines: &Baselines| baselines.summaries()[0].facts;
    assert_eq!(learned(&first), 1);
    for path in ["/a", "/b"] {
        let membership = see(&mut first, &running[0], path);
        assert!(
            matches!(membership, Membership::Rejected(_)),
            "{path}: {membership:?}"
        );
    }
    assert_eq!(learned(&first), 1);
    first.save();
    drop(first);

    let mut second = Baselines::open(dir.path(), trusting(&signer, 1)).unwrap();
    for second_of in 0..=1 {
        second.tick(&running, BootTime(second_of * SECOND));
    }
    assert!(matches!(
        see(&mut second, &running[0], "/a"),
        Membership::Rejected(_)
    ));
    // Of one second's decisions on one item, any may hold.
    let later = wall_now().plus(Duration::from_secs(60));
    let item = Item::Fact(open("/b").learned());
    let approve = decision_at(later, Verb::Approve, item, &signer);
    second.take_decisions(&approve).unwrap();
    second.tick(&running, BootTime(2 * SECOND));
    assert_eq!(see(&mut second, &running[0], "/b"), Membership::Approved);
}

#[test]
fn what_a_stranger_signed_is_not_in_force() {
    let dir = tempfile::tempdir().unwrap();
    let signer = Signer::of_seed(&[1; 32]).unwrap();
    let stranger = Signer::of_seed(&[2; 32]).unwrap();
    let mut baselines = Baselines::open(dir.path(), trusting(&signer, 3)).unwrap();
    let fact = Item::Fact(open("/a").learned());
    let taken = baselines
        .take_decisions(&decision(Verb::Approve, fact.clone(), &stranger))
        .unwrap();
    assert_eq!((taken.new.len(), taken.refused.len()), (0, 1));
    assert_eq!(baselines.decisions().decisions().count(), 0);
    baselines
        .take_decisions(&decision(Verb::Approve, fact, &signer))
        .unwrap();
    drop(baselines);
    let distrusting = Baselines::open(dir.path(), trusting(&stranger, 3)).unwrap();
    assert_eq!(distrusting.decisions().decisions().count(), 0);
    drop(distrusting);
    let trusting_again = Baselines::open(dir.path(), trusting(&signer, 3)).unwrap();
    assert_eq!(trusting_again.decisions().decisions().count(), 1);
    drop(trusting_again);
    std::fs::write(dir.path().join("overlay"), b"garbage").unwrap();
    Baselines::open(dir.path(), trusting(&signer, 3)).unwrap();
    assert!(dir.path().join("overlay.damaged").exists());
}

#[test]
fn a_replica_that_comes_later_is_no_reason_to_doubt_what_was_learned() {
    let dir = tempfile::tempdir().unwrap();
    let begin = Course::default().begin().0;
    let mut one = baselines(dir.path(), 1);
    let first = container("w", "c", "");
    let second = Arc::new(Container {
        cgroup: CgroupId(2),
        ..(*container("w", "d", "")).clone()
    });
    see(&mut one, &first, "/a");
    let running = [Arc::clone(&first)];
    for second_of in 0..3 {
        one.tick(&running, BootTime(begin + second_of * SECOND));
    }
    let both = [first, Arc::clone(&second)];
    see(&mut one, &second, "/a-not-yet");
    for second_of in 3..30 {
        one.tick(&both, BootTime(begin + second_of * SECOND));
        assert_eq!(see(&mut one, &second, "/a"), Membership::Known, "{second_of}");
    }

    let dir = tempfile::tempdir().unwrap();
    let mut two = baselines(dir.path(), 3);
    see(&mut two, &both[0], "/lone");
    for container in &both {
        see(&mut two, container, "/both");
    }
    for second_of in 0..30 {
        two.tick(&both, BootTime(begin + second_of * SECOND));
    }
    assert_eq!(see(&mut two, &both[1], "/both"), Membership::Known);
    let membership = see(&mut two, &both[1], "/lone");
    assert!(matches!(membership, Membership::Novel(_)), "{membership:?}");
}

#[test]
fn what_a_new_revision_does_differently_is_reported_once() {
    let dir = tempfile::tempdir().unwrap();
    let settings = || Settings {
        release_after: Some(Duration::from_secs(5)),
        ..settings(Learning::Window(Duration::from_secs(1)))
    };
    let begin = Course::default().begin().0;
    let mut baselines = Baselines::open(dir.path(), settings()).unwrap();
    let old = [container("w", "c", "sha256:old")];
    for path in ["/a", "/gone"] {
        see(&mut baselines, &old[0], path);
    }
    for second in 0..=8 {
        baselines.tick(&old, BootTime(begin + second * SECOND));
        assert!(
            baselines.take_release().is_none(),
            "the first revision is no release"
        );
    }
    let new = [container("w", "d", "sha256:new")];
    for path in ["/a", "/new"] {
        see(&mut baselines, &new[0], path);
    }
    baselines.tick(&new, BootTime(begin + 9 * SECOND));
    assert!(baselines.take_release().is_none(), "too early");
    baselines.tick(&new, BootTime(begin + 14 * SECOND));
    let delta = baselines.take_release().unwrap();
    assert_eq!(
        (&*delta.from, &*delta.subject.revision),
        ("sha256:old", "sha256:new")
    );
    assert_eq!(
        delta.added.iter().map(|added| &added.fact).collect::<Vec<_>>(),
        [&open("/new").learned()]
    );
    assert_eq!(delta.gone, [open("/gone").learned()]);
    assert!(baselines.take_release().is_none(), "once");
    baselines.save();
    drop(baselines);
    let mut again = Baselines::open(dir.path(), settings()).unwrap();
    again.tick(&new, BootTime(begin + 30 * SECOND));
    assert!(again.take_release().is_none(), "once, also after a restart");
}

#[test]
fn learning_by_evidence_says_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let running = [container("w", "c", "")];
    let mut baselines = Baselines::open(dir.path(), settings(Learning::default())).unwrap();
    see(&mut baselines, &running[0], "/a");
    for second in 0..20 {
        assert!(baselines.tick(&running, BootTime(second * SECOND)).is_empty());
    }
    let [summary] = &baselines.summaries()[..] else {
        panic!()
    };
    assert!(!summary.ready);
    let file = summary.fields.iter().find(|field| field.field == "file").unwrap();
    assert_eq!(file.facts, 1);
    assert_eq!(file.expected_per_day, None);
    assert_eq!(file.state, "learning: 0 of 3 long sampling units are complete");
}

#[test]
fn names_that_are_made_up_do_not_pile_up() {
    let dir = tempfile::tempdir().unwrap();
    let mut baselines = baselines(dir.path(), 2);
    let kept = container("kept", "k", "");
    for number in 0..=KEPT_MAX {
        let passing = container(&format!("w{number}"), "c", "");
        see(&mut baselines, &passing, "/a");
        see(&mut baselines, &kept, "/a");
        baselines.tick(&[Arc::clone(&kept)], BootTime(0));
    }
    let summaries = baselines.summaries();
    assert_eq!(summaries.len(), KEPT_MAX);
    assert!(summaries.iter().any(|summary| summary.workload == "kept"));
}

#[test]
fn a_workload_that_does_not_run_does_not_learn() {
    let dir = tempfile::tempdir().unwrap();
    let mut baselines = baselines(dir.path(), 2);
    see(&mut baselines, &container("w", "c", ""), "/a");
    for second in 0..10 {
        assert!(baselines.tick(&[], BootTime(second * SECOND)).is_empty());
    }
}

#[test]
fn a_damaged_file_is_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("x.baseline"), b"\xc1garbage").unwrap();
    let baselines = baselines(dir.path(), 2);
    assert!(baselines.summaries().is_empty());
    assert!(dir.path().join("x.damaged").exists());
}

#[test]
fn what_is_forgotten_is_learned_anew_and_stays_so() {
    let dir = tempfile::tempdir().unwrap();
    let signer = Signer::of_seed(&[7; 32]).unwrap();
    let running = [container("w", "c", "")];
    // What is decided and what is seen in one second cannot be told apart.
    let begin = Course::default().begin().0;
    let at = |second: u64| BootTime(begin + second * SECOND);
    let mut first = Baselines::open(dir.path(), trusting(&signer, 3)).unwrap();
    see(&mut first, &running[0], "/a");
    for second in 0..=3 {
        first.tick(&running, at(second));
    }
    assert_eq!(see(&mut first, &running[0], "/a"), Membership::Known);
    let forget = Decision {
        workload: "w".into(),
        revision: Some("".into()),
        item: Item::Whole,
        verb: Verb::Forget,
        who: "alice".into(),
        at: first.wall(),
        why: "it was learned during an incident".into(),
    };
    let forget: Overlay = vec![forget.sign(&signer).unwrap()].into();
    assert_eq!(first.take_decisions(&forget).unwrap().new.len(), 1);
    first.tick(&running, at(4));
    first.tick(&running, at(5));
    assert_eq!(see(&mut first, &running[0], "/a"), Membership::Learned);
    first.save();
    drop(first);

    let mut second = Baselines::open(dir.path(), trusting(&signer, 3)).unwrap();
    second.tick(&running, at(6));
    assert_eq!(see(&mut second, &running[0], "/a"), Membership::Known);
    for later in 7..=10 {
        second.tick(&running, at(later));
    }
    assert_eq!(see(&mut second, &running[0], "/a"), Membership::Known);
    assert!(matches!(
        see(&mut second, &running[0], "/b"),
        Membership::Novel(_)
    ));
}

#[test]
fn what_is_lost_counts_for_what_is_learned_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let running = [container("w", "c", "")];
    let mut baselines = baselines(dir.path(), 3);
    see(&mut baselines, &running[0], "/a");
    let lost = |baselines: &mut Baselines, kind: u16, count| {
        let counts = [(usize::from(kind), count)].into_iter().collect();
        baselines.lost(&running[0], &counts, BootTime(0));
    };
    lost(&mut baselines, norma_abi::KIND_CONNECT, 7);
    let fields = &baselines.summaries()[0].fields;
    let told = fields.iter().map(|field| (field.field, field.lost));
    let told: Vec<_> = told.filter(|(_, lost)| *lost > 0).collect();
    assert_eq!(told, [("connect", 7)]);
    for second in 0..=3 {
        baselines.tick(&running, BootTime(second * SECOND));
    }
    let why = |baselines: &mut Baselines| match see(baselines, &running[0], "/b") {
        Membership::Novel(near) => format!("{:?}", near.score),
        other => panic!("{other:?}"),
    };
    assert!(
        !why(&mut baselines).contains("lost"),
        "no file was among what was lost"
    );
    // Now that it is learned, a loss says nothing of what was seen before.
    lost(&mut baselines, norma_abi::KIND_OPEN, 7);
    assert!(!why(&mut baselines).contains("lost"));
}

#[test]
fn a_loss_lowers_the_score_of_what_it_may_have_been() {
    let dir = tempfile::tempdir().unwrap();
    let running = [container("w", "c", "")];
    let mut baselines = baselines(dir.path(), 3);
    see(&mut baselines, &running[0], "/a");
    let counts = [(usize::from(norma_abi::KIND_OPEN), 7)].into_iter().collect();
    baselines.lost(&running[0], &counts, BootTime(0));
    for second in 0..=3 {
        baselines.tick(&running, BootTime(second * SECOND));
    }
    let Membership::Novel(near) = see(&mut baselines, &running[0], "/b") else {
        panic!()
    };
    let why = format!("{:?}", near.score);
    assert!(
        why.contains("7 events that file is learned of were lost"),
        "{why}"
    );
}
