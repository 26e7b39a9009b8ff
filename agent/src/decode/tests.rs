use super::*;
use norma_abi::{FLAG_FILE_DELETED, FLAG_PATH_DISCONNECTED, FLAG_PATH_TRUNCATED};
use proptest::prelude::*;
use zerocopy::IntoBytes as _;

fn header(kind: u16, flags: u32) -> Header {
    let mut comm = [0; 16];
    comm[..4].copy_from_slice(b"curl");
    Header {
        abi: ABI_VERSION,
        kind,
        len: 0,
        cpu: 1,
        flags,
        seq: 7,
        boot_ns: 1_000,
        cgroup_id: 42,
        start_ns: 900,
        parent_start_ns: 800,
        pid: 10,
        tid: 11,
        ppid: 9,
        uid: 1,
        gid: 2,
        euid: 3,
        mnt_ns: 4,
        pid_ns: 5,
        net_ns: 6,
        user_ns: 7,
        comm,
    }
}

/// A record with the right length in its header.
fn record(mut header: Header, parts: &[&[u8]]) -> Vec<u8> {
    let len = size_of::<Header>() + parts.iter().map(|part| part.len()).sum::<usize>();
    header.len = len as u32;
    [&[header.as_bytes()], parts].concat().concat()
}

fn open_record(components: &[&[u8]], flags: u32) -> Vec<u8> {
    let tail: Vec<u8> = components
        .iter()
        .rev()
        .flat_map(|name| [*name, &[0]].concat())
        .collect();
    let body = OpenBody {
        inode: 5,
        dev: 6,
        mode: 0o100_644,
        open_flags: 0,
        file_mode: FMODE_READ | FMODE_CREATED,
        path_len: tail.len() as u32,
        reserved: 0,
        identity: 7,
    };
    record(header(KIND_OPEN, flags), &[body.as_bytes(), &tail])
}

fn opened(record: &[u8]) -> Open {
    match decode(record).unwrap().act {
        Act::Open(open) => open,
        other => panic!("{other:?}"),
    }
}

#[test]
fn paths_are_turned_round() {
    let check = |components: &[&[u8]], flags: u32, expect: &str| {
        let open = opened(&open_record(components, flags));
        assert_eq!(String::from_utf8_lossy(&open.path.bytes), expect);
        assert_eq!(open.path.truncated, flags & FLAG_PATH_TRUNCATED != 0);
        assert_eq!(open.path.disconnected, flags & FLAG_PATH_DISCONNECTED != 0);
        assert_eq!(open.path.deleted, flags & FLAG_FILE_DELETED != 0);
        assert!(open.read && open.created && !open.write);
        assert_eq!(open.id.map(|id| id.0.get()), Some(7));
    };
    check(&[b"etc", b"passwd"], 0, "/etc/passwd");
    check(&[], 0, "/");
    check(&[b"deep", b"file"], FLAG_PATH_TRUNCATED, "…/deep/file");
    check(&[b"memfd:x"], FLAG_PATH_DISCONNECTED, "memfd:x");
    check(&[b"tmp", b"gone"], FLAG_FILE_DELETED, "/tmp/gone");
    check(&[b"a\nb", b"\xff"], 0, "/a\nb/\u{fffd}");
}

const ENVIRONMENT: &[u8] = b"PATH=/bin\0TOKEN=very=secret\0nonsense\0EMPTY=\0CU";

fn exec_record(argv: &[u8], flags: u32, action: u32) -> Vec<u8> {
    let body = ExecBody {
        file: FileFacts {
            inode: 1,
            dev: 2,
            mode: 0o100_755,
            mtime_ns: 3,
            nlink: 4,
            origin: ORIGIN_UPPER,
            ..FileFacts::default()
        },
        script: FileFacts {
            mode: 0o100_700,
            origin: ORIGIN_ROOT_MOUNT,
            ..FileFacts::default()
        },
        action,
        rule: 33,
        path_len: 7,
        filename_len: 4,
        argv_len: argv.len() as u32,
        argv_total: argv.len() as u32,
        environment_len: ENVIRONMENT.len() as u32,
        script_len: 2,
        script_flags: FLAG_FILE_DELETED,
        is_script: 1,
    };
    record(
        header(KIND_EXEC, flags),
        &[body.as_bytes(), b"sh\0bin\0", b"s\0", b"./sh", argv, ENVIRONMENT],
    )
}

#[test]
fn exec_splits_its_arguments() {
    let check = |argv: &[u8], flags: u32, expect: &[&[u8]]| {
        let Act::Exec(exec) = decode(&exec_record(argv, flags, ACTION_KILLED)).unwrap().act else {
            panic!("not an exec")
        };
        assert_eq!(exec.program.path.bytes, b"/bin/sh");
        assert_eq!((exec.program.mtime_ns, exec.program.links), (3, 4));
        assert!(exec.program.upper && !exec.program.on_root && exec.is_script);
        let script = exec.script.unwrap();
        assert_eq!(script.path.bytes, b"/s");
        assert!(script.path.deleted && script.on_root && !script.upper);
        assert_eq!(exec.environment, [b"PATH".as_slice(), b"TOKEN", b"EMPTY"]);
        assert_eq!(exec.filename, b"./sh");
        assert_eq!(exec.argv, expect);
        assert_eq!(exec.argv_truncated, flags != 0);
        assert_eq!(exec.action, KernelAction::Killed(RuleNumber(33)));
    };
    check(b"sh\0-c\0true\0", 0, &[b"sh", b"-c", b"true"]);
    check(b"sh\0\0\0", 0, &[b"sh", b"", b""]);
    check(b"", 0, &[]);
    check(b"sh\0-c\0tr", FLAG_ARGV_TRUNCATED, &[b"sh", b"-c", b"tr"]);
    check(b"", FLAG_ARGV_UNREADABLE, &[]);
}

