//! Containers outside Kubernetes, made by the real Docker and the real podman: what they are, who enters them, how they
//! are set up, and an engine that goes and comes back.

use super::line::{LIMIT, lineage, text};
use norma_rig::engine::{Docker, Podman, Run};
use norma_rig::{
    Agent, AgentSettings, Collector, CollectorSettings, Pki, Programs, Scratch, skip, wait_until,
};
use serde_json::Value;
use std::fmt::Write as _;
use std::time::Duration;

const APP: &str = "local.test/shop/app:v1";
const STORE: &str = "local.test/shop/store:v2";
/// They do different things again and again, so that one can be taken for the other.
const READS: &str = "while :; do cat /etc/hostname >/dev/null; sleep 0.2; done";
const LISTS: &str = "while :; do ls /etc >/dev/null; sleep 0.2; done";

/// Events that a failure shows.
const SHOWN: usize = 40;

/// An event in a line.
fn summary(event: &Value) -> String {
    let of = |pointer| text(event, pointer);
    let id: String = of("/container/id").chars().take(12).collect();
    [
        of("/kind"),
        &id,
        of("/container/workload"),
        of("/container/cgroup_path"),
        of("/container/identity"),
        of("/process/exe"),
        of("/process/session"),
    ]
    .join(" ")
}

/// An agent and a collector: fields are dropped in this order.
struct Stage {
    agent: Agent,
    collector: Collector,
}

impl Stage {
    /// Everything but the agent's start. Of engines and runtimes of the machine it sees none.
    fn prepare(scratch: &Scratch, runtime: &[(&str, String)], extra: &str) -> Self {
        let programs = Programs::find().unwrap();
        let pki = Pki::create(&programs, &scratch.folder("pki").unwrap()).unwrap();
        let collector =
            Collector::start(scratch, &programs, &pki, None, &CollectorSettings::default()).unwrap();
        let mut places = String::new();
        for name in [
            "cri_socket",
            "docker_socket",
            "docker_root",
            "podman_socket",
            "podman_root",
        ] {
            let told = runtime.iter().find(|(key, _)| *key == name);
            let place = told.map_or_else(
                || scratch.join("nothing").display().to_string(),
                |(_, place)| place.clone(),
            );
            writeln!(places, "  {name}: {place}").unwrap();
        }
        let settings = AgentSettings {
            learning: Duration::from_secs(3600),
            extra: format!("runtime:\n{places}{extra}"),
            ..AgentSettings::default()
        };
        let agent = Agent::prepare(scratch, &programs, &pki, Some(&collector), &settings).unwrap();
        Self { agent, collector }
    }

    fn of_docker(scratch: &Scratch, docker: &Docker) -> Self {
        Self::prepare(
            scratch,
            &[
                ("docker_socket", docker.socket().display().to_string()),
                ("docker_root", docker.root().display().to_string()),
            ],
            &format!(
                "identity:\n  runtime_roots: [{}]\n",
                docker.runtime_root().display()
            ),
        )
    }

    fn of_podman(scratch: &Scratch, podman: &Podman) -> Self {
        Self::prepare(
            scratch,
            &[
                ("podman_socket", podman.socket().display().to_string()),
                ("podman_root", podman.root().display().to_string()),
            ],
            "",
        )
    }

    /// Waits for an event of a container.
    fn event(&self, container: &str, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        let audit = self.collector.audit();
        let event = audit.wait_for(what, LIMIT, |event| {
            text(event, "/container/id") == container && is_it(event)
        });
        event.unwrap_or_else(|error| {
            let known: Vec<String> = audit
                .events()
                .unwrap_or_default()
                .iter()
                .filter(|event| event["container"].is_object())
                .map(summary)
                .collect();
            let last = known.len().saturating_sub(SHOWN);
            panic!("{error:#}; of {container} there is\n{}", known[last..].join("\n"))
        })
    }

    fn events(&self, container: &str) -> Vec<Value> {
        let mut events = self.collector.audit().events().unwrap();
        events.retain(|event| text(event, "/container/id") == container);
        events
    }

