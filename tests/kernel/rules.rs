//! What the kernel side refuses and kills by itself.

use crate::watch::{Group, Watch, directory, scope};
use norma_abi::{SCOPE_ANY, SCOPE_EXEMPT};
use norma_agent::observation::{Act, Connect, KernelAction, Protocol, RuleNumber};
use norma_agent::sensor::{ControlError, PathPattern};
use rustix::net::{AddressFamily, SendFlags, SocketType};
use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

const MSG_FASTOPEN: u32 = 0x2000_0000;

fn refused(watch: &mut Watch, remote: SocketAddr, rule: u32) -> Connect {
    watch.find(&format!("refused connect to {remote}"), |seen| match &seen.act {
        Act::Connect(connect)
            if connect.remote == remote && connect.action == KernelAction::Denied(RuleNumber(rule)) =>
        {
            Some(connect.clone())
        }
        _ => None,
    })
}

#[test]
fn a_forbidden_peer_is_refused_on_every_way_to_it() {
    let Some(mut watch) = Watch::start() else { return };
    // An address that nothing else on this machine talks to.
    let listener = TcpListener::bind("127.77.1.1:0").unwrap();
    let peer = listener.local_addr().unwrap();
    let other = TcpListener::bind("127.77.2.1:0").unwrap();
    let mut controls = watch.controls();
    controls
        .replace_peer_rules(&[(
            SCOPE_ANY,
            "127.77.1.0/24".parse().unwrap(),
            None,
            Some(RuleNumber(5)),
        )])
        .unwrap();

    assert_eq!(
        TcpStream::connect(peer).unwrap_err().kind(),
        ErrorKind::PermissionDenied
    );
    assert_eq!(refused(&mut watch, peer, 5).protocol, Protocol::Tcp);
    watch.seen.clear();

    let mapped = format!("[::ffff:127.77.1.1]:{}", peer.port());
    assert_eq!(
        TcpStream::connect(mapped).unwrap_err().kind(),
        ErrorKind::PermissionDenied
    );
    refused(&mut watch, peer, 5);
    watch.seen.clear();

    let fast = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    let sent = rustix::net::sendto(&fast, b"x", SendFlags::from_bits_retain(MSG_FASTOPEN), &peer);
    assert_eq!(sent, Err(rustix::io::Errno::PERM));
    refused(&mut watch, peer, 5);
    watch.seen.clear();

    let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
    assert_eq!(
        datagrams.send_to(b"x", peer).unwrap_err().kind(),
        ErrorKind::PermissionDenied
    );
    assert_eq!(refused(&mut watch, peer, 5).protocol, Protocol::Udp);

    TcpStream::connect(other.local_addr().unwrap()).unwrap();
    controls.replace_peer_rules(&[]).unwrap();
    TcpStream::connect(peer).unwrap();
}

#[test]
fn a_rule_for_a_port_leaves_other_ports_alone() {
    let Some(mut watch) = Watch::start() else { return };
    let listeners = [
        TcpListener::bind("127.77.3.1:0").unwrap(),
        TcpListener::bind("127.77.3.1:0").unwrap(),
    ];
    let [one, two] = listeners
        .each_ref()
        .map(|listener| listener.local_addr().unwrap());
    let net = "127.77.3.1/32".parse().unwrap();
    let mut controls = watch.controls();
    controls
        .replace_peer_rules(&[(SCOPE_ANY, net, Some(one.port()), Some(RuleNumber(6)))])
        .unwrap();
    assert_eq!(
        TcpStream::connect(one).unwrap_err().kind(),
        ErrorKind::PermissionDenied
    );
    TcpStream::connect(two).unwrap();
    refused(&mut watch, one, 6);
}

#[test]
fn an_exemption_is_narrower_than_its_rule() {
    let Some(mut watch) = Watch::start() else { return };
    let listeners = [
        TcpListener::bind("127.77.5.1:0").unwrap(),
        TcpListener::bind("127.77.5.2:0").unwrap(),
    ];
    let [denied, exempt] = listeners
        .each_ref()
        .map(|listener| listener.local_addr().unwrap());
    let mut controls = watch.controls();
    controls
        .replace_peer_rules(&[
            (
                SCOPE_ANY,
                "127.77.5.0/24".parse().unwrap(),
                None,
                Some(RuleNumber(9)),
            ),
            (SCOPE_ANY, "127.77.5.2/32".parse().unwrap(), None, None),
        ])
        .unwrap();
    TcpStream::connect(exempt).unwrap();
    assert_eq!(
        TcpStream::connect(denied).unwrap_err().kind(),
        ErrorKind::PermissionDenied
    );
    refused(&mut watch, denied, 9);
}

