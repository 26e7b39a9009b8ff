//! Pods as a container runtime knows them: names, sessions, posture, and a runtime that goes and comes back.

#[path = "cri/node.rs"]
mod node;

use super::line::{LIMIT, lineage, text};
use super::units::Groups;
use node::{Node, PodSpec};
use norma_rig::audit::number;
use norma_rig::containerd::Containerd;
use norma_rig::{Agent, AgentSettings, Collector, CollectorSettings, Pki, Programs, Scratch, cgroup, skip};
use serde_json::Value;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::Duration;

/// Does the same again and again, so that every test has something to see.
const STEADY: &str = "while :; do cat /etc/hostname >/dev/null; sleep 0.2; done";

/// A node with its agent and a collector: fields are dropped in this order.
struct Stage {
    agent: Agent,
    collector: Collector,
    node: Node,
    /// What the agent takes for the runtime's socket: a link, so that the runtime can be out of its reach.
    link: PathBuf,
    scratch: Scratch,
}

impl Stage {
    /// Everything but the agent's start. `None` where there is no containerd or no root.
    fn prepare(test: &str, extra: &str) -> Option<Self> {
        if !skip::unless_root(test) || !Containerd::available(test) {
            return None;
        }
        let scratch = Scratch::new("cri").unwrap();
        let programs = Programs::find().unwrap();
        let pki = Pki::create(&programs, &scratch.folder("pki").unwrap()).unwrap();
        let node = Node::start(&scratch);
        let collector =
            Collector::start(&scratch, &programs, &pki, None, &CollectorSettings::default()).unwrap();
        let link = scratch.join("runtime.sock");
        symlink(node.containerd.socket(), &link).unwrap();
        let settings = AgentSettings {
            learning: Duration::from_secs(3600),
            extra: format!("runtime:\n  cri_socket: {}\n{extra}", link.display()),
            ..AgentSettings::default()
        };
        let agent = Agent::prepare(&scratch, &programs, &pki, Some(&collector), &settings).unwrap();
        Some(Self {
            agent,
            collector,
            node,
            link,
            scratch,
        })
    }

    fn start(test: &str, extra: &str) -> Option<Self> {
        let mut stage = Self::prepare(test, extra)?;
        stage.agent.run(&stage.scratch).unwrap();
        Some(stage)
    }

    /// Waits for an event of a container.
    fn event(&self, container: &str, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        let audit = self.collector.audit();
        let event = audit.wait_for(what, LIMIT, |event| {
            text(event, "/container/id") == container && is_it(event)
        });
        event.unwrap()
    }

    fn events(&self, container: &str) -> Vec<Value> {
        let mut events = self.collector.audit().events().unwrap();
        events.retain(|event| text(event, "/container/id") == container);
        events
    }
}

fn executes(event: &Value, exe: &str) -> bool {
    event["kind"] == "exec" && text(event, "/process/exe") == exe
}

fn web(script: &str) -> PodSpec {
    PodSpec {
        name: "web-7c5ddbdf54-x2l9z".to_owned(),
        labels: vec![
            ("app", "web\nforged: yes".to_owned()),
            ("pod-template-hash", "7c5ddbdf54".to_owned()),
        ],
        script: script.to_owned(),
        ..PodSpec::default()
    }
}

