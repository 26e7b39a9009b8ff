use super::super::engine::Places;
use super::super::system::Running;
use super::super::tellers::Tellers;
use super::*;
use crate::observation::BootTime;

#[test]
fn paths_of_known_runtimes_are_recognised() {
    let id = "0123456789abcdef".repeat(4);
    for (path, runtime, own) in [
        (
            format!("/kubepods/burstable/pod12-3/{id}"),
            "containerd",
            format!("/kubepods/burstable/pod12-3/{id}"),
        ),
        (
            format!("/kubepods.slice/kubepods-pod1.slice/cri-containerd-{id}.scope/sub"),
            "containerd",
            format!("/kubepods.slice/kubepods-pod1.slice/cri-containerd-{id}.scope"),
        ),
        (
            format!("/machine.slice/libpod-{id}.scope"),
            "podman",
            format!("/machine.slice/libpod-{id}.scope"),
        ),
        (format!("/docker/{id}"), "docker", format!("/docker/{id}")),
        (
            format!("/system.slice/docker-{id}.scope"),
            "docker",
            format!("/system.slice/docker-{id}.scope"),
        ),
    ] {
        assert_eq!(
            recognise(&path),
            Some(Recognised {
                id: id.clone(),
                runtime,
                path: own
            }),
            "{path}"
        );
    }
    assert_eq!(recognise("/system.slice/ssh.service"), None);
    assert_eq!(recognise("/docker/short"), None);
}

fn told(live: bool, described: Vec<Described>) -> Arc<Snapshot> {
    Arc::new(Snapshot {
        runtime: "containerd".to_owned(),
        live,
        asked: true,
        containers: described
            .into_iter()
            .map(|described| (described.id.clone(), Arc::new(described)))
            .collect(),
        engines: Vec::new(),
    })
}

fn described(id: &str, cgroup_path: &str) -> Described {
    Described {
        id: id.to_owned(),
        runtime: "containerd".to_owned(),
        name: "app".to_owned(),
        cgroup_path: cgroup_path.to_owned(),
        pod: Arc::new(crate::identity::cri::Pod {
            name: "db-0".to_owned(),
            namespace: "shop".to_owned(),
            ..Default::default()
        }),
        ..Described::default()
    }
}

/// A tree of control groups, and the containers of a runtime that notes `state` of the one with the id.
fn containers(dir: &std::path::Path, id: &str) -> (Cgroups, Containers) {
    let state = dir.join("state").join(id);
    std::fs::create_dir_all(&state).unwrap();
    let noted = r#"{"init_process_pid": 42, "config": {"labels": ["io.kubernetes.cri.sandbox-name=db-0"]}}"#;
    std::fs::write(state.join("state.json"), noted).unwrap();
    let tree = dir.join("tree");
    std::fs::create_dir_all(&tree).unwrap();
    let hierarchy = super::super::cgroups::Hierarchy(tree);
    let system = Arc::new(Running::new(
        hierarchy,
        &[dir.join("state")],
        &Places::default(),
        Tellers::default(),
    ));
    let cgroups = Cgroups::scan(Arc::clone(&system) as _);
    let containers = Containers::new(system, Naming::default());
    (cgroups, containers)
}

#[test]
fn what_the_runtime_will_tell_is_waited_for_and_wins_over_what_was_noted() {
    let dir = tempfile::tempdir().unwrap();
    let id = "0123456789abcdef".repeat(4);
    let (mut cgroups, mut containers) = containers(dir.path(), &id);
    let (own, nested) = (CgroupId(7), CgroupId(8));
    cgroups.insert(own, format!("kubepods/pod1/{id}").as_bytes(), BootTime(0));
    cgroups.insert(
        nested,
        format!("kubepods/pod1/{id}/inner").as_bytes(),
        BootTime(0),
    );
    containers.tell(told(true, Vec::new()), &cgroups);
    assert!(matches!(
        containers.lookup(own, &cgroups, true),
        Placement::Unknown
    ));
    assert!(containers.take_wanting());
    let (cgroup, provisional) = containers.take_provisional().unwrap();
    assert_eq!((cgroup, provisional.init_pid), (own, 42));

    let Placement::Container(pending) = containers.give_up(own, &cgroups) else {
        panic!()
    };
    assert_eq!(pending.state, IdentityState::Pending);
    assert_eq!(pending.pod, "db-0", "what was noted is said meanwhile");
    containers.lookup(nested, &cgroups, true);
    assert!(containers.reconsider_pending(&cgroups).is_empty());
    assert!(containers.take_provisional().is_none());

    let mut changes = containers.tell(told(true, vec![described(&id, "")]), &cgroups);
    changes.sort_by_key(|(cgroup, _)| *cgroup);
    assert_eq!(
        changes.iter().map(|(cgroup, _)| *cgroup).collect::<Vec<_>>(),
        [own, nested]
    );
    for (_, container) in changes {
        assert_eq!(container.state, IdentityState::Known);
        assert_eq!(container.workload.0, "shop/StatefulSet/db/app");
        assert_eq!(container.init_pid, 42, "the runtime did not tell it");
        assert_eq!(container.cgroup, own);
    }
    assert!(
        containers.tell(Arc::clone(&containers.told), &cgroups).is_empty(),
        "nothing new"
    );
}