#[test]
fn addresses_are_canonical() {
    let mapped =
        |last: u8| Ipv6Addr::from([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, last]).octets();
    let body = ConnectBody {
        remote_addr: mapped(1),
        local_addr: mapped(2),
        remote_port: 443,
        local_port: 0,
        family: 2,
        protocol: 6,
        action: ACTION_DENIED,
        rule: 5,
        cookie: 9,
        identity: 7,
    };
    let Act::Connect(connect) = decode(&record(header(KIND_CONNECT, 0), &[body.as_bytes()]))
        .unwrap()
        .act
    else {
        panic!("not a connect")
    };
    assert_eq!(connect.remote, "10.0.0.1:443".parse().unwrap());
    assert_eq!(connect.local, None, "a local port of 0 is not chosen yet");
    assert_eq!(connect.action, KernelAction::Denied(RuleNumber(5)));
    assert_eq!(connect.protocol, Protocol::Tcp);
    assert_eq!(connect.id.map(|id| id.0.get()), Some(7));
}

#[test]
fn the_actor_comes_from_the_header() {
    let observation = decode(&record(
        header(KIND_EXIT, 0),
        &[ExitBody {
            status: 9,
            reserved: 0,
            runtime_ns: 7,
            user_ns: 4,
            system_ns: 3,
            max_rss_pages: 2,
        }
        .as_bytes()],
    ))
    .unwrap();
    let exit = Exit {
        status: 9,
        runtime_ns: 7,
        user_ns: 4,
        system_ns: 3,
        max_rss_pages: 2,
    };
    assert_eq!(observation.act, Act::Exit(exit));
    assert_eq!(
        (observation.cpu, observation.seq, observation.at),
        (1, 7, BootTime(1_000))
    );
    let actor = observation.actor;
    assert_eq!(
        actor.process,
        ProcessKey {
            pid: 10,
            start: BootTime(900)
        }
    );
    assert_eq!(
        actor.parent,
        ProcessKey {
            pid: 9,
            start: BootTime(800)
        }
    );
    assert_eq!((actor.tid, actor.uid, actor.gid, actor.euid), (11, 1, 2, 3));
    assert_eq!(
        actor.namespaces,
        Namespaces {
            mnt: 4,
            pid: 5,
            net: 6,
            user: 7
        }
    );
    assert_eq!(
        (actor.cgroup, actor.comm.as_slice()),
        (CgroupId(42), b"curl".as_slice())
    );
}

#[test]
fn what_is_no_record_is_named() {
    let good = open_record(&[b"etc"], 0);
    let check = |bytes: &[u8], expect: DecodeError| assert_eq!(decode(bytes), Err(expect));
    check(
        &[],
        DecodeError::TooShort {
            len: 0,
            part: "header",
        },
    );
    check(
        &good[..good.len() - 1],
        DecodeError::Length {
            said: good.len() as u32,
            len: good.len() - 1,
        },
    );
    check(
        &record(header(KIND_EXIT, 0), &[]),
        DecodeError::TooShort {
            len: 112,
            part: "body",
        },
    );
    check(&record(header(99, 0), &[]), DecodeError::Kind(99));
    let old = Header {
        abi: 0,
        ..header(KIND_EXIT, 0)
    };
    check(&record(old, &[&[0; 8]]), DecodeError::Version { found: 0 });
    check(
        &record(header(KIND_EXIT, 0), &[&[0; size_of::<ExitBody>() + 1]]),
        DecodeError::Tail { part: "end" },
    );
    check(
        &exec_record(b"", 0, 77),
        DecodeError::Value {
            field: "action",
            value: 77,
        },
    );
    let body = CgroupBody {
        id: 1,
        operation: CGROUP_MADE,
        path_len: 9,
    };
    check(
        &record(header(KIND_CGROUP, 0), &[body.as_bytes(), b"/a"]),
        DecodeError::Tail { part: "path" },
    );
}

/// A component of a path as the kernel can have it.
fn component() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(
        (1..=255u8).prop_filter("a slash divides", |byte| *byte != b'/'),
        1..20,
    )
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), kind in 0..10u16) {
        drop(decode(&bytes));
        // The same with a header that leads further in.
        drop(decode(&record(header(kind, bytes.len() as u32), &[&bytes])));
    }

    #[test]
    fn a_path_comes_back_as_it_was(components in prop::collection::vec(component(), 1..20)) {
        let names: Vec<&[u8]> = components.iter().map(Vec::as_slice).collect();
        let open = opened(&open_record(&names, 0));
        prop_assert_eq!(open.path.bytes, [b"/", names.join(&b'/').as_slice()].concat());
    }

    #[test]
    fn arguments_come_back_as_they_were(argv in prop::collection::vec(prop::collection::vec(1..=255u8, 0..20), 0..10)) {
        let flat: Vec<u8> = argv.iter().flat_map(|argument| [argument.as_slice(), &[0]].concat()).collect();
        let Act::Exec(exec) = decode(&exec_record(&flat, 0, ACTION_NONE)).unwrap().act else {
            panic!("not an exec")
        };
        prop_assert_eq!(exec.argv, argv);
    }
}
