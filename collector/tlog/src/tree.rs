//! The tree of RFC 6962 §2.1: roots, and proofs of inclusion and consistency.
//!
//! Nodes are named by level and index: node (l, i) is the root of the entries from i·2^l on, 2^l of them. Only such
//! full subtrees are ever stored; every other hash is put together from them.

use crate::hash::Hash;

/// Most hashes of a proof.
pub const MAX_PROOF: usize = 63;

/// Where nodes of a tree are looked up.
pub trait Nodes {
    /// Why a node cannot be had.
    type Error;

    /// Root of the full subtree `index` at `level`.
    fn node(&self, level: u32, index: u64) -> Result<Hash, Self::Error>;
}

/// A proof that does not prove what it is given for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unproven {
    /// Its length is not that of a proof for these sizes.
    #[error("the proof has the wrong number of hashes for these tree sizes")]
    Shape,
    /// There is no such entry.
    #[error("there is no entry {index} in a tree of {size}")]
    NoEntry {
        /// Index of the entry.
        index: u64,
        /// Size of the tree.
        size: u64,
    },
    /// A tree does not shrink.
    #[error("a tree of {new} entries cannot follow one of {old}")]
    Shrunk {
        /// Size before.
        old: u64,
        /// Size after.
        new: u64,
    },
    /// The hashes lead to another root.
    #[error("the proof leads to another root")]
    Root,
}

/// The roots of the full subtrees that make up a growing tree: enough to grow it and to tell its root, in 64 hashes at
/// most.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Growing {
    size: u64,
    /// From the largest subtree to the smallest.
    peaks: Vec<Hash>,
}

impl Growing {
    /// A tree of `size` entries whose full subtrees, from the largest to the smallest, have the roots `peaks`.
    pub fn of(size: u64, peaks: Vec<Hash>) -> Self {
        Self { size, peaks }
    }

    /// Number of entries.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends an entry by its leaf hash.
    pub fn push(&mut self, leaf: Hash) {
        let mut hash = leaf;
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.peaks.pop() {
                hash = Hash::node(left, hash);
            }
        }
        self.peaks.push(hash);
        self.size += 1;
    }

    /// Root of the tree as it is now.
    pub fn root(&self) -> Hash {
        join(&self.peaks)
    }
}

/// A tree in memory.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    levels: Vec<Vec<Hash>>,
}

impl Tree {
    /// Number of entries.
    pub fn size(&self) -> u64 {
        self.levels.first().map_or(0, |leaves| leaves.len() as u64)
    }

    /// Appends an entry by its leaf hash.
    pub fn push(&mut self, leaf: Hash) {
        let mut hash = leaf;
        for level in 0.. {
            if self.levels.len() == level {
                self.levels.push(Vec::new());
            }
            let nodes = &mut self.levels[level];
            nodes.push(hash);
            match nodes.as_slice() {
                [.., left, right] if nodes.len().is_multiple_of(2) => hash = Hash::node(*left, *right),
                _ => return,
            }
        }
    }

    /// Leaf hashes, in order.
    pub fn leaves(&self) -> &[Hash] {
        self.levels.first().map_or(&[], Vec::as_slice)
    }

    /// Root of the first `size` entries; `None` where there are fewer.
    pub fn root_at(&self, size: u64) -> Option<Hash> {
        (size <= self.size()).then(|| root(self, size).ok()).flatten()
    }

    /// Root of all entries.
    pub fn root(&self) -> Hash {
        self.root_at(self.size()).unwrap_or_else(Hash::empty)
    }
}

/// A node that a tree does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the tree has no node {index} at level {level}")]
pub struct NoNode {
    level: u32,
    index: u64,
}

impl Nodes for Tree {
    type Error = NoNode;

    fn node(&self, level: u32, index: u64) -> Result<Hash, NoNode> {
        self.levels
            .get(level as usize)
            .and_then(|nodes| nodes.get(usize::try_from(index).ok()?))
            .copied()
            .ok_or(NoNode { level, index })
    }
}

impl FromIterator<Hash> for Tree {
    fn from_iter<I: IntoIterator<Item = Hash>>(leaves: I) -> Self {
        let mut tree = Self::default();
        leaves.into_iter().for_each(|leaf| tree.push(leaf));
        tree
    }
}

/// Root of the first `size` entries.
pub fn root<N: Nodes>(nodes: &N, size: u64) -> Result<Hash, N::Error> {
    range(nodes, 0, size)
}

/// Proof that entry `index` is in the tree of the first `size`, which is empty for an index that is not (§2.1.1).
pub fn inclusion<N: Nodes>(nodes: &N, index: u64, size: u64) -> Result<Vec<Hash>, N::Error> {
    let mut proof = Vec::new();
    if index >= size {
        return Ok(proof);
    }
    let (mut low, mut high) = (0, size);
    while high - low > 1 {
        let middle = low + split(high - low);
        if index < middle {
            proof.push(range(nodes, middle, high)?);
            high = middle;
        } else {
            proof.push(range(nodes, low, middle)?);
            low = middle;
        }
    }
    proof.reverse();
    Ok(proof)
}

