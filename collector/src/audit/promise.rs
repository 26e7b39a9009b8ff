//! Checkpoints as others get them and give them back: with a proof that the log goes on from what they remember.

use super::rotation;
use super::tlog::{Tiles, TlogError};
use norma_tlog::key::Use;
use norma_tlog::tree::consistency;
use norma_tlog::{Checkpoint, Hash, Note, Policy, VerifierKey};
use norma_wire::pb;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// Conflicts that are remembered; beyond, some are recorded again.
const TOLD_MAX: usize = 4096;

/// Gives out the newest checkpoint; clones share what was worked out.
#[derive(Clone, Debug)]
pub struct Promises {
    directory: Arc<Path>,
    key: VerifierKey,
    /// How others come from a key that the log had to this one.
    rotations: Arc<[Vec<u8>]>,
    newest: watch::Receiver<Option<Note>>,
    /// The last proof, which most agents need at the same time.
    last: Arc<Mutex<Option<Consistency>>>,
    /// Conflicts that were recorded: digests of who told what.
    told: Arc<Mutex<BTreeSet<[u8; 32]>>>,
}

/// That the log of `to` entries goes on from that of `from`.
#[derive(Clone, Debug)]
struct Consistency {
    from: u64,
    to: u64,
    proof: Vec<Hash>,
}

/// A checkpoint that this log does not go on from.
#[derive(Debug, thiserror::Error)]
pub enum Conflict {
    /// It was set back.
    #[error(
        "it was promised {remembered} entries, and this log has {has}: its end was removed, or it was set back to an older copy"
    )]
    Longer {
        /// Size that is remembered.
        remembered: u64,
        /// Size now.
        has: u64,
    },
    /// It was forked.
    #[error(
        "its {0} entries had another root than the first {0} entries of this log: entries were changed, or another log goes by this name and key"
    )]
    Root(u64),
}

impl Promises {
    pub(super) fn new(
        directory: Arc<Path>,
        key: VerifierKey,
        rotations: Vec<Vec<u8>>,
        newest: watch::Receiver<Option<Note>>,
    ) -> Self {
        debug_assert_eq!(key.usage(), Use::Log, "checkpoints are signed as a log");
        Self {
            directory,
            key,
            rotations: rotations.into(),
            newest,
            last: Arc::default(),
            told: Arc::default(),
        }
    }

    /// Name of the log.
    pub fn name(&self) -> &str {
        self.key.name()
    }

    /// The key that checkpoints verify under.
    pub fn key(&self) -> &VerifierKey {
        &self.key
    }

    /// Tells when there is a newer checkpoint.
    pub fn watch(&self) -> watch::Receiver<Option<Note>> {
        self.newest.clone()
    }

    /// The newest checkpoint with what it says; `None` before the first.
    pub fn newest(&self) -> Option<(Checkpoint, Note)> {
        let note = self.newest.borrow().clone()?;
        let checkpoint = note.text.parse().ok()?;
        Some((checkpoint, note))
    }

    /// The newest checkpoint, with its size, for somebody who remembers one of `size` entries, 0 for none.
    pub fn since(&self, size: u64) -> Result<Option<(u64, pb::Checkpoint)>, TlogError> {
        let Some((checkpoint, note)) = self.newest() else {
            return Ok(None);
        };
        let proof = self.proof(size, checkpoint.size)?;
        let sent = pb::Checkpoint {
            note: note.to_string().into_bytes(),
            key: self.key.to_string(),
            proven_from: size,
            consistency: proof.iter().map(|hash| hash.0.to_vec()).collect(),
            rotations: self.rotations.to_vec(),
        };
        Ok(Some((checkpoint.size, sent)))
    }

    /// Proof that the log of `to` entries goes on from that of `from`; empty where there is none to give.
    pub fn proof(&self, from: u64, to: u64) -> Result<Vec<Hash>, TlogError> {
        let last = || self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = last()
            .as_ref()
            .filter(|known| (known.from, known.to) == (from, to))
        {
            return Ok(known.proof.clone());
        }
        let proof = consistency(&self.tiles(to), from, to)?;
        *last() = Some(Consistency {
            from,
            to,
            proof: proof.clone(),
        });
        Ok(proof)
    }

    /// What a remembered checkpoint of this log is: its size where the log goes on from it, and `None` for one of
    /// another log, or that no key of this log has signed, now or earlier.
    pub fn remembers(&self, note: &[u8]) -> Result<Option<Result<u64, Conflict>>, TlogError> {
        let mut policy = Policy::of_log(self.key.clone());
        policy.logs.extend(rotation::earlier(&self.rotations, &self.key));
        let trusted = Note::parse(note).ok().and_then(|note| policy.check(&note).ok());
        let (Some(trusted), Some((newest, _))) = (trusted, self.newest()) else {
            return Ok(None);
        };
        let (size, root) = (trusted.checkpoint.size, trusted.checkpoint.root);
        if size > newest.size {
            return Ok(Some(Err(Conflict::Longer {
                remembered: size,
                has: newest.size,
            })));
        }
        let same = norma_tlog::tree::root(&self.tiles(newest.size), size)? == root;
        Ok(Some(if same { Ok(size) } else { Err(Conflict::Root(size)) }))
    }

    /// Whether somebody tells of this remembered checkpoint for the first time; who is refused connects again and again.
    pub fn is_news(&self, who: &str, note: &[u8]) -> bool {
        let digest = Sha256::new()
            .chain_update(who)
            .chain_update([0])
            .chain_update(note)
            .finalize();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() >= TOLD_MAX {
            told.clear();
        }
        told.insert(digest.into())
    }

    fn tiles(&self, size: u64) -> Tiles {
        Tiles::of(&self.directory.join(super::tlog::FOLDER)).at(size)
    }
}
