//! The newest head of each outbox, and which keys are in the log already.
//!
//! Both follow from the audit log. A file keeps them as of some record, so that a start reads only what came after.

use super::claim::Claim;
use super::key::NodeKey;
use crate::audit::{AuditLog, Follower, Outbox, ReadError};
use crate::durable::{self, Sync};
use norma_wire::audit::{BatchHeads, NodeKey as KeyRecord, Record, record::Body};
use norma_wire::head::Hash;
use norma_wire::pb::{BatchHead, SignedHead};
use prost::Message as _;
use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often the file is written.
const SAVE_INTERVAL: Duration = Duration::from_secs(30);
/// Turns of outboxes that are kept before those that nobody uses are dropped.
const TURNS_KEPT: usize = 1024;
/// Records read at a time.
const CHUNK: usize = 4096;

/// Why the heads are not known.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file cannot be read.
    #[error("cannot use {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] ReadError),
}

/// A handle to what is known; clones share it.
#[derive(Clone, Debug)]
pub struct Heads(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    log: AuditLog,
    state: Mutex<State>,
    turns: Mutex<HashMap<Outbox, Arc<tokio::sync::Mutex<()>>>>,
}

/// The one who may store for an outbox, until it is dropped.
#[derive(Debug)]
pub struct Turn(#[expect(dead_code, reason = "held for its drop")] tokio::sync::OwnedMutexGuard<()>);

#[derive(Debug, Default)]
struct State {
    tips: BTreeMap<Outbox, SignedHead>,
    keys: BTreeSet<(String, Hash)>,
    saved: Option<Instant>,
    /// Everything up to this record had been taken into account when the file was last written.
    settled: u64,
}

/// The file: MessagePack.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Stored {
    index: u64,
    /// Node, epoch, encoded head.
    tips: Vec<(String, u64, serde_bytes::ByteBuf)>,
    keys: Vec<(String, Hash)>,
}

impl Heads {
    /// Reads the file at `path` and what the log has after it.
    pub fn open(path: &Path, log: &AuditLog) -> Result<Self, OpenError> {
        let stored = read(path).map_err(|source| OpenError::File {
            path: path.to_owned(),
            source,
        })?;
        let mut state = State::default();
        for (node, epoch, bytes) in stored.tips {
            if let Ok(head) = SignedHead::decode(&bytes[..]) {
                state.tips.insert(Outbox { node, epoch }, head);
            }
        }
        state.keys = stored.keys.into_iter().collect();
        let durable = log.head().borrow().index;
        let mut follower = Follower::new(&log.directory(), stored.index + 1);
        loop {
            match follower.read(durable, CHUNK) {
                Ok(records) if records.is_empty() => break,
                Ok(records) => records.iter().for_each(|record| state.follow(record)),
                // Older files were removed: agents remember their own heads.
                Err(ReadError::Missing { .. }) => break,
                Err(error) => return Err(error.into()),
            }
        }
        state.settled = durable;
        Ok(Self(Arc::new(Shared {
            path: path.to_owned(),
            log: log.clone(),
            state: Mutex::new(state),
            turns: Mutex::default(),
        })))
    }

    /// Waits until nobody else stores for an outbox. A stream that breaks may still be storing when the next one begins:
    /// what that one is told must not change under it.
    pub async fn turn(&self, outbox: &Outbox) -> Turn {
        let turn = {
            let mut turns = self.0.turns.lock().unwrap_or_else(PoisonError::into_inner);
            if turns.len() >= TURNS_KEPT && !turns.contains_key(outbox) {
                // Those that nobody has or waits for: only the map holds them.
                turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            }
            Arc::clone(turns.entry(outbox.clone()).or_default())
        };
        Turn(turn.lock_owned().await)
    }

    /// The newest head of an outbox that is on stable storage.
    pub fn newest(&self, outbox: &Outbox) -> Option<SignedHead> {
        self.state().tips.get(outbox).cloned()
    }

