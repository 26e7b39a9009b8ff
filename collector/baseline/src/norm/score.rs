//! How unusual a novel fact is: four terms, each shown with its reason.
//!
//! `log10(1/Δ)`: the fewer new facts are to be expected in the field, the more one says. `log10((N+1)/(n+1))`:
//! the fewer workloads of the fleet do it. `log10((R+1)/(r+1))`: the fewer of the workload's replicas do it; all
//! of them at once are a release, one of many is an incident. And what is known of the file that is executed.

use super::Norm;
use crate::fact::Fact;
use crate::never::Origin;
use std::fmt;

/// What is known beside the norm. The default knows nothing, and counts nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Setting {
    /// Workloads of the fleet.
    pub workloads: u32,
    /// Those of them of which the fact is known.
    pub workloads_with: u32,
    /// Replicas of the workload.
    pub replicas: u32,
    /// Those of them that showed the fact since it is novel.
    pub replicas_with: u32,
    /// Origin of the acting executable; for an exec, of the new one.
    pub origin: Origin,
    /// Whether the file is one that the image ships; `None` if that is not known or it is not about a file.
    pub shipped: Option<bool>,
    /// The workload's own specification has it: a command, probe or lifecycle hook.
    pub declared: bool,
}

/// Which term.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TermKind {
    /// Expected number of new facts.
    Rate,
    /// Rarity in the fleet.
    Fleet,
    /// Agreement of replicas.
    Replicas,
    /// Origin of what is executed.
    Image,
}

impl TermKind {
    /// As in output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rate => "novelty",
            Self::Fleet => "fleet",
            Self::Replicas => "replicas",
            Self::Image => "image",
        }
    }
}

/// One term.
#[derive(Clone, Debug, PartialEq)]
pub struct Term {
    /// Which.
    pub kind: TermKind,
    /// Powers of ten; negative where it speaks for something usual.
    pub value: f64,
    /// Why, in words.
    pub why: String,
}

impl fmt::Display for Term {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {:+.1}: {}", self.kind.name(), self.value, self.why)
    }
}

/// How unusual a fact is.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// The terms, in the order of [`TermKind`].
    pub terms: [Term; 4],
}

/// What counts as 100 points: one in a thousand days, in one of a thousand workloads.
const FULL: f64 = 6.0;

impl Score {
    /// The sum: powers of ten.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.terms.iter().map(|term| term.value).sum()
    }

    /// From 0 to 100.
    #[must_use]
    pub fn points(&self) -> u32 {
        (self.total() / FULL * 100.0).round().clamp(0.0, 100.0) as u32
    }

    /// The terms that speak for something unusual, the weightiest first.
    #[must_use]
    pub fn reasons(&self) -> Vec<&Term> {
        let mut terms: Vec<&Term> = self.terms.iter().filter(|term| term.value > 0.0).collect();
        terms.sort_by(|left, right| right.value.total_cmp(&left.value));
        terms
    }
}

impl Norm {
    /// How unusual a novel fact is.
    pub fn score<S: AsRef<str>>(&self, fact: &Fact<S>, setting: &Setting) -> Score {
        let edge_known = matches!(fact, Fact::Exec { .. }) && {
            let view = fact.view();
            let (same, _) = self.index.same_actor(&self.dictionary, &view);
            self.knows_edge(&view, same)
        };
        Score {
            terms: [
                self.rate(fact),
                fleet(setting),
                replicas(setting),
                image(setting, edge_known),
            ],
        }
    }

    fn rate<S>(&self, fact: &Fact<S>) -> Term {
        let field = fact.field();
        let estimate = self.survey.field(field);
        let units = self.survey.units[0].max(1) as f64;
        // Where nothing is to be expected: as if half of a fact had been new in all that was observed. More
        // certainty than that is not to be had from it.
        let least = 0.5 * self.survey.pace.units / units;
        let expected = estimate.per_day.point.max(least);
        let value = (1.0 / expected).log10();
        if self.survey.overflowed {
            return Term {
                kind: TermKind::Rate,
                value: value.min(0.0),
                why:
                    "this workload does more than there is room to remember, so it may have been seen before"
                        .to_owned(),
            };
        }
        Term {
            kind: TermKind::Rate,
            value,
            why: format!(
                "about {expected:.2} new behaviours a day were to be expected of its {field} field, after {} {}",
                self.survey.units[0],
                self.survey.sampling.unit()
            ),
        }
    }
}

fn fleet(setting: &Setting) -> Term {
    Term {
        kind: TermKind::Fleet,
        value: rarity(setting.workloads, setting.workloads_with),
        why: if setting.workloads == 0 {
            "nothing is known of other workloads".to_owned()
        } else {
            format!(
                "{} of {} workloads do it",
                setting.workloads_with, setting.workloads
            )
        },
    }
}

fn replicas(setting: &Setting) -> Term {
    Term {
        kind: TermKind::Replicas,
        value: rarity(setting.replicas, setting.replicas_with),
        why: match (setting.replicas_with, setting.replicas) {
            (_, 0) => "nothing is known of its replicas".to_owned(),
            (_, 1) => "there is one replica only".to_owned(),
            (with, all) if with >= all => format!("all {all} replicas do it, as after a release"),
            (with, all) => format!("{with} of {all} replicas do it"),
        },
    }
}

fn rarity(all: u32, with: u32) -> f64 {
    let with = with.min(all);
    ((f64::from(all) + 1.0) / (f64::from(with) + 1.0)).log10()
}

fn image(setting: &Setting, edge_known: bool) -> Term {
    let mut value = 0.0;
    let mut why = Vec::new();
    if matches!(
        setting.origin,
        Origin::UpperLayer | Origin::Memory | Origin::Deleted | Origin::Tmpfs
    ) {
        value += 2.0;
        why.push(format!("it comes from a file {}", setting.origin.words()));
    } else if setting.origin == Origin::Volume || setting.shipped == Some(false) {
        value += 1.0;
        why.push("the image does not ship the file".to_owned());
    }
    if setting.declared {
        value -= 1.0;
        why.push("the workload's specification has it".to_owned());
    }
    if edge_known {
        value -= 1.0;
        why.push("the one program is known to start the other, but not like this".to_owned());
    }
    if why.is_empty() {
        why.push("nothing in the image speaks for or against it".to_owned());
    }
    Term {
        kind: TermKind::Image,
        value,
        why: why.join("; "),
    }
}
