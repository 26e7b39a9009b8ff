//! Who saw what how often: the evidence for one workload and revision.
//!
//! Evidence is a state-based CRDT. It consists of accounts, one per [`SourceId`]; each account has a single
//! writer (a [`Recorder`]) whose numbers only grow. [`Evidence::merge`] takes the larger of each number, and so
//! is commutative, associative and idempotent: deltas may be lost, repeated and reordered, agents and collectors
//! may restart, and nothing is lost for good or counted twice. A delta is evidence like any other, only less.
//!
//! What is counted is incidence, not events: in how many sampling units (container-hours, or runs of a job)
//! and in how many replicas a fact was seen. Events are bursty; a unit is either with or without a fact.
//!
//! # Units with losses
//! Where events were lost, nobody can say of a unit that it was without a fact. Counted as a whole unit, it would say
//! so, and make the rate of new facts look lower than it is; and losses come with bursts of activity, in which there is
//! more that is new than usual, so that to leave such units out with all that was seen in them would make it look lower
//! still. So a unit in which events of a field were lost is not counted for that field: neither in
//! [`Evidence::complete`] nor in the units of facts that were seen in it. These facts are known all the same, and where
//! they were seen in no other unit, the estimate takes them for facts that were seen once
//! ([`Survey::of`](crate::estimate::Survey::of)). So, of the numbers that the estimate rests on, such a unit can only
//! raise that of the facts that were seen once, and it changes no other: it never lowers the rate of new facts that is
//! to be expected, and never makes a field ready sooner. The price is that what is lost again and again keeps a field
//! from becoming ready, which then says why.

mod counts;
mod pool;
mod recorder;
#[cfg(test)]
mod tests;
mod unit;

pub use counts::{Exposure, Sighting, Tally, Total};
pub use pool::Pool;
pub use recorder::{Limits, Observed, Phase, Recorder, Saved, Start, Tuning, UnknownFact, Version};

pub(crate) use counts::SIZES;

use crate::fact::{Dictionary, Fact, FactId, Field};
use crate::room;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Who wrote an account: a node, and the generation of its store. A node that loses its store begins another
/// generation, and with it another account: what it wrote before still counts, and is not counted on.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SourceId {
    /// The node.
    pub node: Arc<str>,
    /// Random number made with the store.
    pub generation: u64,
}

/// What a sampling unit is. Two sizes, because an estimate that depends on the size of its unit rests on
/// behaviour that comes in bursts, and is not to be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sampling {
    /// Services: container time, in seconds.
    Hours {
        /// Seconds of a small unit.
        small: u32,
        /// Seconds of a large unit.
        large: u32,
    },
    /// Jobs: a small unit is one run.
    Runs {
        /// Runs of a large unit.
        large: u32,
    },
}

impl Default for Sampling {
    /// Units of one hour and of four.
    fn default() -> Self {
        Self::Hours {
            small: 3_600,
            large: 4 * 3_600,
        }
    }
}

impl Sampling {
    /// How many small units go into a large one.
    #[must_use]
    pub fn ratio(self) -> f64 {
        match self {
            Self::Hours { small, large } => f64::from(large) / f64::from(small.max(1)),
            Self::Runs { large } => f64::from(large),
        }
    }

