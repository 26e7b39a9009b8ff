//! What was normal instead: the context of a sentence about a novel fact.

use super::Norm;
use crate::evidence::Sampling;
use crate::fact::{Fact, FactId};
use std::time::Duration;

/// How many examples of usual behaviour are named.
const EXAMPLES: usize = 5;
/// How many neighbours are looked at for them, to each side.
const NEIGHBOURS: usize = 8;

/// What the norm knows that comes near a novel fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// Small sampling units that were observed: container-hours, or runs of a job.
    pub units: u64,
    /// What a unit is.
    pub sampling: Sampling,
    /// Wall-clock time that one replica would have taken for it.
    pub learned_for: Duration,
    /// The acting executable is known.
    pub actor_known: bool,
    /// The target (program, file, peer, port) is known from another executable.
    pub target_known: bool,
    /// For an exec: this executable is known to start that one, but not like this.
    pub edge_known: bool,
    /// What the acting executable does of the same kind; those first that have most in common with the fact.
    pub usual: Vec<String>,
    /// How many there are in all.
    pub usual_count: usize,
}

impl Norm {
    /// What is known that comes near a fact.
    pub fn expectation<S: AsRef<str>>(&self, fact: &Fact<S>) -> Expectation {
        let fact = fact.view();
        let (same, place) = self.index.same_actor(&self.dictionary, &fact);
        let patterns: Vec<String> = self
            .patterns
            .of_actor(&fact)
            .map(|pattern| pattern.target())
            .collect();
        let usual_count = same.len() + patterns.len();
        let novel = fact.target();
        let from = place.saturating_sub(NEIGHBOURS);
        let upto = (place + NEIGHBOURS).min(same.len());
        let mut usual: Vec<String> = same[from..upto]
            .iter()
            .filter_map(|id| Some(self.dictionary.get(*id)?.target()))
            .chain(patterns)
            .collect();
        usual.sort_by_cached_key(|text| (std::cmp::Reverse(shared(text, &novel)), text.clone()));
        usual.dedup();
        usual.truncate(EXAMPLES);
        let units = self.survey.units[0];
        Expectation {
            units,
            sampling: self.survey.sampling,
            learned_for: match self.survey.sampling {
                Sampling::Hours { small, .. } => Duration::from_secs(u64::from(small).saturating_mul(units)),
                Sampling::Runs { .. } => Duration::ZERO,
            },
            actor_known: self.index.knows_actor(fact.actor()),
            target_known: self.index.knows_target(&fact),
            edge_known: self.knows_edge(&fact, same),
            usual,
            usual_count,
        }
    }

    /// The one executable is known to start the other; `same` is what it is known to start.
    pub(super) fn knows_edge(&self, fact: &Fact<&str>, same: &[FactId]) -> bool {
        let Fact::Exec { exe: novel, .. } = fact else {
            return false;
        };
        let exe = |id: &FactId| match self.dictionary.get(*id) {
            Some(Fact::Exec { exe, .. }) => Some(exe),
            _ => None,
        };
        // In the order of facts, those of one parent are in the order of what it starts.
        let at = same.partition_point(|id| exe(id).is_some_and(|known| known < *novel));
        same.get(at).and_then(exe) == Some(*novel)
    }
}

/// Bytes that two texts begin with in common.
fn shared(left: &str, right: &str) -> usize {
    left.bytes()
        .zip(right.bytes())
        .take_while(|(left, right)| left == right)
        .count()
}
