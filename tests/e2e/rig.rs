//! The rig itself: what the other tests stand on.

use norma_rig::container::steady_workload;
use norma_rig::net::Peer;
use norma_rig::{Container, ContainerSpec, Scratch, cgroup, skip};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn a_container_follows_orders_and_leaves_nothing_behind() {
    if !skip::unless_root("a_container_follows_orders_and_leaves_nothing_behind") {
        return;
    }
    let scratch = Scratch::new("rig").unwrap();
    let peer = Peer::start().unwrap();
    let spec = ContainerSpec::script("steady", &steady_workload(peer.port()));
    let container = Container::start(&scratch, &spec).unwrap();
    assert_eq!(container.order_and_wait("id -u", LIMIT).unwrap(), 0);
    assert_eq!(container.order_and_wait("cat /no/such/file", LIMIT).unwrap(), 1);
    assert!(container.cgroup_id().unwrap() > 1);
    assert!(
        String::from_utf8_lossy(&container.exec(&["cat", "/etc/hostname"]).unwrap().stdout)
            .contains("norma-rig")
    );

    let (path, init) = (container.cgroup_path(), container.init());
    drop(container);
    drop(scratch);
    assert!(cgroup::id_of(&path).is_err(), "{path} is still there");
    assert!(
        !std::path::Path::new(&format!("/proc/{init}/root/etc")).exists(),
        "process {init} is still there"
    );
}

#[test]
fn what_a_killed_rig_left_is_swept() {
    if !skip::unless_root("what_a_killed_rig_left_is_swept") {
        return;
    }
    let scratch = Scratch::new("killed").unwrap();
    let container = Container::start(
        &scratch,
        &ContainerSpec::script("orphan", "while :; do sleep 1; done"),
    )
    .unwrap();
    let disk = scratch.small_disk("disk", 1 << 20).unwrap();
    std::fs::write(disk.join("file"), "x").unwrap();
    let (folder, group) = (scratch.path().to_owned(), container.cgroup_path());
    std::mem::forget(container);
    std::mem::forget(scratch);
    // A process that is long gone: no machine runs since before its first process was started.
    std::fs::write(folder.join("owner"), "1 999999999999\n").unwrap();

    assert!(Scratch::sweep() >= 1);
    assert!(!folder.exists());
    assert!(cgroup::id_of(&group).is_err(), "{group} is still there");
}
