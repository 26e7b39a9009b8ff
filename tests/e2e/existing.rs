//! What is there before the agent is.

use super::line::{LIMIT, Line, lineage, text};
use norma_rig::audit::number;
use norma_rig::{AgentSettings, Container, ContainerSpec, Programs, skip, wait_until};
use serde_json::Value;
use std::fs;
use std::time::Duration;

/// A container's sockets by the kernel's numbers, and its port.
struct Held {
    port: u64,
    listener: u64,
    client: u64,
    accepted: u64,
}

fn held(container: &Container) -> Held {
    let numbers = wait_until("the sockets of the container", LIMIT, || {
        let output = container.output();
        let line = output.lines().find_map(|line| line.strip_prefix("holding "));
        let numbers = line.map(|line| line.split(' ').map(str::parse).collect::<Result<Vec<u64>, _>>());
        Ok(numbers.transpose()?)
    })
    .unwrap();
    let [port, listener, client, accepted] = numbers[..] else {
        panic!("{numbers:?}");
    };
    Held {
        port,
        listener,
        client,
        accepted,
    }
}

/// The parent of a process, on the host.
fn parent(pid: u64) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let rest = &stat[stat.rfind(')').unwrap() + 2..];
    rest.split(' ').nth(1).unwrap().parse().unwrap()
}

#[test]
fn processes_and_sockets_from_before_the_agent_are_known_once_and_their_end_is_put_down_to_them() {
    if !skip::unless_root(
        "processes_and_sockets_from_before_the_agent_are_known_once_and_their_end_is_put_down_to_them",
    ) {
        return;
    }
    let settings = AgentSettings {
        learning: Duration::from_secs(3600),
        ..AgentSettings::default()
    };
    let mut line = Line::prepare("existing", &settings);
    // In the host's network namespace, and in one of its own.
    let containers = [false, true].map(|own_network| {
        let name = if own_network { "own" } else { "shared" };
        let script = "bash -c 'norma-load hold /run/orders; true'; true";
        let mut spec = ContainerSpec::script(name, script);
        spec.programs.push(Programs::find().unwrap().path("norma-load"));
        spec.own_network = own_network;
        let container = Container::start(&line.scratch, &spec).unwrap();
        let held = held(&container);
        (container, held)
    });
    line.agent.run(&line.scratch).unwrap();
    for (container, held) in &containers {
        check(&line, container, held);
    }
}

fn check(line: &Line, container: &Container, held: &Held) {
    let audit = line.collector.audit();
    let own = |event: &Value| text(event, "/container/id") == container.id();
    let of = |cookie: u64, name: &'static str| {
        move |event: &Value| {
            text(event, "/socket/name") == name && number(&event["socket"]["cookie"]) == Some(cookie)
        }
    };
    for (cookie, name) in [
        (held.listener, "listening"),
        (held.client, "established"),
        (held.accepted, "accepted"),
    ] {
        let event = audit
            .wait_for(&format!("{name} from before"), LIMIT, |event| {
                own(event) && of(cookie, name)(event)
            })
            .unwrap();
        assert_eq!(event["socket"]["from_proc"], true, "{event:#}");
        assert_eq!(event["process"]["from_proc"], true, "{event:#}");
        assert_eq!(
            lineage(&event),
            ["/usr/bin/norma-load", "/usr/bin/bash", "/usr/bin/bash"],
            "{event:#}"
        );
        let mut child = event["process"]["pid"].as_u64().unwrap();
        for ancestor in event["process"]["ancestors"].as_array().unwrap() {
            assert_eq!(ancestor["pid"].as_u64(), Some(parent(child)), "{event:#}");
            child = parent(child);
        }
        assert_eq!(child, u64::from(container.init()));
    }

    container.order("close").unwrap();
    for cookie in [held.client, held.accepted] {
        let end = audit
            .wait_for("the end of the connection", LIMIT, |event| {
                of(cookie, "closed")(event)
            })
            .unwrap();
        assert!(own(&end), "{end:#}");
        assert_eq!(text(&end, "/process/exe"), "/usr/bin/norma-load", "{end:#}");
        let ports = [&end["socket"]["local_port"], &end["socket"]["remote_port"]];
        assert!(ports.contains(&&Value::from(held.port)), "{end:#}");
    }

    // Each fact once: neither listed twice, nor told by the kernel side as if it were new.
    let events: Vec<Value> = audit.events().unwrap().into_iter().filter(own).collect();
    let count = |is_it: &dyn Fn(&Value) -> bool| events.iter().filter(|event| is_it(event)).count();
    for (cookie, name) in [
        (held.listener, "listening"),
        (held.client, "established"),
        (held.accepted, "accepted"),
        (held.client, "closed"),
        (held.accepted, "closed"),
    ] {
        assert_eq!(count(&of(cookie, name)), 1, "{name}: {events:#?}");
    }
    assert_eq!(
        count(&|event| event["kind"] == "listen" || event["kind"] == "connect"),
        0
    );
}