    /// Control groups that a container has had: a new one at each start.
    fn groups(&self, container: &str) -> Vec<Value> {
        let events = self.events(container);
        events
            .iter()
            .map(|event| event["container"]["cgroup_id"].clone())
            .collect()
    }

    /// Waits until the agent's status says of the engine that it answers, or not.
    fn answers(&self, engine: &str, expected: bool) {
        wait_until("the status to say whether the engine answers", LIMIT, || {
            let status = self.agent.status()?;
            let engines = status["runtime"]["engines"].as_array().cloned();
            let found = engines
                .into_iter()
                .flatten()
                .any(|one| one["name"] == engine && one["live"] == expected);
            Ok(found.then_some(()))
        })
        .unwrap();
    }

    /// The facts of a container that are told once.
    fn facts(&self, container: &str) -> Value {
        let event = self.event(container, "what it is", |event| {
            event["kind"] == "identity_resolved" && event["identity_resolved"]["facts"].is_object()
        });
        event["identity_resolved"]["facts"].clone()
    }
}

fn executes(event: &Value, exe: &str) -> bool {
    event["kind"] == "exec" && text(event, "/process/exe") == exe
}

fn is_own(event: &Value, exe: &str) -> bool {
    executes(event, exe) && text(event, "/process/session").is_empty()
}

/// What every event of a container says of it.
fn is_known(event: &Value, expected: &[(&str, &str)]) {
    for (pointer, expected) in expected {
        assert_eq!(
            text(event, &format!("/container/{pointer}")),
            *expected,
            "{event:#}"
        );
    }
    assert_eq!(text(event, "/container/identity"), "known", "{event:#}");
    for empty in ["pod", "namespace"] {
        assert_eq!(text(event, &format!("/container/{empty}")), "", "{event:#}");
    }
}

fn label<'a>(facts: &'a Value, name: &str) -> Option<&'a str> {
    let labels = facts["labels"].as_array()?;
    let found = labels.iter().find(|label| label["name"] == name)?;
    Some(text(found, "/value"))
}

/// Nothing that one of them does is put down to the other.
fn are_apart(stage: &Stage, reading: &str, listing: &str) {
    for (container, other) in [(reading, "/usr/bin/ls"), (listing, "/usr/bin/cat")] {
        let events = stage.events(container);
        let wrong = events.iter().find(|event| executes(event, other));
        assert_eq!(wrong, None, "it is the other's");
        for event in &events {
            assert_ne!(text(event, "/container/identity"), "pending", "{event:#}");
        }
    }
}

/// A session is marked with what it leaves behind, and the container's own is not.
fn session_is_marked(stage: &Stage, container: &str, exec: impl FnOnce(&str) -> String) {
    // The shell ends before what it leaves behind does anything.
    let uid = exec("id -u; ( (sleep 1; stat /etc/passwd) >/dev/null 2>&1 & )");
    assert_eq!(uid.trim(), "0");
    for exe in ["/usr/bin/id", "/usr/bin/stat"] {
        let event = stage.event(container, exe, |event| executes(event, exe));
        assert_eq!(text(&event, "/process/session"), "exec", "{event:#}");
        let chain = lineage(&event);
        let engines = ["runc", "conmon", "podman", "dockerd"];
        let of_engine = chain
            .iter()
            .find(|exe| engines.iter().any(|name| exe.contains(name)));
        assert_eq!(of_engine, None, "{chain:?}");
    }
    let events = stage.events(container);
    let wrong = events
        .iter()
        .find(|event| executes(event, "/usr/bin/cat") && !text(event, "/process/session").is_empty());
    assert_eq!(wrong, None, "it is the container's own");
}

fn posture(name: &'static str) -> impl Fn(&Value) -> bool {
    move |event| event["kind"] == "posture" && event["posture"]["name"] == name
}

