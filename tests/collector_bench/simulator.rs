//! A simulated agent: real mTLS, batches of the size that agents send, signed and chained heads.

use crate::agent::Agent;
use crate::signer::Signer;
use anyhow::Result;
use norma_rig::pki::KeyPair;
use norma_wire::head;
use norma_wire::pb::{self, EventId, VerdictKind, to_agent, to_collector};
use norma_wire::{Detail, Event};
use prost::Message as _;
use prost::bytes::Bytes;
use std::collections::VecDeque;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// As agents have it: events, bytes of a batch, and events that are sent and not acknowledged.
pub const BATCH_EVENTS: u64 = 1024;
const BATCH_BYTES: u64 = 256 << 10;
const WINDOW: u64 = 16_384;
/// Different events, so that what is sent compresses as in life and not better.
const VARIANTS: u64 = 1024;

/// What all simulators send: everything of an event but its place and times.
#[derive(Debug)]
pub struct Load {
    bodies: Vec<Vec<u8>>,
}

impl Load {
    /// Events of some 700 bytes.
    pub fn new() -> Self {
        Self {
            bodies: (0..VARIANTS).map(|number| body(number).encode_to_vec()).collect(),
        }
    }

    /// Bytes of an event, on average.
    pub fn event_bytes(&self) -> u64 {
        let total: usize = (1..=VARIANTS)
            .map(|number| self.event("node-0001", 1, number).len())
            .sum();
        total as u64 / VARIANTS
    }

    /// As an agent encodes it: fields in the order of their numbers.
    fn event(&self, node: &str, epoch: u64, sequence: u64) -> Bytes {
        let place = Event {
            id: Some(EventId {
                node: node.into(),
                epoch,
                sequence,
            }),
            boot_ns: 86_400_000_000_000 + sequence * 13_751,
            wall_ns: wall_ns(),
            ..Default::default()
        };
        let body = &self.bodies[(sequence.wrapping_mul(0x9e37_79b9) % VARIANTS) as usize];
        let mut bytes = Vec::with_capacity(place.encoded_len() + body.len());
        place.encode_raw(&mut bytes);
        bytes.extend_from_slice(body);
        bytes.into()
    }
}

/// One of them, connected.
pub struct Simulator {
    agent: Agent,
    node: String,
    signer: Signer,
    sent: u64,
    acknowledged: u64,
    /// Last sequence of each batch on its way, and when it was given away.
    on_its_way: VecDeque<(u64, Instant)>,
    /// How long each acknowledged batch took.
    pub latencies: Vec<Duration>,
}

impl Simulator {
    /// Connects as `node`.
    pub async fn connect(ca: &Path, identity: &KeyPair, port: u16, node: &str) -> Result<Self> {
        let agent = Agent::connect(ca, identity, port, node, 1).await?;
        let signer = Signer::new(identity, node, 1, agent.welcome.head.as_ref())?;
        Ok(Self {
            sent: agent.welcome.durable_sequence,
            acknowledged: agent.welcome.durable_sequence,
            agent,
            node: node.to_owned(),
            signer,
            on_its_way: VecDeque::new(),
            latencies: Vec::new(),
        })
    }

    /// Sends a batch of `events`.
    pub async fn send(&mut self, load: &Load, events: u64) -> Result<()> {
        let (first, last) = (self.sent + 1, self.sent + events);
        let events: Vec<Bytes> = (first..=last)
            .map(|sequence| load.event(&self.node, 1, sequence))
            .collect();
        let batch = self.signer.batch(events, (first, last), wall_ns())?;
        self.on_its_way.push_back((last, Instant::now()));
        self.agent.tell(to_collector::Message::Batch(batch)).await?;
        self.sent = last;
        Ok(())
    }

    /// Delivers `events` as fast as they are taken.
    pub async fn flood(&mut self, load: &Load, events: u64) -> Result<()> {
        let batch = (BATCH_BYTES / load.event_bytes()).clamp(1, BATCH_EVENTS);
        let end = self.sent + events;
        while self.sent < end {
            while self.sent - self.acknowledged >= WINDOW {
                self.hear().await?;
            }
            self.send(load, batch.min(end - self.sent)).await?;
        }
        self.drain().await
    }

