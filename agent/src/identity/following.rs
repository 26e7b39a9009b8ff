//! What is alike in following whoever tells what runs: a runtime by its CRI, and engines.

use super::cri::{Described, Snapshot};
use crate::retry;
use foldhash::{HashMap, HashMapExt as _, HashSet};
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How often one is asked whose events do not come.
pub const POLL: Duration = Duration::from_secs(1);
/// How often one is asked whose events do: they can be dropped on their way.
pub const SAFETY_NET: Duration = Duration::from_secs(10);
/// Least time between two rounds of questions.
pub const REST: Duration = Duration::from_millis(20);
/// A description is asked for anew after this time: limits can be changed while a container runs.
const STALE: Duration = Duration::from_secs(300);
/// First and longest delay before one that is gone is tried again.
const FIRST_DELAY: Duration = Duration::from_millis(100);
const LAST_DELAY: Duration = Duration::from_secs(5);
/// Most images whose digests are remembered.
const IMAGES_MAX: usize = 4_096;

/// One who is followed.
pub trait Followed: Send {
    /// Why it cannot be asked.
    type Error: Send;

    /// Asks it until it fails, or until nobody wants to know any more.
    fn session(&mut self) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// To whom is said what it tells.
    fn sender(&self) -> &watch::Sender<Arc<Snapshot>>;

    /// What it told so far; `live` says whether it answers.
    fn snapshot(&self, live: bool) -> Snapshot;

    /// Says how a session ended; whether that is not to be said again before it has answered.
    fn complain(&self, ended: Result<(), Self::Error>) -> bool;

    /// Says what it told so far.
    fn publish(&self, live: bool) {
        self.sender().send_replace(Arc::new(self.snapshot(live)));
    }
}

/// Follows one, for as long as somebody wants to know.
pub async fn follow(mut teller: impl Followed) {
    let new_delays = || retry::delays(FIRST_DELAY, LAST_DELAY);
    let mut delays = new_delays();
    let mut told = false;
    while !teller.sender().is_closed() {
        let ended = teller.session().await;
        let was_live = teller.sender().borrow().live;
        if was_live || !teller.sender().borrow().asked {
            teller.publish(false);
        }
        if was_live {
            delays = new_delays();
            told = false;
        }
        if !told {
            told = teller.complain(ended);
        }
        tokio::time::sleep(delays.next().unwrap_or(LAST_DELAY)).await;
    }
}

/// What was described, by id.
pub struct Descriptions {
    known: HashMap<String, Known>,
    /// Digests that registries know an image by.
    digests: HashMap<String, Vec<String>>,
}

struct Known {
    /// As whoever lists it numbers states.
    state: i32,
    at: Instant,
    described: Arc<Described>,
}

impl Descriptions {
    pub fn new() -> Self {
        Self {
            known: HashMap::new(),
            digests: HashMap::new(),
        }
    }

    pub fn len(&self) -> usize {
        self.known.len()
    }

    pub fn get(&self, id: &str) -> Option<&Arc<Described>> {
        self.known.get(id).map(|known| &known.described)
    }

    /// The description, where it was asked for lately and in this state.
    pub fn current(&self, id: &str, state: i32) -> Option<&Arc<Described>> {
        self.known
            .get(id)
            .filter(|known| known.state == state && known.at.elapsed() < STALE)
            .map(|known| &known.described)
    }

    /// Says whether that was news.
    pub fn learn(&mut self, id: &str, state: i32, described: Described) -> bool {
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

    /// Forgets what is not listed any more; whether there was any.
    pub fn keep(&mut self, listed: &HashSet<&str>) -> bool {
        let before = self.known.len();
        self.known.retain(|id, _| listed.contains(id.as_str()));
        self.known.len() != before
    }

    /// All of them, by the ids of their containers.
    pub fn containers(&self) -> HashMap<String, Arc<Described>> {
        self.known
            .values()
            .map(|known| (known.described.id.clone(), Arc::clone(&known.described)))
            .collect()
    }

    /// Digests of an image that were asked for before.
    pub fn digests(&self, image: &str) -> Option<&Vec<String>> {
        self.digests.get(image)
    }

    /// Remembers those of an image.
    pub fn learn_digests(&mut self, image: &str, digests: &[String]) {
        if self.digests.len() >= IMAGES_MAX {
            self.digests.clear();
        }
        self.digests.insert(image.to_owned(), digests.to_vec());
    }
}
