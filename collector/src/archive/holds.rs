//! Legal holds: what must not be removed, whatever its age.
//!
//! Each is a record of the audit log, and so is its release. Which are in force follows from the log; a file keeps that
//! as of some record, so that a start reads only what came after.

pub mod inbox;
mod scope;

pub use scope::{Facts, check, covers, scope};

use crate::audit::{AuditLog, Follower, ReadError, StorageError};
use crate::durable::{self, Sync};
use norma_wire::audit::{HoldPlaced, HoldReleased, HoldScope, Record, record::Body};
use norma_wire::text::Hex;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::{Mutex, MutexGuard};

/// Name of the file, in the directory of the holds.
pub const FILE: &str = "holds.json";
/// Records read at a time.
const CHUNK: usize = 4096;
/// Bytes of chance in a hold's name.
const ID_BYTES: usize = 4;

/// A hold in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Its name.
    pub id: String,
    /// Only of this node, where one is named.
    pub node: Option<String>,
    /// Only of containers in this namespace.
    pub namespace: Option<String>,
    /// Only what was received from this time on, nanoseconds since 1970.
    pub from_wall_ns: Option<u64>,
    /// Only what was received up to this time.
    pub to_wall_ns: Option<u64>,
    /// Only of this segment.
    pub segment: Option<u64>,
    /// Why.
    pub reason: String,
    /// Who placed it, in their own words.
    pub who: String,
    /// User of the host that handed it over.
    pub uid: u32,
    /// Who asked for it over the API, by the certificate; empty where it was handed over.
    #[serde(default)]
    pub actor: String,
    /// When, nanoseconds since 1970.
    pub placed_wall_ns: u64,
}

/// Why holds are not known.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file.
    #[error("cannot use {}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        source: io::Error,
    },
    /// The log.
    #[error(transparent)]
    Log(#[from] ReadError),
}

/// A change that is not made.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// Nothing of that name.
    #[error("there is no hold `{0}` in force; `audit hold list` shows those that are")]
    Unknown(String),
    /// It cannot be recorded.
    #[error(transparent)]
    Log(#[from] StorageError),
    /// The file cannot be written.
    #[error("cannot write the holds: {0}")]
    File(#[from] io::Error),
}

/// The holds in force; clones share them.
#[derive(Clone, Debug)]
pub struct Holds(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    log: AuditLog,
    state: Mutex<Stored>,
}

/// The holds, which do not change while this lives.
pub type InForce<'a> = MutexGuard<'a, Stored>;

/// The file.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Stored {
    /// Every record up to this one is taken into account.
    through: u64,
    holds: BTreeMap<String, Hold>,
}

impl Stored {
    /// The holds in force, by name.
    pub fn list(&self) -> impl Iterator<Item = &Hold> {
        self.holds.values()
    }

    /// The first hold that covers a segment.
    pub fn covering(&self, facts: &Facts) -> Option<&Hold> {
        self.list().find(|hold| covers(hold, facts))
    }

    fn follow(&mut self, record: &Record) {
        match &record.body {
            Some(Body::HoldPlaced(placed)) => {
                let hold = Hold::of(placed, record.received_wall_ns);
                self.holds.insert(hold.id.clone(), hold);
            }
            Some(Body::HoldReleased(released)) => {
                self.holds.remove(&released.id);
            }
            _ => {}
        }
        self.through = record.index;
    }
}

impl Hold {
    fn of(placed: &HoldPlaced, placed_wall_ns: u64) -> Self {
        let scope = placed.scope.clone().unwrap_or_default();
        let given = |text: String| (!text.is_empty()).then_some(text);
        let at = |time: u64| (time > 0).then_some(time);
        Self {
            id: placed.id.clone(),
            node: given(scope.node),
            namespace: given(scope.namespace),
            from_wall_ns: at(scope.from_wall_ns),
            to_wall_ns: at(scope.to_wall_ns),
            segment: scope.segment,
            reason: placed.reason.clone(),
            who: placed.who.clone(),
            uid: placed.uid,
            actor: placed.actor.clone(),
            placed_wall_ns,
        }
    }

