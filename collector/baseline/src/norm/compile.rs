//! What each fact's standing is.
//!
//! In this order, the first that applies:
//!
//! 1. a person's decision on the fact: approved, rejected, or forgotten as far as it was seen until then;
//! 2. what it counted for in the norm of the revision before, if it was rejected or expected there: rejected or
//!    inherited;
//! 3. a person's decision on the whole, at a time when the fact had been seen: approved or rejected;
//! 4. its field was ready when it was first seen: pending, until a person decides. Otherwise an intruder would
//!    have to come twice only;
//! 5. of several replicas, one did it, in their first hours: withheld, until another does it too;
//! 6. it is learned.
//!
//! Where a revision inherits, a field that was ready stays ready: all that is new in the revision is pending,
//! and makes up the release delta.

use super::index::Index;
use super::{Norm, Pending, Standing};
use crate::estimate::{Criteria, Settled, State, Survey};
use crate::evidence::{Evidence, Sampling, Tally, Total};
use crate::fact::{Fact, FactId, Field};
use crate::overlay::{Decision, Overlay, Subject, Verb, Whole};
use crate::pattern::{Patterns, Protection};
use crate::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// What a norm is compiled from.
#[derive(Clone, Copy)]
pub struct Inputs<'a> {
    /// Whose.
    pub subject: &'a Subject,
    /// What was seen.
    pub evidence: &'a Evidence,
    /// The norm of the revision before; `None` for the first one.
    pub predecessor: Option<&'a Norm>,
    /// What people decided.
    pub overlay: &'a Overlay,
    /// What the norm that this one replaces came to: [`Survey::settled`].
    pub settled: &'a Settled,
    /// Replicas that run now.
    pub replicas: u32,
    /// When a field is ready.
    pub criteria: &'a Criteria,
    /// What no wildcard stands for.
    pub protection: &'a dyn Protection,
    /// Most facts; of more, those that were seen least are left out.
    pub facts_max: usize,
}

struct Standards {
    whole: Whole,
    /// How long the first hours are in which a lone replica is not believed: a large sampling unit. Runs of a
    /// job follow one another, and are no replicas.
    first_hours: Duration,
    total: Total,
    /// Replicas that ran when fields became ready, or that run now.
    replicas_then: u32,
    settled: Settled,
}

