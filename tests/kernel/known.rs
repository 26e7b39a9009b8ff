//! What is known is recognised in the kernel and counted; what only looks like it is reported.

use crate::watch::{Group, Watch, directory, scope};
use norma_abi::{KIND_OPEN, SCOPE_ANY, SCOPE_RECOGNISE};
use norma_agent::observation::{Act, Observation, Open};
use norma_agent::sensor::{Controls, KnownPlace, KnownTable};
use norma_rig::skip::skipped;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

/// A shell in a control group that does what it is told.
struct Actor {
    shell: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Actor {
    fn start(group: &Group, command: &str) -> Self {
        let mut shell = group
            .shell(&format!("exec {command}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let orders = shell.stdin.take().unwrap();
        let answers = BufReader::new(shell.stdout.take().unwrap());
        Self {
            shell,
            orders,
            answers,
        }
    }

    /// Has it done, and waits until it is; whether it went well.
    fn does(&mut self, order: &str) -> bool {
        writeln!(self.orders, "{{ {order}\n}} > /dev/null; echo $?").unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        answer.trim() == "0"
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        self.shell.kill().ok();
        self.shell.wait().ok();
    }
}

/// A control group in which what is known is recognised.
struct Scene {
    actor: Actor,
    watch: Watch,
    table: KnownTable,
    controls: Controls,
    directory: PathBuf,
    _keep: tempfile::TempDir,
    group: Group,
    marks: u32,
}

impl Scene {
    fn start() -> Option<Self> {
        Self::with("bash")
    }

    /// In mount and other namespaces of its own, as a container is.
    fn contained() -> Option<Self> {
        let mut scene = Self::with("unshare -m --propagation private bash")?;
        // One whose mounts were never changed cannot be told from others.
        if !scene.actor.does("mkdir root && mount -t tmpfs none root") {
            skipped("kernel", "mounts are not allowed here");
            return None;
        }
        Some(scene)
    }

    fn with(command: &str) -> Option<Self> {
        let mut watch = Watch::only(&["open"])?;
        let group = Group::make()?;
        let mut controls = watch.controls();
        controls
            .set_scope(group.id(), scope(SCOPE_ANY, SCOPE_RECOGNISE))
            .unwrap();
        let table = watch.sensor.known().unwrap();
        let (keep, directory) = directory();
        let mut actor = Actor::start(&group, command);
        let works = actor.does(&format!("cd {}", directory.display()));
        works.then_some(Self {
            actor,
            watch,
            table,
            controls,
            directory,
            _keep: keep,
            group,
            marks: 0,
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn write(&self, name: &str) {
        fs::write(self.path(name), "content").unwrap();
    }

    fn does(&mut self, order: &str) {
        assert!(self.actor.does(order), "{order}");
    }

    /// What is reported of the opening of a file while something is done.
    fn reports(&mut self, path: &Path, order: &str) -> Option<(Observation, Open)> {
        self.watch.drain();
        self.watch.seen.clear();
        self.does(order);
        // The records of one processor after the other come in the order of time.
        self.marks += 1;
        let mark = format!("mark-{}", self.marks);
        self.does(&format!("> {mark}"));
        let mark = self.path(&mark);
        self.watch.open(&mark);
        let group = self.group.id();
        self.watch.seen.iter().find_map(|seen| match &seen.act {
            Act::Open(open)
                if open.path.bytes == path.as_os_str().as_encoded_bytes() && seen.actor.cgroup == group =>
            {
                Some((seen.clone(), open.clone()))
            }
            _ => None,
        })
    }

    /// Does it, and has it recognised from now on.
    fn learns(&mut self, path: &Path, order: &str) -> KnownPlace {
        let (_, open) = self.reports(path, order).unwrap();
        let place = self.table.enter(open.id.unwrap()).unwrap();
        self.is_known(path, order, place);
        place
    }

    fn is_known(&mut self, path: &Path, order: &str, place: KnownPlace) {
        let before = self.table.count(place);
        assert!(self.reports(path, order).is_none(), "{order} is known");
        assert_eq!(self.table.count(place), before + 1, "{order} is counted");
    }

    fn is_news(&mut self, path: &Path, order: &str) {
        assert!(self.reports(path, order).is_some(), "{order} is reported");
    }

    fn recognised(&mut self) -> u64 {
        self.watch.sensor.counters().unwrap().recognised[usize::from(KIND_OPEN)]
    }
}

#[test]
fn what_is_known_is_counted_instead_of_reported() {
    let Some(mut scene) = Scene::start() else { return };
    scene.write("file");
    let file = scene.path("file");
    let place = scene.learns(&file, "cat file");
    let (counted, total) = (scene.table.count(place), scene.recognised());
    for _ in 0..20 {
        scene.is_known(&file, "cat file", place);
    }
    assert_eq!(scene.table.count(place), counted + 20);
    assert_eq!(scene.recognised(), total + 20);
    // Another way to the same name.
    scene.does("ln -s file link; mkdir sub");
    scene.is_known(&file, "cat link", place);
    scene.is_known(&file, "cat sub/../file", place);
    scene.table.clear(place);
    scene.is_news(&file, "cat file");
}

#[test]
fn another_act_on_a_known_file_is_reported() {
    let Some(mut scene) = Scene::start() else { return };
    scene.write("file");
    let file = scene.path("file");
    scene.learns(&file, "cat file");
    scene.is_news(&file, ": >> file");
    scene.is_news(&file, ": <> file");
    scene.is_news(&file, "head -c 1 file");
    let group = Group::make().unwrap();
    scene
        .controls
        .set_scope(group.id(), scope(SCOPE_ANY, SCOPE_RECOGNISE))
        .unwrap();
    scene.watch.seen.clear();
    let status = group
        .shell(&format!("exec cat {}", file.display()))
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    let (observation, _) = scene.watch.open(&file);
    assert_eq!(observation.actor.cgroup, group.id());
}

#[test]
fn a_file_that_is_created_has_no_identity() {
    let Some(mut scene) = Scene::start() else { return };
    let (_, open) = scene.reports(&scene.path("new"), "> new").unwrap();
    assert!(open.created);
    assert_eq!(open.id, None);
}

#[test]
fn another_name_of_a_known_file_is_reported() {
    let Some(mut scene) = Scene::start() else { return };
    scene.write("file");
    let file = scene.path("file");
    scene.learns(&file, "cat file");
    scene.does("mv file other");
    scene.is_news(&scene.path("other"), "cat other");
    scene.does("mv other file");
    scene.is_news(&file, "cat file");
    scene.learns(&file, "cat file");
    scene.does("ln file link");
    scene.is_news(&scene.path("link"), "cat link");
}

#[test]
fn another_name_of_any_directory_above_is_reported() {
    let Some(mut scene) = Scene::start() else { return };
    fs::create_dir_all(scene.path("a/b/c")).unwrap();
    scene.write("a/b/c/file");
    for directory in ["a", "a/b", "a/b/c"] {
        let file = scene.path("a/b/c/file");
        scene.learns(&file, "cat a/b/c/file");
        scene.does(&format!("mv {directory} moved"));
        let rest = "a/b/c/file".strip_prefix(directory).unwrap();
        let name = format!("moved{rest}");
        scene.is_news(&scene.path(&name), &format!("cat {name}"));
        scene.does(&format!("mv moved {directory}"));
    }
}

#[test]
fn another_file_of_a_known_name_is_reported() {
    let Some(mut scene) = Scene::start() else { return };
    scene.write("file");
    let file = scene.path("file");
    scene.learns(&file, "cat file");
    // Several times, so that the number comes back where the filesystem gives it away again.
    for _ in 0..5 {
        scene.does("rm file; echo other > file");
        scene.is_news(&file, "cat file");
        scene.learns(&file, "cat file");
    }
    scene.does("echo more > new; mv new file");
    scene.is_news(&file, "cat file");
    scene.learns(&file, "cat file");
    scene.write("secret");
    scene.does("ln -f secret file");
    scene.is_news(&file, "cat file");
    let gone = scene.path("file");
    scene.does("exec 5< file; rm file");
    let fd = format!("cat /proc/{}/fd/5", scene.actor.shell.id());
    let (_, open) = scene.reports(&gone, &fd).unwrap();
    assert!(open.path.deleted && open.id.is_none(), "{open:?}");
}

#[test]
fn another_program_under_a_known_name_is_reported() {
    let Some(mut scene) = Scene::start() else { return };
    scene.write("file");
    let file = scene.path("file");
    scene.does("cp $(command -v cat) tool");
    scene.learns(&file, "./tool file");
    scene.is_news(&file, "cat file");
    scene.does("cp tool new; mv new tool");
    scene.is_news(&file, "./tool file");
    scene.learns(&file, "./tool file");
    // In place: the same file with another content.
    scene.does("cat $(command -v head) > tool");
    scene.is_news(&file, "./tool file");
    scene.learns(&file, "./tool file");
    scene.does("mv tool renamed");
    scene.is_news(&file, "./renamed file");
}

#[test]
fn a_file_reached_through_another_mount_is_reported() {
    let Some(mut scene) = Scene::contained() else {
        return;
    };
    fs::create_dir_all(scene.path("volume/data")).unwrap();
    for name in ["bound", "tmp"] {
        fs::create_dir(scene.path(name)).unwrap();
    }
    scene.write("volume/data/file");
    let file = scene.path("volume/data/file");
    scene.does("mount -t tmpfs none tmp && mkdir tmp/sub && echo x > tmp/sub/file");
    scene.learns(&file, "cat volume/data/file");
    let on_tmpfs = scene.path("tmp/sub/file");
    scene.learns(&on_tmpfs, "cat tmp/sub/file");
    scene.does("mount --bind volume/data bound");
    scene.is_news(&scene.path("bound/file"), "cat bound/file");
    scene.is_news(&file, "cat volume/data/file");
    scene.learns(&scene.path("bound/file"), "cat bound/file");
    // Above a mount, which the kernel does not count as a change of mounts.
    scene.does("mkdir -p above/point && mount --bind volume above/point");
    scene.learns(&scene.path("above/point/data/file"), "cat above/point/data/file");
    scene.does("mv above elsewhere");
    scene.is_news(
        &scene.path("elsewhere/point/data/file"),
        "cat elsewhere/point/data/file",
    );
}

#[test]
fn a_file_that_was_copied_up_is_reported() {
    let Some(mut scene) = Scene::contained() else {
        return;
    };
    for name in ["base", "lower", "upper", "work", "merged"] {
        fs::create_dir(scene.path(name)).unwrap();
    }
    // An overlay cannot lie on another, as the temporary directory may.
    scene.does(
        "mount -t tmpfs none base && mkdir base/lower base/upper base/work && echo x > base/lower/file",
    );
    let overlay = "mount -t overlay none -o lowerdir=base/lower,upperdir=base/upper,workdir=base/work merged";
    if !scene.actor.does(overlay) {
        skipped("kernel", "overlays cannot be mounted here");
        return;
    }
    let file = scene.path("merged/file");
    scene.learns(&file, "cat merged/file");
    scene.does("stat -c %i merged/file > number; chmod 600 merged/file");
    scene.is_news(&file, "cat merged/file");
    // Under the number that it had.
    scene.does("[ $(stat -c %i merged/file) = $(cat number) ]");
    scene.learns(&file, "cat merged/file");
}

#[test]
fn whoever_comes_in_from_outside_is_reported() {
    let Some(mut scene) = Scene::contained() else {
        return;
    };
    scene.write("file");
    let file = scene.path("file");
    scene.learns(&file, "cat file");
    let pid = scene.actor.shell.id().to_string();
    scene.watch.drain();
    scene.watch.seen.clear();
    // As for an exec session: into the control group, then into the namespaces; its children too, when it is gone.
    let script = format!(
        "exec nsenter -t {pid} -m sh -c '(cat {0}; setsid cat {0}) > /dev/null'",
        file.display()
    );
    let status = scene.group.shell(&script).status().unwrap();
    assert!(status.success());
    let mut opens = 0;
    scene.watch.open(&file);
    scene.watch.drain();
    for seen in &scene.watch.seen {
        if let Act::Open(open) = &seen.act
            && open.path.bytes == file.as_os_str().as_encoded_bytes()
        {
            opens += 1;
        }
    }
    assert_eq!(opens, 2);
}

#[test]
fn a_table_that_is_full_says_so_and_loses_nothing() {
    let Some(mut watch) = Watch::only(&["open"]) else {
        return;
    };
    let mut table = watch.sensor.known().unwrap();
    let mut placed = 0_usize;
    for number in 1_u64.. {
        let id = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        let Some(id) = std::num::NonZeroU64::new(id) else {
            continue;
        };
        let id = norma_agent::observation::ActId(id);
        let Some(place) = table.enter(id) else { break };
        assert_eq!(table.find(id), Some(place));
        assert_eq!(table.enter(id), Some(place), "once is enough");
        placed += 1;
    }
    assert!(placed > 300_000, "{placed} of {}", table.entries());
}
