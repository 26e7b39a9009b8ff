//! A run: workloads with their clients, an agent that records, a collector, and what is done to the workloads.

use super::image;
use super::plan::{Attack, Plan, Workload};
use super::score::{Forecast, Seen};
use super::truth::{Act, ActKind, Span, Truth, now};
use crate::terminal::{Progress, clock};
use anyhow::{Context as _, Result};
use norma_rig::audit::number;
use norma_rig::{
    Agent, AgentSettings, Collector, CollectorSettings, Container, ContainerSpec, Pki, Programs, Scratch,
    interrupt, net, wait_until,
};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Name of the trace in the scratch folder.
const TRACE: &str = "eval.trace";
const START_LIMIT: Duration = Duration::from_secs(90);
/// Between two steps of an attack, so that what is found is told apart.
const PAUSE: Duration = Duration::from_secs(12);
/// After the last step, for what comes late.
const SETTLE: Duration = Duration::from_secs(12);

/// How long each part takes.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// Learning.
    pub learn: Duration,
    /// Normal things.
    pub normal: Duration,
}

/// Everything that runs. Fields are dropped in this order: clients, workloads, watchers.
pub struct Stage<'a> {
    clients: Vec<Client>,
    running: BTreeMap<String, Running>,
    agent: Agent,
    collector: Collector,
    plan: &'a Plan,
    scratch: &'a Scratch,
    base: PathBuf,
    images: PathBuf,
    /// What was done.
    pub truth: Truth,
    started: usize,
    light: bool,
}

struct Running {
    container: Container,
    has_rollout: bool,
}

/// Drives a workload from outside, round after round, until it is dropped.
struct Client {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

impl<'a> Stage<'a> {
    /// Starts the watchers, then the workloads, then their clients; these make no bursts of load where it is to be
    /// `light`.
    pub fn start(
        scratch: &'a Scratch,
        programs: &Programs,
        plan: &'a Plan,
        cache: &Path,
        (speed, light): (u32, bool),
    ) -> Result<Self> {
        let base = image::base(cache)?;
        let pki = Pki::create(programs, &scratch.folder("pki")?)?;
        let collector = Collector::start(scratch, programs, &pki, None, &CollectorSettings::default())?;
        let settings = AgentSettings {
            node: "eval-node".to_owned(),
            by_evidence: true,
            arguments: vec![
                "--record".to_owned(),
                scratch.join(TRACE).display().to_string(),
                "--speed".to_owned(),
                speed.to_string(),
            ],
            ..AgentSettings::default()
        };
        let begin = now();
        let agent = Agent::start(scratch, programs, &pki, Some(&collector), &settings)?;
        let mut stage = Self {
            clients: Vec::new(),
            running: BTreeMap::new(),
            agent,
            collector,
            plan,
            scratch,
            base,
            images: scratch.folder("images")?,
            truth: Truth {
                machine: machine(),
                speed,
                begin,
                ..Truth::default()
            },
            started: 0,
            light,
        };
        for workload in &plan.workloads {
            stage.launch(workload, false)?;
        }
        for workload in &plan.workloads {
            let client = stage.client(workload)?;
            stage.clients.push(client);
        }
        Ok(stage)
    }

    /// Plays all of it.
    pub fn play(&mut self, times: Times) -> Result<BTreeMap<String, Forecast>> {
        let mut progress = Progress::start("learning");
        let from = now();
        // Starts are learned from starts.
        for (part, restart) in [(0.15, true), (0.45, true), (1.0, false)] {
            self.pass(times.learn, from, part, &mut progress)?;
            if restart {
                self.restart_all()?;
            }
        }
        self.truth.learn = Span { from, to: now() };
        let forecasts = self.forecasts()?;
        let ready = forecasts.values().filter(|forecast| forecast.ready).count();
        progress.finish(&format!("{ready} of {} workloads are ready", forecasts.len()));

        let mut progress = Progress::start("normal things: load, restarts, a rollout, a session");
        let from = now();
        for (part, what) in [(0.2, "restart"), (0.45, "rollout"), (0.7, "session"), (1.0, "")] {
            self.pass(times.normal, from, part, &mut progress)?;
            match what {
                "restart" => self.restart_all()?,
                "rollout" => self.roll_out()?,
                "session" => self.session()?,
                _ => {}
            }
        }
        self.truth.normal = Span { from, to: now() };
        progress.finish("done");

        let mut progress = Progress::start("attacks");
        let plan = self.plan;
        for attack in &plan.attacks {
            progress.tick(&attack.name);
            self.attack(attack)?;
        }
        self.rest(SETTLE)?;
        progress.finish(&format!("{} steps", plan.attacks.len()));
        Ok(forecasts)
    }

