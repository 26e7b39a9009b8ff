//! Follows an engine: its events say what to ask for anew, and it is polled besides, for those that are lost.

use super::client::{Client, EngineError, Id};
use super::{Engine, describe};
use crate::identity::cri::{Snapshot, View};
use crate::identity::following::{Descriptions, Followed, POLL, REST, SAFETY_NET, follow};
use foldhash::{HashSet, HashSetExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;

/// An engine lists what runs alone.
const RUNS: i32 = 0;
/// Events that can wait for the next round; the engine waits where there are more.
const EVENTS_WAITING: usize = 1_024;

/// Which engine is asked, and where.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which is expected there.
    pub engine: Engine,
    /// Its socket. An engine that is not installed has none, which is no fault.
    pub socket: PathBuf,
}

/// Starts to follow the engine, for as long as the returned view or a clone of it is there.
pub fn start(handle: &Handle, options: Options) -> View {
    let (sender, snapshots) = watch::channel(Arc::new(Snapshot::default()));
    let poke = Arc::new(Notify::new());
    handle.spawn(follow(Watcher {
        engine: options.engine,
        socket: options.socket,
        sender,
        poke: Arc::clone(&poke),
        known: Descriptions::new(),
        synced: false,
    }));
    View::new(snapshots, poke)
}

struct Watcher {
    engine: Engine,
    socket: PathBuf,
    sender: watch::Sender<Arc<Snapshot>>,
    poke: Arc<Notify>,
    known: Descriptions,
    /// A whole round was finished.
    synced: bool,
}

impl Followed for Watcher {
    type Error = EngineError;

    async fn session(&mut self) -> Result<(), EngineError> {
        let client = Client::new(&self.socket);
        self.ask(&client).await
    }

    fn sender(&self) -> &watch::Sender<Arc<Snapshot>> {
        &self.sender
    }

    fn snapshot(&self, live: bool) -> Snapshot {
        Snapshot {
            // Empty until it was heard of for the first time: nothing is waited for of an engine that is not there.
            runtime: if self.synced {
                self.engine.name().to_owned()
            } else {
                String::new()
            },
            live,
            asked: true,
            containers: self.known.containers(),
            ..Snapshot::default()
        }
    }

    fn complain(&self, ended: Result<(), EngineError>) -> bool {
        let is_installed = self.synced || self.socket.exists();
        let Some(error) = ended.err().filter(|_| is_installed) else {
            return false;
        };
        tracing::warn!(
            engine = %self.engine,
            %error,
            "the container engine cannot be asked; what is known of its containers stays, what it keeps on disk is read, \
             and it is tried again"
        );
        true
    }
}

impl Watcher {
    /// Asks until it fails.
    async fn ask(&mut self, client: &Client) -> Result<(), EngineError> {
        let (engine, version) = client.version().await?;
        self.engine = engine;
        let (sender, mut changed) = mpsc::channel(EVENTS_WAITING);
        // Before the first round, so that nothing happens between the two. Ends with this function.
        let mut following = JoinSet::new();
        match client.events().await {
            Ok(mut events) => {
                following.spawn(async move {
                    while let Some(id) = events.next().await {
                        if sender.send(id).await.is_err() {
                            return;
                        }
                    }
                });
            }
            Err(error) => tracing::debug!(%engine, %error, "no events come: it is polled"),
        }
        let mut greeted = false;
        let mut anew = HashSet::new();
        while !self.sender.is_closed() {
            while let Ok(id) = changed.try_recv() {
                anew.insert(id);
            }
            self.round(client, &anew).await?;
            anew.clear();
            if !greeted {
                greeted = true;
                tracing::info!(
                    %engine,
                    version,
                    socket = %self.socket.display(),
                    containers = self.known.len(),
                    "the container engine tells what runs"
                );
            }
            let pause = if changed.is_closed() { POLL } else { SAFETY_NET };
            tokio::time::sleep(REST).await;
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.poke.notified() => {}
                Some(id) = changed.recv() => {
                    anew.insert(id);
                }
            }
        }
        Ok(())
    }

    /// Lists what runs and has described what is new, and what is to be asked for `anew`.
    async fn round(&mut self, client: &Client, anew: &HashSet<Id>) -> Result<(), EngineError> {
        let running = client.running().await?;
        let mut changed = !(self.synced && self.sender.borrow().live);
        for id in &running {
            if !anew.contains(id) && self.is_current(id) {
                continue;
            }
            let Some(told) = client.container(id).await? else {
                continue;
            };
            let digests = self.digests(client, &told.image).await?;
            changed |= self.known.learn(
                id.as_str(),
                RUNS,
                describe::container(self.engine, &told, &digests),
            );
        }
        changed |= self.known.keep(&running.iter().map(Id::as_str).collect());
        self.synced = true;
        if changed {
            self.publish(true);
        }
        Ok(())
    }

    /// A container that was started anew has its id still, and another first process.
    fn is_current(&self, id: &Id) -> bool {
        self.known.current(id.as_str(), RUNS).is_some_and(|described| {
            described.pid != 0 && Path::new(&format!("/proc/{}", described.pid)).exists()
        })
    }

    async fn digests(&mut self, client: &Client, image: &str) -> Result<Vec<String>, EngineError> {
        let Some(image) = Id::parse(image) else {
            return Ok(Vec::new());
        };
        if let Some(known) = self.known.digests(image.as_str()) {
            return Ok(known.clone());
        }
        let digests = client.repo_digests(&image).await?;
        self.known.learn_digests(image.as_str(), &digests);
        Ok(digests)
    }
}
