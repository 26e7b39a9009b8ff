//! Whole judgements of acts.

use super::*;
use crate::clock::Course;
use crate::identity::{Ancestor, Before, ContainerId, IdentityState, Process, Session, WorkloadName};
use crate::judge::baseline::{Learning, Settings};
use crate::observation::{
    Actor, Exec, Executable, FileId, KernelPath, Namespaces, Observation, Open, ProcessKey,
};
use std::time::Duration;

const SECOND: u64 = 1_000_000_000;
const OVERLAYFS: u32 = 0x794c_7630;

/// A judge of one container, whose first process is `/bin/web`.
struct Bench {
    judge: Judge,
    container: Arc<Container>,
    now: u64,
    _directory: tempfile::TempDir,
}

/// Somebody who acts.
#[derive(Clone)]
struct Who {
    process: Process,
    lineage: usize,
}

fn key(pid: u32) -> ProcessKey {
    ProcessKey {
        pid,
        start: BootTime(u64::from(pid)),
    }
}

/// The container's first process.
fn web() -> Who {
    Who {
        process: Process::for_tests(key(10), "/bin/web", Session::Own),
        lineage: 0,
    }
}

/// Somebody in a session that began with this command line.
fn session(pid: u32, argv: &[&str]) -> Who {
    let mut process = Process::for_tests(key(pid), argv[0], Session::Exec);
    process.argv = argv.iter().map(|word| (*word).to_owned()).collect();
    Who { process, lineage: 0 }
}

impl Who {
    /// A child with this executable.
    fn child(&self, pid: u32, exe: &str) -> Self {
        let parent = Ancestor::for_tests(self.process.key, &self.process.exe);
        let mut process = Process::for_tests(key(pid), exe, self.process.session);
        process.ancestors = std::iter::once(parent)
            .chain(self.process.ancestors.iter().cloned())
            .collect();
        Self {
            process,
            lineage: self.lineage + 1,
        }
    }
}

fn settings(window: Duration) -> Settings {
    Settings {
        node: "node".to_owned(),
        learning: Learning::Window(window),
        release_after: Some(Duration::from_secs(3600)),
        ..Settings::default()
    }
}

fn path(text: &str) -> KernelPath {
    KernelPath {
        bytes: text.as_bytes().to_vec(),
        ..KernelPath::default()
    }
}

impl Bench {
    /// The web server has read `/srv/page` and started `/bin/cat`; it is learned where `ready`.
    fn new(ready: bool) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let window = Duration::from_secs(if ready { 1 } else { 1_000_000 });
        let baselines = Baselines::open(directory.path(), settings(window)).unwrap();
        let mut this = Self {
            judge: Judge::new(PolicySet::default(), baselines, Sensitive::default()),
            container: container(1),
            now: SECOND,
            _directory: directory,
        };
        this.read(&web(), "/srv/page");
        this.exec(&web().child(11, "/bin/cat"), Some("/bin/web"));
        for _ in 0..3 {
            this.now += SECOND;
            let running = [Arc::clone(&this.container)];
            this.judge.tick(&running, BootTime(this.now), WallClock::read());
        }
        this
    }

    /// One that learns as agents do where nothing is configured, in a container of which all is seen.
    fn by_evidence() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let settings = Settings {
            learning: Learning::default(),
            // One real second for an hour.
            course: Course::new(WallClock::new(0), BootTime(0), 3_600),
            ..settings(Duration::ZERO)
        };
        let baselines = Baselines::open(directory.path(), settings).unwrap();
        let mut this = Self {
            judge: Judge::new(PolicySet::default(), baselines, Sensitive::default()),
            container: container(1),
            now: SECOND,
            _directory: directory,
        };
        this.run_for(600, &["/srv/page"]);
        this
    }

    /// Lets so many seconds of the course pass, in each quarter of an hour of which the web server reads these files,
    /// and starts a program that it never started before.
    fn run_for(&mut self, seconds: u64, files: &[&str]) {
        let running = [Arc::clone(&self.container)];
        for _ in 0..seconds.div_ceil(900) {
            for file in files {
                self.read(&web(), file);
            }
            let new = format!("/bin/new-{}", self.now);
            self.exec(&web().child(15, &new), Some("/bin/web"));
            self.now += SECOND / 4;
            self.judge.tick(&running, BootTime(self.now), WallClock::new(0));
        }
    }

    fn see(&mut self, who: &Who, exec_by: Option<Before>, act: Act) -> Judgement {
        self.now += 1;
        let observation = Observation {
            cpu: 0,
            seq: 1,
            at: BootTime(self.now),
            actor: Actor {
                process: who.process.key,
                parent: key(1),
                tid: who.process.key.pid,
                uid: 0,
                gid: 0,
                euid: 0,
                cgroup: self.container.cgroup,
                namespaces: Namespaces::default(),
                comm: arrayvec::ArrayVec::new(),
            },
            act,
        };
        self.judge.judge(&Identified {
            observation,
            process: Arc::new(who.process.clone()),
            exec_by,
            place: Place::Workload(Arc::clone(&self.container)),
            target_exe: None,
            target_container: None,
            lineage: who.lineage,
            unit: None,
        })
    }

    fn open(&mut self, who: &Who, name: &str, write: bool) -> Judgement {
        let open = Open {
            path: path(name),
            file: FileId { dev: 1, inode: 1 },
            id: None,
            mode: 0,
            flags: 0,
            read: !write,
            write,
            created: write,
        };
        self.see(who, None, Act::Open(open))
    }

    fn read(&mut self, who: &Who, name: &str) -> Judgement {
        self.open(who, name, false)
    }

    fn exec_from(&mut self, who: &Who, by: Option<&str>, upper: bool) -> Judgement {
        let before = by.map_or(
            Before {
                exe: Arc::from("/usr/bin/runc"),
                outside: true,
            },
            |by| Before {
                exe: Arc::from(by),
                outside: false,
            },
        );
        let exec = Exec {
            program: Executable {
                path: path(&who.process.exe),
                magic: OVERLAYFS,
                links: 1,
                on_root: true,
                upper,
                ..Executable::default()
            },
            ..Exec::default()
        };
        self.see(who, Some(before), Act::Exec(exec))
    }

    fn exec(&mut self, who: &Who, by: Option<&str>) -> Judgement {
        self.exec_from(who, by, false)
    }
}

