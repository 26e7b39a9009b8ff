use super::*;
use crate::identity::ContainerId;
use crate::judge::fact::Access;

const SECOND: u64 = 1_000_000_000;

fn container(workload: &str, id: &str, image_digest: &str) -> Arc<Container> {
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
    })
}

fn open(path: &str) -> Fact {
    Fact::Open {
        exe: "/bin/cat".into(),
        path: path.into(),
        access: Access::Read,
    }
}

fn baselines(directory: &Path, window: u64) -> Baselines {
    let learning = Learning::Window(Duration::from_secs(window));
    Baselines::open(directory, "node", learning, Sensitive::default()).unwrap()
}

fn see(baselines: &mut Baselines, container: &Arc<Container>, path: &str) -> Membership {
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

#[test]
fn learning_by_evidence_says_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let running = [container("w", "c", "")];
    let mut baselines =
        Baselines::open(dir.path(), "node", Learning::default(), Sensitive::default()).unwrap();
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
