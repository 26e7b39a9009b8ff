//! The norm: what a workload is expected to do, in the form in which it is judged.
//!
//! It is compiled from evidence, the norm of the revision before, and people's decisions ([`Inputs::compile`]),
//! and then stands still: the same inputs lead to the same norm on every node. [`Norm::judge`] says how a fact
//! relates to it; [`Norm::score`] and [`Norm::expectation`] say of a novel one how unusual it is and what was
//! normal instead. What each fact's standing is, and why, is decided in [`compile`](Inputs::compile) alone.

mod compile;
mod expectation;
mod index;
mod score;
#[cfg(test)]
mod tests;

pub use compile::Inputs;
pub use expectation::Expectation;
pub use score::{Score, Setting, Term, TermKind};

use crate::estimate::{State, Survey};
use crate::fact::{Dictionary, Fact, FactId, Field};
use crate::overlay::Subject;
use crate::pattern::{Patterns, Protection};
use crate::time::Timestamp;
use index::Index;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What a fact that was seen, or decided on, counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// Nothing: it was forgotten, or found no room.
    Absent,
    /// Expected: it was seen while the field was learned.
    Learned,
    /// Expected: the revision before did it.
    Inherited,
    /// Expected: a person said so.
    Approved,
    /// Novel: first seen after the field was ready.
    Pending,
    /// Novel: only one of several replicas did it in their first hours.
    Withheld,
    /// A person rejected it.
    Rejected,
}

impl Standing {
    /// It is part of the norm.
    #[must_use]
    pub const fn is_expected(self) -> bool {
        matches!(self, Self::Learned | Self::Inherited | Self::Approved)
    }

    /// As in output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Learned => "learned",
            Self::Inherited => "inherited",
            Self::Approved => "approved",
            Self::Pending => "pending",
            Self::Withheld => "withheld",
            Self::Rejected => "rejected",
        }
    }
}

/// Why a fact is expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// It was seen while the field was learned.
    Learned,
    /// The revision before did it.
    Inherited,
    /// A person said so.
    Approved,
    /// This pattern stands for it. It is the fact to record instead of the one that was seen.
    Pattern(Fact),
}

/// What was seen of a fact that is not expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// When first.
    pub first_seen: Timestamp,
    /// In how many replicas.
    pub replicas: u64,
}

/// A fact that is not part of a norm that is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Novelty {
    /// It was seen before this norm was compiled, and is not expected for the reason that its standing gives.
    pub pending: Option<(Standing, Pending)>,
    /// The norm is inherited: it belongs to the difference that this revision makes, which is decided on as one.
    pub of_release: bool,
}

/// How a fact relates to a norm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Membership {
    /// It is part of it.
    Expected(Expected),
    /// It is not. [`Norm::score`] has how unusual that is.
    Novel(Novelty),
    /// A person said that it is not normal.
    Rejected,
    /// It is not part of it, which says nothing: new facts of this field keep coming.
    OpenField,
    /// It is not part of it yet, which says nothing: the field is being learned.
    NotReady,
}

/// See the module's documentation.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Norm {
    subject: Subject,
    /// The revision that it inherits from.
    predecessor: Option<Arc<str>>,
    dictionary: Arc<Dictionary>,
    /// By number of the fact; those that are left out are absent.
    standings: Vec<Standing>,
    pending: BTreeMap<u32, Pending>,
    patterns: Patterns,
    survey: Survey,
    index: Index,
}

#[derive(Clone, Serialize, Deserialize)]
struct Written {
    subject: Subject,
    predecessor: Option<Arc<str>>,
    dictionary: Arc<Dictionary>,
    standings: Vec<Standing>,
    pending: BTreeMap<u32, Pending>,
    patterns: Patterns,
    survey: Survey,
}

/// A written norm has more standings than facts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} standings of fewer facts")]
pub struct TooManyStandings(usize);

impl TryFrom<Written> for Norm {
    type Error = TooManyStandings;

    fn try_from(written: Written) -> Result<Self, TooManyStandings> {
        if written.standings.len() > written.dictionary.len() {
            return Err(TooManyStandings(written.standings.len()));
        }
        let index = Index::of(&written.dictionary, &written.standings);
        Ok(Self {
            subject: written.subject,
            predecessor: written.predecessor,
            dictionary: written.dictionary,
            standings: written.standings,
            pending: written.pending,
            patterns: written.patterns,
            survey: written.survey,
            index,
        })
    }
}