#[test]
fn a_pod_is_known_by_its_labels_and_digest_and_an_exec_session_by_its_lineage() {
    let Some(mut stage) = Stage::start(
        "a_pod_is_known_by_its_labels_and_digest_and_an_exec_session_by_its_lineage",
        "",
    ) else {
        return;
    };
    let pod = stage.node.run(&web(STEADY));
    let own = stage.event(&pod.container, "its own cat", |event| {
        executes(event, "/usr/bin/cat")
    });
    let digest = stage.node.image.digest().to_owned();
    for (pointer, expected) in [
        ("/container/workload", "shop/Deployment/web/app"),
        ("/container/pod", "web-7c5ddbdf54-x2l9z"),
        ("/container/namespace", "shop"),
        ("/container/pod_uid", pod.uid.as_str()),
        ("/container/name", "app"),
        ("/container/image", "local.test/shop/app:v1"),
        ("/container/image_digest", digest.as_str()),
        ("/container/runtime", "containerd"),
        ("/container/identity", "known"),
        ("/container/type", "unknown"),
        ("/process/session", ""),
    ] {
        assert_eq!(text(&own, pointer), expected, "{pointer}: {own:#}");
    }
    assert_eq!(own["container"]["attempt"], 2, "{own:#}");
    assert!(text(&own, "/container/revision").starts_with(&digest), "{own:#}");
    assert_eq!(lineage(&own), ["/usr/bin/cat", "/usr/bin/bash"], "{own:#}");
    assert_eq!(text(&own, "/process/id").len(), 32, "{own:#}");

    let known = stage.event(&pod.container, "what it is", |event| {
        event["kind"] == "identity_resolved"
    });
    let labels = known["identity_resolved"]["facts"]["labels"].as_array().unwrap();
    let label = |name: &str| {
        let found = labels.iter().find(|label| label["name"] == name);
        text(found.unwrap(), "/value")
    };
    assert_eq!(label("pod-template-hash"), "7c5ddbdf54");
    assert_eq!(
        label("app"),
        "web\\x0aforged: yes",
        "one line, whatever the label holds"
    );

    // The shell ends before what it leaves behind does anything.
    let uid = stage.node.exec(
        &pod.container,
        "id -u; ( (sleep 1; stat /etc/passwd) >/dev/null 2>&1 & )",
    );
    assert_eq!(uid.trim(), "0");
    for exe in ["/usr/bin/id", "/usr/bin/stat"] {
        let event = stage.event(&pod.container, exe, |event| executes(event, exe));
        assert_eq!(text(&event, "/process/session"), "exec", "{event:#}");
        assert_eq!(text(&event, "/container/workload"), "shop/Deployment/web/app");
        let chain = lineage(&event);
        assert!(chain.iter().all(|exe| !exe.contains("runc")), "{chain:?}");
    }
    for event in stage.events(&pod.container) {
        if executes(&event, "/usr/bin/cat")
            || executes(&event, "/usr/bin/sleep") && lineage(&event).len() == 2
        {
            assert_eq!(text(&event, "/process/session"), "", "{event:#}");
        }
        assert_ne!(text(&event, "/container/identity"), "pending", "{event:#}");
    }
}

#[test]
fn sessions_and_containers_from_before_the_agent_are_known_and_posture_is_said_once() {
    let Some(mut stage) = Stage::prepare(
        "sessions_and_containers_from_before_the_agent_are_known_and_posture_is_said_once",
        "identity: {workload_label: norma.dev/workload}\nposture: {approved_registries: [reg.example]}\n",
    ) else {
        return;
    };
    let pod = stage.node.run(&PodSpec {
        name: "admin".to_owned(),
        annotations: vec![("norma.dev/workload", "Tool/admin".to_owned())],
        script: STEADY.to_owned(),
        privileged: true,
        ..PodSpec::default()
    });
    stage.node.exec_along(
        &pod.container,
        "while :; do cat /etc/app.conf; stat /etc/group; sleep 0.3; done",
    );
    std::thread::sleep(Duration::from_secs(1));
    stage.agent.run(&stage.scratch).unwrap();
    let foreign = stage.event(&pod.container, "the session's stat", |event| {
        executes(event, "/usr/bin/stat")
    });
    assert_eq!(text(&foreign, "/process/session"), "exec", "{foreign:#}");
    assert_eq!(text(&foreign, "/container/workload"), "shop/Tool/admin/app");
    let own = stage.event(&pod.container, "its own cat", |event| {
        executes(event, "/usr/bin/cat") && event["process"]["argv"][1] == "/etc/hostname"
    });
    assert_eq!(text(&own, "/process/session"), "", "{own:#}");

    let posture = |name: &'static str| {
        move |event: &Value| event["kind"] == "posture" && event["posture"]["name"] == name
    };
    for (name, severity, control) in [
        ("posture.privileged", "critical", "STIG KUBER-L2-000070"),
        ("posture.runs-as-root", "medium", "STIG KUBER-L2-000020"),
        ("posture.host-namespaces", "high", "STIG KUBER-L2-000060"),
        ("posture.no-resource-limits", "low", "STIG KUBER-L2-000080"),
        (
            "posture.image-not-from-an-approved-registry",
            "medium",
            "STIG KUBER-L2-000010",
        ),
    ] {
        let event = stage.event(&pod.container, name, posture(name));
        assert_eq!(text(&event, "/posture/change"), "new", "{event:#}");
        assert_eq!(text(&event, "/verdict/severity"), severity, "{event:#}");
        let controls = event["verdict"]["reasons"][0]["controls"].as_array().unwrap();
        assert!(controls.contains(&Value::from(control)), "{event:#}");
        assert!(
            controls
                .iter()
                .any(|it| it.as_str().unwrap().starts_with("NIST 800-53"))
        );
    }

    // Again after a restart: it is known already.
    stage.agent.stop().unwrap();
    let count = |stage: &Stage, kind: &str| {
        let events = stage.events(&pod.container);
        events.iter().filter(|event| event["kind"] == kind).count()
    };
    let (said, known) = (count(&stage, "posture"), count(&stage, "identity_resolved"));
    stage.agent.run(&stage.scratch).unwrap();
    norma_rig::wait_until("the container to be known again", LIMIT, || {
        Ok((count(&stage, "identity_resolved") > known).then_some(()))
    })
    .unwrap();
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(count(&stage, "posture"), said);
}

