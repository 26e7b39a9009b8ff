use super::super::cgroups::Hierarchy;
use super::super::system::{Program, Programs, Running, Seen};
use super::*;
use crate::observation::{Exec, Executable, Exit, KernelPath, Namespaces};

const HOST: CgroupId = CgroupId(1);
const CONTAINER: CgroupId = CgroupId(7);

fn table() -> Processes {
    Processes {
        system: Arc::new(Running::new(
            Hierarchy("/nowhere".into()),
            &[],
            &Default::default(),
            Default::default(),
        )),
        by_pid: HashMap::new(),
        inits: HashMap::new(),
        host_mnt_ns: 1,
        host_pid_ns: 2,
        last_expiry: BootTime(0),
    }
}

fn update(table: &mut Processes, observation: &Observation) -> (Arc<Process>, Option<Before>) {
    table.update(observation, |cgroup| cgroup == HOST, |_| None)
}

fn key(pid: u32, start: u64) -> ProcessKey {
    ProcessKey {
        pid,
        start: BootTime(start),
    }
}

fn observe(process: ProcessKey, parent: ProcessKey, cgroup: CgroupId, mnt: u32, act: Act) -> Observation {
    Observation {
        cpu: 0,
        seq: 1,
        at: BootTime(1_000_000_000),
        actor: Actor {
            process,
            parent,
            tid: process.pid,
            uid: 0,
            gid: 0,
            euid: 0,
            cgroup,
            namespaces: Namespaces {
                mnt,
                pid: 9,
                net: 0,
                user: 0,
            },
            comm: b"x".iter().copied().collect(),
        },
        act,
    }
}

fn exec(path: &str) -> Act {
    Act::Exec(Exec {
        program: Executable {
            path: KernelPath {
                bytes: path.into(),
                ..KernelPath::default()
            },
            ..Executable::default()
        },
        argv: vec![path.into()],
        ..Exec::default()
    })
}

// Pids far above any pid_max, so that /proc says nothing about them.
const A: u32 = 4_000_000_001;
const B: u32 = 4_000_000_002;

#[test]
fn a_forked_child_inherits_and_an_exec_names_what_ran_before() {
    let mut table = table();
    let nobody = key(0, 0);
    update(
        &mut table,
        &observe(key(A, 5), nobody, CONTAINER, 3, exec("/bin/bash")),
    );
    update(
        &mut table,
        &observe(key(A, 5), nobody, CONTAINER, 3, Act::Fork(key(B, 6))),
    );
    let (process, before) = update(
        &mut table,
        &observe(key(B, 6), key(A, 5), CONTAINER, 3, exec("/bin/cat")),
    );
    assert_eq!(before.as_ref().map(|before| &*before.exe), Some("/bin/bash"));
    assert_eq!(&*process.exe, "/bin/cat");
    assert_eq!(
        process.ancestors.iter().map(|a| &*a.exe).collect::<Vec<_>>(),
        ["/bin/bash"]
    );
}

#[test]
fn a_reused_pid_is_another_process() {
    let mut table = table();
    update(
        &mut table,
        &observe(key(A, 5), key(0, 0), CONTAINER, 3, exec("/bin/bash")),
    );
    let later = observe(
        key(A, 900_000_000),
        key(0, 0),
        CONTAINER,
        3,
        Act::Exit(Exit::default()),
    );
    assert_eq!(&*update(&mut table, &later).0.exe, "");
}

#[test]
fn a_program_executed_on_the_host_is_from_outside_until_it_executes_another() {
    for (cgroup, mnt) in [(HOST, 5), (CONTAINER, 1)] {
        let mut table = table();
        let (runtime, _) = update(
            &mut table,
            &observe(key(A, 5), key(0, 0), cgroup, mnt, exec("/usr/sbin/runc")),
        );
        assert!(table.started_outside(&runtime, |cgroup| cgroup == HOST));
        let (program, _) = update(
            &mut table,
            &observe(key(A, 5), key(0, 0), CONTAINER, 3, exec("/bin/bash")),
        );
        assert!(!table.started_outside(&program, |cgroup| cgroup == HOST));
    }
}

