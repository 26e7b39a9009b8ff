//! Execution, creation and end of processes.

use crate::watch::{Watch, directory};
use norma_agent::observation::{Act, KernelAction};
use norma_rig::skip::skipped;
use std::fs;
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

fn real(path: &str) -> Vec<u8> {
    fs::canonicalize(path).unwrap().as_os_str().as_bytes().to_vec()
}

#[test]
fn exec_tells_path_arguments_and_who() {
    let Some(mut watch) = Watch::start() else { return };
    let mut child = Command::new("/bin/sleep")
        .args(["0", "0.0"])
        .arg("")
        .spawn()
        .unwrap();
    let pid = child.id();
    child.wait().unwrap();
    let (observation, exec) = watch.exec("exec of sleep", |seen, _| seen.actor.process.pid == pid);
    assert_eq!(exec.path.bytes, real("/bin/sleep"));
    assert!(!exec.path.truncated && !exec.path.disconnected && !exec.path.deleted);
    assert_eq!(exec.filename, b"/bin/sleep");
    assert_eq!(exec.argv, [b"/bin/sleep".as_slice(), b"0", b"0.0", b""]);
    assert!(!exec.argv_truncated);
    assert_eq!(exec.action, KernelAction::None);
    let meta = fs::metadata("/bin/sleep").unwrap();
    assert_eq!((exec.file.inode, exec.mode), (meta.ino(), meta.mode()));
    let (major, minor) = (rustix::fs::major(meta.dev()), rustix::fs::minor(meta.dev()));
    assert_eq!(exec.file.dev, major << 20 | minor);
    let actor = observation.actor;
    assert_eq!(actor.parent.pid, std::process::id());
    assert_eq!(actor.comm, b"sleep");
    assert_eq!((actor.uid, actor.euid, actor.gid), (0, 0, 0));
    assert_eq!(actor.tid, pid);
    let namespace = |name: &str| {
        let link = fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
        let text = link.to_str().unwrap();
        text[text.find('[').unwrap() + 1..text.len() - 1]
            .parse::<u32>()
            .unwrap()
    };
    assert_eq!(actor.namespaces.mnt, namespace("mnt"));
    assert_eq!(actor.namespaces.pid, namespace("pid_for_children"));
    assert_eq!(actor.namespaces.net, namespace("net"));
    assert_eq!(actor.namespaces.user, namespace("user"));
}

#[test]
fn start_times_agree_with_proc_and_between_events() {
    let Some(mut watch) = Watch::start() else { return };
    let mut child = Command::new("/bin/cat").stdin(Stdio::piped()).spawn().unwrap();
    let pid = child.id();
    let (exec, _) = watch.exec("exec of cat", |seen, _| seen.actor.process.pid == pid);
    // Field 22 of /proc/PID/stat is the start time in ticks of 10 ms, in the time of the boot clock.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let ticks: u64 = stat[stat.rfind(')').unwrap() + 2..]
        .split(' ')
        .nth(19)
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!(exec.actor.process.start.0 / 10_000_000, ticks);
    drop(child.stdin.take());
    child.wait().unwrap();
    let fork = watch.find("fork of cat", |seen| match seen.act {
        Act::Fork(process) if process.pid == pid => Some(process),
        _ => None,
    });
    let exit = watch.find("exit of cat", |seen| {
        (seen.act == Act::Exit(0) && seen.actor.process.pid == pid).then_some(seen.actor.process)
    });
    assert_eq!(fork, exec.actor.process);
    assert_eq!(exit, exec.actor.process);
}

#[test]
fn long_arguments_are_cut_and_flagged() {
    let Some(mut watch) = Watch::start() else { return };
    let mut child = Command::new("/bin/true")
        .arg("x".repeat(100_000))
        .spawn()
        .unwrap();
    let pid = child.id();
    child.wait().unwrap();
    let (_, exec) = watch.exec("exec of true", |seen, _| seen.actor.process.pid == pid);
    assert!(exec.argv_truncated);
    assert_eq!(exec.argv[0], b"/bin/true");
    assert_eq!(
        exec.argv[1],
        vec![b'x'; norma_abi::ARGV_MAX - "/bin/true".len() - 1]
    );
}

