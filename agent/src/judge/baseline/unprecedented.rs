//! What a program was never seen to do in a time that is long enough to say so, while the workload is still learned.
//!
//! A field is ready when few enough new behaviours are to be expected of all programs of a workload together; one that
//! does new things all the time keeps the field of all others from it. Of a class of behaviour that a program does not
//! show at all, nothing new is to be expected as soon as so much was observed of that program as a field takes to be
//! judged ([`Criteria::large_units`]).

use super::learner::Learner;
use super::{Baselines, Learning};
use crate::identity::Container;
use norma_baseline::evidence::Evidence;
use norma_baseline::fact::Fact;

impl Baselines {
    /// Whether a behaviour is the first of its class that its program shows but when it starts up, and the program was
    /// seen in as many long sampling units as it takes to say that it does not. `is_of_class` tells the class,
    /// `is_new` whether the behaviour itself was never seen before; it has been recorded by now.
    pub fn is_unprecedented(
        &self,
        container: &Container,
        behaviour: &Fact,
        is_new: bool,
        is_of_class: impl Fn(&Fact<&str>) -> bool,
    ) -> bool {
        // A window says when the workload was learned, and nothing before.
        let Learning::ByEvidence { criteria, .. } = self.terms.learning else {
            return false;
        };
        let learner = self
            .subjects
            .get(&container.cgroup)
            .and_then(|(_, subject)| self.learners.get(subject));
        learner.is_some_and(|learner| {
            let known = Known::of(learner, behaviour, is_new, is_of_class);
            !known.shows_class && known.large_units >= criteria.large_units
        })
    }
}

/// What is known of the program that shows a behaviour.
#[derive(Clone, Copy, Default)]
struct Known {
    /// Long units in which it did the same thing.
    large_units: u64,
    /// It did something of the class before, other than when it started up.
    shows_class: bool,
}

impl Known {
    fn of(
        learner: &Learner,
        behaviour: &Fact,
        is_new: bool,
        is_of_class: impl Fn(&Fact<&str>) -> bool,
    ) -> Self {
        let mut known = Self::default();
        let accounts: [&Evidence; 2] = [learner.recorder.evidence(), &learner.others.evidence];
        for (_, fact, tally) in accounts.into_iter().flat_map(Evidence::tallies) {
            if *fact.actor() != behaviour.actor().as_ref() {
                continue;
            }
            known.large_units = known.large_units.max(tally.units[1]);
            let at_start_only = tally.starts > 0 && tally.units[0] == 0;
            let is_this = is_new && fact == behaviour.view();
            known.shows_class |= is_of_class(&fact) && !at_start_only && !is_this;
        }
        known
    }
}