fn container(cgroup: u64) -> Arc<Container> {
    Arc::new(Container {
        id: ContainerId(format!("c{cgroup}")),
        name: "c".into(),
        runtime: "runc".into(),
        image: String::new(),
        image_digest: "sha256:1".into(),
        workload: WorkloadName("shop/Deployment/web/app".into()),
        pod: String::new(),
        namespace: String::new(),
        cgroup: CgroupId(cgroup),
        cgroup_path: "/c".into(),
        state: IdentityState::Known,
        init_pid: 10,
        described: None,
        start_seen: true,
    })
}

fn severity(judgement: &Judgement) -> Severity {
    Severity::try_from(judgement.verdict.severity).unwrap()
}

#[test]
fn a_finding_says_what_it_is_how_unusual_what_was_normal_and_what_to_look_at() {
    let mut bench = Bench::new(true);
    let judgement = bench.exec(&web().child(20, "/bin/bash"), Some("/bin/web"));
    assert_eq!(judgement.code(), "drift.shell-or-interpreter");
    let verdict = &judgement.verdict;
    let names: Vec<&str> = verdict.terms.iter().map(|term| term.name.as_str()).collect();
    assert_eq!(names, ["novelty", "fleet", "replicas", "image"]);
    assert!(verdict.terms.iter().all(|term| !term.words.is_empty()));
    let reason = &verdict.reasons[0];
    assert!(
        reason.expected.contains("/bin/web only started /bin/cat"),
        "{reason:?}"
    );
    assert!(!reason.next.is_empty() && !reason.why.is_empty());
    assert!(reason.controls.iter().any(|control| control.contains("T1059")));
    assert!(severity(&judgement) >= Severity::High);
}

#[test]
fn what_no_container_may_do_is_a_finding_while_it_is_learned_and_stays_one() {
    let mut bench = Bench::new(false);
    assert!(
        !bench
            .exec(&web().child(20, "/bin/new"), Some("/bin/web"))
            .is_alert()
    );
    let dropped = web().child(21, "/tmp/dropped");
    for _ in 0..2 {
        let judgement = bench.exec_from(&dropped, Some("/bin/web"), true);
        assert_eq!(judgement.code(), "drift.executable-not-in-image");
        assert_eq!(judgement.verdict.kind, VerdictKind::Violation as i32);
    }
    // A program of the image that was changed is known by its name.
    let changed = bench.exec_from(&web().child(22, "/bin/cat"), Some("/bin/web"), true);
    assert_eq!(changed.code(), "drift.executable-not-in-image");
    let mounted = bench.open(&web(), "/proc/sys/kernel/core_pattern", true);
    assert_eq!(mounted.code(), "drift.kernel-escape-file");
}

#[test]
fn what_would_come_back_is_said_the_first_time_while_the_workload_is_learned() {
    let mut bench = Bench::new(false);
    let first = bench.open(&web(), "/etc/cron.d/update", true);
    assert_eq!(first.code(), "drift.persistence");
    assert_eq!(severity(&first), Severity::High);
    assert_eq!(first.verdict.kind, VerdictKind::Novel as i32);
    assert!(!bench.open(&web(), "/etc/cron.d/update", true).is_alert());
    assert!(!bench.open(&web(), "/srv/page", true).is_alert());
    // A container that is seen to start is still setting itself up.
    bench.container = container(2);
    assert!(!bench.open(&web(), "/etc/cron.d/other", true).is_alert());
}

