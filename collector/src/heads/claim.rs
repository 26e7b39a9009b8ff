//! What a head claims, held against the batch that it came with.

use super::key::{NodeKey, SignatureError};
use crate::audit::Outbox;
use crate::audit::lanes;
use bytes::Bytes;
use norma_wire::head::{Hash, digest, hash};
use norma_wire::pb::{BatchHead, SignedHead};
use prost::Message as _;

/// Why a head does not fit what came with it; nothing of the batch is stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// Not a head.
    #[error("the head of a batch cannot be read")]
    Unreadable,
    /// Of another node or epoch than the stream.
    #[error("the head of a batch is that of {node}/{epoch:016x}")]
    Foreign {
        /// The node that it names.
        node: String,
        /// The epoch.
        epoch: u64,
    },
    /// Its signature does not count.
    #[error("the head of a batch cannot be taken: {0}")]
    Signature(#[from] SignatureError),
    /// Its sequences are in no order.
    #[error("the head of a batch covers sequences {first} to {last}")]
    Range {
        /// The first.
        first: u64,
        /// The last.
        last: u64,
    },
    /// Other events than those of the batch.
    #[error("the head of a batch is not that of its events")]
    OtherEvents,
}

/// A head that fits its batch.
#[derive(Clone, Debug)]
pub struct Claim {
    /// As it came.
    pub signed: SignedHead,
    /// What it says.
    pub head: BatchHead,
    /// Its own hash.
    pub hash: Hash,
}

impl Claim {
    /// Reads and checks the head that came with `events` on the stream of `outbox`, whose peer has this key.
    pub fn check(
        outbox: &Outbox,
        key: &NodeKey,
        signed: SignedHead,
        events: &[Bytes],
    ) -> Result<Self, HeadError> {
        let head = BatchHead::decode(&signed.head[..]).map_err(|_| HeadError::Unreadable)?;
        if head.node != outbox.node || head.epoch != outbox.epoch {
            return Err(HeadError::Foreign {
                node: head.node.chars().take(80).collect(),
                epoch: head.epoch,
            });
        }
        if head.first_sequence == 0 || head.last_sequence < head.first_sequence {
            return Err(HeadError::Range {
                first: head.first_sequence,
                last: head.last_sequence,
            });
        }
        key.verify(&signed)?;
        let hashes = lanes::hash(events.iter().map(AsRef::as_ref));
        if head.events != hashes.len() as u64 || head.digest != digest(&hashes) {
            return Err(HeadError::OtherEvents);
        }
        let hash = hash(&signed.head);
        Ok(Self { signed, head, hash })
    }
}
