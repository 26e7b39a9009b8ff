//! The single writer of an account.
//!
//! A unit counts when it is complete, with all that was seen in it: otherwise facts would be counted for time
//! that is not, or time without its facts. What is left of a unit when a container ends is gone on with by the
//! next one, so that workloads whose containers never last an hour are learned too.
//!
//! Of a unit in which events of a field were lost, the facts of that field are not counted: see the module above.
//!
//! The first seconds of a container are its start-up, which is a phase of its own: there the unit is a start.

mod saved;
#[cfg(test)]
mod tests;
mod tuning;

use saved::Running;
pub use saved::{Saved, UnknownFact};
pub use tuning::{Limits, Tuning};

use super::unit::{Bits, Unit};
use super::{Account, Evidence, SIZES, Sampling, SourceId, TooMuch};
use crate::fact::{Dictionary, Fact, FactId, Field};
use crate::never::Learnable;
use crate::room;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What is known of the beginning of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    /// It was seen from its first process on.
    Witnessed,
    /// It ran already: what its start needs is not known from it.
    Found,
}

/// When in the life of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// In its first minutes.
    Startup,
    /// After them.
    Steady,
}

/// What came of an observation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observed {
    /// Nobody of this source saw it before.
    New,
    /// It was seen before.
    Known,
    /// There is no room for it. The evidence says from now on that it is incomplete.
    Refused,
    /// The replica was not announced, or has ended.
    NoSuchReplica,
}

/// A state of a recorder, to ask for what changed after it. Valid as long as the recorder lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(u32);

impl Version {
    /// Before everything: also what to go on from after a restart, when it is not known what arrived.
    pub const START: Self = Self(0);

    /// As a number, to be sent with a delta and to come back when it arrived.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }

    /// Of its number.
    #[must_use]
    pub const fn of_number(number: u32) -> Self {
        Self(number)
    }
}

/// Records what one node sees of one workload and revision.
#[derive(Debug)]
pub struct Recorder {
    tuning: Tuning,
    saved: Saved,
    /// By number of the fact, in which version it changed.
    changed: Vec<u32>,
    version: u32,
    advanced: Timestamp,
}

impl Recorder {
    /// Goes on from what was saved, or begins. `fresh` names the account that is begun where nothing was saved,
    /// or something with units of other sizes.
    #[must_use]
    pub fn open(saved: Option<Saved>, fresh: SourceId, tuning: Tuning, now: Timestamp) -> Self {
        let mut saved = saved.unwrap_or_else(|| Saved::new(fresh.clone()));
        let goes_on = saved
            .evidence
            .sources
            .get(&saved.source)
            .is_none_or(|account| account.sampling == tuning.sampling);
        if !goes_on {
            saved = Saved {
                evidence: saved.evidence,
                ..Saved::new(fresh)
            };
        }
        let facts = saved.evidence.dictionary.len();
        let mut recorder = Self {
            tuning,
            saved,
            changed: vec![1; facts],
            version: 1,
            advanced: now,
        };
        let exposure = &mut recorder.account().exposure;
        // An account that is gone on with began when it did, whatever the clock says by now.
        if exposure.from == Timestamp::NEVER {
            exposure.from = now;
        }
        recorder
    }

    /// A container of the workload runs. One that was announced before, by this recorder or before a restart,
    /// is gone on with.
    pub fn container_started(&mut self, replica: &str, start: Start) {
        if self.saved.running.contains_key(replica) {
            return;
        }
        let is_service = matches!(self.tuning.sampling, Sampling::Hours { .. });
        self.saved.running.insert(
            Arc::from(replica),
            Running {
                start,
                startup: (start == Start::Witnessed && is_service).then(Unit::default),
                units: Default::default(),
                seen: Bits::default(),
            },
        );
        let exposure = &mut self.account().exposure;
        exposure.replicas = exposure.replicas.saturating_add(1);
    }

    /// A container of the workload has ended.
    pub fn container_ended(&mut self, replica: &str) {
        let Some(mut running) = self.saved.running.remove(replica) else {
            return;
        };
        if let Some(startup) = running.startup.take() {
            self.count_start(&startup.seen);
        }
        match self.tuning.sampling {
            Sampling::Hours { .. } => {
                for (left, unit) in self.saved.left.iter_mut().zip(&running.units) {
                    left.absorb(unit);
                }
            }
            // Of a run that was found under way, only the end was seen.
            Sampling::Runs { .. } if running.start == Start::Found => {}
            Sampling::Runs { .. } => {
                for (left, unit) in self.saved.left.iter_mut().zip(&mut running.units) {
                    unit.elapsed = 1;
                    left.absorb(unit);
                }
            }
        }
        for (size, length) in self.lengths().into_iter().enumerate() {
            while let Some(seen) = self.saved.left[size].complete(length) {
                self.count_unit(size, &seen);
            }
        }
    }

