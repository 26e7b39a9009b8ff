//! What a node states of its events that other collectors hold.
//!
//! Ownership of a node is the node's to settle: it delivers to one collector at a time, and sends what one has
//! acknowledged to nobody else. Replicas need not agree on anything, and none has to know another. What a node says when
//! it comes from elsewhere is signed with the key that signs its batch heads, and is recorded where it explains why
//! sequences are not in this log, or may be in another one as well.

use crate::audit::Outbox;
use crate::heads::key::{NodeKey, SignatureError};
use norma_wire::audit::{HandedOver, record::Body};
use norma_wire::pb::{Handover, Held, SignedHandover};
use prost::Message as _;

/// Ranges and names that a node may state; it puts older ones together.
const RANGES_MAX: usize = 256;
/// Bytes of all of it.
const BYTES_MAX: usize = 256 << 10;

/// Why what a node states is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandoverError {
    /// Not a hand-over.
    #[error("the hand-over of a node cannot be read")]
    Unreadable,
    /// More than it may be.
    #[error("the hand-over of a node is too large")]
    Large,
    /// Of another node or epoch than the stream.
    #[error("the hand-over is that of another node or epoch")]
    Foreign,
    /// Its signature does not count.
    #[error("the hand-over of a node cannot be taken: {0}")]
    Signature(#[from] SignatureError),
}

/// A statement that was checked.
#[derive(Clone, Debug)]
pub struct Statement {
    signed: SignedHandover,
    handover: Handover,
}

impl Statement {
    /// Reads and checks what came with the hello of a stream of `outbox`, whose peer has this key.
    pub fn check(outbox: &Outbox, key: &NodeKey, signed: SignedHandover) -> Result<Self, HandoverError> {
        if signed.handover.len() > BYTES_MAX {
            return Err(HandoverError::Large);
        }
        key.verify_handover(&signed)?;
        let handover = Handover::decode(&signed.handover[..]).map_err(|_| HandoverError::Unreadable)?;
        if handover.node != outbox.node || handover.epoch != outbox.epoch {
            return Err(HandoverError::Foreign);
        }
        if handover.held.len() + handover.in_doubt.len() > RANGES_MAX {
            return Err(HandoverError::Large);
        }
        Ok(Self { signed, handover })
    }

    /// What is recorded before the events of a stream, in the log of this name, which holds everything up to `durable`;
    /// `None` where the statement explains nothing there.
    pub fn record(&self, log: &str, durable: u64) -> Option<Body> {
        let elsewhere =
            |held: &Held| held.last_sequence > durable && held.logs.iter().any(|other| other != log);
        let Handover { held, in_doubt, .. } = &self.handover;
        held.iter().chain(in_doubt).any(elsewhere).then(|| {
            Body::HandedOver(HandedOver {
                statement: Some(self.signed.clone()),
                log: log.to_owned(),
            })
        })
    }
}