impl Inputs<'_> {
    /// The norm. Of what was forgotten as a whole, nothing counts: neither facts nor the time in which they were seen.
    #[must_use]
    pub fn compile(&self) -> Norm {
        self.compile_as_of(self.replicas)
    }

    /// As [`Inputs::compile`], where so many replicas ran when fields became ready. What one of them does and no other is
    /// withheld; a replica that comes later and has not done it yet is no reason to doubt what was learned before.
    #[must_use]
    pub fn compile_as_of(&self, replicas_then: u32) -> Norm {
        self.compile_after(|_| Vec::new(), replicas_then)
    }

    /// As [`Inputs::compile`], for who has no norm that is replaced, and keeps evidence of those that have: the patterns of
    /// fields that are ready stay, as far as they were recorded in the place of a name that came. Only a norm has patterns
    /// to record, so that each in the evidence was one of some node's.
    #[must_use]
    pub fn compile_of_others(&self) -> Norm {
        let recorded = |evidence: &Evidence| {
            let patterns = evidence.facts().filter(|(_, fact)| fact.is_pattern());
            patterns.map(|(_, fact)| fact.owned()).collect()
        };
        self.compile_after(recorded, self.replicas)
    }

    /// As [`Inputs::compile_as_of`], in the place of a norm. A field that was ready stays so, and with it the patterns by
    /// which it was: how many new facts are to be expected was worked out without the names that they stand for, and these
    /// are recorded as one since then, so that nothing would show again what kind of names they are.
    #[must_use]
    pub fn compile_in_place_of(&self, replaced: &Norm, replicas_then: u32) -> Norm {
        self.compile_after(|_| replaced.patterns.facts().collect(), replicas_then)
    }

    /// `before` gives, for the evidence that counts, patterns that stay where a field stays ready.
    fn compile_after(&self, before: impl FnOnce(&Evidence) -> Vec<Fact>, replicas_then: u32) -> Norm {
        let Some(at) = self.overlay.whole(self.subject).forgotten else {
            return self.compile_all(before(self.evidence), replicas_then);
        };
        let evidence = self.evidence.begun_after(at);
        Inputs {
            evidence: &evidence,
            ..*self
        }
        .compile_all(before(&evidence), replicas_then)
    }

    fn compile_all(&self, before: Vec<Fact>, replicas_then: u32) -> Norm {
        let rulings: BTreeMap<&Fact, &Decision> = self.overlay.rulings(self.subject).collect();
        let whole = self.overlay.whole(self.subject);
        let total = self.evidence.total();
        let standards = Standards {
            whole,
            first_hours: match self.evidence.sampling() {
                Sampling::Hours { large, .. } => Duration::from_secs(u64::from(large)),
                Sampling::Runs { .. } => Duration::ZERO,
            },
            total,
            replicas_then,
            settled: self.settled(&whole, &total),
        };

        let mut dictionary = Arc::clone(self.evidence.dictionary());
        let mut standings = vec![Standing::Absent; dictionary.len()];
        let mut pending = BTreeMap::new();
        for (id, fact, tally) in self.evidence.tallies() {
            let ruling = rulings.get(&fact.owned()).copied();
            let before = self
                .predecessor
                .map_or(Standing::Absent, |norm| norm.standing_of(&fact));
            let standing = standards.standing(&fact, &tally, ruling, before);
            standings[id.index()] = standing;
            if matches!(standing, Standing::Pending | Standing::Withheld) {
                pending.insert(
                    id.index() as u32,
                    Pending {
                        first_seen: tally.first_seen,
                        replicas: tally.replicas,
                    },
                );
            }
        }
        let mut overflowed = self.leave_out(&mut standings);

        let mut set = |fact: &Fact<&str>, standing: Standing| {
            let id = match dictionary.find(fact) {
                Some(id) => id,
                None => Arc::make_mut(&mut dictionary).insert(fact),
            };
            if standings.len() <= id.index() {
                standings.resize(id.index() + 1, Standing::Absent);
            }
            // What was seen in this revision has its standing.
            if standings[id.index()] == Standing::Absent {
                standings[id.index()] = standing;
            }
        };
        for (fact, decision) in &rulings {
            match decision.verb {
                Verb::Approve => set(&fact.view(), Standing::Approved),
                Verb::Reject => set(&fact.view(), Standing::Rejected),
                Verb::Lock | Verb::Unlock | Verb::Forget => {}
            }
        }
        for (fact, before) in self.predecessor.into_iter().flat_map(Norm::standings) {
            let is_forgotten = whole.forgotten.is_some()
                || rulings
                    .get(&fact.owned())
                    .is_some_and(|decision| decision.verb == Verb::Forget);
            if !is_forgotten
                && self.evidence.tally_of(&fact).is_none()
                && let Some(standing) = handed_on(before)
            {
                set(&fact, standing);
            }
        }

        let mut taken = BTreeSet::new();
        let held = standards.held(before);
        let patterns = self.patterns(&dictionary, &standings, &rulings, held);
        // A pattern is recorded in place of the names that it stands for, whenever they come.
        for id in patterns.facts().filter_map(|fact| dictionary.find(&fact)) {
            if let Some(standing) = standings.get_mut(id.index()) {
                if matches!(standing, Standing::Pending | Standing::Withheld) {
                    *standing = Standing::Learned;
                    pending.remove(&(id.index() as u32));
                }
                taken.insert(id);
            }
        }
        let is_known = |id: FactId| {
            if taken.contains(&id) {
                return true;
            }
            let Some(fact) = dictionary.get(id) else {
                return true;
            };
            let standing = standings.get(id.index()).copied().unwrap_or(Standing::Absent);
            matches!(standing, Standing::Absent | Standing::Inherited)
                || patterns.of(&fact, self.protection).is_some()
        };
        let mut survey = Survey::of(
            self.evidence,
            is_known,
            &standards.settled,
            self.replicas,
            self.criteria,
        );
        overflowed |= survey.overflowed;
        survey.overflowed = overflowed;

        let index = Index::of(&dictionary, &standings);
        Norm {
            subject: self.subject.clone(),
            predecessor: self
                .predecessor
                .map(|predecessor| Arc::clone(&predecessor.subject.revision)),
            dictionary,
            standings,
            pending,
            patterns,
            survey,
            index,
        }
    }

    /// Since when fields are ready, before it is surveyed whether more are.
    fn settled(&self, whole: &Whole, total: &Total) -> Settled {
        let mut settled = *self.settled;
        if let Some(predecessor) = self.predecessor {
            for (since, estimate) in settled.iter_mut().zip(&predecessor.survey.fields) {
                if matches!(estimate.state, State::Ready { .. }) {
                    *since = Some(total.from.before());
                }
            }
        }
        if let Some(unlocked) = whole.unlocked {
            settled = settled.map(|since| since.filter(|since| *since > unlocked));
        }
        if let Some(locked) = whole.locked {
            settled = settled.map(|since| Some(since.map_or(locked, |since| since.min(locked))));
        }
        for field in Field::ALL {
            let since = &mut settled[field.index()];
            *since = since.filter(|since| self.was_watched(field, *since));
        }
        settled
    }

    /// Whether what is said of a field as of a moment rests on somebody having looked at it: here, or in the revision
    /// before, if it was ready there.
    fn was_watched(&self, field: Field, since: Timestamp) -> bool {
        let Some(watch) = Fact::watch(field) else {
            return true;
        };
        match self.evidence.tally_of(&watch) {
            Some(tally) if tally.first_seen > since => self.predecessor.is_some_and(|norm| {
                norm.is_watched(field) && matches!(norm.survey.field(field).state, State::Ready { .. })
            }),
            _ => true,
        }
    }

    fn patterns(
        &self,
        dictionary: &crate::fact::Dictionary,
        standings: &[Standing],
        rulings: &BTreeMap<&Fact, &Decision>,
        held: Vec<Fact>,
    ) -> Patterns {
        let expected = dictionary
            .iter()
            .zip(standings)
            .filter(|(_, standing)| standing.is_expected())
            .map(|((id, fact), _)| (fact, self.evidence.tally(id).map_or(1, |tally| tally.incidence())));
        let mut patterns = Patterns::mine(expected, self.protection);
        if let Some(predecessor) = self.predecessor.filter(|_| {
            let whole = self.overlay.whole(self.subject);
            whole.forgotten.is_none()
        }) {
            let both: Vec<Fact> = patterns.facts().chain(predecessor.patterns.facts()).collect();
            patterns = Patterns::of_facts(&both);
        }
        if !held.is_empty() {
            let both: Vec<Fact> = patterns.facts().chain(held).collect();
            patterns = Patterns::of_facts(&both);
        }
        let is_refused = |fact: &Fact| match rulings.get(fact).map(|decision| decision.verb) {
            Some(verb) => matches!(verb, Verb::Reject | Verb::Forget),
            None => self
                .predecessor
                .is_some_and(|norm| norm.standing_of(&fact.view()) == Standing::Rejected),
        };
        if patterns.facts().any(|fact| is_refused(&fact)) {
            let kept: Vec<Fact> = patterns.facts().filter(|fact| !is_refused(fact)).collect();
            patterns = Patterns::of_facts(&kept);
        }
        patterns
    }

    /// Leaves out what there is too much of; whether anything was.
    fn leave_out(&self, standings: &mut [Standing]) -> bool {
        let kept = standings
            .iter()
            .filter(|standing| **standing != Standing::Absent)
            .count();
        if kept <= self.facts_max {
            return false;
        }
        let mut by_worth: Vec<(bool, u64, Fact<&str>, FactId)> = self
            .evidence
            .tallies()
            .filter(|(id, _, _)| standings[id.index()] != Standing::Absent)
            .map(|(id, fact, tally)| {
                // A rejected fact that is left out would be learned.
                let is_rejected = standings[id.index()] == Standing::Rejected;
                (!is_rejected, u64::MAX - tally.incidence(), fact, id)
            })
            .collect();
        by_worth.sort_unstable();
        for (_, _, _, id) in by_worth.into_iter().skip(self.facts_max) {
            standings[id.index()] = Standing::Absent;
        }
        true
    }
}