#[test]
fn a_runtime_that_goes_and_comes_back_costs_nothing_that_is_known() {
    let Some(mut stage) = Stage::start(
        "a_runtime_that_goes_and_comes_back_costs_nothing_that_is_known",
        "",
    ) else {
        return;
    };
    let first = stage.node.run(&web(
        "while :; do cat /etc/hostname; [ -e /tmp/now ] && stat /etc/passwd; sleep 0.2; done",
    ));
    stage.event(&first.container, "its cat", |event| {
        executes(event, "/usr/bin/cat")
    });
    stage.node.exec(&first.container, "sleep 2; : > /tmp/now");

    stage.node.containerd.kill().unwrap();
    stage
        .agent
        .daemon()
        .unwrap()
        .wait_for_line("pods cannot be asked for", LIMIT)
        .unwrap();
    norma_rig::wait_until("the status to say so", LIMIT, || {
        Ok((stage.agent.status()?["runtime"]["answers"] == false).then_some(()))
    })
    .unwrap();
    let during = stage.event(&first.container, "its stat", |event| {
        executes(event, "/usr/bin/stat")
    });
    assert_eq!(text(&during, "/container/workload"), "shop/Deployment/web/app");

    std::thread::sleep(Duration::from_secs(3));
    let log = stage.agent.daemon().unwrap().log();
    assert_eq!(log.matches("pods cannot be asked for").count(), 1, "{log}");

    // It is back, and out of the agent's reach: what its OCI runtime noted is all that is known of a new pod.
    std::fs::remove_file(&stage.link).unwrap();
    stage.node.containerd.run(&stage.scratch).unwrap();
    let second = stage.node.run(&PodSpec {
        // The name alone looks like that of a deployment's pod.
        name: "log-bcdfgh-x2l9z".to_owned(),
        labels: vec![
            ("controller-revision-hash", "6d9".to_owned()),
            ("pod-template-generation", "1".to_owned()),
        ],
        script: STEADY.to_owned(),
        ..PodSpec::default()
    });
    let before = stage.event(&second.container, "its cat", |event| {
        executes(event, "/usr/bin/cat")
    });
    assert_eq!(text(&before, "/container/identity"), "pending", "{before:#}");
    assert_eq!(text(&before, "/container/pod"), "log-bcdfgh-x2l9z", "{before:#}");

    symlink(stage.node.containerd.socket(), &stage.link).unwrap();
    let after = stage.event(&second.container, "what the second is", |event| {
        event["kind"] == "identity_resolved"
    });
    let workload = "shop/DaemonSet/log-bcdfgh/app";
    assert_eq!(text(&after, "/container/workload"), workload, "{after:#}");
    let times: Vec<u64> = stage
        .events(&second.container)
        .iter()
        .filter(|event| text(event, "/container/identity") == "pending")
        .map(|event| number(&event["boot_ns"]).unwrap())
        .collect();
    let resolved = |name: &str| number(&after["identity_resolved"][name]).unwrap();
    assert_eq!(resolved("events"), times.len() as u64, "{after:#}");
    assert_eq!(resolved("first_boot_ns"), *times.iter().min().unwrap());
    assert_eq!(resolved("last_boot_ns"), *times.iter().max().unwrap());
    let known = stage.event(&second.container, "its next cat", |event| {
        executes(event, "/usr/bin/cat") && text(event, "/container/identity") == "known"
    });
    assert_eq!(text(&known, "/container/workload"), workload, "{known:#}");
}

