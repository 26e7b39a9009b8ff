//! Heads whose signatures one signature vouches for.
//!
//! A head names the one before it by its hash. What a node signed last therefore says of every head that it follows on
//! that the node signed the same bytes for it, or would have: nobody without the key can make a head that names another
//! past. So of heads that follow on each other under one key only the last signature is verified; where that one does
//! not hold, those before it are, from the end on. What is not vouched for is found as if each had been verified; a
//! signature that was damaged while a later one vouches for its head is not.

use super::super::key::NodeKey;
use super::Origin;
use norma_wire::pb::SignedHead;
use std::sync::Arc;

/// Heads that wait for the signature of a later one; with this many it is verified, which bounds what is kept in mind
/// of each node and how much hangs on one signature.
const MOST: usize = 64;

/// A head as it is stored.
#[derive(Debug)]
pub struct Stored {
    /// The head.
    pub signed: SignedHead,
    /// Where it is stored.
    pub origin: Origin,
    /// Sequences that it covers.
    pub sequences: (u64, u64),
    /// Events among them.
    pub events: u64,
}

/// What came of looking at signatures.
#[derive(Debug, Default)]
pub struct Looked {
    /// Heads that are proven.
    pub heads: u64,
    /// Events that they cover.
    pub events: u64,
    /// Heads whose signature does not hold, and why, in their order.
    pub wrong: Vec<(Stored, String)>,
}

/// Heads that follow on each other under one key.
#[derive(Debug, Default)]
pub struct Vouched {
    key: Option<Arc<NodeKey>>,
    waiting: Vec<Stored>,
}

impl Vouched {
    /// Whether a head under `key` that follows on the last of these vouches for them.
    pub fn is_by(&self, key: &NodeKey) -> bool {
        self.key.as_ref().is_none_or(|own| own.id() == key.id())
    }

    /// Adds the next head, which follows on the last one under the same key; what it is time to look at.
    #[must_use]
    pub fn push(&mut self, key: Arc<NodeKey>, head: Stored) -> Looked {
        self.key = Some(key);
        self.waiting.push(head);
        if self.waiting.len() >= MOST {
            self.settle()
        } else {
            Looked::default()
        }
    }

    /// Looks at what nothing that is still to come vouches for.
    #[must_use]
    pub fn settle(&mut self) -> Looked {
        let mut looked = Looked::default();
        let Some(key) = self.key.take() else {
            return looked;
        };
        while let Some(last) = self.waiting.pop() {
            if let Err(error) = key.verify(&last.signed) {
                looked.wrong.push((last, error.to_string()));
                continue;
            }
            for proven in self.waiting.drain(..).chain([last]) {
                looked.heads += 1;
                looked.events += proven.events;
            }
        }
        looked.wrong.reverse();
        looked
    }
}
