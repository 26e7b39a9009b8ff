//! What all sources together saw, as it is told to each of them: without its own part.
//!
//! Where evidence is merged there is an account per source, and there can be thousands. Whoever judges by it needs
//! the sums only, and adds what it saw itself, which it knows best. Such a sum is not an account that somebody
//! writes: it replaces the one that was told before, and is never sent on.

use super::{Account, Evidence, Exposure, SIZES, Sampling, Sighting, SourceId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The sums of all sources, to be told to many.
#[derive(Debug)]
pub struct Pool<'a> {
    evidence: &'a Evidence,
    sums: BTreeMap<Sampling, Account>,
}

impl<'a> Pool<'a> {
    /// Adds up.
    #[must_use]
    pub fn of(evidence: &'a Evidence) -> Self {
        let mut sums = BTreeMap::new();
        for account in evidence.sources.values() {
            let sum: &mut Account = sums
                .entry(account.sampling)
                .or_insert_with(|| Account::new(account.sampling));
            sum.exposure.add(&account.exposure);
            for (id, sighting) in account.seen() {
                sum.sighting(id).add(sighting);
            }
        }
        Self { evidence, sums }
    }

    /// What all saw but these. When it was first and last seen is said of all: who has seen it too knows that.
    #[must_use]
    pub fn without(&self, is_own: impl Fn(&SourceId) -> bool) -> Evidence {
        let mut sums = self.sums.clone();
        for (_, account) in self.evidence.sources.iter().filter(|(source, _)| is_own(source)) {
            let Some(sum) = sums.get_mut(&account.sampling) else {
                continue;
            };
            sum.exposure.subtract(&account.exposure);
            for (id, sighting) in account.seen() {
                sum.sighting(id).subtract(sighting);
            }
        }
        sums.retain(|_, sum| sum.exposure.replicas > 0 || sum.sightings.iter().any(Sighting::is_seen));
        let of_all = |number: usize| SourceId {
            node: Arc::from(""),
            generation: number as u64,
        };
        Evidence {
            dictionary: Arc::clone(&self.evidence.dictionary),
            sources: sums
                .into_values()
                .enumerate()
                .map(|(number, sum)| (of_all(number), sum))
                .collect(),
        }
    }
}

impl Sighting {
    fn add(&mut self, other: &Self) {
        for size in 0..SIZES {
            self.units[size] = self.units[size].saturating_add(other.units[size]);
        }
        self.starts = self.starts.saturating_add(other.starts);
        self.replicas = self.replicas.saturating_add(other.replicas);
        self.first_seen = self.first_seen.min(other.first_seen);
        self.last_seen = self.last_seen.max(other.last_seen);
    }

    fn subtract(&mut self, other: &Self) {
        for size in 0..SIZES {
            self.units[size] = self.units[size].saturating_sub(other.units[size]);
        }
        self.starts = self.starts.saturating_sub(other.starts);
        self.replicas = self.replicas.saturating_sub(other.replicas);
        if self.replicas == 0 {
            *self = Self::ABSENT;
        }
    }
}

impl Exposure {
    fn add(&mut self, other: &Self) {
        for size in 0..SIZES {
            self.units[size] = self.units[size].saturating_add(other.units[size]);
        }
        self.starts = self.starts.saturating_add(other.starts);
        self.replicas = self.replicas.saturating_add(other.replicas);
        self.refused = self.refused.saturating_add(other.refused);
        self.from = self.from.min(other.from);
        self.until = self.until.max(other.until);
    }

    fn subtract(&mut self, other: &Self) {
        for size in 0..SIZES {
            self.units[size] = self.units[size].saturating_sub(other.units[size]);
        }
        self.starts = self.starts.saturating_sub(other.starts);
        self.replicas = self.replicas.saturating_sub(other.replicas);
        self.refused = self.refused.saturating_sub(other.refused);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::any_evidence;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn own_and_what_the_others_saw_is_what_all_saw(all in any_evidence(), chosen in 0_usize..4) {
            let own: Vec<SourceId> = all.sources.keys().take(chosen).cloned().collect();
            let pool = Pool::of(&all);
            let mut sum = pool.without(|source| own.contains(source));
            sum.merge(&Evidence {
                dictionary: Arc::clone(&all.dictionary),
                sources: all
                    .sources
                    .iter()
                    .filter(|(source, _)| own.contains(source))
                    .map(|(source, account)| (source.clone(), account.clone()))
                    .collect(),
            });
            for (_, fact, tally) in all.tallies() {
                prop_assert_eq!(sum.tally_of(&fact), (tally.replicas > 0).then_some(tally));
            }
            let (ours, theirs) = (sum.total(), all.total());
            prop_assert_eq!((ours.units, ours.starts, ours.replicas), (theirs.units, theirs.starts, theirs.replicas));
        }
    }
}