#[test]
fn without_the_runtimes_answer_what_was_noted_stands() {
    let dir = tempfile::tempdir().unwrap();
    let id = "0123456789abcdef".repeat(4);
    for (snapshot, expected) in [
        (Arc::default(), IdentityState::Known),
        // It answered before: it will again.
        (told(false, Vec::new()), IdentityState::Pending),
    ] {
        let (mut cgroups, mut containers) = containers(dir.path(), &id);
        cgroups.insert(CgroupId(7), format!("kubepods/pod1/{id}").as_bytes(), BootTime(0));
        containers.tell(snapshot, &cgroups);
        let Placement::Container(container) = containers.lookup(CgroupId(7), &cgroups, true) else {
            panic!()
        };
        assert_eq!((container.state, container.pod.as_str()), (expected, "db-0"));
    }
}

#[test]
fn a_container_is_found_by_the_path_that_the_runtime_tells_and_never_by_a_name_inside_another() {
    let dir = tempfile::tempdir().unwrap();
    let (id, other) = ("0123456789abcdef".repeat(4), "fedcba9876543210".repeat(4));
    let (mut cgroups, mut containers) = containers(dir.path(), &id);
    cgroups.insert(CgroupId(7), b"odd/place", BootTime(0));
    cgroups.insert(CgroupId(8), format!("odd/place/{other}").as_bytes(), BootTime(0));
    assert!(matches!(
        containers.place_existing(CgroupId(7), "/odd/place", &cgroups),
        Placement::Host
    ));
    let snapshot = told(true, vec![described("a", "/odd/place"), described(&other, "")]);
    let changes = containers.tell(snapshot, &cgroups);
    assert_eq!(changes.len(), 1, "it was taken for the host's");
    assert_eq!((changes[0].0, changes[0].1.id.0.as_str()), (CgroupId(7), "a"));
    let Placement::Container(inner) = containers.lookup(CgroupId(8), &cgroups, true) else {
        panic!()
    };
    assert_eq!(inner.id.0, "a");
}

#[test]
fn a_group_that_has_a_containers_name_and_is_not_where_that_is_does_not_pass_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let id = "0123456789abcdef".repeat(4);
    let (mut cgroups, mut containers) = containers(dir.path(), &id);
    let own = CgroupId(7);
    cgroups.insert(own, format!("kubepods/pod1/{id}").as_bytes(), BootTime(0));
    let of_user = "user.slice/user-1000.slice/user@1000.service/app.slice";
    let names = [
        format!("{of_user}/{id}"),
        format!("{of_user}/cri-containerd-{id}.scope"),
        format!("{of_user}/kubepods/pod1/{id}"),
        format!("system.slice/own.service/docker-{id}.scope"),
        format!("system.slice/own.service/{id}"),
    ];
    let namesakes: Vec<CgroupId> = (20..).take(names.len()).map(CgroupId).collect();
    for (cgroup, name) in namesakes.iter().zip(&names) {
        cgroups.insert(*cgroup, name.as_bytes(), BootTime(0));
    }
    // Of one, the other knows nothing: the runtime tells where its container is, or notes it.
    for path in [format!("/kubepods/pod1/{id}"), String::new()] {
        containers.tell(told(true, vec![described(&id, &path)]), &cgroups);
        let Placement::Container(real) = containers.lookup(own, &cgroups, true) else {
            panic!("{path}")
        };
        assert_eq!((real.id.0.as_str(), real.cgroup), (id.as_str(), own));
        for (cgroup, name) in namesakes.iter().zip(&names) {
            containers.lookup(*cgroup, &cgroups, false);
            assert!(
                matches!(containers.give_up(*cgroup, &cgroups), Placement::Host),
                "{name}"
            );
            containers.reconsider(*cgroup);
            if let Placement::Container(other) = containers.lookup(*cgroup, &cgroups, true) {
                assert_ne!(other.id.0, id, "{name}");
                assert_eq!(other.runtime, "unknown", "{name}");
            }
        }
        let changes = containers.tell(told(true, vec![described(&id, &path)]), &cgroups);
        assert!(changes.iter().all(|(cgroup, _)| *cgroup == own), "{changes:?}");
        containers.remove(own);
        namesakes.iter().for_each(|cgroup| containers.remove(*cgroup));
    }
    // One of a user's own, of which nobody else knows.
    let others = "fedcba9876543210".repeat(4);
    let rootless = CgroupId(40);
    let path = format!("{of_user}/libpod-{others}.scope");
    cgroups.insert(rootless, path.as_bytes(), BootTime(0));
    containers.lookup(rootless, &cgroups, true);
    let Placement::Container(container) = containers.give_up(rootless, &cgroups) else {
        panic!()
    };
    assert_eq!(
        (container.id.0.as_str(), container.runtime.as_str()),
        (others.as_str(), "podman")
    );
}
