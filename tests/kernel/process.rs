//! Execution, creation and end of processes.

use crate::watch::{Watch, directory};
use norma_agent::observation::{Act, KernelAction, Name, Origin, Outcome};
use norma_agent::sensor::SensorConfig;
use norma_rig::skip::skipped;
use std::fs;
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
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
    assert_eq!(exec.program.path.bytes, real("/bin/sleep"));
    assert!(!exec.program.path.truncated && !exec.program.path.disconnected && !exec.program.path.deleted);
    assert_eq!(exec.filename, b"/bin/sleep");
    assert_eq!(exec.argv, [b"/bin/sleep".as_slice(), b"0", b"0.0", b""]);
    assert!(!exec.argv_truncated);
    assert_eq!(exec.action, KernelAction::None);
    let meta = fs::metadata("/bin/sleep").unwrap();
    assert_eq!(
        (exec.program.file.inode, exec.program.mode),
        (meta.ino(), meta.mode())
    );
    let (major, minor) = (rustix::fs::major(meta.dev()), rustix::fs::minor(meta.dev()));
    assert_eq!(exec.program.file.dev, major << 20 | minor);
    let actor = observation.actor;
    assert_eq!(actor.parent.pid, std::process::id());
    assert_eq!(actor.comm.as_slice(), b"sleep");
    assert_eq!((actor.uid, actor.euid, actor.gid), (0, 0, 0));
    assert_eq!(actor.tid, pid);
    let namespace = |name: &str| {
        let link = fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
        let text = link.to_str().unwrap();
        text[text.find('[').unwrap() + 1..text.len() - 1]
            .parse::<u32>()
            .unwrap()
    };
    let nanoseconds = |seconds: i64, rest: i64| (seconds * 1_000_000_000 + rest).cast_unsigned();
    assert_eq!(
        exec.program.mtime_ns,
        nanoseconds(meta.mtime(), meta.mtime_nsec())
    );
    assert_eq!(
        exec.program.ctime_ns,
        nanoseconds(meta.ctime(), meta.ctime_nsec())
    );
    assert_eq!(u64::from(exec.program.links), meta.nlink());
    assert_eq!(exec.program.origin(false), Origin::Host);
    assert!(!exec.is_script && exec.script.is_none() && exec.environment.is_empty());
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
    let exit = watch.find("exit of cat", |seen| match seen.act {
        Act::Exit(exit) if seen.actor.process.pid == pid => Some((exit.status, seen.actor.process)),
        _ => None,
    });
    assert_eq!(fork, exec.actor.process);
    assert_eq!(exit, (0, exec.actor.process));
}

