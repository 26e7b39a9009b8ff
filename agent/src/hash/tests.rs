//! Files of this process's own, so that no kernel programs are needed.

use super::*;
use crate::observation::{BootTime, KernelPath};
use rustix::fs::{Mode, Stat, major, minor, stat};
use sha2::{Digest as _, Sha256};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command};

const GROUP: CgroupId = CgroupId(7);
const MAX: u64 = 64 << 20;
const PATIENCE: Duration = Duration::from_secs(30);

fn hasher(max_bytes: u64) -> Hasher<u32> {
    Hasher::start(HashConfig { max_bytes }).unwrap()
}

/// As the kernel's record has it.
fn executable(path: &Path) -> Executable {
    let Stat {
        st_dev,
        st_ino,
        st_mtime,
        st_mtime_nsec,
        st_ctime,
        st_ctime_nsec,
        ..
    } = stat(path).unwrap();
    let time = |seconds, rest| u64::try_from(seconds).unwrap() * 1_000_000_000 + rest;
    Executable {
        path: KernelPath {
            bytes: path.as_os_str().as_bytes().to_vec(),
            ..KernelPath::default()
        },
        file: FileId {
            dev: (major(st_dev) << 20) | minor(st_dev),
            inode: st_ino,
        },
        mtime_ns: time(st_mtime, st_mtime_nsec),
        ctime_ns: time(st_ctime, st_ctime_nsec),
        magic: LOCAL[0],
        links: 1,
        ..Executable::default()
    }
}

/// Asked by a process whose start is known, long after the file was made.
fn asker(pid: u32) -> Asker {
    let start = i32::try_from(pid)
        .ok()
        .and_then(|pid| procfs::process::Process::new(pid).ok()?.stat().ok())
        .map_or(0, |stat| stat.starttime * 10_000_000);
    Asker {
        process: ProcessKey {
            pid,
            start: BootTime(start),
        },
        cgroup: GROUP,
        root_pid: Some(std::process::id()),
        wall_ns: u64::MAX,
    }
}

/// A pid that no process has.
const NOBODY: u32 = 4_000_000_001;

fn answer(hasher: &mut Hasher<u32>) -> Answer<u32> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut answers = hasher.answers();
        assert!(answers.len() <= 1, "one was asked for");
        if let Some(answer) = answers.pop() {
            return answer;
        }
        assert!(Instant::now() < deadline, "no answer");
        std::thread::yield_now();
    }
}

fn sum_of(content: &[u8]) -> Sum {
    Sum(Sha256::digest(content).into())
}

fn written(content: &[u8]) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().canonicalize().unwrap().join("file");
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    (folder, path)
}

#[test]
fn a_hash_is_answered_once_and_remembered_after_that() {
    let mut hasher = hasher(MAX);
    let (_folder, path) = written(b"content");
    let file = executable(&path);
    assert_eq!(
        hasher.ask(&file, Role::Program, asker(NOBODY), || 1),
        Hash::Pending
    );
    let first = answer(&mut hasher);
    assert_eq!((first.tag, first.result), (1, Ok(sum_of(b"content"))));
    assert_eq!(
        hasher.ask(&file, Role::Program, asker(NOBODY), || 2),
        Hash::Known(sum_of(b"content"))
    );
    // In another control group it was not.
    let other = Asker {
        cgroup: CgroupId(8),
        ..asker(NOBODY)
    };
    assert_eq!(hasher.ask(&file, Role::Program, other, || 3), Hash::Pending);
    assert_eq!(answer(&mut hasher).tag, 3);
    hasher.forget(GROUP);
    assert_eq!(
        hasher.ask(&file, Role::Program, asker(NOBODY), || 4),
        Hash::Pending
    );
    assert_eq!(answer(&mut hasher).result, Ok(sum_of(b"content")));
}