#[test]
fn containers_of_docker_are_known_apart_and_a_docker_exec_is_a_session() {
    let test = "containers_of_docker_are_known_apart_and_a_docker_exec_is_a_session";
    if !skip::unless_root(test) || !Docker::available(test) {
        return;
    }
    let scratch = Scratch::new("docker").unwrap();
    let mut docker = Docker::start(&scratch).unwrap();
    let (app, store) = (
        docker.image(&scratch, APP).unwrap(),
        docker.image(&scratch, STORE).unwrap(),
    );
    let mut stage = Stage::of_docker(&scratch, &docker);
    stage.agent.run(&scratch).unwrap();
    let web = docker
        .run(&Run {
            name: "web",
            image: APP,
            options: &["--network", "none", "--label", "app=web"],
            script: READS,
        })
        .unwrap();
    let service = [
        "--network",
        "none",
        "--label",
        "com.docker.compose.project=shop",
        "--label",
        "com.docker.compose.service=db",
    ];
    let database = docker
        .run(&Run {
            name: "shop-db-1",
            image: STORE,
            options: &service,
            script: LISTS,
        })
        .unwrap();
    let own = stage.event(&web, "its own cat", |event| is_own(event, "/usr/bin/cat"));
    is_known(
        &own,
        &[
            ("runtime", "docker"),
            ("name", "web"),
            ("workload", "docker/web"),
            ("image", APP),
            ("image_digest", &app),
        ],
    );
    assert_eq!(lineage(&own), ["/usr/bin/cat", "/usr/bin/bash"], "{own:#}");
    assert!(text(&own, "/container/revision").starts_with(&app), "{own:#}");
    let other = stage.event(&database, "its own ls", |event| is_own(event, "/usr/bin/ls"));
    is_known(
        &other,
        &[
            ("runtime", "docker"),
            ("name", "shop-db-1"),
            ("workload", "docker/shop/db"),
            ("image", STORE),
            ("image_digest", &store),
        ],
    );
    let facts = stage.facts(&web);
    assert_eq!(label(&facts, "app"), Some("web"), "{facts:#}");
    assert_eq!(facts["command"][2], READS, "{facts:#}");
    session_is_marked(&stage, &web, |script| {
        docker.ask(&["exec", "web", "/bin/bash", "-c", script]).unwrap()
    });
    are_apart(&stage, &web, &database);

    // The same container again, and another one of its name.
    let groups = stage.groups(&web);
    docker.ask(&["restart", "--time", "0", "web"]).unwrap();
    let again = stage.event(&web, "its cat after the restart", |event| {
        executes(event, "/usr/bin/cat") && !groups.contains(&event["container"]["cgroup_id"])
    });
    assert_eq!(text(&again, "/process/session"), "", "{again:#}");
    assert_eq!(text(&again, "/container/workload"), "docker/web", "{again:#}");
    docker.ask(&["rm", "--force", "web"]).unwrap();
    let next = docker
        .run(&Run {
            name: "web",
            image: STORE,
            options: &["--network", "none"],
            script: READS,
        })
        .unwrap();
    let successor = stage.event(&next, "its successor's cat", |event| {
        is_own(event, "/usr/bin/cat")
    });
    is_known(
        &successor,
        &[("workload", "docker/web"), ("image_digest", &store)],
    );
    are_apart(&stage, &next, &database);
}