/// Proof that the tree of the first `new` entries goes on from that of the first `old` (§2.1.2); empty where `old` is
/// 0 or not less than `new`.
pub fn consistency<N: Nodes>(nodes: &N, old: u64, new: u64) -> Result<Vec<Hash>, N::Error> {
    let mut proof = Vec::new();
    if old == 0 || old >= new {
        return Ok(proof);
    }
    let (mut low, mut high) = (0, new);
    // The verifier knows the root of a subtree that is the whole old tree.
    let mut known = true;
    while old < high {
        let middle = low + split(high - low);
        if old <= middle {
            proof.push(range(nodes, middle, high)?);
            high = middle;
        } else {
            proof.push(range(nodes, low, middle)?);
            low = middle;
            known = false;
        }
    }
    if !known {
        proof.push(range(nodes, low, high)?);
    }
    proof.reverse();
    Ok(proof)
}

/// Whether `proof` leads from entry `index` with hash `leaf` to `root`, that of `size` entries (RFC 9162 §2.1.3.2).
pub fn check_inclusion(
    index: u64,
    leaf: Hash,
    size: u64,
    root: Hash,
    proof: &[Hash],
) -> Result<(), Unproven> {
    if index >= size {
        return Err(Unproven::NoEntry { index, size });
    }
    let (mut node, mut last, mut hash) = (index, size - 1, leaf);
    for other in proof {
        if last == 0 {
            return Err(Unproven::Shape);
        }
        if node & 1 == 1 || node == last {
            hash = Hash::node(*other, hash);
            skip_to_right_child(&mut node, &mut last);
        } else {
            hash = Hash::node(hash, *other);
        }
        node >>= 1;
        last >>= 1;
    }
    match last {
        0 if hash == root => Ok(()),
        0 => Err(Unproven::Root),
        _ => Err(Unproven::Shape),
    }
}

/// Whether `proof` shows that a tree goes on from another (RFC 9162 §2.1.4.2); each is given as its size and root.
pub fn check_consistency(old: (u64, Hash), new: (u64, Hash), proof: &[Hash]) -> Result<(), Unproven> {
    if old.0 > new.0 {
        return Err(Unproven::Shrunk {
            old: old.0,
            new: new.0,
        });
    }
    if old.0 == 0 || old.0 == new.0 {
        return match (proof.is_empty(), old.0 == 0 || old.1 == new.1) {
            (false, _) => Err(Unproven::Shape),
            (true, false) => Err(Unproven::Root),
            (true, true) => Ok(()),
        };
    }
    let (mut node, mut last) = (old.0 - 1, new.0 - 1);
    let shift = node.trailing_ones();
    node >>= shift;
    last >>= shift;
    let mut proof = proof.iter().copied();
    let first = if old.0.is_power_of_two() {
        Some(old.1)
    } else {
        proof.next()
    };
    let first = first.ok_or(Unproven::Shape)?;
    let (mut old_root, mut new_root) = (first, first);
    for other in proof {
        if last == 0 {
            return Err(Unproven::Shape);
        }
        if node & 1 == 1 || node == last {
            old_root = Hash::node(other, old_root);
            new_root = Hash::node(other, new_root);
            skip_to_right_child(&mut node, &mut last);
        } else {
            new_root = Hash::node(new_root, other);
        }
        node >>= 1;
        last >>= 1;
    }
    match last {
        0 if old_root == old.1 && new_root == new.1 => Ok(()),
        0 => Err(Unproven::Root),
        _ => Err(Unproven::Shape),
    }
}

/// Goes up past levels at which the path has no sibling on the right.
fn skip_to_right_child(node: &mut u64, last: &mut u64) {
    if *node & 1 == 0 {
        while *node & 1 == 0 && *node != 0 {
            *node >>= 1;
            *last >>= 1;
        }
    }
}

/// The largest power of two below `size`, which is at least 2.
fn split(size: u64) -> u64 {
    1 << (size - 1).ilog2()
}

/// Root of entries `low` to `high`, which begin where a subtree of their number can begin.
fn range<N: Nodes>(nodes: &N, low: u64, high: u64) -> Result<Hash, N::Error> {
    let mut peaks = Vec::new();
    let mut start = low;
    for level in (0..u64::BITS).rev() {
        if (high - low) >> level & 1 == 1 {
            peaks.push(nodes.node(level, start >> level)?);
            start += 1 << level;
        }
    }
    Ok(join(&peaks))
}

fn join(peaks: &[Hash]) -> Hash {
    peaks
        .iter()
        .rev()
        .copied()
        .reduce(|right, left| Hash::node(left, right))
        .unwrap_or_else(Hash::empty)
}