#[test]
fn what_may_have_changed_unnoticed_is_not_remembered() {
    let mut hasher = hasher(MAX);
    let (_folder, path) = written(b"content");
    let file = executable(&path);
    let at_once = Asker {
        wall_ns: file.ctime_ns,
        ..asker(NOBODY)
    };
    let foreign = Executable {
        magic: 0x6969,
        ..file.clone()
    };
    for (file, role, asker) in [
        (&file, Role::Script, asker(NOBODY)),
        (&file, Role::Program, at_once),
        (&foreign, Role::Program, asker(NOBODY)),
    ] {
        for tag in 0..2 {
            assert_eq!(hasher.ask(file, role, asker, || tag), Hash::Pending, "{role:?}");
            assert_eq!(answer(&mut hasher).result, Ok(sum_of(b"content")));
        }
    }
}

#[test]
fn another_file_under_the_same_name_is_not_taken_for_it() {
    let mut hasher = hasher(MAX);
    let (_folder, path) = written(b"content");
    let file = executable(&path);
    fs::remove_file(&path).unwrap();
    fs::write(&path, b"CONTENT").unwrap();
    hasher.ask(&file, Role::Program, asker(NOBODY), || 1);
    assert_eq!(answer(&mut hasher).result, Err(Unavailable::Changed));
    fs::remove_file(&path).unwrap();
    hasher.ask(&file, Role::Program, asker(NOBODY), || 2);
    assert_eq!(answer(&mut hasher).result, Err(Unavailable::Gone));
}

#[test]
fn a_running_program_that_was_deleted_is_still_read_and_not_remembered() {
    let mut hasher = hasher(MAX);
    let content = fs::read("/bin/sleep").unwrap();
    let (_folder, path) = written(&content);
    let file = executable(&path);
    let mut child: Child = Command::new(&path).arg("60").spawn().unwrap();
    fs::remove_file(&path).unwrap();
    let asker = asker(child.id());
    for tag in 0..2 {
        assert_eq!(hasher.ask(&file, Role::Program, asker, || tag), Hash::Pending);
        assert_eq!(answer(&mut hasher).result, Ok(sum_of(&content)));
    }
    // Another process with that pid would prove nothing.
    let reused = Asker {
        process: ProcessKey {
            start: BootTime(1),
            ..asker.process
        },
        ..asker
    };
    hasher.ask(&file, Role::Program, reused, || 2);
    assert_eq!(answer(&mut hasher).result, Err(Unavailable::Gone));
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_pipe_is_not_opened_and_a_large_file_is_not_read() {
    let mut hasher = hasher(6);
    let (folder, path) = written(b"content");
    hasher.ask(&executable(&path), Role::Program, asker(NOBODY), || 1);
    assert_eq!(
        answer(&mut hasher).result,
        Err(Unavailable::TooLarge { size: 7, max: 6 })
    );
    let pipe = folder.path().canonicalize().unwrap().join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
    hasher.ask(&executable(&pipe), Role::Program, asker(NOBODY), || 2);
    assert_eq!(answer(&mut hasher).result, Err(Unavailable::NotRegular));
    let fuse = Executable {
        magic: FUSE,
        ..executable(&path)
    };
    assert_eq!(
        hasher.ask(&fuse, Role::Program, asker(NOBODY), || 3),
        Hash::Unavailable(Unavailable::Fuse)
    );
}

#[test]
fn each_that_was_told_to_wait_gets_an_answer_and_not_more_than_there_is_room_for_wait() {
    let mut hasher = hasher(MAX);
    let (_folder, path) = written(&vec![1; 1 << 20]);
    let file = executable(&path);
    let (mut waiting, mut refused) = (0, 0);
    for tag in 0..2 * WAITING_MAX as u32 {
        // Times that no file has: each is a file of its own, for which the queue is too short.
        let file = Executable {
            ctime_ns: u64::from(tag),
            ..file.clone()
        };
        match hasher.ask(&file, Role::Program, asker(NOBODY), || tag) {
            Hash::Pending => waiting += 1,
            Hash::Unavailable(Unavailable::QueueFull) => refused += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(
        refused > 0 && waiting >= QUEUE,
        "{waiting} wait, {refused} are refused"
    );
    let answers = hasher.answers().len() + hasher.close().len();
    assert_eq!(answers, waiting);
}
