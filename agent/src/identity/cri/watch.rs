//! Follows the runtime: its events where it offers them, polling where it does not.

use super::api::{Container, ContainerState, PodSandbox, PodSandboxState};
use super::client::{Client, CriError};
use super::describe::{self, Described, Pod};
use super::{SOCKETS, Snapshot, View};
use backon::{BackoffBuilder as _, ExponentialBuilder};
use foldhash::{HashMap, HashMapExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

/// How often a runtime is asked that sends no events.
const POLL: Duration = Duration::from_secs(1);
/// How often one is asked that does: events can be dropped on their way.
const SAFETY_NET: Duration = Duration::from_secs(10);
/// Least time between two rounds of questions.
const REST: Duration = Duration::from_millis(20);
/// A description is asked for anew after this time: limits can be changed while a container runs.
const STALE: Duration = Duration::from_secs(300);
/// Descriptions after which a long first round says what it has so far.
const PUBLISH_EVERY: usize = 16;
/// First and longest delay before a runtime that is gone is tried again.
const FIRST_DELAY: Duration = Duration::from_millis(100);
const LAST_DELAY: Duration = Duration::from_secs(5);
/// Most images whose digests are remembered.
const IMAGES_MAX: usize = 4_096;

/// Where and how the runtime is asked.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Its socket; the first of [`SOCKETS`] that exists where there is none.
    pub socket: Option<PathBuf>,
    /// Annotation that names the workload of a pod.
    pub workload_key: Option<String>,
}

/// Starts to follow the runtime, for as long as the returned view or a clone of it is there.
pub fn start(handle: &Handle, options: Options) -> View {
    let (sender, snapshots) = watch::channel(Arc::new(Snapshot::default()));
    let poke = Arc::new(Notify::new());
    handle.spawn(run(options, sender, Arc::clone(&poke)));
    View::new(snapshots, poke)
}

async fn run(options: Options, sender: watch::Sender<Arc<Snapshot>>, poke: Arc<Notify>) {
    let new_delays = || {
        ExponentialBuilder::new()
            .with_min_delay(FIRST_DELAY)
            .with_max_delay(LAST_DELAY)
            .with_jitter()
            .without_max_times()
            .build()
    };
    let mut delays = new_delays();
    let mut told = false;
    let mut watcher = Watcher {
        options,
        sender,
        poke,
        known: HashMap::new(),
        digests: HashMap::new(),
        runtime: String::new(),
        synced: false,
    };
    while !watcher.sender.is_closed() {
        let result = match watcher.socket() {
            Some(socket) => watcher.session(&socket).await,
            None => Ok(()),
        };
        let was_live = watcher.sender.borrow().live;
        if was_live || !watcher.sender.borrow().asked {
            watcher.publish(false);
        }
        if was_live {
            delays = new_delays();
            told = false;
        }
        match result {
            _ if told => {}
            Ok(()) => tracing::info!(
                looked_for = SOCKETS.join(", "),
                "no container runtime socket: pods are known from the state of their OCI runtime alone \
                 (`runtime.cri_socket` names another)"
            ),
            Err(error) => tracing::warn!(
                %error,
                "pods cannot be asked for; what is known of them stays, and it is tried again"
            ),
        }
        told = true;
        tokio::time::sleep(delays.next().unwrap_or(LAST_DELAY)).await;
    }
}

/// A container that was asked for.
struct Known {
    state: i32,
    at: Instant,
    described: Arc<Described>,
}

struct Watcher {
    options: Options,
    sender: watch::Sender<Arc<Snapshot>>,
    poke: Arc<Notify>,
    known: HashMap<String, Known>,
    /// Digests that registries know an image by.
    digests: HashMap<String, Vec<String>>,
    runtime: String,
    /// A whole round was finished.
    synced: bool,
}

impl Watcher {
    fn socket(&self) -> Option<PathBuf> {
        match &self.options.socket {
            Some(socket) => Some(socket.clone()),
            None => SOCKETS.iter().map(PathBuf::from).find(|socket| socket.exists()),
        }
    }