#[test]
fn an_unspecified_address_does_not_get_round_a_rule_for_the_loopback() {
    let (Some(mut watch), Some(group)) = (Watch::start(), Group::make()) else {
        return;
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut controls = watch.controls();
    controls.set_scope(group.id(), scope(77, 0)).unwrap();
    controls
        .replace_peer_rules(&[(
            77,
            "127.0.0.0/8".parse().unwrap(),
            Some(port),
            Some(RuleNumber(7)),
        )])
        .unwrap();
    let status = group
        .shell(&format!("exec 3<>/dev/tcp/0.0.0.0/{port}"))
        .status()
        .unwrap();
    assert!(!status.success());
    refused(&mut watch, SocketAddr::from(([127, 0, 0, 1], port)), 7);
}

#[test]
fn a_rule_holds_in_its_scope_only() {
    let (Some(mut watch), Some(inside), Some(exempt)) = (Watch::start(), Group::make(), Group::make()) else {
        return;
    };
    let listener = TcpListener::bind("127.77.4.1:0").unwrap();
    let peer = listener.local_addr().unwrap();
    let connect = |group: &Group| {
        let script = format!("exec 3<>/dev/tcp/127.77.4.1/{}", peer.port());
        group.shell(&script).status().unwrap().success()
    };
    let mut controls = watch.controls();
    controls.set_scope(inside.id(), scope(9, 0)).unwrap();
    controls.set_scope(exempt.id(), scope(9, SCOPE_EXEMPT)).unwrap();
    controls
        .replace_peer_rules(&[(9, "127.77.4.1/32".parse().unwrap(), None, Some(RuleNumber(8)))])
        .unwrap();
    assert!(!connect(&inside));
    assert!(connect(&exempt), "no rule holds in an exempt control group");
    TcpStream::connect(peer).unwrap();
    refused(&mut watch, peer, 8);
}

/// A copy of `touch` at `path`, and whether it ran when it was started: then the marker is there.
fn run_touch(program: &Path, marker: &Path) -> (u32, ExitStatus, bool) {
    let mut child = Command::new(program).arg(marker).spawn().unwrap();
    let pid = child.id();
    let status = child.wait().unwrap();
    (pid, status, marker.exists())
}

#[test]
fn a_forbidden_program_never_runs_its_first_instruction() {
    let Some(mut watch) = Watch::start() else { return };
    let (_keep, directory) = directory();
    let marker = directory.join("marker");
    let tools: Vec<PathBuf> = ["exact", "sub/tree", "exactly-not"]
        .iter()
        .map(|name| directory.join(name))
        .collect();
    fs::create_dir(directory.join("sub")).unwrap();
    for tool in &tools {
        fs::copy("/bin/touch", tool).unwrap();
    }
    let pattern = |path: &Path| path.as_os_str().as_bytes().to_vec();
    let mut controls = watch.controls();
    controls
        .replace_path_rules(&[
            (
                SCOPE_ANY,
                PathPattern::Exact(pattern(&tools[0])),
                Some(RuleNumber(21)),
            ),
            (
                SCOPE_ANY,
                PathPattern::Subtree(pattern(&directory.join("sub"))),
                Some(RuleNumber(22)),
            ),
        ])
        .unwrap();
    for (tool, rule) in [(&tools[0], 21), (&tools[1], 22)] {
        let (pid, status, ran) = run_touch(tool, &marker);
        assert_eq!((status.signal(), ran), (Some(9), false), "{}", tool.display());
        let (_, exec) = watch.exec("the killed program", |seen, _| seen.actor.process.pid == pid);
        assert_eq!(exec.action, KernelAction::Killed(RuleNumber(rule)));
        assert_eq!(exec.program.path.bytes, pattern(tool));
        assert_eq!(exec.argv[1], pattern(&marker));
    }
    let (pid, status, ran) = run_touch(&tools[2], &marker);
    assert!(status.success() && ran, "a longer name is another name");
    let (_, exec) = watch.exec("the allowed program", |seen, _| seen.actor.process.pid == pid);
    assert_eq!(exec.action, KernelAction::None);
    controls.replace_path_rules(&[]).unwrap();
    assert!(run_touch(&tools[0], &marker).1.success());
}

#[test]
fn rules_that_do_not_fit_are_refused_with_a_reason_and_change_nothing() {
    let Some(mut watch) = Watch::start() else { return };
    let (_keep, directory) = directory();
    let tool = directory.join("tool");
    fs::copy("/bin/touch", &tool).unwrap();
    let marker = directory.join("marker");
    let good = (
        SCOPE_ANY,
        PathPattern::Exact(tool.as_os_str().as_bytes().to_vec()),
        Some(RuleNumber(1)),
    );
    let mut controls = watch.controls();
    controls.replace_path_rules(std::slice::from_ref(&good)).unwrap();
    let long = (
        SCOPE_ANY,
        PathPattern::Exact([b"/".as_slice(), &[b'x'; 300]].concat()),
        Some(RuleNumber(2)),
    );
    assert!(matches!(
        controls.replace_path_rules(&[long]),
        Err(ControlError::PathTooLong { .. })
    ));
    let many: Vec<_> = (1..=4097)
        .map(|number| {
            (
                SCOPE_ANY,
                PathPattern::Exact(format!("/many/{number}").into_bytes()),
                Some(RuleNumber(number)),
            )
        })
        .collect();
    assert!(matches!(
        controls.replace_path_rules(&many),
        Err(ControlError::TooManyRules { count: 4097, .. })
    ));
    assert_eq!(
        run_touch(&tool, &marker).1.signal(),
        Some(9),
        "the earlier rule still holds"
    );
    controls.replace_path_rules(&many[..4096]).unwrap();
    assert!(run_touch(&tool, &marker).1.success());
}