#[test]
fn containers_of_docker_from_before_the_agent_are_known_with_their_posture() {
    let test = "containers_of_docker_from_before_the_agent_are_known_with_their_posture";
    if !skip::unless_root(test) || !Docker::available(test) {
        return;
    }
    let scratch = Scratch::new("docker").unwrap();
    let mut docker = Docker::start(&scratch).unwrap();
    docker.image(&scratch, APP).unwrap();
    let weak = docker
        .run(&Run {
            name: "weak",
            image: APP,
            options: &[
                "--network",
                "host",
                "--pid",
                "host",
                "--cap-add",
                "NET_ADMIN",
                "--volume",
                "/etc:/host:ro",
                "--volume",
                "data:/data",
                "--memory",
                "64m",
            ],
            script: READS,
        })
        .unwrap();
    let admin = docker
        .run(&Run {
            name: "admin",
            image: APP,
            options: &[
                "--network",
                "none",
                "--privileged",
                "--user",
                "1000",
                "--read-only",
            ],
            script: LISTS,
        })
        .unwrap();
    let _session = docker
        .exec_along(
            &scratch,
            "weak",
            "while :; do stat /etc/group >/dev/null; sleep 0.3; done",
        )
        .unwrap();
    let mut stage = Stage::of_docker(&scratch, &docker);
    stage.agent.run(&scratch).unwrap();
    let own = stage.event(&weak, "its own cat", |event| is_own(event, "/usr/bin/cat"));
    is_known(&own, &[("workload", "docker/weak"), ("image", APP)]);
    let foreign = stage.event(&weak, "the session's stat", |event| {
        executes(event, "/usr/bin/stat")
    });
    assert_eq!(text(&foreign, "/process/session"), "exec", "{foreign:#}");

    for (name, severity, value) in [
        ("posture.runs-as-root", "medium", "uid 0"),
        ("posture.host-namespaces", "high", "network pid"),
        ("posture.added-capabilities", "high", "CAP_NET_ADMIN"),
        ("posture.host-path", "high", "/etc (read-only)"),
        ("posture.no-resource-limits", "low", "CPU"),
        ("posture.writable-root", "low", "/"),
    ] {
        let event = stage.event(&weak, name, posture(name));
        assert_eq!(text(&event, "/verdict/severity"), severity, "{event:#}");
        assert_eq!(text(&event, "/posture/value"), value, "{event:#}");
    }
    let event = stage.event(&admin, "the privileged one", posture("posture.privileged"));
    assert_eq!(text(&event, "/verdict/severity"), "critical", "{event:#}");
    let events = stage.events(&admin);
    for name in [
        "posture.runs-as-root",
        "posture.writable-root",
        "posture.host-namespaces",
    ] {
        assert!(!events.iter().any(posture(name)), "{name}");
    }
}

#[test]
fn a_docker_that_goes_and_comes_back_costs_nothing_that_is_known() {
    let test = "a_docker_that_goes_and_comes_back_costs_nothing_that_is_known";
    if !skip::unless_root(test) || !Docker::available(test) {
        return;
    }
    let scratch = Scratch::new("docker").unwrap();
    let mut docker = Docker::start(&scratch).unwrap();
    let app = docker.image(&scratch, APP).unwrap();
    let mut stage = Stage::of_docker(&scratch, &docker);
    stage.agent.run(&scratch).unwrap();
    let run = |name| Run {
        name,
        image: APP,
        options: &["--network", "none"],
        script: "while :; do cat /etc/hostname; [ -e /tmp/now ] && stat /etc/passwd; sleep 0.2; done",
    };
    let web = docker.run(&run("web")).unwrap();
    stage.event(&web, "its cat", |event| is_own(event, "/usr/bin/cat"));
    stage.answers("docker", true);
    docker
        .ask(&[
            "exec",
            "--detach",
            "web",
            "/bin/bash",
            "-c",
            "sleep 4; : > /tmp/now",
        ])
        .unwrap();

    docker.kill().unwrap();
    let agent = stage.agent.daemon().unwrap();
    agent
        .wait_for_line("the container engine cannot be asked", LIMIT)
        .unwrap();
    stage.answers("docker", false);
    let during = stage.event(&web, "its stat", |event| executes(event, "/usr/bin/stat"));
    is_known(
        &during,
        &[("workload", "docker/web"), ("image", APP), ("image_digest", &app)],
    );

    docker.serve(&scratch).unwrap();
    stage.answers("docker", true);
    let next = docker.run(&run("next")).unwrap();
    let event = stage.event(&next, "the next one's cat", |event| is_own(event, "/usr/bin/cat"));
    is_known(&event, &[("workload", "docker/next"), ("image_digest", &app)]);
    let log = stage.agent.daemon().unwrap().log();
    assert_eq!(
        log.matches("the container engine cannot be asked").count(),
        1,
        "{log}"
    );
}