#[test]
fn a_runtime_in_a_namespace_of_its_own_is_told_by_its_ancestor_on_the_host() {
    let mut table = table();
    let is_host = |cgroup| cgroup == HOST;
    update(
        &mut table,
        &observe(key(A, 5), key(0, 0), HOST, 9, exec("/usr/sbin/runc")),
    );
    update(
        &mut table,
        &observe(key(A, 5), key(0, 0), HOST, 9, Act::Fork(key(B, 6))),
    );
    let (again, _) = update(
        &mut table,
        &observe(key(B, 6), key(A, 5), CONTAINER, 9, exec("/runc")),
    );
    assert!(table.started_outside(&again, is_host));
    let (unshared, _) = update(
        &mut table,
        &observe(key(B, 6), key(A, 5), CONTAINER, 4, exec("/bin/sh")),
    );
    assert!(
        !table.started_outside(&unshared, is_host),
        "a namespace that a container made is its own"
    );
}

const SHIM: u32 = 4_000_000_010;
const INIT: u32 = 4_000_000_011;
const RUNC: u32 = 4_000_000_012;
const SHELL: u32 = 4_000_000_013;
const CHILD: u32 = 4_000_000_014;
const GRANDCHILD: u32 = 4_000_000_015;

/// Has the runtime start a program in the container, by way of a process of its own.
fn inject(table: &mut Processes, pid: u32, program: &str) -> Arc<Process> {
    let (shim, process) = (key(SHIM, 5), key(pid, 9));
    update(table, &observe(shim, key(0, 0), HOST, 1, exec("/usr/bin/shim")));
    update(table, &observe(shim, key(0, 0), HOST, 1, Act::Fork(process)));
    // runc executes itself once it is in the control group, still in the host's mount namespace.
    update(
        table,
        &observe(process, shim, CONTAINER, 1, exec("/usr/bin/runc")),
    );
    update(table, &observe(process, shim, CONTAINER, 3, exec(program))).0
}

#[test]
fn a_session_is_marked_with_everything_that_it_starts() {
    let mut table = table();
    assert_eq!(inject(&mut table, INIT, "/bin/web").session, Session::Own);
    assert_eq!(inject(&mut table, SHELL, "/bin/bash").session, Session::Exec);
    let shell = key(SHELL, 9);
    let fork = |from: ProcessKey, to: ProcessKey| observe(from, key(0, 0), CONTAINER, 3, Act::Fork(to));
    update(&mut table, &fork(shell, key(CHILD, 20)));
    update(&mut table, &fork(key(CHILD, 20), key(GRANDCHILD, 21)));
    for gone in [shell, key(CHILD, 20)] {
        update(
            &mut table,
            &observe(gone, key(0, 0), CONTAINER, 3, Act::Exit(Exit::default())),
        );
    }
    // Its parents are gone: the kernel gave it to the container's first process.
    let orphan = observe(key(GRANDCHILD, 21), key(INIT, 9), CONTAINER, 3, exec("/bin/x"));
    assert_eq!(update(&mut table, &orphan).0.session, Session::Exec);
    // In another control group of the same container, too.
    let moved = observe(key(GRANDCHILD, 21), key(INIT, 9), CgroupId(8), 3, exec("/bin/y"));
    let moved = update(&mut table, &moved).0;
    assert_eq!(moved.session, Session::Exec);
    assert_eq!(moved.ancestors.len(), 3, "the lineage goes with it");

    let own = observe(key(INIT, 9), key(SHIM, 5), CONTAINER, 3, exec("/bin/web2"));
    assert_eq!(update(&mut table, &own).0.session, Session::Own);
}

