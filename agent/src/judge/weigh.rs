//! What a finding weighs: the weight of its kind, moved by how unusual the act is.

use super::kinds::FindingKind;
use norma_baseline::norm::Score;
use norma_wire::pb::{Severity, Term};

/// Points by which the terms move a score at most, to either side.
pub(super) const SWING: u32 = 15;
/// Powers of ten that leave the weight as it is: one in a hundred.
const NEUTRAL: f64 = 2.0;

/// What was weighed.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Weighed {
    pub severity: Severity,
    pub score: u32,
    pub weight: u32,
    pub terms: Vec<Term>,
}

/// Weighs an act of a kind. The formula, and why it is this one, stands in docs/findings.md.
pub(super) fn weigh(kind: FindingKind, unusual: Option<&Score>) -> Weighed {
    let weight = kind.row().weight;
    let total = unusual.map_or(NEUTRAL, Score::total);
    let by = ((total - NEUTRAL) / NEUTRAL).clamp(-1.0, 1.0) * f64::from(SWING);
    let score = (f64::from(weight) + by).round().clamp(0.0, 100.0) as u32;
    Weighed {
        severity: kind.severity(score),
        score,
        weight,
        terms: unusual
            .iter()
            .flat_map(|score| &score.terms)
            .map(|term| Term {
                name: term.kind.name().to_owned(),
                value: (term.value * 10.0).round() / 10.0,
                words: term.why.clone(),
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use norma_baseline::norm::{Term as Part, TermKind};
    use proptest::prelude::*;

    fn unusual(values: [f64; 4]) -> Score {
        let kinds = [
            TermKind::Rate,
            TermKind::Fleet,
            TermKind::Replicas,
            TermKind::Image,
        ];
        let mut values = values.into_iter();
        Score {
            terms: kinds.map(|kind| Part {
                kind,
                value: values.next().unwrap_or_default(),
                why: String::new(),
            }),
        }
    }

    #[test]
    fn one_in_a_hundred_weighs_as_the_kind_does() {
        let neutral = unusual([2.0, 0.0, 0.0, 0.0]);
        for kind in FindingKind::ALL {
            assert_eq!(weigh(*kind, Some(&neutral)).score, kind.row().weight);
        }
    }

    proptest! {
        /// Whoever can push the terms, by flooding the baseline or by doing the same in all replicas, moves the
        /// score by no more than the swing, and what is grave stays so.
        #[test]
        fn nobody_talks_a_grave_act_down(values in prop::array::uniform4(-50.0f64..50.0)) {
            for kind in FindingKind::ALL {
                let weighed = weigh(*kind, Some(&unusual(values)));
                prop_assert!(weighed.score + SWING >= kind.row().weight);
                if kind.row().grave {
                    prop_assert!(weighed.severity >= Severity::High);
                }
            }
        }

        /// More unusual is never less grave.
        #[test]
        fn it_is_monotone(values in prop::array::uniform4(-5.0f64..5.0), which in 0usize..4, more in 0.0f64..5.0) {
            let mut higher = values;
            higher[which] += more;
            for kind in FindingKind::ALL {
                let (low, high) = (weigh(*kind, Some(&unusual(values))), weigh(*kind, Some(&unusual(higher))));
                prop_assert!(low.score <= high.score && low.severity <= high.severity);
            }
        }
    }
}
