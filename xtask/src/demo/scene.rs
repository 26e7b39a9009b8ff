//! Everything that takes part in the demo, started in the order in which it is needed.

use crate::terminal::{Progress, heading};
use anyhow::{Context as _, Result};
use norma_rig::container::steady_workload;
use norma_rig::net::Peer;
use norma_rig::{
    Agent, AgentSettings, Collector, CollectorSettings, Container, ContainerSpec, Pki, Programs, Rsyslog,
    Scratch, wait_until,
};
use std::cell::RefCell;
use std::time::{Duration, Instant};

/// An address that the policy forbids to connect to.
pub const FORBIDDEN_ADDRESS: &str = "127.0.0.66";
/// A program that the policy forbids to run.
pub const FORBIDDEN_PROGRAM: &str = "/usr/bin/miner";

/// Beyond the learning window: the agent looks once a second, and the machine may be busy.
const LEARN_SLACK: Duration = Duration::from_secs(60);

fn policy() -> String {
    format!(
        "apiVersion: norma.dev/v1alpha1\n\
         kind: Policy\n\
         metadata: {{name: demo}}\n\
         spec:\n\
        \x20 select: {{workload: \"*\"}}\n\
        \x20 process:\n\
        \x20   - deny: [\"{FORBIDDEN_PROGRAM}\"]\n\
        \x20     response: kill\n\
        \x20     severity: critical\n\
        \x20     why: \"mining steals processor time and shows that somebody else runs programs here\"\n\
        \x20 network:\n\
        \x20   - deny: [\"{FORBIDDEN_ADDRESS}\"]\n\
        \x20     severity: high\n\
        \x20     why: \"the address stands for a known command-and-control server\"\n"
    )
}

/// The running demo.
pub struct Scene {
    /// Fields are dropped in this order: the watched before the watchers.
    pub container: Container,
    /// The agent.
    pub agent: RefCell<Agent>,
    /// The collector.
    pub collector: Collector,
    /// The SIEM.
    pub siem: Rsyslog,
    /// Where the workload never connects while it is learned.
    pub stranger: Peer,
    learn: Duration,
}

impl Scene {
    /// Starts it.
    pub fn start(scratch: &Scratch, programs: &Programs, learn: Duration) -> Result<Self> {
        heading("2. Starting a SIEM receiver, the collector, a container and the agent");
        let pki = Pki::create(programs, &scratch.folder("pki")?)?;
        println!(
            "   made a private certificate authority in {}",
            scratch.join("pki").display()
        );
        let siem = Rsyslog::start(scratch, &pki.ca(), &pki.server("siem")?, true)?;
        println!(
            "   rsyslog, the SIEM, takes syslog over mutual TLS on 127.0.0.1:{}",
            siem.port()
        );
        let collector = Collector::start(
            scratch,
            programs,
            &pki,
            Some(&siem),
            &CollectorSettings::default(),
        )?;
        println!(
            "   the collector takes events over mutual TLS on 127.0.0.1:{}",
            collector.port()
        );

        let (friend, stranger) = (Peer::start()?, Peer::start()?);
        let spec = ContainerSpec::script("shop", &steady_workload(friend.port()));
        let container = Container::start(scratch, &spec)?;
        let sleep = container.host_path("/usr/bin/sleep");
        std::fs::copy(sleep, container.host_path(FORBIDDEN_PROGRAM)).context("cannot copy a program")?;
        println!(
            "   container {} runs under runc, with control group {}: again and again it reads /etc/hostname and \
             /etc/app.conf and connects to 127.0.0.1:{}",
            container.id(),
            container.cgroup_path(),
            friend.port()
        );

        let settings = AgentSettings {
            node: "demo-node".to_owned(),
            learning: learn,
            policies: vec![policy()],
            ..AgentSettings::default()
        };
        let agent = Agent::start(scratch, programs, &pki, Some(&collector), &settings)?;
        println!(
            "   the agent has loaded its kernel programs and watches; policy: {FORBIDDEN_PROGRAM} is killed,"
        );
        println!("   connections to {FORBIDDEN_ADDRESS} are denied");
        Ok(Self {
            container,
            agent: RefCell::new(agent),
            collector,
            siem,
            stranger,
            learn,
        })
    }

    /// Waits until the agent knows what the container normally does.
    pub fn learn(&self) -> Result<()> {
        heading(&format!(
            "3. Learning what is normal, for {} seconds",
            self.learn.as_secs()
        ));
        let (started, mut progress) = (Instant::now(), Progress::start("the agent learns the container"));
        let facts = wait_until("the baseline of the container", self.learn + LEARN_SLACK, || {
            let status = self.agent.borrow().status()?;
            let id = self.container.id();
            let own = status["baselines"]
                .as_array()
                .into_iter()
                .flatten()
                .find(|baseline| {
                    baseline["workload"]
                        .as_str()
                        .is_some_and(|workload| workload.contains(id))
                });
            let facts = own.and_then(|baseline| baseline["facts"].as_u64()).unwrap_or(0);
            progress.tick(&format!(
                "of {}: {facts} behaviours known",
                crate::terminal::clock(self.learn)
            ));
            Ok(own
                .is_some_and(|baseline| baseline["ready"] == true)
                .then_some(facts))
        })?;
        progress.finish(&format!("{facts} behaviours learned"));
        println!(
            "   from here on, whatever else the container does is drift (learned in {} s)",
            started.elapsed().as_secs()
        );
        Ok(())
    }

    /// Stops the agent, then the collector, each in order, so that all that was seen is in the audit log.
    pub fn stop(&mut self) -> Result<()> {
        self.agent.borrow_mut().stop()?;
        self.collector.stop()
    }

    /// The end of each program's log.
    pub fn tails(&mut self) -> String {
        let mut text = String::from("the demo did not go as expected\n");
        for tail in [
            self.agent.borrow_mut().daemon().map(|daemon| daemon.tail()),
            self.collector.daemon().map(|daemon| daemon.tail()),
            Ok(format!(
                "--- received by rsyslog: {} messages ---",
                self.siem.messages().len()
            )),
        ]
        .into_iter()
        .flatten()
        {
            text += &tail;
            text.push('\n');
        }
        text
    }
}
