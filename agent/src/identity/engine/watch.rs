//! Follows an engine: its events say what to ask for anew, and it is polled besides, for those that are lost.

use super::client::{Client, EngineError, Id};
use super::{Engine, describe};
use crate::identity::cri::{Described, Snapshot, View};
use backon::{BackoffBuilder as _, ExponentialBuilder};
use foldhash::{HashMap, HashMapExt as _, HashSet, HashSetExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;

/// How often an engine is asked whose events do not come.
const POLL: Duration = Duration::from_secs(1);
/// How often one is asked whose events do.
const SAFETY_NET: Duration = Duration::from_secs(10);
/// Least time between two rounds of questions.
const REST: Duration = Duration::from_millis(20);
/// A description is asked for anew after this time: limits can be changed while a container runs.
const STALE: Duration = Duration::from_secs(300);
/// First and longest delay before an engine that is gone is tried again.
const FIRST_DELAY: Duration = Duration::from_millis(100);
const LAST_DELAY: Duration = Duration::from_secs(5);
/// Most images whose digests are remembered.
const IMAGES_MAX: usize = 4_096;
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
    let watcher = Watcher {
        engine: options.engine,
        sender,
        poke: Arc::clone(&poke),
        known: HashMap::new(),
        digests: HashMap::new(),
        synced: false,
    };
    handle.spawn(run(watcher, options.socket));
    View::new(snapshots, poke)
}

async fn run(mut watcher: Watcher, socket: PathBuf) {
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
    while !watcher.sender.is_closed() {
        let result = watcher.session(&socket).await;
        let was_live = watcher.sender.borrow().live;
        if was_live || !watcher.sender.borrow().asked {
            watcher.publish(false);
        }
        if was_live {
            delays = new_delays();
            told = false;
        }
        if let Err(error) = result {
            let is_installed = watcher.synced || socket.exists();
            if is_installed && !told {
                tracing::warn!(
                    engine = %watcher.engine,
                    %error,
                    "the container engine cannot be asked; what is known of its containers stays, what it keeps on disk \
                     is read, and it is tried again"
                );
                told = true;
            }
        }
        tokio::time::sleep(delays.next().unwrap_or(LAST_DELAY)).await;
    }
}

/// A container that was asked for.
struct Known {
    at: Instant,
    described: Arc<Described>,
}

struct Watcher {
    engine: Engine,
    sender: watch::Sender<Arc<Snapshot>>,
    poke: Arc<Notify>,
    known: HashMap<Id, Known>,
    /// Digests that registries know an image by.
    digests: HashMap<Id, Vec<String>>,
    /// A whole round was finished.
    synced: bool,
}

impl Watcher {
    /// Asks until it fails.
    async fn session(&mut self, socket: &Path) -> Result<(), EngineError> {
        let client = Client::new(socket);
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
            self.round(&client, &anew).await?;
            anew.clear();
            if !greeted {
                greeted = true;
                tracing::info!(
                    %engine,
                    version,
                    socket = %socket.display(),
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
            changed |= self.learn(id, describe::container(self.engine, &told, &digests));
        }
        let running: HashSet<&Id> = running.iter().collect();
        let before = self.known.len();
        self.known.retain(|id, _| running.contains(id));
        changed |= self.known.len() != before;
        self.synced = true;
        if changed {
            self.publish(true);
        }
        Ok(())
    }

    /// A container that was started anew has its id still, and another first process.
    fn is_current(&self, id: &Id) -> bool {
        self.known.get(id).is_some_and(|known| {
            known.at.elapsed() < STALE
                && known.described.pid != 0
                && Path::new(&format!("/proc/{}", known.described.pid)).exists()
        })
    }

    async fn digests(&mut self, client: &Client, image: &str) -> Result<Vec<String>, EngineError> {
        let Some(image) = Id::parse(image) else {
            return Ok(Vec::new());
        };
        if let Some(known) = self.digests.get(&image) {
            return Ok(known.clone());
        }
        let digests = client.repo_digests(&image).await?;
        if self.digests.len() >= IMAGES_MAX {
            self.digests.clear();
        }
        self.digests.insert(image, digests.clone());
        Ok(digests)
    }

    /// Says whether that was news.
    fn learn(&mut self, id: &Id, described: Described) -> bool {
        let (described, news) = match self.known.get(id) {
            Some(known) if *known.described == described => (Arc::clone(&known.described), false),
            _ => (Arc::new(described), true),
        };
        let at = Instant::now();
        self.known.insert(id.clone(), Known { at, described });
        news
    }

    fn publish(&self, live: bool) {
        let snapshot = Snapshot {
            // Empty until it was heard of for the first time: nothing is waited for of an engine that is not there.
            runtime: if self.synced {
                self.engine.name().to_owned()
            } else {
                String::new()
            },
            live,
            asked: true,
            containers: self
                .known
                .values()
                .map(|known| (known.described.id.clone(), Arc::clone(&known.described)))
                .collect(),
            ..Snapshot::default()
        };
        self.sender.send_replace(Arc::new(snapshot));
    }
}