impl Standards {
    /// Of the patterns that were before, those by which fields were ready, and are.
    fn held(&self, before: Vec<Fact>) -> Vec<Fact> {
        let is_ready = |pattern: &Fact| {
            self.settled[pattern.field().index()]
                .is_some_and(|since| self.whole.forgotten.is_none_or(|at| since > at))
        };
        before.into_iter().filter(is_ready).collect()
    }

    fn standing(
        &self,
        fact: &Fact<&str>,
        tally: &Tally,
        ruling: Option<&Decision>,
        before: Standing,
    ) -> Standing {
        let seen_until = |at: Option<Timestamp>| at.is_some_and(|at| tally.last_seen <= at);
        let known_at = |at: Option<Timestamp>| at.is_some_and(|at| tally.first_seen <= at);
        match ruling.map(|decision| (decision.verb, decision.at)) {
            Some((Verb::Approve, _)) => return Standing::Approved,
            Some((Verb::Reject, _)) => return Standing::Rejected,
            Some((Verb::Forget, at)) if seen_until(Some(at)) => return Standing::Absent,
            _ => {}
        }
        if seen_until(self.whole.forgotten) {
            return Standing::Absent;
        }
        if let Some(standing) = handed_on(before).filter(|_| self.whole.forgotten.is_none()) {
            return standing;
        }
        if known_at(self.whole.approved) {
            return Standing::Approved;
        }
        if known_at(self.whole.rejected) {
            return Standing::Rejected;
        }
        if self.settled[fact.field().index()].is_some_and(|since| tally.first_seen > since) {
            return Standing::Pending;
        }
        let early = tally.first_seen < self.total.from.plus(self.first_hours);
        if self.replicas_then > 1 && self.total.replicas > 1 && tally.replicas <= 1 && early {
            return Standing::Withheld;
        }
        Standing::Learned
    }
}

/// What a standing in the revision before makes of a fact.
fn handed_on(before: Standing) -> Option<Standing> {
    match before {
        Standing::Rejected => Some(Standing::Rejected),
        standing if standing.is_expected() => Some(Standing::Inherited),
        _ => None,
    }
}

impl Norm {
    fn standing_of(&self, fact: &Fact<&str>) -> Standing {
        self.dictionary
            .find(fact)
            .map_or(Standing::Absent, |id| self.standing(id))
    }
}