    /// What it is on.
    pub fn scope(&self) -> HoldScope {
        HoldScope {
            node: self.node.clone().unwrap_or_default(),
            namespace: self.namespace.clone().unwrap_or_default(),
            from_wall_ns: self.from_wall_ns.unwrap_or_default(),
            to_wall_ns: self.to_wall_ns.unwrap_or_default(),
            segment: self.segment,
        }
    }
}

/// A name for a new hold; `None` where the system gives no random bytes.
pub fn new_id() -> Option<String> {
    let mut chance = [0; ID_BYTES];
    aws_lc_rs::rand::fill(&mut chance).ok()?;
    Some(format!("hold-{}", Hex(&chance)))
}

/// Who is behind a hold, for people: in their own words, and how that is known.
pub fn whose(who: &str, uid: u32, actor: &str) -> String {
    if actor.is_empty() {
        format!("{who} (uid {uid})")
    } else {
        format!("{who} ({actor})")
    }
}

/// Reads the holds as they were written last.
pub fn read(directory: &Path) -> io::Result<Stored> {
    match fs::read(directory.join(FILE)) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::other),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Stored::default()),
        Err(error) => Err(error),
    }
}

impl Holds {
    /// Reads the file in `directory` and what the log has after it. Without the file, all of the log is read.
    pub fn open(directory: &Path, log: &AuditLog) -> Result<Self, OpenError> {
        let path = directory.join(FILE);
        let failed = |source| OpenError::File {
            path: path.clone(),
            source,
        };
        durable::create_folders(directory).map_err(failed)?;
        let mut state = read(directory).map_err(failed)?;
        let durable = log.head().borrow().index;
        let mut follower = Follower::new(&log.directory(), state.through + 1);
        while follower.next_index() <= durable {
            match follower.read(durable, CHUNK) {
                Ok(records) => records.iter().for_each(|record| state.follow(record)),
                Err(ReadError::Missing { index, .. }) => {
                    // A segment with a hold in force is never removed, so that what is gone has none.
                    let later = log.segment_after(index);
                    let Some(next) = later else { break };
                    follower = Follower::new(&log.directory(), next);
                }
                Err(error) => return Err(error.into()),
            }
        }
        state.through = durable;
        let holds = Self(Arc::new(Shared {
            path: path.clone(),
            log: log.clone(),
            state: Mutex::new(state),
        }));
        Ok(holds)
    }

    /// The holds in force; none is placed or released while the answer lives.
    pub async fn in_force(&self) -> InForce<'_> {
        self.0.state.lock().await
    }

    /// Places a hold; returns when it is durable. One that is placed already is left as it is.
    pub async fn place(&self, placed: HoldPlaced) -> Result<(), ChangeError> {
        let mut state = self.0.state.lock().await;
        if state.holds.contains_key(&placed.id) {
            return Ok(());
        }
        self.0.log.note(Body::HoldPlaced(placed.clone())).await?;
        let hold = Hold::of(&placed, crate::clock::wall_ns());
        state.holds.insert(hold.id.clone(), hold);
        self.save(&mut state)
    }

    /// Releases a hold; returns when that is durable.
    pub async fn release(&self, released: HoldReleased) -> Result<(), ChangeError> {
        let mut state = self.0.state.lock().await;
        if !state.holds.contains_key(&released.id) {
            return Err(ChangeError::Unknown(released.id));
        }
        self.0.log.note(Body::HoldReleased(released.clone())).await?;
        state.holds.remove(&released.id);
        self.save(&mut state)
    }

    /// Writes the file, so that the next start has less to read.
    pub async fn settle(&self) -> Result<(), ChangeError> {
        let mut state = self.0.state.lock().await;
        self.save(&mut state)
    }

    /// Nobody else records holds, and nobody does while the state is locked.
    fn save(&self, state: &mut Stored) -> Result<(), ChangeError> {
        state.through = self.0.log.head().borrow().index;
        let bytes = serde_json::to_vec_pretty(state).map_err(io::Error::other)?;
        Ok(durable::replace_as(&self.0.path, &bytes, 0o640, Sync::Now)?)
    }
}
