//! The whole line, started for a test.

use norma_rig::container::steady_workload;
use norma_rig::net::Peer;
use norma_rig::{
    Agent, AgentSettings, Collector, CollectorSettings, Container, ContainerSpec, Pki, Programs, Rsyslog,
    Scratch, wait_until,
};
use serde_json::Value;
use std::time::Duration;

/// Far more than anything here takes, even on a busy machine.
pub const LIMIT: Duration = Duration::from_secs(180);

/// From the watched to the watchers: fields are dropped in this order.
pub struct Line {
    pub container: Container,
    pub agent: Agent,
    pub collector: Collector,
    pub siem: Rsyslog,
    /// The workload connects to it again and again.
    pub friend: Peer,
    pub scratch: Scratch,
}

impl Line {
    /// Everything but the agent's start: a test may want to be first.
    pub fn prepare(purpose: &str, settings: &AgentSettings) -> Self {
        Self::prepare_with(purpose, settings, |_, _| {})
    }

    /// The same, with a container that differs.
    pub fn prepare_with(
        purpose: &str,
        settings: &AgentSettings,
        differ: impl FnOnce(&Scratch, &mut ContainerSpec),
    ) -> Self {
        let scratch = Scratch::new(purpose).unwrap();
        let programs = Programs::find().unwrap();
        let pki = Pki::create(&programs, &scratch.folder("pki").unwrap()).unwrap();
        let siem = Rsyslog::start(&scratch, &pki.ca(), &pki.server("siem").unwrap(), true).unwrap();
        let collector = Collector::start(
            &scratch,
            &programs,
            &pki,
            Some(&siem),
            &CollectorSettings::default(),
        )
        .unwrap();
        let friend = Peer::start().unwrap();
        let mut spec = ContainerSpec::script("app", &steady_workload(friend.port()));
        spec.programs.push(programs.path("norma-load"));
        differ(&scratch, &mut spec);
        let container = Container::start(&scratch, &spec).unwrap();
        let agent = Agent::prepare(&scratch, &programs, &pki, Some(&collector), settings).unwrap();
        Self {
            container,
            agent,
            collector,
            siem,
            friend,
            scratch,
        }
    }

    /// Everything.
    pub fn start(purpose: &str, settings: &AgentSettings) -> Self {
        let mut line = Self::prepare(purpose, settings);
        line.agent.run(&line.scratch).unwrap();
        line
    }

    /// Waits until the container's baseline is complete.
    pub fn learn(&self) {
        wait_until("the baseline of the container", LIMIT, || {
            let status = self.agent.status()?;
            let mut baselines = status["baselines"].as_array().into_iter().flatten();
            let own = |baseline: &Value| {
                baseline["ready"] == true
                    && baseline["workload"]
                        .as_str()
                        .is_some_and(|name| name.contains(self.container.id()))
            };
            Ok(baselines.any(own).then_some(()))
        })
        .unwrap();
    }

    /// Has the workload's shell run a line; gives its exit status.
    pub fn order(&self, line: &str) -> i32 {
        self.container.order_and_wait(line, LIMIT).unwrap()
    }

    /// Waits for an event of the container.
    pub fn event(&self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        let id = self.container.id();
        self.collector
            .audit()
            .wait_for(what, LIMIT, |event| {
                event.pointer("/container/id").is_some_and(|it| it == id) && is_it(event)
            })
            .unwrap()
    }

    /// Waits for an alert at the SIEM that contains all of `words` and names the container.
    pub fn alert(&self, words: &[&str]) -> norma_rig::syslog::Message {
        let id = self.container.id();
        let line = self
            .siem
            .wait_for(&format!("an alert with {words:?}"), LIMIT, |line| {
                line.contains(id) && words.iter().all(|word| line.contains(word))
            })
            .unwrap();
        norma_rig::syslog::Message::parse(&line).unwrap()
    }
}

/// The text at a place of an event.
pub fn text<'a>(event: &'a Value, pointer: &str) -> &'a str {
    event.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The executables of the process and its ancestors, the process first.
pub fn lineage(event: &Value) -> Vec<&str> {
    let ancestors = event.pointer("/process/ancestors").and_then(Value::as_array);
    std::iter::once(text(event, "/process/exe"))
        .chain(
            ancestors
                .into_iter()
                .flatten()
                .map(|ancestor| text(ancestor, "/exe")),
        )
        .collect()
}