    /// The replicas that run, as far as was announced: after a restart, those that have ended meanwhile are still
    /// to be announced as such.
    pub fn replicas(&self) -> impl Iterator<Item = &str> {
        self.saved.running.keys().map(AsRef::as_ref)
    }

    /// When in its life a replica is; `None` if it was not announced.
    #[must_use]
    pub fn phase(&self, replica: &str) -> Option<Phase> {
        let running = self.saved.running.get(replica)?;
        Some(if running.startup.is_some() {
            Phase::Startup
        } else {
            Phase::Steady
        })
    }

    /// Lets time pass for all replicas; to be called about once a second.
    pub fn advance(&mut self, now: Timestamp) {
        let step = now.since(self.advanced).min(self.tuning.absence);
        self.advanced = self.advanced.max(now);
        let step = step.as_secs() as u32;
        let startup = self.tuning.startup.as_secs() as u32;
        let lengths = self.lengths();
        let is_service = matches!(self.tuning.sampling, Sampling::Hours { .. });
        let mut starts = Vec::new();
        let mut units = Vec::new();
        for running in self.saved.running.values_mut() {
            if let Some(unit) = &mut running.startup {
                unit.elapsed = unit.elapsed.saturating_add(step);
                if unit.elapsed >= startup {
                    starts.push(std::mem::take(&mut unit.seen));
                    running.startup = None;
                }
                continue;
            }
            if !is_service {
                continue;
            }
            for (size, unit) in running.units.iter_mut().enumerate() {
                unit.elapsed = unit.elapsed.saturating_add(step);
                while let Some(seen) = unit.complete(lengths[size]) {
                    units.push((size, seen));
                }
            }
        }
        if !self.saved.running.is_empty() {
            let exposure = &mut self.account().exposure;
            exposure.until = exposure.until.max(now);
        }
        for seen in starts {
            self.count_start(&seen);
        }
        for (size, seen) in units {
            self.count_unit(size, &seen);
        }
    }

    /// A replica did something that may be learned.
    pub fn observe<S: AsRef<str>>(
        &mut self,
        fact: &Fact<S>,
        replica: &str,
        _: Learnable,
        now: Timestamp,
    ) -> Observed {
        if !self.saved.running.contains_key(replica) {
            return Observed::NoSuchReplica;
        }
        let Some(id) = self.number(fact) else {
            let exposure = &mut self.account().exposure;
            exposure.refused = exposure.refused.saturating_add(1);
            return Observed::Refused;
        };
        let Some(running) = self.saved.running.get_mut(replica) else {
            return Observed::NoSuchReplica;
        };
        let new_in_replica = running.seen.insert(id);
        match &mut running.startup {
            Some(unit) => {
                unit.seen.insert(id);
            }
            None => {
                for unit in &mut running.units {
                    unit.seen.insert(id);
                }
            }
        }
        let sighting = self.account().sighting(id);
        let is_new = !sighting.is_seen();
        let new_day = sighting.last_seen.day() != now.day();
        sighting.first_seen = sighting.first_seen.min(now);
        sighting.last_seen = sighting.last_seen.max(now);
        if new_in_replica {
            sighting.replicas = sighting.replicas.saturating_add(1);
        }
        let replicas = sighting.replicas;
        if is_new || new_day || new_in_replica && is_news(replicas) {
            self.touch(id);
        }
        if is_new { Observed::New } else { Observed::Known }
    }

    /// Events that a field is learned of were lost of a replica: its unit, or start, is not whole.
    pub fn lost(&mut self, field: Field, replica: &str, leave: Learnable, now: Timestamp) {
        self.observe(&Fact::loss(field), replica, leave, now);
    }

    /// What is known.
    #[must_use]
    pub const fn evidence(&self) -> &Evidence {
        &self.saved.evidence
    }

    /// The account that is written.
    #[must_use]
    pub const fn source(&self) -> &SourceId {
        &self.saved.source
    }

    /// What has to be found again after a restart. To be saved before a delta of it is sent.
    #[must_use]
    pub const fn saved(&self) -> &Saved {
        &self.saved
    }

    /// What is worth telling since a version, and the version to ask from next. Asking again from an earlier
    /// one gives at least as much. Numbers of a fact that is known for long are told when they have doubled
    /// and once a day, so that a steady workload costs next to nothing; the last delta's lag behind is in
    /// older facts only, where it changes no estimate.
    pub fn delta(&mut self, since: Version) -> (Evidence, Version) {
        let upto = Version(self.version);
        self.version = self.version.saturating_add(1);
        if since == Version::START {
            // What was adopted is for others to tell.
            let mut all = self.saved.evidence.clone();
            all.sources
                .retain(|source, _| source.node == self.saved.source.node);
            return (all, upto);
        }
        let mut dictionary = Dictionary::new();
        let mut account = Account::new(self.tuning.sampling);
        if let Some(ours) = self.saved.evidence.sources.get(&self.saved.source) {
            account.exposure = ours.exposure;
            for (index, changed) in self.changed.iter().enumerate() {
                let id = FactId::from_index(index);
                let news = (*changed > since.0)
                    .then(|| {
                        Some((
                            self.saved.evidence.dictionary.get(id)?,
                            ours.sightings.get(index)?,
                        ))
                    })
                    .flatten();
                if let Some((fact, sighting)) = news {
                    *account.sighting(dictionary.insert(&fact)) = *sighting;
                }
            }
        }
        let evidence = Evidence {
            dictionary: Arc::new(dictionary),
            sources: BTreeMap::from([(self.saved.source.clone(), account)]),
        };
        (evidence, upto)
    }