    /// Ends everything in order; gives what the collector has, and the trace.
    pub fn finish(mut self) -> Result<(Truth, Vec<Seen>, PathBuf)> {
        self.clients.clear();
        self.truth.lost = lost(&self.agent.status()?);
        self.agent.stop()?;
        wait_until("the collector to have everything", START_LIMIT, || {
            let stopped = |event: &Value| event["lifecycle"]["state"] == "stopping";
            let events = self.collector.audit().events_of("lifecycle")?;
            Ok(events.iter().any(stopped).then_some(()))
        })?;
        let mut seen = Vec::new();
        for which in [
            ["--verdict", "novel"],
            ["--verdict", "violation"],
            ["--kind", "baseline_ready"],
            // These say of every container of which workload it is, also where there is nothing to find.
            ["--kind", "rollup"],
        ] {
            for record in self.collector.audit().records_of(&which)? {
                if let Some(event) = record.pointer("/body/event").or_else(|| record.get("event")) {
                    seen.push(Seen {
                        event: event.clone(),
                        received: number(&record["received_wall_ns"]),
                    });
                }
            }
        }
        Ok((self.truth.clone(), seen, self.scratch.join(TRACE)))
    }

    /// The ends of the logs of what runs.
    pub fn tails(&mut self) -> String {
        let mut text = String::from("the evaluation did not go as expected");
        for tail in [
            self.agent.daemon().map(|daemon| daemon.tail()),
            self.collector.daemon().map(|daemon| daemon.tail()),
        ]
        .into_iter()
        .flatten()
        {
            text.push('\n');
            text += &tail;
        }
        for (name, running) in &self.running {
            let output = running.container.output();
            let lines: Vec<&str> = output.lines().rev().take(5).collect();
            text += &format!("\n--- {name} ---\n");
            text += &lines.into_iter().rev().collect::<Vec<_>>().join("\n");
        }
        text
    }

    /// Starts a workload, in the place of the container that it has.
    fn launch(&mut self, workload: &Workload, rollout: bool) -> Result<()> {
        let rollout = rollout
            || self
                .running
                .get(&workload.name)
                .is_some_and(|old| old.has_rollout);
        drop(self.running.remove(&workload.name));
        self.started += 1;
        let mut image = vec![image::own(workload, &self.images)?, self.base.clone()];
        if rollout {
            image.insert(0, image::rollout(workload, &self.images)?);
        }
        let pod = workload.pod(self.started);
        let version = if rollout { 2 } else { 1 };
        let annotations = [
            ("io.kubernetes.cri.container-type", "container".to_owned()),
            ("io.kubernetes.cri.container-name", "app".to_owned()),
            ("io.kubernetes.cri.sandbox-name", pod),
            ("io.kubernetes.cri.sandbox-namespace", "shop".to_owned()),
            (
                "io.kubernetes.cri.image-name",
                format!("local.test/{}@sha256:{:064x}", workload.name, version),
            ),
        ];
        let spec = ContainerSpec {
            name: format!("{}-{}", workload.name, self.started),
            argv: ["/bin/sh", "/app/start.sh"].map(str::to_owned).to_vec(),
            annotations: annotations.map(|(key, value)| (key.to_owned(), value)).to_vec(),
            image,
            path: Some("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()),
            volumes: match &workload.spec.volume {
                Some(at) => vec![(self.volume(&workload.name)?, at.clone())],
                None => Vec::new(),
            },
            ..ContainerSpec::default()
        };
        let container = Container::start(self.scratch, &spec)?;
        self.truth
            .containers
            .insert(container.id().to_owned(), workload.name.clone());
        if let Some(port) = workload.spec.port {
            wait_until(&format!("{} to answer", workload.name), START_LIMIT, || {
                Ok(net::is_listening(port)?.then_some(()))
            })
            .with_context(|| container.output())?;
        }
        let running = Running {
            container,
            has_rollout: rollout,
        };
        self.running.insert(workload.name.clone(), running);
        Ok(())
    }

    fn volume(&self, workload: &str) -> Result<PathBuf> {
        self.scratch.folder(&format!("volumes/{workload}"))
    }

    fn outside(&self, script: &Path) -> Result<Outside> {
        Ok(Outside {
            text: std::fs::read_to_string(script).with_context(|| script.display().to_string())?,
            volumes: self.scratch.folder("volumes")?,
            base: self.base.clone(),
        })
    }

    fn client(&self, workload: &Workload) -> Result<Client> {
        let outside = self.outside(&workload.folder.join("drive.sh"))?;
        let stop = Arc::new(AtomicBool::new(false));
        let volume = format!("/mnt/{}", workload.name);
        let light = if self.light { "1" } else { "" };
        let flag = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            for round in 1_u32.. {
                if flag.load(Ordering::Acquire) || interrupt::check().is_err() {
                    break;
                }
                let mut command = outside.command();
                command
                    .arg(round.to_string())
                    .env("VOLUME", &volume)
                    .env("LIGHT", light);
                // A round that fails while its workload is restarted is one that a client saw fail.
                command.status().ok();
            }
        });
        Ok(Client {
            stop,
            thread: Some(thread),
        })
    }

