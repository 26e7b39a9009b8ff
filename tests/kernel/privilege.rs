//! What processes may do, and do to each other. How each act is seen is proven deed by deed (`proof`); here is
//! what must not be reported, and what is refused.

use crate::watch::{Group, Watch, directory};
use norma_agent::observation::{Observation, Operation, Outcome};
use norma_rig::skip::skipped;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

const NOBODY: u32 = 65_534;
const EPERM: u32 = 1;
/// An id that stays as it is.
const UNCHANGED: u64 = u32::MAX as u64;

fn named<'a>(name: &'a str, pid: u32) -> impl Fn(&Observation, &Operation) -> bool + 'a {
    move |seen, operation| seen.actor.process.pid == pid && operation.op.name() == name
}

#[test]
fn a_refused_change_of_ids_is_seen_with_what_was_asked_for() {
    let Some(mut watch) = Watch::start() else { return };
    if !Path::new("/usr/bin/setpriv").exists() {
        skipped("kernel", "no setpriv");
        return;
    }
    let mut child = Command::new("/usr/bin/setpriv")
        .args(["--reuid=0", "/bin/true"])
        .uid(NOBODY)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let pid = child.id();
    assert!(!child.wait().unwrap().success());
    let (seen, ids) = watch.operation("refused ids", |seen, operation| {
        named("privilege.ids", pid)(seen, operation) && operation.outcome == Outcome::Failed(EPERM)
    });
    assert_eq!(ids.args, [0, 0, UNCHANGED, UNCHANGED]);
    assert_eq!(seen.actor.uid, NOBODY);
}

#[test]
fn a_forged_name_is_seen_beside_the_old_one_and_an_exec_is_no_forgery() {
    let Some(mut watch) = Watch::start() else { return };
    let mut child = Command::new("/bin/bash")
        .args(["-c", "echo -n forged > /proc/$$/comm; exec /bin/true"])
        .spawn()
        .unwrap();
    let pid = child.id();
    child.wait().unwrap();
    let (seen, comm) = watch.operation("forged name", named("process.comm", pid));
    assert_eq!(
        (seen.actor.comm.as_slice(), comm.text.as_slice()),
        (&b"bash"[..], &b"forged"[..])
    );
    watch.exec("exec of true", |seen, exec| {
        seen.actor.process.pid == pid && exec.filename == b"/bin/true"
    });
    let names = watch.operations(named("process.comm", pid));
    assert_eq!(names.len(), 1, "{names:?}");
}

#[test]
fn a_capability_is_reported_once_in_a_while_where_it_is_used_and_where_it_is_lacking() {
    const CAP_CHOWN: u64 = 1;
    const CAP_DAC_READ_SEARCH: u64 = 1 << 2;
    let Some(mut watch) = Watch::start() else { return };
    if watch.tier("capability-use").is_none() {
        skipped("kernel", "what this kernel asks of capabilities cannot be seen");
        return;
    }
    // In a group of its own, since others may use them, too.
    let Some(group) = Group::make() else { return };
    let (_directory, path) = directory();
    let file = path.join("of-others");
    std::fs::write(&file, "x").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let name = file.display();
    let mut user = group
        .shell(&format!(
            "for i in 1 2 3; do chown $i {name}; chown 0 {name}; done"
        ))
        .spawn()
        .unwrap();
    assert!(user.wait().unwrap().success());
    let mut refused = group
        .shell(&format!("exec setpriv --reuid={NOBODY} cat {name} 2> /dev/null"))
        .spawn()
        .unwrap();
    let pid = refused.id();
    assert!(!refused.wait().unwrap().success());

    let (seen, lacking) = watch.operation("a capability that is lacking", |seen, operation| {
        // setpriv itself lacks others before, and has this one until it is somebody else.
        named("privilege.capability-use", pid)(seen, operation)
            && operation.args[0] == CAP_DAC_READ_SEARCH
            && operation.outcome == Outcome::Failed(EPERM)
    });
    assert_eq!((seen.actor.uid, seen.actor.euid), (NOBODY, NOBODY), "{lacking:?}");
    let used = watch.operations(|seen, operation| {
        operation.op.name() == "privilege.capability-use"
            && seen.actor.cgroup == group.id()
            && operation.args[0] == CAP_CHOWN
    });
    assert_eq!(used.len(), 1, "{used:?}");
    assert_eq!(used[0].outcome, Outcome::Succeeded);
}