#[test]
fn a_script_shows_its_interpreter_and_its_own_name() {
    let Some(mut watch) = Watch::start() else { return };
    let (_keep, directory) = directory();
    let script = directory.join("script");
    fs::write(&script, "#!/bin/sh\nexit 3\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let mut child = Command::new(&script).spawn().unwrap();
    let pid = child.id();
    assert_eq!(child.wait().unwrap().code(), Some(3));
    let (_, exec) = watch.exec("exec of the script", |seen, _| seen.actor.process.pid == pid);
    assert_eq!(exec.path.bytes, real("/bin/sh"));
    assert_eq!(exec.filename, script.as_os_str().as_bytes());
    assert_eq!(exec.argv, [b"/bin/sh", script.as_os_str().as_bytes()]);
}

#[test]
fn a_symlink_shows_the_file_behind_it() {
    let Some(mut watch) = Watch::start() else { return };
    let (_keep, directory) = directory();
    let link = directory.join("harmless");
    symlink("/bin/true", &link).unwrap();
    let mut child = Command::new(&link).arg0("innocent").spawn().unwrap();
    let pid = child.id();
    child.wait().unwrap();
    let (_, exec) = watch.exec("exec through the link", |seen, _| seen.actor.process.pid == pid);
    assert_eq!(exec.path.bytes, real("/bin/true"));
    assert_eq!(exec.filename, link.as_os_str().as_bytes());
    assert_eq!(exec.argv, [b"innocent"]);
}

#[test]
fn a_file_without_a_name_is_flagged() {
    let Some(mut watch) = Watch::start() else { return };
    let flags = rustix::fs::MemfdFlags::empty();
    let memory = rustix::fs::memfd_create("hidden", flags).unwrap();
    fs::File::from(memory.try_clone().unwrap())
        .write_all(&fs::read("/bin/true").unwrap())
        .unwrap();
    let mut child = Command::new(format!("/proc/self/fd/{}", memory.as_raw_fd()))
        .spawn()
        .unwrap();
    let pid = child.id();
    child.wait().unwrap();
    let (_, exec) = watch.exec("exec of the memfd", |seen, _| seen.actor.process.pid == pid);
    assert!(exec.path.disconnected, "{exec:?}");
    assert_eq!(exec.path.bytes, b"memfd:hidden");
}

#[test]
fn a_deleted_file_is_flagged_and_keeps_its_last_name() {
    let Some(mut watch) = Watch::start() else { return };
    let (_keep, directory) = directory();
    let program = directory.join("gone");
    fs::copy("/bin/true", &program).unwrap();
    let script = format!("exec 9<{0}; rm {0}; exec /proc/self/fd/9", program.display());
    let mut child = Command::new("/bin/bash").arg("-c").arg(script).spawn().unwrap();
    let pid = child.id();
    child.wait().unwrap();
    let (_, exec) = watch.exec("exec of the deleted file", |seen, exec| {
        seen.actor.process.pid == pid && exec.path.deleted
    });
    assert_eq!(exec.path.bytes, program.as_os_str().as_bytes());
}

#[test]
fn a_chroot_does_not_shorten_the_path() {
    let Some(mut watch) = Watch::start() else { return };
    let static_program = Path::new("/bin/busybox");
    if !static_program.exists() {
        skipped("kernel", "no statically linked /bin/busybox to run in a chroot");
        return;
    }
    let (_keep, directory) = directory();
    fs::copy(static_program, directory.join("busybox")).unwrap();
    let mut child = Command::new("chroot")
        .arg(&directory)
        .args(["/busybox", "true"])
        .spawn()
        .unwrap();
    let pid = child.id();
    child.wait().unwrap();
    let (_, exec) = watch.exec("exec in the chroot", |seen, exec| {
        seen.actor.process.pid == pid && exec.filename == b"/busybox"
    });
    assert_eq!(exec.path.bytes, directory.join("busybox").as_os_str().as_bytes());
}

#[test]
fn exit_tells_status_and_signal_once_per_process() {
    let Some(mut watch) = Watch::start() else { return };
    for (script, status) in [
        ("exit 0", 0),
        ("exit 42", 42 << 8),
        ("kill -9 $$", 9),
        ("kill -TERM $$", 15),
    ] {
        let mut child = Command::new("/bin/sh").args(["-c", script]).spawn().unwrap();
        let pid = child.id();
        child.wait().unwrap();
        let seen = watch.find(script, |seen| match seen.act {
            Act::Exit(status) if seen.actor.process.pid == pid => Some(status),
            _ => None,
        });
        assert_eq!(seen, status, "{script}");
    }
    // Threads that end are no exits of the process.
    for _ in 0..50 {
        std::thread::spawn(|| {}).join().unwrap();
    }
    let mut child = Command::new("/bin/true").spawn().unwrap();
    let (last, myself) = (child.id(), std::process::id());
    child.wait().unwrap();
    watch.find("the last exit", |seen| {
        (matches!(seen.act, Act::Exit(_)) && seen.actor.process.pid == last).then_some(())
    });
    let mut exits: Vec<_> = watch
        .seen
        .iter()
        .filter(|seen| matches!(seen.act, Act::Exit(_)))
        .map(|seen| seen.actor.process)
        .collect();
    assert!(exits.iter().all(|process| process.pid != myself));
    let all = exits.len();
    exits.sort_by_key(|process| (process.pid, process.start));
    exits.dedup();
    assert_eq!(exits.len(), all, "an end was reported twice");
    assert!(
        watch
            .seen
            .iter()
            .all(|seen| !matches!(seen.act, Act::Fork(process) if process.pid == myself))
    );
}