#[test]
fn the_first_process_is_the_one_that_the_runtime_names() {
    let mut table = table();
    inject(&mut table, RUNC, "/bin/hook");
    assert_eq!(inject(&mut table, INIT, "/bin/web").session, Session::Exec);
    let fork = observe(key(INIT, 9), key(0, 0), CONTAINER, 3, Act::Fork(key(CHILD, 20)));
    update(&mut table, &fork);
    table.confirm_init(CONTAINER, INIT);
    for pid in [INIT, CHILD] {
        assert_eq!(table.by_pid[&pid].process.session, Session::Own);
    }
    assert_eq!(inject(&mut table, SHELL, "/bin/sh").session, Session::Exec);
    // Where it was named before anything came in.
    let named = observe(key(A, 9), key(SHIM, 5), CgroupId(9), 1, exec("/usr/bin/runc"));
    table.update(&named, |cgroup| cgroup == HOST, |_| Some(B));
    let named = observe(key(A, 9), key(SHIM, 5), CgroupId(9), 3, exec("/bin/sh"));
    let (shell, _) = table.update(&named, |cgroup| cgroup == HOST, |_| Some(B));
    assert_eq!(shell.session, Session::Exec);
}

/// Reads of processes that are there, between two moments.
fn read_as(pid: u32, start: u64, at: u64, exe: &str, argv: &[&str]) -> Program {
    Program {
        pid,
        start_ticks: start / TICK_NS,
        cgroup: CONTAINER,
        at: BootTime(at),
        seen: Seen {
            exe: exe.to_owned(),
            argv: argv.iter().map(|argument| (*argument).to_owned()).collect(),
            mnt_ns: 3,
            pid_ns: 9,
        },
    }
}

#[test]
fn a_program_is_taken_from_proc_where_no_record_of_its_exec_came() {
    let ran = || {
        let mut table = table();
        let act = observe(key(A, 5), key(0, 0), CONTAINER, 3, exec("/bin/bash"));
        let told = act.at.0;
        update(&mut table, &act);
        (table, told)
    };
    let (mut table, told) = ran();
    let corrected = table
        .correct(&read_as(A, 5, told + 1, "/bin/cat", &["cat", "x"]))
        .unwrap();
    assert_eq!(corrected.told, BootTime(told));
    let after = Act::Exit(Exit::default());
    let (process, _) = update(&mut table, &observe(key(A, 5), key(0, 0), CONTAINER, 3, after));
    assert_eq!((&*process.exe, process.from_proc), ("/bin/cat", true));
    assert_eq!(*process.argv, ["cat".to_owned(), "x".to_owned()]);
    assert_eq!(process.key, key(A, 5), "as exact as it was known");
    assert!(
        table
            .correct(&read_as(A, 5, told + 2, "/bin/cat", &["cat", "x"]))
            .is_none(),
        "once"
    );

    for (what, read) in [
        (
            "the record of an exec is newer",
            read_as(A, 5, told - 1, "/bin/cat", &["cat"]),
        ),
        (
            "another process has its id",
            read_as(A, 900_000_000, told + 1, "/bin/cat", &["cat"]),
        ),
        ("it is ending", read_as(A, 5, told + 1, "", &[])),
        (
            "it is as it was told",
            read_as(A, 5, told + 1, "/bin/bash", &["/bin/bash"]),
        ),
        (
            "more of its arguments is read than was told",
            read_as(A, 5, told + 1, "/bin/bash", &["/bin/bash", "-c"]),
        ),
        ("nobody knows it", read_as(B, 5, told + 1, "/bin/cat", &["cat"])),
    ] {
        assert!(ran().0.correct(&read).is_none(), "{what}");
    }
}

#[test]
fn a_process_whose_exit_was_lost_is_forgotten_and_one_that_began_since_is_not() {
    let mut table = table();
    let act = observe(key(A, 5), key(0, 0), CONTAINER, 3, exec("/bin/bash"));
    update(&mut table, &act);
    assert_eq!(table.living_in(&[CONTAINER]), [A]);
    let nothing = |from| Programs {
        from: BootTime(from),
        until: BootTime(from + 1),
        all: Vec::new(),
    };
    table.missed(&[A], &nothing(act.at.0 - 1));
    assert_eq!(table.living_in(&[CONTAINER]), [A], "it began after the reading");
    table.missed(&[A], &nothing(act.at.0 + 1));
    assert!(table.living_in(&[CONTAINER]).is_empty());
}