impl From<Norm> for Written {
    fn from(norm: Norm) -> Self {
        Self {
            subject: norm.subject,
            predecessor: norm.predecessor,
            dictionary: norm.dictionary,
            standings: norm.standings,
            pending: norm.pending,
            patterns: norm.patterns,
            survey: norm.survey,
        }
    }
}

impl Norm {
    /// How a fact relates to the norm. `protection` names what no wildcard stands for.
    pub fn judge<S: AsRef<str>>(&self, fact: &Fact<S>, protection: &dyn Protection) -> Membership {
        let id = self.dictionary.find(fact);
        let standing = id.map_or(Standing::Absent, |id| self.standing(id));
        match standing {
            Standing::Learned => return Membership::Expected(Expected::Learned),
            Standing::Inherited => return Membership::Expected(Expected::Inherited),
            Standing::Approved => return Membership::Expected(Expected::Approved),
            Standing::Rejected => return Membership::Rejected,
            // Open sets are learned of their names together; one of them can have come later.
            Standing::Absent | Standing::Pending | Standing::Withheld => {}
        }
        if let Some(pattern) = self.patterns.of(fact, protection) {
            return Membership::Expected(Expected::Pattern(pattern));
        }
        match self.survey.field(fact.field()).state {
            State::Learning(_) => Membership::NotReady,
            // That nobody saw any is no norm.
            _ if !self.is_watched(fact.field()) => Membership::NotReady,
            State::Open { .. } => Membership::OpenField,
            State::Ready { .. } => Membership::Novel(Novelty {
                pending: id
                    .and_then(|id| self.pending.get(&(id.index() as u32)))
                    .map(|pending| (standing, *pending)),
                of_release: self.predecessor.is_some(),
            }),
        }
    }

    /// Whose it is.
    #[must_use]
    pub const fn subject(&self) -> &Subject {
        &self.subject
    }

    /// The revision that it inherits from.
    #[must_use]
    pub const fn predecessor(&self) -> Option<&Arc<str>> {
        self.predecessor.as_ref()
    }

    /// What is known and what is still to come, per field.
    #[must_use]
    pub const fn survey(&self) -> &Survey {
        &self.survey
    }

    /// Whether anybody looked at a field; otherwise nothing is known of it.
    #[must_use]
    pub fn is_watched(&self, field: Field) -> bool {
        Fact::watch(field).is_none_or(|watch| self.dictionary.find(&watch).is_some())
    }

    /// The patterns in force.
    #[must_use]
    pub const fn patterns(&self) -> &Patterns {
        &self.patterns
    }

    /// Its facts by number: [`Recorder::share`](crate::evidence::Recorder::share) keeps texts once.
    #[must_use]
    pub const fn dictionary(&self) -> &Arc<Dictionary> {
        &self.dictionary
    }

    /// All facts that count for anything, with what.
    pub fn standings(&self) -> impl Iterator<Item = (Fact<&str>, Standing)> {
        self.dictionary
            .iter()
            .map(|(id, fact)| (fact, self.standing(id)))
            .filter(|(_, standing)| *standing != Standing::Absent)
    }

    /// All facts that are expected, with the patterns. Each comes once.
    pub fn expected(&self) -> impl Iterator<Item = Fact> {
        let mut all: BTreeSet<Fact> = self.patterns.facts().collect();
        all.extend(
            self.standings()
                .filter(|(_, standing)| standing.is_expected())
                .map(|(fact, _)| fact.owned()),
        );
        all.into_iter()
    }

    /// What is known of a fact that is not expected.
    pub fn pending<S: AsRef<str>>(&self, fact: &Fact<S>) -> Option<(Standing, Pending)> {
        let id = self.dictionary.find(fact)?;
        Some((self.standing(id), *self.pending.get(&(id.index() as u32))?))
    }

    /// About how many bytes of memory it takes, without the dictionary that it shares with evidence.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.standings.capacity() * size_of::<Standing>() + self.index.bytes()
    }

    fn standing(&self, id: FactId) -> Standing {
        self.standings
            .get(id.index())
            .copied()
            .unwrap_or(Standing::Absent)
    }
}