#[test]
fn long_arguments_are_whole_up_to_the_bound_and_then_cut_and_flagged() {
    let Some(mut watch) = Watch::start() else { return };
    let long = "y".repeat(norma_abi::ARGV_MAX - "/bin/true".len() - 2);
    let mut child = Command::new("/bin/true").arg(&long).spawn().unwrap();
    let pid = child.id();
    child.wait().unwrap();
    let (_, exec) = watch.exec("exec of true", |seen, _| seen.actor.process.pid == pid);
    assert!(!exec.argv_truncated);
    assert_eq!(exec.argv, [b"/bin/true", long.as_bytes()]);

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

/// A script in a fresh folder, and what keeps the folder.
fn script(text: &str) -> (tempfile::TempDir, PathBuf) {
    let (keep, directory) = directory();
    let script = directory.join("script");
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    (keep, script)
}

#[test]
fn a_script_shows_its_interpreter_and_its_own_file() {
    let Some(mut watch) = Watch::start() else { return };
    let (_keep, script) = script("#!/bin/sh\nexit 3\n");
    let link = script.with_file_name("harmless");
    symlink(&script, &link).unwrap();
    let mut child = Command::new(&link).spawn().unwrap();
    let pid = child.id();
    assert_eq!(child.wait().unwrap().code(), Some(3));
    let (_, exec) = watch.exec("exec of the script", |seen, _| seen.actor.process.pid == pid);
    assert_eq!(exec.program.path.bytes, real("/bin/sh"));
    assert_eq!(exec.filename, link.as_os_str().as_bytes());
    assert_eq!(exec.argv, [b"/bin/sh", link.as_os_str().as_bytes()]);
    assert!(exec.is_script);
    let found = exec.script.expect("the script's own file");
    let meta = fs::metadata(&script).unwrap();
    assert_eq!(found.path.bytes, script.as_os_str().as_bytes());
    assert_eq!((found.file.inode, found.mode), (meta.ino(), meta.mode()));
}

#[test]
fn a_script_is_found_behind_another_script_open_files_and_its_own_removal() {
    let Some(mut watch) = Watch::start() else { return };
    let (_keep, inner) = script("#!/bin/sh\nexit 0\n");
    let (_keep_outer, outer) = script(&format!("#!{}\n", inner.display()));
    // The shell itself was opened for execution, too, and what it has open is closed by the exec.
    let close = "import os, sys\nfiles = [os.open('/dev/null', os.O_RDONLY) for _ in range(20)]\n\
        os.execv(sys.argv[1], [sys.argv[1]])";
    let direct = Command::new("/usr/bin/python3")
        .args(["-c", close])
        .arg(&outer)
        .spawn();
    let mut child = match direct {
        Ok(child) => child,
        Err(_) => Command::new(&outer).spawn().unwrap(),
    };
    let pid = child.id();
    assert!(child.wait().unwrap().success());
    let (_, exec) = watch.exec("exec of the outer script", |seen, exec| {
        seen.actor.process.pid == pid && exec.is_script
    });
    assert_eq!(exec.script.unwrap().path.bytes, outer.as_os_str().as_bytes());

    let gone = format!("exec 9<{0}; rm {0}; exec /proc/self/fd/9", inner.display());
    let mut child = Command::new("/bin/bash").arg("-c").arg(gone).spawn().unwrap();
    let pid = child.id();
    child.wait().unwrap();
    let (_, exec) = watch.exec("exec of the removed script", |seen, exec| {
        seen.actor.process.pid == pid && exec.is_script
    });
    let found = exec.script.unwrap();
    assert_eq!(found.path.bytes, inner.as_os_str().as_bytes());
    assert!(found.path.deleted);
    assert_eq!(found.origin(false), Origin::Deleted);
}

#[test]
fn environment_is_named_where_that_is_wanted_and_its_values_are_not() {
    let config = SensorConfig {
        wants: norma_abi::WANT_ENVIRONMENT,
        ..SensorConfig::default()
    };
    let Some(mut watch) = Watch::with(&config) else {
        return;
    };
    let mut child = Command::new("/bin/true")
        .env_clear()
        .env("TOKEN", "very=secret")
        .env("EMPTY", "")
        .spawn()
        .unwrap();
    let pid = child.id();
    child.wait().unwrap();
    let (_, exec) = watch.exec("exec of true", |seen, _| seen.actor.process.pid == pid);
    let mut names = exec.environment.clone();
    names.sort();
    assert_eq!(names, [b"EMPTY", b"TOKEN"]);
    assert!(!exec.environment_truncated);
    assert!(!format!("{exec:?}").contains("secret"));
}

#[test]
fn memory_is_told_from_files() {
    let Some(mut watch) = Watch::start() else { return };
    let tmpfs = Path::new("/dev/shm");
    if rustix::fs::statfs(tmpfs).map_or(true, |fs| fs.f_type != 0x0102_1994) {
        skipped("kernel", "no tmpfs at /dev/shm");
        return;
    }
    let keep = tempfile::tempdir_in(tmpfs).unwrap();
    let program = keep.path().join("program");
    fs::copy("/bin/true", &program).unwrap();
    let mut child = Command::new(&program).spawn().unwrap();
    let pid = child.id();
    child.wait().unwrap();
    let (_, exec) = watch.exec("exec from memory", |seen, _| seen.actor.process.pid == pid);
    assert_eq!(exec.program.origin(true), Origin::Tmpfs);
    assert_eq!(exec.program.origin(false), Origin::Tmpfs);
}

#[test]
fn layers_of_an_overlay_are_told_apart() {
    let Some(mut watch) = Watch::start() else { return };
    if !Path::new("/bin/busybox").exists() {
        skipped("kernel", "no statically linked /bin/busybox to run in an overlay");
        return;
    }
    // An overlay needs a filesystem that keeps extended attributes for its upper layer, which memory does.
    let keep = tempfile::tempdir_in("/dev/shm").unwrap();
    let folder = |name: &str| {
        let path = keep.path().join(name);
        fs::create_dir(&path).unwrap();
        path.display().to_string()
    };
    let (lower, upper, work, merged) = (folder("lower"), folder("upper"), folder("work"), folder("merged"));
    for name in ["shipped", "changed"] {
        fs::copy("/bin/busybox", format!("{lower}/{name}")).unwrap();
    }
    // In a mount namespace of its own, so that nothing stays.
    let script = format!(
        "mount -t overlay -o lowerdir={lower},upperdir={upper},workdir={work} overlay {merged} || exit 99; \
         chmod 700 {merged}/changed; cp {merged}/shipped {merged}/made; \
         for name in shipped changed made; do chroot {merged} /$name true; done"
    );
    let status = Command::new("unshare")
        .args(["--mount", "/bin/sh", "-c", &script])
        .status()
        .unwrap();
    if status.code() == Some(99) {
        skipped("kernel", "no overlay can be mounted here");
        return;
    }
    for (name, origin) in [
        ("shipped", Origin::Image),
        ("changed", Origin::UpperLayer),
        ("made", Origin::UpperLayer),
    ] {
        let path = format!("{merged}/{name}");
        let (_, exec) = watch.exec(name, |_, exec| exec.program.path.bytes == path.as_bytes());
        assert_eq!(exec.program.origin(true), origin, "{name}: {exec:?}");
    }
}

#[test]
fn an_exec_that_fails_is_seen_with_its_error() {
    let Some(mut watch) = Watch::start() else { return };
    let (_keep, directory) = directory();
    let path = directory.join("nothing");
    Command::new(&path).spawn().unwrap_err();
    let (_, failed) = watch.operation("exec of what is not there", |_, operation| {
        operation.op.name() == "process.exec-failed"
            && operation
                .path
                .as_ref()
                .is_some_and(|name| name.bytes() == path.as_os_str().as_bytes())
    });
    assert_eq!(failed.outcome, Outcome::Failed(2));
    assert!(matches!(failed.path, Some(Name::Claimed(_))));
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
    assert_eq!(exec.program.path.bytes, real("/bin/true"));
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
    assert!(exec.program.path.disconnected, "{exec:?}");
    assert_eq!(exec.program.path.bytes, b"memfd:hidden");
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
        seen.actor.process.pid == pid && exec.program.path.deleted
    });
    assert_eq!(exec.program.path.bytes, program.as_os_str().as_bytes());
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
    assert_eq!(
        exec.program.path.bytes,
        directory.join("busybox").as_os_str().as_bytes()
    );
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
            Act::Exit(exit) if seen.actor.process.pid == pid => Some(exit.status),
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