    fn restart_all(&mut self) -> Result<()> {
        let plan = self.plan;
        for workload in &plan.workloads {
            let from = now();
            self.launch(workload, false)?;
            self.note("restart", ActKind::Restart, &workload.name, from);
        }
        Ok(())
    }

    fn roll_out(&mut self) -> Result<()> {
        let plan = self.plan;
        for workload in plan.workloads.iter().filter(|workload| workload.has_rollout()) {
            let from = now();
            self.launch(workload, true)?;
            self.note("rollout", ActKind::Rollout, &workload.name, from);
        }
        Ok(())
    }

    /// An administrator looks around.
    fn session(&mut self) -> Result<()> {
        let plan = self.plan;
        for workload in plan.workloads.iter().take(2) {
            let from = now();
            if let Some(running) = self.running.get(&workload.name) {
                running
                    .container
                    .exec(&["/bin/sh", "-c", "id; ls -l /app /tmp; cat /etc/hosts; ps ax"])?;
            }
            self.note("session", ActKind::Session, &workload.name, from);
        }
        Ok(())
    }

    fn attack(&mut self, attack: &Attack) -> Result<()> {
        let from = now();
        let mut command = self.outside(&attack.script)?.command();
        for workload in &self.plan.workloads {
            let key = format!("VOLUME_{}", workload.name.to_uppercase());
            command.env(key, format!("/mnt/{}", workload.name));
        }
        command.status().context("an attack cannot be run")?;
        self.truth.acts.push(Act {
            name: attack.name.clone(),
            kind: ActKind::Attack,
            workload: attack.workload.clone(),
            technique: attack.technique.clone(),
            finds: attack.finds.clone(),
            span: Span { from, to: now() },
        });
        self.rest(PAUSE)
    }

    fn note(&mut self, name: &str, kind: ActKind, workload: &str, from: u64) {
        self.truth.acts.push(Act {
            name: name.to_owned(),
            kind,
            workload: workload.to_owned(),
            technique: String::new(),
            finds: String::new(),
            span: Span { from, to: now() },
        });
    }

    /// Waits until this part of a time is over that began at `from`.
    fn pass(&self, time: Duration, from: u64, part: f64, progress: &mut Progress) -> Result<()> {
        let until = from + (time.as_nanos() as f64 * part) as u64;
        while now() < until {
            interrupt::check()?;
            std::thread::sleep(Duration::from_millis(200));
            let left = Duration::from_nanos(
                from + time.as_nanos() as u64 - now().min(from + time.as_nanos() as u64),
            );
            progress.tick(&format!("{} to go", clock(left)));
        }
        Ok(())
    }

    fn rest(&self, time: Duration) -> Result<()> {
        let began = Instant::now();
        while began.elapsed() < time {
            interrupt::check()?;
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    fn forecasts(&self) -> Result<BTreeMap<String, Forecast>> {
        Ok(super::recording::forecasts(&self.agent.status()?["baselines"]))
    }
}

/// Seconds that a round of a client or a step of an attack may take.
const ROUND_LIMIT: &str = "40";

/// A script, to be run with the programs of the images outside of any container.
struct Outside {
    text: String,
    volumes: PathBuf,
    base: PathBuf,
}

impl Outside {
    fn command(&self) -> Command {
        let mut command = Command::new("timeout");
        // The volumes lie outside of the image. A client whose server is restarted can be left waiting.
        command
            .args(["--kill-after=1", ROUND_LIMIT, "unshare", "--mount", "sh", "-c"])
            .arg("mount --bind \"$0\" \"$1/mnt\" && exec chroot \"$@\"")
            .args([&self.volumes, &self.base])
            .args(["/bin/sh", "-c", &self.text, "outside"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }
}

/// Records that a status says were lost, of all kinds.
fn lost(status: &Value) -> u64 {
    let kinds = status["kernel"].as_object().into_iter().flatten();
    kinds.filter_map(|(_, kind)| kind["lost"].as_u64()).sum()
}

fn machine() -> String {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    format!("Linux {}, {processors} processors", kernel.trim())
}