    /// Delivers `events` in each `pace`, for as long as `time`.
    pub async fn trickle(&mut self, load: &Load, events: u64, pace: Duration, time: Duration) -> Result<()> {
        let mut due = tokio::time::interval(pace);
        due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let end = Instant::now() + time;
        while Instant::now() < end {
            tokio::select! {
                _ = due.tick() => self.send(load, events).await?,
                heard = self.agent.answer() => self.take(heard?),
            }
        }
        self.drain().await
    }

    /// Waits until everything is acknowledged.
    pub async fn drain(&mut self) -> Result<()> {
        while self.acknowledged < self.sent {
            self.hear().await?;
        }
        Ok(())
    }

    async fn hear(&mut self) -> Result<()> {
        let answer = self.agent.answer().await?;
        self.take(answer);
        Ok(())
    }

    fn take(&mut self, answer: to_agent::Message) {
        let to_agent::Message::Ack(ack) = answer else {
            return;
        };
        self.acknowledged = ack.through;
        while let Some((_, since)) = self.on_its_way.pop_front_if(|(last, _)| *last <= ack.through) {
            self.latencies.push(since.elapsed());
        }
    }
}

fn wall_ns() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos() as u64)
}

/// An exec in a container of a cluster, as the agent describes it.
fn body(number: u64) -> Event {
    let id = |salt: u64| Bytes::copy_from_slice(&head::hash(&(number * 7 + salt).to_le_bytes())[..16]);
    let pid = 10_000 + (number * 37 % 50_000) as u32;
    let program = ["curl", "python3.11", "sh", "cat", "node", "psql", "grep"][number as usize % 7];
    Event {
        kind: pb::Kind::Exec.into(),
        process: Some(pb::Process {
            pid,
            start_boot_ns: 86_300_000_000_000 + number * 7_919_113,
            exe: format!("/usr/bin/{program}"),
            comm: program.into(),
            argv: vec![
                program.into(),
                "--config".into(),
                format!("/etc/app/{number}.conf"),
            ],
            uid: 1000,
            gid: 1000,
            euid: 1000,
            ancestors: vec![
                pb::Ancestor {
                    pid: pid - 3,
                    start_boot_ns: 86_200_000_000_000 + number,
                    exe: "/bin/dash".into(),
                    id: id(1),
                },
                pb::Ancestor {
                    pid: 4711,
                    start_boot_ns: 3_000_000_000_000,
                    exe: "/usr/local/bin/gunicorn".into(),
                    id: id(2),
                },
                pb::Ancestor {
                    pid: 4690,
                    start_boot_ns: 2_900_000_000_000,
                    exe: "/usr/bin/tini".into(),
                    id: id(4),
                },
            ],
            id: id(3),
            ..Default::default()
        }),
        container: Some(pb::Container {
            id: "7f3c1de09ab4527f3c1de09ab4527f3c1de09ab4527f3c1de09ab45200112233".into(),
            name: "web".into(),
            runtime: "containerd".into(),
            image: "registry.example.org/shop/web:2.14.1".into(),
            image_digest: "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".into(),
            workload: "shop/deployment/web/web".into(),
            pod: "web-6d4cf56db6-x7k2p".into(),
            namespace: "shop".into(),
            cgroup_id: 18_231,
            init_pid: 4711,
            pod_uid: "8d3f1a52-6c0e-4c5b-9d57-0a1b2c3d4e5f".into(),
            r#type: "main".into(),
            ..Default::default()
        }),
        verdict: Some(pb::Verdict {
            kind: VerdictKind::Expected.into(),
            severity: pb::Severity::Info.into(),
            ..Default::default()
        }),
        detail: Some(Detail::Exec(pb::Exec {
            filename: format!("/usr/bin/{program}"),
            inode: 131_072 + number,
            dev: 51,
            origin: "image".into(),
            mtime_ns: 1_700_000_000_000_000_000 + number * 1_000_003,
            ctime_ns: 1_700_000_100_000_000_000 + number * 1_000_003,
            ..Default::default()
        })),
        ..Default::default()
    }
}