#[test]
fn exit_tells_what_the_process_has_used_up() {
    let Some(mut watch) = Watch::start() else { return };
    const SIGXCPU: u32 = 24;
    // The kernel ends it after a second on a processor by the ticks of the clock. The exact time is less where a
    // hypervisor took the processor away between two of them.
    let mut child = Command::new("/bin/bash")
        .args(["-c", "ulimit -S -t 1; while :; do :; done"])
        .spawn()
        .unwrap();
    let pid = child.id();
    child.wait().unwrap();
    let exit = watch.find("exit of the busy shell", |seen| match seen.act {
        Act::Exit(exit) if seen.actor.process.pid == pid => Some(exit),
        _ => None,
    });
    assert_eq!(exit.status & 0x7f, SIGXCPU);
    assert!(
        (500_000_000..2_000_000_000).contains(&exit.runtime_ns),
        "{exit:?}"
    );
    assert!(exit.user_ns + exit.system_ns >= 900_000_000, "{exit:?}");
    assert!(exit.user_ns > 0, "{exit:?}");
    // What the child was before its exec counts, too, so there is no upper bound to hold it against.
    let megabyte = (1 << 20) / rustix::param::page_size() as u64;
    assert!(exit.max_rss_pages >= megabyte, "{exit:?}");
}