#[test]
fn a_process_that_is_moved_belongs_to_where_it_is_with_the_lineage_that_it_has() {
    let Some(mut stage) = Stage::start(
        "a_process_that_is_moved_belongs_to_where_it_is_with_the_lineage_that_it_has",
        "",
    ) else {
        return;
    };
    let first = stage.node.run(&web(STEADY));
    let second = stage.node.run(&PodSpec {
        name: "db-0".to_owned(),
        labels: vec![("apps.kubernetes.io/pod-index", "0".to_owned())],
        script: STEADY.to_owned(),
        ..PodSpec::default()
    });
    stage
        .node
        .exec_along(&first.container, "while :; do stat /etc/group; sleep 0.3; done");
    let here = stage.event(&first.container, "its stat", |event| {
        executes(event, "/usr/bin/stat")
    });
    let other = stage.event(&second.container, "the other's cat", |event| {
        executes(event, "/usr/bin/cat")
    });
    let shell = here["process"]["ancestors"][0]["pid"].as_u64().unwrap();
    let group = text(&other, "/container/cgroup_path").trim_start_matches('/');
    let members = cgroup::v2_mount().unwrap().join(group).join("cgroup.procs");
    std::fs::write(members, shell.to_string()).unwrap();
    let there = stage.event(&second.container, "its stat", |event| {
        executes(event, "/usr/bin/stat")
    });
    assert_eq!(text(&there, "/process/session"), "exec", "{there:#}");
    assert_eq!(lineage(&there), ["/usr/bin/stat", "/usr/bin/bash"], "{there:#}");
    for pointer in ["/process/ancestors/0/id", "/process/ancestors/0/pid"] {
        assert_eq!(there.pointer(pointer), here.pointer(pointer), "{pointer}");
    }
    assert_eq!(text(&there, "/container/workload"), "shop/StatefulSet/db/app");
    let own = stage.event(&second.container, "its own cat", |event| {
        executes(event, "/usr/bin/cat") && number(&event["boot_ns"]) > number(&there["boot_ns"])
    });
    assert_eq!(text(&own, "/process/session"), "", "{own:#}");
}

#[test]
fn a_control_group_with_the_name_of_a_pods_container_does_not_pass_for_it() {
    let Some(mut stage) = Stage::start(
        "a_control_group_with_the_name_of_a_pods_container_does_not_pass_for_it",
        "events:\n  host: true\n",
    ) else {
        return;
    };
    let pod = stage.node.run(&web(STEADY));
    stage.event(&pod.container, "its own cat", |event| {
        executes(event, "/usr/bin/cat")
    });
    let name = stage.scratch.unique("named");
    // Where whoever has a part of the tree may make groups, and where users may.
    for top in [name.clone(), format!("user.slice/{name}")] {
        let groups = Groups::make(&top);
        for group in [
            pod.container.clone(),
            format!("cri-containerd-{}.scope", pod.container),
        ] {
            let file = stage
                .scratch
                .file(&format!("{}-{group}", top.replace('/', "-")), "")
                .unwrap();
            let file = file.display().to_string();
            groups.run(&group, &file);
            let is_it =
                |event: &Value| executes(event, "/usr/bin/stat") && event["process"]["argv"][2] == *file;
            let event = stage.collector.audit().wait_for(&group, LIMIT, is_it).unwrap();
            assert!(event["container"].is_null(), "{top}/{group}: {event:#}");
        }
    }
    let own = stage.events(&pod.container);
    assert!(
        own.iter().all(|event| !executes(event, "/usr/bin/stat")),
        "{own:#?}"
    );
}

#[test]
fn a_container_of_no_pod_is_known_by_its_namespace_in_the_engine() {
    let Some(stage) = Stage::start(
        "a_container_of_no_pod_is_known_by_its_namespace_in_the_engine",
        "",
    ) else {
        return;
    };
    let id = stage.scratch.unique("tool");
    let containerd = &stage.node.containerd;
    containerd.run_plain(&stage.node.image, &id, STEADY).unwrap();
    let own = stage.event(&id, "its own cat", |event| executes(event, "/usr/bin/cat"));
    assert_eq!(
        text(&own, "/container/workload"),
        format!("containerd/plain/{id}")
    );
    assert_eq!(text(&own, "/container/identity"), "known", "{own:#}");
    assert_eq!(text(&own, "/process/session"), "", "{own:#}");
    assert_eq!(text(&own, "/unit"), "", "{own:#}");
    containerd.exec_plain(&id, "id -u").unwrap();
    let foreign = stage.event(&id, "the session's id", |event| executes(event, "/usr/bin/id"));
    assert_eq!(text(&foreign, "/process/session"), "exec", "{foreign:#}");
}