#[test]
fn a_shell_is_said_while_the_workload_is_learned_once_its_program_was_watched_for_long_enough() {
    let mut bench = Bench::by_evidence();
    let shell = |pid: u32| web().child(pid, "/bin/sh");
    // At the beginning, and of what is there to start others, it says nothing.
    bench.run_for(5 * 3_600, &["/srv/page"]);
    assert!(!bench.exec(&shell(20), Some("/usr/sbin/crond")).is_alert());
    bench.run_for(9 * 3_600, &["/srv/page"]);
    // Not ready: something new every hour keeps all programs from it.
    let judgement = bench.exec(&web().child(21, "/bin/any"), Some("/bin/web"));
    assert_eq!(judgement.verdict.kind, VerdictKind::Learning as i32);
    let judgement = bench.exec(&shell(22), Some("/usr/sbin/cron"));
    assert_eq!(judgement.verdict.kind, VerdictKind::Learning as i32);
    let judgement = bench.exec(&shell(23), Some("/bin/web"));
    assert_eq!(judgement.code(), "drift.shell-or-interpreter");
    assert!(severity(&judgement) >= Severity::Medium, "{judgement:?}");
    // Said once; what is to be expected of it is learned as everything else.
    assert!(!bench.exec(&shell(24), Some("/bin/web")).is_alert());
}

#[test]
fn a_program_that_starts_shells_from_the_beginning_may_do_so() {
    let mut bench = Bench::by_evidence();
    bench.exec(&web().child(20, "/bin/sh"), Some("/bin/web"));
    bench.run_for(14 * 3_600, &["/srv/page"]);
    let other = web().child(21, "/usr/bin/python3");
    assert!(!bench.exec(&other, Some("/bin/web")).is_alert());
}

#[test]
fn what_a_new_revision_does_differently_is_put_together_but_for_what_is_grave() {
    let mut bench = Bench::new(true);
    let first = Arc::clone(&bench.container);
    let mut next = Container::clone(&container(2));
    next.image_digest = "sha256:2".into();
    bench.container = Arc::new(next);
    let read = bench.read(&web(), "/srv/new");
    assert_eq!(read.code(), "drift.new-read");
    assert!(!read.is_alert() && !read.verdict.behaviour_id.is_empty());
    assert!(read.verdict.reasons[0].next.contains("release delta"));
    assert!(
        bench
            .exec(&web().child(20, "/bin/bash"), Some("/bin/web"))
            .is_alert()
    );
    assert!(bench.open(&web(), "/etc/cron.d/update", true).is_alert());
    assert!(bench.read(&session(30, &["/bin/sh"]), "/srv/other").is_alert());
    // The first revision is none.
    bench.container = first;
    assert!(bench.read(&web(), "/srv/new").is_alert());
}

#[test]
fn what_the_workload_may_read_a_session_may_not() {
    let mut bench = Bench::new(false);
    let own = web().child(20, "/bin/cat");
    assert!(!bench.read(&own, "/etc/shadow").is_alert(), "it is learned");
    let shell = session(30, &["/bin/cat", "/etc/shadow"]);
    let judgement = bench.read(&shell, "/etc/shadow");
    assert_eq!(judgement.code(), "drift.credentials-read-in-session");
    assert!(severity(&judgement) >= Severity::High);
}

#[test]
fn what_a_session_did_while_the_workload_was_learned_is_new_afterwards() {
    let mut bench = Bench::new(false);
    let shell = session(30, &["/bin/sh"]);
    assert!(!bench.read(&shell, "/srv/secret").is_alert());
    let running = [Arc::clone(&bench.container)];
    // Learned from here on, by another judge of the same baselines.
    let directory = bench._directory.path().to_owned();
    bench.judge.baselines().save();
    let baselines = Baselines::open(&directory, settings(Duration::from_secs(1))).unwrap();
    bench.judge = Judge::new(PolicySet::default(), baselines, Sensitive::default());
    for _ in 0..3 {
        bench.now += SECOND;
        bench.judge.tick(&running, BootTime(bench.now), WallClock::read());
    }
    assert!(bench.read(&shell, "/srv/secret").is_alert());
}