    /// A unit in words.
    #[must_use]
    pub const fn unit(self) -> &'static str {
        match self {
            Self::Hours { .. } => "container-hours",
            Self::Runs { .. } => "runs",
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Account {
    sampling: Sampling,
    exposure: Exposure,
    /// By number of the fact; facts that came later than the last one seen are not there.
    sightings: Vec<Sighting>,
}

impl Account {
    fn new(sampling: Sampling) -> Self {
        Self {
            sampling,
            exposure: Exposure::NONE,
            sightings: Vec::new(),
        }
    }

    fn sighting(&mut self, id: FactId) -> &mut Sighting {
        room::lengthen(&mut self.sightings, id.index() + 1, Sighting::ABSENT);
        &mut self.sightings[id.index()]
    }

    /// What was seen, by number of the fact.
    fn seen(&self) -> impl Iterator<Item = (FactId, &Sighting)> {
        self.sightings
            .iter()
            .enumerate()
            .filter(|(_, sighting)| sighting.is_seen())
            .map(|(index, sighting)| (FactId::from_index(index), sighting))
    }
}

/// More than a workload may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {found}, of which at most {most} are taken")]
pub struct TooMuch {
    /// What there is too much of.
    pub what: &'static str,
    /// How many there would be.
    pub found: usize,
    /// How many there may be.
    pub most: usize,
}

/// See the module's documentation.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(try_from = "Written")]
pub struct Evidence {
    dictionary: Arc<Dictionary>,
    sources: BTreeMap<SourceId, Account>,
}

#[derive(Deserialize)]
struct Written {
    dictionary: Dictionary,
    sources: BTreeMap<SourceId, Account>,
}

impl TryFrom<Written> for Evidence {
    type Error = TooMuch;

    fn try_from(written: Written) -> Result<Self, TooMuch> {
        let most = written.dictionary.len();
        for account in written.sources.values() {
            if account.sightings.len() > most {
                return Err(TooMuch {
                    what: "sightings of facts that are not there",
                    found: account.sightings.len(),
                    most,
                });
            }
        }
        Ok(Self {
            dictionary: Arc::new(written.dictionary),
            sources: written.sources,
        })
    }
}

impl Evidence {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes over what another knows more. The order of merges does not matter, nor does merging twice.
    pub fn merge(&mut self, other: &Self) {
        let ids: Vec<Option<FactId>> = if Arc::ptr_eq(&self.dictionary, &other.dictionary) {
            (0..other.dictionary.len())
                .map(|index| Some(FactId::from_index(index)))
                .collect()
        } else {
            let dictionary = Arc::make_mut(&mut self.dictionary);
            let mut ids = vec![None; other.dictionary.len()];
            for (id, fact) in other.dictionary.iter() {
                if other.is_seen(id) {
                    ids[id.index()] = Some(dictionary.insert(&fact));
                }
            }
            ids
        };
        for (source, theirs) in &other.sources {
            let ours = self
                .sources
                .entry(source.clone())
                .or_insert_with(|| Account::new(theirs.sampling));
            // Never differs for one source; if it did, all have to come to the same.
            ours.sampling = ours.sampling.max(theirs.sampling);
            ours.exposure.merge(&theirs.exposure);
            for (sighting, id) in theirs.sightings.iter().zip(&ids) {
                if let (true, Some(id)) = (sighting.is_seen(), id) {
                    ours.sighting(*id).merge(sighting);
                }
            }
        }
    }

    /// As [`Evidence::merge`], unless the sum would be more than these limits allow; nothing is taken then.
    pub fn merge_within(&mut self, other: &Self, limits: &Limits) -> Result<(), TooMuch> {
        // What both have is no more for being sent again.
        let (mut added, mut bytes) = (0, 0);
        for (_, fact) in other
            .facts()
            .filter(|(_, fact)| self.dictionary.find(fact).is_none())
        {
            added += 1;
            bytes += fact.content_bytes();
        }
        let check = |what, found, most| {
            if found > most {
                Err(TooMuch { what, found, most })
            } else {
                Ok(())
            }
        };
        check("facts", self.dictionary.len() + added, limits.facts)?;
        check(
            "bytes of facts",
            self.dictionary.content_bytes() + bytes,
            limits.bytes,
        )?;
        let sources = other
            .sources
            .keys()
            .filter(|source| !self.sources.contains_key(source))
            .count();
        check("sources", self.sources.len() + sources, limits.sources)?;
        self.merge(other);
        Ok(())
    }

    /// All facts that were seen, in the order of their numbers.
    pub fn facts(&self) -> impl Iterator<Item = (FactId, Fact<&str>)> {
        self.dictionary
            .iter()
            .filter(|(id, fact)| !fact.is_of_sensor() && self.is_seen(*id))
    }

    /// All facts that were seen, with what was seen of them.
    pub fn tallies(&self) -> impl Iterator<Item = (FactId, Fact<&str>, Tally)> {
        self.dictionary
            .iter()
            .filter(|(_, fact)| !fact.is_of_sensor())
            .filter_map(|(id, fact)| Some((id, fact, self.tally(id)?)))
    }

    /// How much of what was observed was observed with an eye on a field; `None` if nothing. All of it for fields that
    /// everybody looks at.
    #[must_use]
    pub fn watched(&self, field: Field) -> Option<Total> {
        let total = self.total();
        let Some(watch) = Fact::watch(field) else {
            return Some(total);
        };
        self.tally_of(&watch).map(|tally| Total {
            units: tally.units,
            starts: tally.starts,
            replicas: tally.replicas,
            from: tally.first_seen,
            ..total
        })
    }

    /// Units and starts in which events of a field were lost; `None` if there are none.
    #[must_use]
    pub fn lossy(&self, field: Field) -> Option<Tally> {
        self.tally_of(&Fact::loss(field))
    }

    /// How much of what was observed is whole for a field: with an eye on it, and without losses.
    #[must_use]
    pub fn complete(&self, field: Field) -> Total {
        let watched = self.watched(field).unwrap_or_else(|| self.total());
        let Some(lossy) = self.lossy(field) else {
            return watched;
        };
        let [small, large] = watched.units;
        Total {
            units: [
                small.saturating_sub(lossy.units[0]),
                large.saturating_sub(lossy.units[1]),
            ],
            starts: watched.starts.saturating_sub(lossy.starts),
            ..watched
        }
    }

    /// What was seen of a fact; `None` if nothing.
    #[must_use]
    pub fn tally(&self, id: FactId) -> Option<Tally> {
        let mut tally: Option<Tally> = None;
        for sighting in self
            .sources
            .values()
            .filter_map(|account| account.sightings.get(id.index()))
            .filter(|sighting| sighting.is_seen())
        {
            let sum = tally.get_or_insert(Tally {
                units: [0; SIZES],
                starts: 0,
                replicas: 0,
                first_seen: Timestamp::NEVER,
                last_seen: Timestamp::default(),
            });
            sum.units[0] += u64::from(sighting.units[0]);
            sum.units[1] += u64::from(sighting.units[1]);
            sum.starts += u64::from(sighting.starts);
            sum.replicas += u64::from(sighting.replicas);
            sum.first_seen = sum.first_seen.min(sighting.first_seen);
            sum.last_seen = sum.last_seen.max(sighting.last_seen);
        }
        tally
    }

    /// What was seen of a fact; `None` if nothing.
    pub fn tally_of<S: AsRef<str>>(&self, fact: &Fact<S>) -> Option<Tally> {
        self.tally(self.dictionary.find(fact)?)
    }

    /// How much was observed.
    #[must_use]
    pub fn total(&self) -> Total {
        let mut total = Total {
            units: [0; SIZES],
            starts: 0,
            replicas: 0,
            refused: 0,
            from: Timestamp::NEVER,
            until: Timestamp::default(),
        };
        for Account { exposure, .. } in self.sources.values() {
            total.units[0] += u64::from(exposure.units[0]);
            total.units[1] += u64::from(exposure.units[1]);
            total.starts += u64::from(exposure.starts);
            total.replicas += u64::from(exposure.replicas);
            total.refused += u64::from(exposure.refused);
            total.from = total.from.min(exposure.from);
            total.until = total.until.max(exposure.until);
        }
        total.from = total.from.min(total.until);
        total
    }

    /// How the latest generations sample; units of other sizes cannot be added to theirs.
    #[must_use]
    pub fn sampling(&self) -> Sampling {
        self.sources
            .values()
            .max_by_key(|account| (account.exposure.until, account.sampling))
            .map_or_else(Sampling::default, |account| account.sampling)
    }

    /// Only the accounts that sample like this.
    #[must_use]
    pub fn sampled(&self, sampling: Sampling) -> Self {
        Self {
            dictionary: Arc::clone(&self.dictionary),
            sources: self
                .sources
                .iter()
                .filter(|(_, account)| account.sampling == sampling)
                .map(|(source, account)| (source.clone(), account.clone()))
                .collect(),
        }
    }

    /// Only the accounts that were begun after a moment.
    #[must_use]
    pub fn begun_after(&self, at: Timestamp) -> Self {
        Self {
            dictionary: Arc::clone(&self.dictionary),
            sources: self
                .sources
                .iter()
                .filter(|(_, account)| account.exposure.from > at)
                .map(|(source, account)| (source.clone(), account.clone()))
                .collect(),
        }
    }

    /// Facts by field.
    #[must_use]
    pub fn count_by_field(&self) -> BTreeMap<Field, usize> {
        let mut counts = BTreeMap::new();
        for (_, fact) in self.facts() {
            *counts.entry(fact.field()).or_default() += 1;
        }
        counts
    }

    /// The sources that contributed, with how much each observed.
    pub fn sources(&self) -> impl Iterator<Item = (&SourceId, &Exposure)> {
        self.sources
            .iter()
            .map(|(source, account)| (source, &account.exposure))
    }

    /// About how many bytes of memory it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.dictionary.bytes()
            + self
                .sources
                .values()
                .map(|account| account.sightings.capacity() * size_of::<Sighting>())
                .sum::<usize>()
    }

    /// The facts by number. Shared: a norm that is compiled from evidence takes no second copy of its texts.
    #[must_use]
    pub const fn dictionary(&self) -> &Arc<Dictionary> {
        &self.dictionary
    }

    /// Keeps its facts in another dictionary, if that holds them all; whether it does. Texts that two pieces of
    /// evidence have are thereby kept once.
    pub fn share(&mut self, other: &Arc<Dictionary>) -> bool {
        Arc::ptr_eq(&self.dictionary, other) || self.renumber(other).is_some()
    }

    /// Numbers its facts as another dictionary does, which takes the place of its own if it holds them all.
    /// Gives, by old number, the new one.
    fn renumber(&mut self, other: &Arc<Dictionary>) -> Option<Vec<Option<FactId>>> {
        let mut ids = vec![None; self.dictionary.len()];
        for (id, fact) in self.dictionary.iter() {
            let new = other.find(&fact);
            if new.is_none() && self.is_seen(id) {
                return None;
            }
            ids[id.index()] = new;
        }
        for account in self.sources.values_mut() {
            let old = std::mem::take(&mut account.sightings);
            for (sighting, id) in old.iter().zip(&ids) {
                if let (true, Some(id)) = (sighting.is_seen(), id) {
                    *account.sighting(*id) = *sighting;
                }
            }
        }
        self.dictionary = Arc::clone(other);
        Some(ids)
    }

    fn is_seen(&self, id: FactId) -> bool {
        self.sources
            .values()
            .any(|account| account.sightings.get(id.index()).is_some_and(Sighting::is_seen))
    }
}

/// Two are equal if they know the same, however they number it.
impl PartialEq for Evidence {
    fn eq(&self, other: &Self) -> bool {
        self.known() == other.known()
    }
}

type Known<'a> = BTreeMap<&'a SourceId, (Sampling, Exposure, BTreeMap<Fact<&'a str>, Sighting>)>;

impl Evidence {
    fn known(&self) -> Known<'_> {
        self.sources
            .iter()
            .map(|(source, account)| {
                let sightings = self
                    .dictionary
                    .iter()
                    .zip(&account.sightings)
                    .filter(|(_, sighting)| sighting.is_seen())
                    .map(|((_, fact), sighting)| (fact, *sighting))
                    .collect();
                (source, (account.sampling, account.exposure, sightings))
            })
            .collect()
    }
}

#[cfg(test)]
impl Evidence {
    /// One account, as no recorder has to have written it.
    pub(crate) fn of_account(
        source: SourceId,
        sampling: Sampling,
        exposure: Exposure,
        sightings: impl IntoIterator<Item = (Fact, Sighting)>,
    ) -> Self {
        let mut dictionary = Dictionary::new();
        let mut account = Account {
            exposure,
            ..Account::new(sampling)
        };
        for (fact, sighting) in sightings {
            account.sighting(dictionary.insert(&fact)).merge(&sighting);
        }
        Self {
            dictionary: Arc::new(dictionary),
            sources: BTreeMap::from([(source, account)]),
        }
    }
}