#[test]
fn signals_are_reported_where_they_leave_the_control_group() {
    let Some(mut watch) = Watch::start() else { return };
    let Some(group) = Group::make() else { return };
    let sleeper = || {
        let mut command = Command::new("/bin/sleep");
        command.arg("100");
        command
    };
    let mut inside = sleeper().spawn().unwrap();
    let mut outside = group.shell("exec sleep 100").spawn().unwrap();
    let (inside_pid, outside_pid) = (inside.id(), outside.id());
    watch.exec("exec of sleep in the group", |seen, exec| {
        seen.actor.process.pid == outside_pid && exec.program.path.bytes.ends_with(b"/sleep")
    });
    inside.kill().unwrap();
    outside.kill().unwrap();
    inside.wait().unwrap();
    outside.wait().unwrap();
    let target = |pid: u32| {
        move |_: &Observation, operation: &Operation| {
            operation.op.name() == "process.signal"
                && operation.target.is_some_and(|target| target.process.pid == pid)
        }
    };
    let (seen, signal) = watch.operation("signal to the group", target(outside_pid));
    assert_eq!(seen.actor.process.pid, std::process::id());
    assert_eq!((signal.args[0], signal.outcome), (9, Outcome::Succeeded));
    assert_eq!(signal.target.unwrap().cgroup, group.id());
    assert!(watch.operations(target(inside_pid)).is_empty());
}

#[test]
fn a_move_to_another_control_group_names_the_group_and_the_process() {
    let Some(mut watch) = Watch::start() else { return };
    let Some(group) = Group::make() else { return };
    let mut child = group.shell("exec true").spawn().unwrap();
    let pid = child.id();
    child.wait().unwrap();
    let (_, moved) = watch.operation("move", named("process.cgroup-move", pid));
    assert_eq!(moved.args[0], group.id().0);
    assert!(moved.text.ends_with(group.name.as_bytes()), "{moved:?}");
    assert_eq!(moved.target.unwrap().process.pid, pid);
}

#[test]
fn looking_at_another_process_is_no_tracing() {
    let Some(mut watch) = Watch::start() else { return };
    let mut child = Command::new("/bin/bash")
        .args(["-c", "readlink /proc/$PPID/exe; exit 7"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let pid = child.id();
    child.wait().unwrap();
    watch.exec("exec of readlink", |seen, exec| {
        seen.actor.parent.pid == pid && exec.program.path.bytes.ends_with(b"/readlink")
    });
    watch.find("exit", |seen| {
        matches!(seen.act, norma_agent::observation::Act::Exit(exit)
            if seen.actor.process.pid == pid && exit.status == 7 << 8)
        .then_some(())
    });
    let traced = watch.operations(|seen, operation| {
        operation.op.name() == "process.ptrace" && seen.actor.parent.pid == pid
    });
    assert!(traced.is_empty(), "{traced:?}");
}

#[test]
fn leaving_namespaces_tells_which_and_a_child_in_the_same_ones_is_no_event() {
    const CLONE_NEWUTS: u64 = 0x0400_0000;
    let Some(mut watch) = Watch::start() else { return };
    let mut child = Command::new("/usr/bin/unshare")
        .args(["--uts", "/bin/sh", "-c", "/bin/true; exit 5"])
        .spawn()
        .unwrap();
    let pid = child.id();
    assert_eq!(child.wait().unwrap().code(), Some(5));
    let (_, left) = watch.operation("unshare", named("namespace.unshare", pid));
    assert_eq!((left.args[0], left.outcome), (CLONE_NEWUTS, Outcome::Succeeded));
    watch.find("exit", |seen| {
        matches!(seen.act, norma_agent::observation::Act::Exit(_) if seen.actor.process.pid == pid)
            .then_some(())
    });
    let children = watch.operations(named("namespace.clone", pid));
    assert!(children.is_empty(), "{children:?}");
}