#[test]
fn the_acts_of_one_session_are_one_incident_and_another_containers_are_not() {
    let mut bench = Bench::new(true);
    let shell = session(30, &["/bin/sh"]);
    let first = bench.exec(&shell, None);
    assert_eq!(first.code(), "drift.session-program");
    let deep = shell.child(31, "/bin/bash").child(32, "/bin/id");
    let second = bench.exec(&deep, Some("/bin/bash"));
    let own = bench.exec(&web().child(40, "/bin/nc"), Some("/bin/web"));
    bench.container = container(2);
    let elsewhere = bench.exec(&shell, None);
    let incident = |judgement: &Judgement| judgement.incident.clone().unwrap();
    assert_eq!(incident(&second).id, incident(&first).id);
    assert_eq!(incident(&second).findings, 2);
    assert_eq!(
        incident(&second).kinds,
        ["drift.session-program", "drift.unknown-executable"]
    );
    assert_ne!(incident(&own).id, incident(&first).id);
    assert_ne!(incident(&elsewhere).id, incident(&first).id);
}

#[test]
fn a_flood_of_made_up_names_hides_nothing_that_comes_after_it() {
    let mut bench = Bench::new(true);
    let bash = web().child(20, "/bin/bash");
    let (mut alerts, mut signs) = (0, 0);
    for number in 0..5_000 {
        let judgement = bench.open(&bash, &format!("/tmp/{number}"), true);
        assert_eq!(judgement.news, News::Yes, "each name is in the log");
        alerts += u32::from(judgement.is_alert());
        signs += u32::from(judgement.code() == "drift.burst");
    }
    assert!(alerts < 60, "{alerts} alerts");
    assert_eq!(signs, 4);
    let other = bench.read(&bash, "/data/customers");
    assert!(other.is_alert() && other.news == News::Yes, "{other:?}");
    let other = bench.open(&bash, "/data/x", true);
    assert!(
        other.is_alert() && other.news == News::Yes,
        "another directory: {other:?}"
    );
    let grave = bench.open(&bash, "/usr/bin/x", true);
    assert!(severity(&grave) >= Severity::High && grave.news == News::Yes);
    assert_eq!(grave.incident.unwrap().findings, 5_003);
}

#[test]
fn the_same_act_of_somebody_else_is_raised_again() {
    let mut bench = Bench::new(true);
    let administrator = session(30, &["/bin/sh"]).child(31, "/bin/cat");
    let own = web().child(20, "/bin/bash").child(21, "/bin/cat");
    assert_eq!(bench.read(&administrator, "/srv/x").news, News::Yes);
    assert_eq!(bench.read(&administrator, "/srv/x").news, News::RepeatedAlert);
    let other = bench.read(&own, "/srv/x");
    assert_eq!(other.news, News::Yes, "not hidden behind the administrator's");
    let again = bench.read(&own, "/srv/x");
    assert_eq!(again.news, News::RepeatedAlert);
    assert_eq!(again.incident.unwrap().repeated, 1);
}

#[test]
fn a_probe_is_expected_to_do_what_it_always_did_and_nothing_else() {
    let mut bench = Bench::new(true);
    for number in 0..9 {
        bench.now += 10 * SECOND;
        let probe = session(100 + number, &["/bin/check", "health"]);
        let started = bench.exec(&probe, None);
        let keys = bench.read(&probe, "/etc/shadow");
        assert_eq!(
            keys.code(),
            "drift.credentials-read-in-session",
            "never a probe's"
        );
        if number < 6 {
            assert!(started.is_alert() && !started.of_probe, "{number}");
        } else {
            assert!(started.of_probe && !started.is_alert(), "{number}: {started:?}");
            assert!(bench.read(&probe, "/srv/other").is_alert());
        }
    }
}

#[test]
fn a_tunnel_through_dns_is_found_before_anything_is_learned() {
    let mut bench = Bench::new(false);
    let mut found = Vec::new();
    for number in 0..200u64 {
        let label = format!(
            "{:032x}",
            u128::from(number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c834)
        );
        let message = crate::observation::DnsMessage {
            name: format!("{label}.evil.test"),
            ..crate::observation::DnsMessage::default()
        };
        let dns = crate::observation::Dns {
            sent: true,
            protocol: crate::observation::Protocol::Udp,
            remote: "10.0.0.53:53".parse().unwrap(),
            local_port: 4000,
            total_len: 80,
            cookie: 1,
            cut: false,
            message: Ok(message),
        };
        let judgement = bench.see(&web(), None, Act::Dns(Box::new(dns)));
        if judgement.is_alert() {
            found.push((number, judgement));
        }
    }
    let [(number, judgement)] = &found[..] else {
        panic!("{found:?}")
    };
    assert!((49..60).contains(number), "after {number} names");
    assert_eq!(judgement.code(), "drift.dns-tunnel");
    assert!(severity(judgement) >= Severity::High);
    assert!(judgement.verdict.reasons[0].expected.contains("evil.test"));
}