    /// Takes over what others saw, as it was carried here by hand: it counts like what is recorded here, is saved
    /// with it, and is not told on. Nothing is taken of this recorder's own account, of which it knows best.
    pub fn adopt(&mut self, others: &Evidence) -> Result<(), TooMuch> {
        let mut others = others.clone();
        others.sources.remove(&self.saved.source);
        self.saved.evidence.merge_within(&others, &Limits::merged())?;
        self.changed.resize(self.saved.evidence.dictionary.len(), 0);
        Ok(())
    }

    /// Keeps its facts in another dictionary, if that holds them all: a node that was sent a norm thereby keeps
    /// the texts of both once. Versions that were given stay valid.
    pub fn share(&mut self, other: &Arc<Dictionary>) -> bool {
        let Some(ids) = self.saved.evidence.renumber(other) else {
            return false;
        };
        let running = self.saved.running.values_mut().flat_map(|running| {
            running
                .units
                .iter_mut()
                .chain(&mut running.startup)
                .map(|unit| &mut unit.seen)
                .chain([&mut running.seen])
        });
        for seen in running.chain(self.saved.left.iter_mut().map(|unit| &mut unit.seen)) {
            seen.renumber(&ids);
        }
        let old = std::mem::take(&mut self.changed);
        self.changed.resize(other.len(), 0);
        for (changed, id) in old.iter().zip(ids) {
            if let Some(id) = id {
                self.changed[id.index()] = *changed;
            }
        }
        true
    }

    fn account(&mut self) -> &mut Account {
        let sampling = self.tuning.sampling;
        self.saved
            .evidence
            .sources
            .entry(self.saved.source.clone())
            .or_insert_with(|| Account::new(sampling))
    }

    /// The number of a fact, which gets one if there is room.
    fn number<S: AsRef<str>>(&mut self, fact: &Fact<S>) -> Option<FactId> {
        let limits = &self.tuning.limits;
        let dictionary = &mut self.saved.evidence.dictionary;
        if let Some(id) = dictionary.find(fact) {
            return Some(id);
        }
        if dictionary.len() >= limits.facts || dictionary.content_bytes() >= limits.bytes {
            return None;
        }
        let id = Arc::make_mut(dictionary).insert(fact);
        room::lengthen(&mut self.changed, id.index() + 1, 0);
        Some(id)
    }

    fn lengths(&self) -> [u32; SIZES] {
        match self.tuning.sampling {
            Sampling::Hours { small, large } => [small.max(1), large.max(1)],
            Sampling::Runs { large } => [1, large.max(1)],
        }
    }

    fn count_unit(&mut self, size: usize, seen: &Bits) {
        let account = self.account();
        account.exposure.units[size] = account.exposure.units[size].saturating_add(1);
        self.count(seen, |sighting| {
            sighting.units[size] = sighting.units[size].saturating_add(1);
            sighting.units[size]
        });
    }

    fn count_start(&mut self, seen: &Bits) {
        let account = self.account();
        account.exposure.starts = account.exposure.starts.saturating_add(1);
        self.count(seen, |sighting| {
            sighting.starts = sighting.starts.saturating_add(1);
            sighting.starts
        });
    }

    fn count(&mut self, seen: &Bits, count: impl Fn(&mut super::Sighting) -> u32) {
        let dictionary = Arc::clone(&self.saved.evidence.dictionary);
        let lossy = Field::ALL.map(|field| {
            let marker = dictionary.find(&Fact::loss(field));
            marker.is_some_and(|marker| seen.contains(marker))
        });
        let is_whole = |id: FactId| {
            !lossy.contains(&true)
                || dictionary
                    .get(id)
                    .is_none_or(|fact| fact.is_of_sensor() || !lossy[fact.field().index()])
        };
        for id in seen.iter().filter(|id| is_whole(*id)) {
            let counted = count(self.account().sighting(id));
            if is_news(counted) {
                self.touch(id);
            }
        }
    }

    fn touch(&mut self, id: FactId) {
        if let Some(changed) = self.changed.get_mut(id.index()) {
            *changed = self.version;
        }
    }
}

/// Estimates look at what was seen once or twice; above that, the magnitude is enough.
const fn is_news(count: u32) -> bool {
    count <= 4 || count.is_power_of_two()
}
