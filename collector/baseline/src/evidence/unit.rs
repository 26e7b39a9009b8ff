//! Sampling units in progress.

use crate::fact::FactId;
use serde::{Deserialize, Serialize};

/// A set of facts by number: a bit each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Bits(Vec<u64>);

impl Bits {
    /// Adds one; whether it was not there yet.
    pub fn insert(&mut self, id: FactId) -> bool {
        let (word, bit) = (id.index() / 64, 1 << (id.index() % 64));
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        let added = self.0[word] & bit == 0;
        self.0[word] |= bit;
        added
    }

    pub fn contains(&self, id: FactId) -> bool {
        self.0
            .get(id.index() / 64)
            .is_some_and(|bits| bits & (1 << (id.index() % 64)) != 0)
    }

    pub fn union(&mut self, other: &Self) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        for (ours, theirs) in self.0.iter_mut().zip(&other.0) {
            *ours |= theirs;
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = FactId> {
        self.0.iter().enumerate().flat_map(|(word, bits)| {
            let bits = *bits;
            (0..64)
                .filter(move |bit| bits & (1 << bit) != 0)
                .map(move |bit| FactId::from_index(word * 64 + bit))
        })
    }

    /// The same facts under other numbers; those without one are not in it.
    pub fn renumber(&mut self, ids: &[Option<FactId>]) {
        let old = std::mem::take(self);
        for id in old.iter() {
            if let Some(new) = ids.get(id.index()).copied().flatten() {
                self.insert(new);
            }
        }
    }

    /// The largest number, where there is one.
    pub fn last(&self) -> Option<FactId> {
        self.iter().last()
    }
}

/// A unit that is not complete.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Unit {
    /// Seconds, or runs, so far.
    pub elapsed: u32,
    pub seen: Bits,
}

impl Unit {
    /// What was seen in it, if it is complete; another one begins with the time that is left over.
    pub fn complete(&mut self, length: u32) -> Option<Bits> {
        if self.elapsed < length {
            return None;
        }
        self.elapsed -= length;
        Some(std::mem::take(&mut self.seen))
    }

    /// Goes on with what another began: the two are one unit of container time.
    pub fn absorb(&mut self, other: &Self) {
        self.elapsed = self.elapsed.saturating_add(other.elapsed);
        self.seen.union(&other.seen);
    }
}