    /// Asks until it fails.
    async fn session(&mut self, socket: &Path) -> Result<(), CriError> {
        let mut client = Client::connect(socket).await?;
        let version = client.version().await?;
        self.runtime = describe::text(&version.runtime_name);
        let sends_events = Arc::new(AtomicBool::new(false));
        // Ends with this function.
        let mut events = JoinSet::new();
        events.spawn(follow(
            client.clone(),
            Arc::clone(&sends_events),
            Arc::clone(&self.poke),
        ));
        let mut greeted = false;
        while !self.sender.is_closed() {
            self.round(&mut client).await?;
            if !greeted {
                greeted = true;
                tracing::info!(
                    socket = %socket.display(),
                    runtime = self.runtime,
                    version = %describe::text(&version.runtime_version),
                    containers = self.known.len(),
                    "the container runtime tells what runs"
                );
            }
            let pause = if sends_events.load(Ordering::Relaxed) {
                SAFETY_NET
            } else {
                POLL
            };
            tokio::time::sleep(REST).await;
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.poke.notified() => {}
            }
        }
        Ok(())
    }

    /// Lists what there is and has described what is new.
    async fn round(&mut self, client: &mut Client) -> Result<(), CriError> {
        let sandboxes = client.sandboxes().await?;
        let containers = client.containers().await?;
        let mut asked = 0;
        let mut changed = !(self.synced && self.sender.borrow().live);
        for sandbox in &sandboxes {
            let ready = sandbox.state == PodSandboxState::SandboxReady as i32;
            if self.is_current(&sandbox.id, sandbox.state) || !ready {
                continue;
            }
            changed |= self.describe_sandbox(client, sandbox).await?;
            self.publish_now_and_then(&mut asked);
        }
        let pods: HashMap<&str, &PodSandbox> = sandboxes
            .iter()
            .map(|sandbox| (sandbox.id.as_str(), sandbox))
            .collect();
        for container in &containers {
            let running = [
                ContainerState::ContainerCreated as i32,
                ContainerState::ContainerRunning as i32,
            ]
            .contains(&container.state);
            // What had ended before anything was known of this node is of no interest; what was over before it
            // was ever listed is.
            let wanted = running || (self.synced && !self.known.contains_key(&container.id));
            if !wanted || self.is_current(&container.id, container.state) {
                continue;
            }
            let sandbox = pods.get(container.pod_sandbox_id.as_str()).copied();
            changed |= self.describe_container(client, container, sandbox).await?;
            self.publish_now_and_then(&mut asked);
        }
        let before = self.known.len();
        let listed: std::collections::HashSet<&str> = sandboxes
            .iter()
            .map(|sandbox| sandbox.id.as_str())
            .chain(containers.iter().map(|container| container.id.as_str()))
            .collect();
        self.known.retain(|id, _| listed.contains(id.as_str()));
        changed |= self.known.len() != before;
        self.synced = true;
        if changed {
            self.publish(true);
        }
        Ok(())
    }

    fn is_current(&self, id: &str, state: i32) -> bool {
        self.known
            .get(id)
            .is_some_and(|known| known.state == state && known.at.elapsed() < STALE)
    }

    async fn describe_sandbox(
        &mut self,
        client: &mut Client,
        sandbox: &PodSandbox,
    ) -> Result<bool, CriError> {
        let Some(answer) = client.sandbox(&sandbox.id).await? else {
            return Ok(false);
        };
        let pod = self.pod(sandbox, answer.status.as_ref());
        let described = describe::sandbox(&self.runtime, sandbox, &answer, &pod);
        Ok(self.learn(&sandbox.id, sandbox.state, described))
    }

    async fn describe_container(
        &mut self,
        client: &mut Client,
        container: &Container,
        sandbox: Option<&PodSandbox>,
    ) -> Result<bool, CriError> {
        let Some(answer) = client.container(&container.id).await? else {
            return Ok(false);
        };
        let pod = match (self.known.get(&container.pod_sandbox_id), sandbox) {
            (Some(known), _) => Arc::clone(&known.described.pod),
            (None, Some(sandbox)) => self.pod(sandbox, None),
            (None, None) => Arc::default(),
        };
        let image_ref = answer
            .status
            .as_ref()
            .map(|status| status.image_ref.clone())
            .unwrap_or_default();
        let digests = self.digests(client, &image_ref).await?;
        let described = describe::container(&self.runtime, container, &answer, &pod, &digests);
        Ok(self.learn(&container.id, container.state, described))
    }

    fn pod(&self, sandbox: &PodSandbox, status: Option<&super::api::PodSandboxStatus>) -> Arc<Pod> {
        Arc::new(describe::pod(
            sandbox,
            status,
            self.options.workload_key.as_deref(),
        ))
    }

    async fn digests(&mut self, client: &mut Client, image_ref: &str) -> Result<Vec<String>, CriError> {
        if image_ref.is_empty() || image_ref.contains('@') {
            return Ok(Vec::new());
        }
        if let Some(known) = self.digests.get(image_ref) {
            return Ok(known.clone());
        }
        let digests = client.repo_digests(image_ref).await?;
        if self.digests.len() >= IMAGES_MAX {
            self.digests.clear();
        }
        self.digests.insert(image_ref.to_owned(), digests.clone());
        Ok(digests)
    }

    /// Says whether that was news.
    fn learn(&mut self, id: &str, state: i32, described: Described) -> bool {
        let (described, news) = match self.known.get(id) {
            Some(known) if *known.described == described => (Arc::clone(&known.described), false),
            _ => (Arc::new(described), true),
        };
        let known = Known {
            state,
            at: Instant::now(),
            described,
        };
        self.known.insert(id.to_owned(), known);
        news
    }

    fn publish_now_and_then(&self, asked: &mut usize) {
        *asked += 1;
        if (*asked).is_multiple_of(PUBLISH_EVERY) {
            self.publish(true);
        }
    }

    fn publish(&self, live: bool) {
        let snapshot = Snapshot {
            runtime: self.runtime.clone(),
            live,
            asked: self.synced || !live,
            containers: self
                .known
                .values()
                .map(|known| (known.described.id.clone(), Arc::clone(&known.described)))
                .collect(),
            engines: Vec::new(),
        };
        self.sender.send_replace(Arc::new(snapshot));
    }
}

/// An event only says that there is something to ask for: it can come twice, late, or not at all.
async fn follow(mut client: Client, sends_events: Arc<AtomicBool>, poke: Arc<Notify>) {
    let mut stream = match client.events().await {
        Ok(stream) => stream,
        Err(status) => {
            tracing::debug!(code = %status.code(), "the container runtime offers no events: it is polled");
            return;
        }
    };
    while let Ok(Some(_)) = stream.message().await {
        sends_events.store(true, Ordering::Relaxed);
        poke.notify_one();
    }
    sends_events.store(false, Ordering::Relaxed);
}
