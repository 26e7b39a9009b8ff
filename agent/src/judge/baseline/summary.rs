//! How far baselines are, for the outside.

use super::Learning;
use super::learner::Learner;
use super::losses::Losses;
use norma_baseline::estimate::State;
use norma_baseline::fact::Field;
use norma_baseline::overlay::Subject;
use serde::Serialize;

/// State of a baseline, for the outside.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Whose.
    pub workload: String,
    /// Image and command of the revision, where known.
    pub revision: String,
    /// Novelty of every field is an alert, or says nothing for good.
    pub ready: bool,
    /// Seconds learned so far.
    pub learned_seconds: u64,
    /// Behaviours known.
    pub facts: usize,
    /// There was no room for all that was seen.
    pub overflowed: bool,
    /// Events that were lost on the way from the kernel while what they tell of was learned, since the agent was
    /// started: of the kind of behaviour of which most were.
    pub lost: u64,
    /// The collector has all of this node's evidence that is on the disk; `None` where nothing is shared.
    pub shared: Option<bool>,
    /// Replicas that run, in the whole fleet where that is known.
    pub replicas: u32,
    /// Per kind of behaviour.
    pub fields: Vec<FieldSummary>,
}

/// How far one kind of behaviour is.
#[derive(Clone, Debug, Serialize)]
pub struct FieldSummary {
    /// Which.
    pub field: &'static str,
    /// Behaviours known.
    pub facts: u64,
    /// New ones that are to be expected in the next day, with the bounds of the 95 % confidence interval; `None` where
    /// there is too little evidence for any estimate, or learning goes by the clock.
    pub expected_per_day: Option<[f64; 3]>,
    /// Events that it is learned of that were lost on the way from the kernel meanwhile, since the agent was started.
    pub lost: u64,
    /// Sampling units, small ones, in which such were lost: they are not counted as evidence.
    pub units_with_losses: u64,
    /// In words.
    pub state: String,
}

impl Summary {
    pub(super) fn of(
        subject: &Subject,
        learner: &Learner,
        learning: Learning,
        shares: bool,
        losses: Option<&Losses>,
    ) -> Self {
        let survey = learner.norm.survey();
        let fields = Field::ALL.map(|field| {
            let estimate = survey.field(field);
            let is_estimated =
                matches!(learning, Learning::ByEvidence { .. }) && estimate.is_told(survey.units);
            FieldSummary {
                field: field.name(),
                facts: estimate.distinct,
                expected_per_day: is_estimated.then_some([
                    estimate.per_day.point,
                    estimate.per_day.low,
                    estimate.per_day.high,
                ]),
                lost: losses.map_or(0, |losses| losses.lost(field)),
                units_with_losses: estimate.lossy[0],
                state: match (learning, estimate.state) {
                    (Learning::Window(window), State::Learning(_)) => {
                        format!("learning for {}", humantime::format_duration(window))
                    }
                    (_, state) => state.to_string(),
                },
            }
        });
        Self {
            workload: subject.workload.to_string(),
            revision: subject.revision.to_string(),
            ready: survey.is_ready(),
            learned_seconds: learner.learned_for(learning).as_secs(),
            facts: learner.facts,
            overflowed: survey.overflowed,
            lost: fields.iter().map(|field| field.lost).max().unwrap_or(0),
            shared: shares.then(|| learner.sharing.is_held()),
            replicas: learner.replicas(),
            fields: fields.into(),
        }
    }
}
