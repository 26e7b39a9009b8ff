//! Follows the runtime: its events where it offers them, polling where it does not.

use super::api::{Container, ContainerState, PodSandbox, PodSandboxState};
use super::client::{Client, CriError};
use super::describe::{self, Pod};
use super::{SOCKETS, Snapshot, View};
use crate::identity::following::{Descriptions, Followed, POLL, REST, SAFETY_NET, follow};
use foldhash::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

/// Descriptions after which a long first round says what it has so far.
const PUBLISH_EVERY: usize = 16;
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
    handle.spawn(follow(Watcher {
        options,
        sender,
        poke: Arc::clone(&poke),
        known: Descriptions::new(),
        runtime: String::new(),
        synced: false,
    }));
    View::new(snapshots, poke)
}

struct Watcher {
    options: Options,
    sender: watch::Sender<Arc<Snapshot>>,
    poke: Arc<Notify>,
    known: Descriptions,
    runtime: String,
    /// A whole round was finished.
    synced: bool,
}

impl Followed for Watcher {
    type Error = CriError;

    async fn session(&mut self) -> Result<(), CriError> {
        match self.socket() {
            Some(socket) => self.ask(&socket).await,
            None => Ok(()),
        }
    }

    fn sender(&self) -> &watch::Sender<Arc<Snapshot>> {
        &self.sender
    }

    fn snapshot(&self, live: bool) -> Snapshot {
        Snapshot {
            runtime: self.runtime.clone(),
            live,
            asked: self.synced || !live,
            containers: self.known.containers(),
            engines: Vec::new(),
        }
    }

    fn complain(&self, ended: Result<(), CriError>) -> bool {
        match ended {
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
        true
    }
}

impl Watcher {
    fn socket(&self) -> Option<PathBuf> {
        match &self.options.socket {
            Some(socket) => Some(socket.clone()),
            None => SOCKETS.iter().map(PathBuf::from).find(|socket| socket.exists()),
        }
    }

    /// Asks until it fails.
    async fn ask(&mut self, socket: &Path) -> Result<(), CriError> {
        let mut client = Client::connect(socket).await?;
        let version = client.version().await?;
        self.runtime = describe::text(&version.runtime_name);
        let sends_events = Arc::new(AtomicBool::new(false));
        // Ends with this function.
        let mut events = JoinSet::new();
        events.spawn(listen(
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
            if self.known.current(&sandbox.id, sandbox.state).is_some() || !ready {
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
            let wanted = running || (self.synced && self.known.get(&container.id).is_none());
            if !wanted || self.known.current(&container.id, container.state).is_some() {
                continue;
            }
            let sandbox = pods.get(container.pod_sandbox_id.as_str()).copied();
            changed |= self.describe_container(client, container, sandbox).await?;
            self.publish_now_and_then(&mut asked);
        }
        let listed: HashSet<&str> = sandboxes
            .iter()
            .map(|sandbox| sandbox.id.as_str())
            .chain(containers.iter().map(|container| container.id.as_str()))
            .collect();
        changed |= self.known.keep(&listed);
        self.synced = true;
        if changed {
            self.publish(true);
        }
        Ok(())
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
        Ok(self.known.learn(&sandbox.id, sandbox.state, described))
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
            (Some(known), _) => Arc::clone(&known.pod),
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
        Ok(self.known.learn(&container.id, container.state, described))
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
        if let Some(known) = self.known.digests(image_ref) {
            return Ok(known.clone());
        }
        let digests = client.repo_digests(image_ref).await?;
        self.known.learn_digests(image_ref, &digests);
        Ok(digests)
    }

    fn publish_now_and_then(&self, asked: &mut usize) {
        *asked += 1;
        if (*asked).is_multiple_of(PUBLISH_EVERY) {
            self.publish(true);
        }
    }
}

/// An event only says that there is something to ask for: it can come twice, late, or not at all.
async fn listen(mut client: Client, sends_events: Arc<AtomicBool>, poke: Arc<Notify>) {
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