#[test]
fn containers_of_podman_are_known_without_its_service() {
    let test = "containers_of_podman_are_known_without_its_service";
    if !skip::unless_root(test) || !Podman::available(test) {
        return;
    }
    let scratch = Scratch::new("podman").unwrap();
    let mut podman = Podman::new(&scratch).unwrap();
    let (app, store) = (
        podman.image(&scratch, APP).unwrap(),
        podman.image(&scratch, STORE).unwrap(),
    );
    let admin = podman
        .run(&Run {
            name: "admin",
            image: APP,
            options: &["--network", "host", "--privileged", "--volume", "/etc:/host:ro"],
            script: READS,
        })
        .unwrap();
    let mut stage = Stage::of_podman(&scratch, &podman);
    stage.agent.run(&scratch).unwrap();
    let before = stage.event(&admin, "the first one's cat", |event| {
        is_own(event, "/usr/bin/cat")
    });
    is_known(
        &before,
        &[
            ("runtime", "podman"),
            ("name", "admin"),
            ("workload", "podman/admin"),
            ("image", APP),
            ("image_digest", &app),
        ],
    );
    for (name, value) in [
        ("posture.privileged", "all capabilities and devices"),
        ("posture.host-namespaces", "network"),
        ("posture.host-path", "/etc (read-only)"),
    ] {
        let event = stage.event(&admin, name, posture(name));
        assert_eq!(text(&event, "/posture/value"), value, "{event:#}");
    }

    let web = podman
        .run(&Run {
            name: "web",
            image: STORE,
            options: &["--network", "none", "--cap-add", "SYS_PTRACE"],
            script: LISTS,
        })
        .unwrap();
    let own = stage.event(&web, "its own ls", |event| is_own(event, "/usr/bin/ls"));
    is_known(
        &own,
        &[
            ("workload", "podman/web"),
            ("image", STORE),
            ("image_digest", &store),
        ],
    );
    assert_eq!(lineage(&own), ["/usr/bin/ls", "/usr/bin/bash"], "{own:#}");
    let event = stage.event(&web, "its capability", posture("posture.added-capabilities"));
    assert_eq!(text(&event, "/posture/value"), "CAP_SYS_PTRACE", "{event:#}");
    session_is_marked(&stage, &web, |script| {
        podman.ask(&["exec", "web", "/bin/bash", "-c", script]).unwrap()
    });
    are_apart(&stage, &admin, &web);

    let groups = stage.groups(&web);
    podman.ask(&["restart", "--time", "0", "web"]).unwrap();
    let again = stage.event(&web, "its ls after the restart", |event| {
        executes(event, "/usr/bin/ls") && !groups.contains(&event["container"]["cgroup_id"])
    });
    assert_eq!(text(&again, "/process/session"), "", "{again:#}");
    is_known(&again, &[("workload", "podman/web"), ("image_digest", &store)]);
}

#[test]
fn podmans_service_adds_labels_and_may_go_and_come_back() {
    let test = "podmans_service_adds_labels_and_may_go_and_come_back";
    if !skip::unless_root(test) || !Podman::available(test) {
        return;
    }
    let scratch = Scratch::new("podman").unwrap();
    let mut podman = Podman::new(&scratch).unwrap();
    let app = podman.image(&scratch, APP).unwrap();
    podman.serve(&scratch).unwrap();
    let mut stage = Stage::of_podman(&scratch, &podman);
    stage.agent.run(&scratch).unwrap();
    stage.answers("podman", true);
    let run = |name| Run {
        name,
        image: APP,
        options: &["--network", "none", "--label", "app=web"],
        script: READS,
    };
    let web = podman.run(&run("web")).unwrap();
    let own = stage.event(&web, "its own cat", |event| is_own(event, "/usr/bin/cat"));
    is_known(
        &own,
        &[
            ("runtime", "podman"),
            ("workload", "podman/web"),
            ("image_digest", &app),
        ],
    );
    let facts = stage.facts(&web);
    assert_eq!(label(&facts, "app"), Some("web"), "{facts:#}");
    session_is_marked(&stage, &web, |script| {
        podman.ask(&["exec", "web", "/bin/bash", "-c", script]).unwrap()
    });

    podman.kill().unwrap();
    stage.answers("podman", false);
    let during = podman.run(&run("during")).unwrap();
    let event = stage.event(&during, "its cat", |event| is_own(event, "/usr/bin/cat"));
    is_known(&event, &[("workload", "podman/during"), ("image_digest", &app)]);
    podman.serve(&scratch).unwrap();
    stage.answers("podman", true);
    let after = podman.run(&run("after")).unwrap();
    let event = stage.event(&after, "its cat", |event| is_own(event, "/usr/bin/cat"));
    is_known(&event, &[("workload", "podman/after"), ("image_digest", &app)]);
}
