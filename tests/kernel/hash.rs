//! Hashes of what the kernel says was executed.

use crate::watch::Watch;
use norma_agent::hash::{Asker, Hash, HashConfig, Hasher, Role, Sum, Unavailable};
use norma_agent::observation::{Act, Actor, Executable};
use norma_rig::skip::skipped;
use norma_rig::{sha256_of, wait_until};
use std::fs;
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

/// The answer to a question of this process, which sees the same files as `root_pid`.
fn ask(file: &Executable, actor: &Actor, root_pid: Option<u32>) -> Result<Sum, Unavailable> {
    let config = HashConfig { max_bytes: 64 << 20 };
    let mut hasher = Hasher::start(config).unwrap();
    let asker = Asker {
        process: actor.process,
        cgroup: actor.cgroup,
        root_pid,
        wall_ns: u64::MAX,
    };
    match hasher.ask(file, Role::Program, asker, || ()) {
        Hash::Known(sum) => Ok(sum),
        Hash::Unavailable(why) => Err(why),
        Hash::Pending => {
            wait_until("the hash", LIMIT, || Ok(hasher.answers().pop()))
                .unwrap()
                .result
        }
    }
}

/// A shell that waits in a mount namespace of its own, and a program that it started there.
struct Room {
    shell: Child,
    program: u32,
}

impl Room {
    /// `None` where `mount` cannot be done here.
    fn start(watch: &mut Watch, mount: &str, program: &Path) -> Option<(Self, Executable, Actor)> {
        let script = format!(
            "{mount} || exit 99; {} 60 & read line; kill $!",
            program.display()
        );
        let mut shell = Command::new("unshare")
            .args(["--mount", "/bin/sh", "-c", &script])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let path = program.display().to_string();
        let found = wait_until("the program or its failure", LIMIT, || {
            if shell.try_wait()?.is_some() {
                return Ok(Some(None));
            }
            watch.drain();
            let mut seen = watch.seen.iter();
            let exec = seen.find_map(|seen| match &seen.act {
                Act::Exec(exec) if exec.program.path.bytes == path.as_bytes() => {
                    Some((exec.program.clone(), seen.actor.clone()))
                }
                _ => None,
            });
            Ok(exec.map(Some))
        })
        .unwrap();
        let Some((file, actor)) = found else {
            skipped("kernel", &format!("`{mount}` cannot be done here"));
            return None;
        };
        let program = actor.process.pid;
        Some((Self { shell, program }, file, actor))
    }

    /// Ends the program, not the shell.
    fn end_program(&self) {
        let pid = i32::try_from(self.program).unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        let exe = format!("/proc/{}/exe", self.program);
        wait_until("the program's end", LIMIT, || {
            Ok(fs::read_link(&exe).is_err().then_some(()))
        })
        .unwrap();
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.shell.kill().unwrap();
        self.shell.wait().unwrap();
    }
}

/// Folders for an overlay, and the command that mounts it.
fn overlay(lower: &Path, upper: &Path) -> (String, std::path::PathBuf) {
    let folder = |below: &Path, name: &str| {
        let path = below.join(name);
        fs::create_dir(&path).unwrap();
        path
    };
    let (image, changes) = (folder(lower, "image"), folder(upper, "changes"));
    let (work, merged) = (folder(upper, "work"), folder(upper, "merged"));
    fs::copy("/bin/busybox", image.join("sleep")).unwrap();
    let mount = format!(
        "mount -t overlay -o lowerdir={},upperdir={},workdir={} overlay {merged}",
        image.display(),
        changes.display(),
        work.display(),
        merged = merged.display()
    );
    (mount, merged)
}

#[test]
fn files_of_an_overlay_are_hashed_whether_the_process_is_there_or_not() {
    let Some(mut watch) = Watch::only(&["exec"]) else {
        return;
    };
    if !Path::new("/bin/busybox").exists() {
        skipped("kernel", "no statically linked /bin/busybox to run in an overlay");
        return;
    }
    let expected = sha256_of(Path::new("/bin/busybox")).unwrap();
    let memory = || tempfile::tempdir_in("/dev/shm").unwrap();
    let (disk, one, other) = (tempfile::tempdir().unwrap(), memory(), memory());
    // Before Linux 5.14 nothing tells a file's own number where stat(2) tells another one.
    let tells_numbers = fs::read_to_string("/proc/self/fdinfo/0")
        .unwrap()
        .contains("ino:");
    // Layers on one file system, and on two, where stat(2) tells other numbers than the kernel's inode has.
    for (lower, upper, is_told) in [(&one, &one, true), (&disk, &other, tells_numbers)] {
        let (mount, merged) = overlay(lower.path(), upper.path());
        for change in [
            "",
            &format!(
                " && touch -a -c {0} && chmod 700 {0}",
                merged.join("sleep").display()
            ),
        ] {
            let Some((room, file, actor)) =
                Room::start(&mut watch, &format!("{mount}{change}"), &merged.join("sleep"))
            else {
                return;
            };
            let wanted = if is_told {
                Ok(expected.clone())
            } else {
                Err(Unavailable::Ambiguous)
            };
            let found = |shell| ask(&file, &actor, shell).map(|sum| sum.to_string());
            assert_eq!(found(None), wanted, "{file:?}");
            let shell = Some(room.shell.id());
            room.end_program();
            assert_eq!(found(shell), wanted, "{file:?}");
            assert_eq!(ask(&file, &actor, None), Err(Unavailable::Gone));
            watch.seen.clear();
        }
    }
}

#[test]
fn memory_without_a_name_is_hashed_while_it_runs() {
    let Some(mut watch) = Watch::only(&["exec"]) else {
        return;
    };
    let expected = sha256_of(Path::new("/bin/sleep")).unwrap();
    let memory = rustix::fs::memfd_create("hidden", rustix::fs::MemfdFlags::empty()).unwrap();
    fs::File::from(memory.try_clone().unwrap())
        .write_all(&fs::read("/bin/sleep").unwrap())
        .unwrap();
    let path = format!("/proc/self/fd/{}", memory.as_raw_fd());
    let mut child = Command::new(path).arg("60").spawn().unwrap();
    let pid = child.id();
    let (seen, exec) = watch.exec("exec of the memfd", |seen, _| seen.actor.process.pid == pid);
    let hash = ask(&exec.program, &seen.actor, None);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(hash.unwrap().to_string(), expected, "{exec:?}");
}