    /// The record of a key, where the log does not have it yet; it comes before anything that is signed with it.
    pub fn key_record(
        &self,
        outbox: &Outbox,
        key: &NodeKey,
        chain: &[CertificateDer<'static>],
    ) -> Option<Body> {
        if self.state().keys.contains(&(outbox.node.clone(), *key.id())) {
            return None;
        }
        Some(Body::NodeKey(KeyRecord {
            node: outbox.node.clone(),
            key: key.id().to_vec(),
            chain: chain.iter().map(|certificate| certificate.to_vec()).collect(),
        }))
    }

    /// The claims on what comes after `newest`. A batch that comes again (an agent did not hear that it was stored, or
    /// somebody replays it) states nothing that was not recorded.
    pub fn news(newest: Option<&SignedHead>, claims: Vec<Claim>) -> Vec<Claim> {
        let last = newest.and_then(|signed| BatchHead::decode(&signed.head[..]).ok());
        let last = last.map_or(0, |head| head.last_sequence);
        claims
            .into_iter()
            .filter(|claim| claim.head.last_sequence > last)
            .collect()
    }

    /// What is recorded right after the events that heads cover.
    pub fn record(claims: &[Claim]) -> Option<Body> {
        let heads: Vec<_> = claims.iter().map(|claim| claim.signed.clone()).collect();
        (!heads.is_empty()).then_some(Body::BatchHeads(BatchHeads { heads }))
    }

    /// Notes that the record of a key is on stable storage.
    pub fn key_recorded(&self, outbox: &Outbox, key: &NodeKey) {
        self.state().keys.insert((outbox.node.clone(), *key.id()));
    }

    /// Notes that these heads are on stable storage.
    pub fn recorded(&self, _turn: &Turn, outbox: &Outbox, claims: &[Claim]) {
        let Some(newest) = claims.last() else { return };
        self.state().tips.insert(outbox.clone(), newest.signed.clone());
        self.save(false);
    }

    /// Writes the file; for the end.
    pub fn close(&self) {
        self.save(true);
    }

    fn save(&self, now: bool) {
        let stored = {
            let mut state = self.state();
            if !now && state.saved.is_some_and(|saved| saved.elapsed() < SAVE_INTERVAL) {
                return;
            }
            state.saved = Some(Instant::now());
            let stored = Stored {
                index: state.settled,
                tips: state
                    .tips
                    .iter()
                    .map(|(outbox, head)| {
                        let bytes = serde_bytes::ByteBuf::from(head.encode_to_vec());
                        (outbox.node.clone(), outbox.epoch, bytes)
                    })
                    .collect(),
                keys: state.keys.iter().cloned().collect(),
            };
            // A head may be durable and not yet be noted here; by the next time it is.
            state.settled = self.0.log.head().borrow().index;
            stored
        };
        let written = rmp_serde::to_vec(&stored)
            .map_err(io::Error::other)
            .and_then(|bytes| durable::replace(&self.0.path, &bytes, Sync::Lazy));
        if let Err(error) = written {
            tracing::warn!(%error, "cannot write which batch heads are known; they are read from the log at the next start");
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn follow(&mut self, record: &Record) {
        match &record.body {
            Some(Body::BatchHeads(heads)) => {
                for signed in &heads.heads {
                    if let Ok(head) = BatchHead::decode(&signed.head[..]) {
                        let outbox = Outbox {
                            node: head.node,
                            epoch: head.epoch,
                        };
                        self.tips.insert(outbox, signed.clone());
                    }
                }
            }
            Some(Body::NodeKey(key)) => {
                if let Ok(id) = Hash::try_from(&key.key[..]) {
                    self.keys.insert((key.node.clone(), id));
                }
            }
            _ => {}
        }
    }
}

fn read(path: &Path) -> io::Result<Stored> {
    match fs::read(path) {
        // What cannot be read is found in the log.
        Ok(bytes) => Ok(rmp_serde::from_slice(&bytes).unwrap_or_default()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Stored::default()),
        Err(error) => Err(error),
    }
}
