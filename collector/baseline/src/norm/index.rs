//! What is looked up when a fact is novel.

use super::Standing;
use crate::fact::{ArgumentShape, Dictionary, Fact, FactId};
use foldhash::fast::RandomState;
use foldhash::{HashSet, HashSetExt as _};
use std::collections::BTreeSet;
use std::hash::BuildHasher as _;
use std::sync::Arc;

/// Expected facts in order, and what can be asked of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    /// In the order of facts: those of one kind and executable are neighbours.
    order: Vec<FactId>,
    /// Executables that are known to run.
    actors: BTreeSet<Arc<str>>,
    /// Hashes of what facts are aimed at, whoever does it. Only words depend on it.
    targets: HashSet<u64>,
    hashing: RandomState,
}

impl Index {
    pub fn of(dictionary: &Dictionary, standings: &[Standing]) -> Self {
        let mut expected: Vec<(Fact<&str>, FactId)> = dictionary
            .iter()
            .zip(standings)
            .filter(|(_, standing)| standing.is_expected())
            .map(|((id, fact), _)| (fact, id))
            .collect();
        expected.sort_unstable();
        let hashing = RandomState::default();
        let mut actors: BTreeSet<Arc<str>> = BTreeSet::new();
        let mut targets = HashSet::with_capacity(expected.len());
        for (fact, _) in &expected {
            let started = match fact {
                Fact::Exec { exe, .. } => Some(*exe),
                _ => None,
            };
            for actor in started.into_iter().chain([*fact.actor()]) {
                if !actors.contains(actor) {
                    actors.insert(Arc::from(actor));
                }
            }
            targets.insert(hashing.hash_one(aim(fact)));
        }
        Self {
            order: expected.into_iter().map(|(_, id)| id).collect(),
            actors,
            targets,
            hashing,
        }
    }

    pub fn knows_actor(&self, exe: &str) -> bool {
        self.actors.contains(exe)
    }

    pub fn knows_target(&self, fact: &Fact<&str>) -> bool {
        self.targets.contains(&self.hashing.hash_one(aim(fact)))
    }

    /// Expected facts of the same kind by the same executable, and where among them the fact would be.
    pub fn same_actor(&self, dictionary: &Dictionary, fact: &Fact<&str>) -> (&[FactId], usize) {
        let key = (fact.rank(), *fact.actor());
        let is_before = |id: &FactId, limit: &dyn Fn(&Fact<&str>) -> bool| {
            dictionary.get(*id).is_some_and(|known| limit(&known))
        };
        let start = self
            .order
            .partition_point(|id| is_before(id, &|known| (known.rank(), *known.actor()) < key));
        let behind = &self.order[start..];
        let length =
            behind.partition_point(|id| is_before(id, &|known| (known.rank(), *known.actor()) <= key));
        let same = &behind[..length];
        let place = same.partition_point(|id| is_before(id, &|known| known < fact));
        (same, place)
    }

    pub fn bytes(&self) -> usize {
        self.order.capacity() * size_of::<FactId>()
            // A hash table keeps a byte beside each slot, and an eighth of its slots empty.
            + self.targets.capacity() * 8 / 7 * (size_of::<u64>() + 1)
            + self.actors.iter().map(|actor| actor.len() + 48).sum::<usize>()
    }
}

/// A fact without its actor, and without what is of the moment: what it is aimed at.
fn aim<'a>(fact: &Fact<&'a str>) -> Fact<&'a str> {
    let actor = *fact.actor();
    let mut first = true;
    match fact {
        Fact::Exec { exe, .. } => Fact::Exec {
            parent: "",
            exe,
            script: None,
            arguments: ArgumentShape::default(),
        },
        // The actor is the first text of all others.
        other => other.map(|text| {
            let is_actor = std::mem::take(&mut first) && *text == actor;
            if is_actor { "" } else { *text }
        }),
    }
}
