//! What was lost on the way from the kernel while a workload was learned.
//!
//! A behaviour can be new only because it was lost before. Of the events of a learning time a share was lost; novelty
//! is then no stronger evidence than one in as many. This is of the agent's own time: a restart forgets it.

use norma_baseline::norm::{Score, TermKind};

/// The events of a workload's learning time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Losses {
    /// That were looked at.
    pub seen: u64,
    /// That were lost.
    pub lost: u64,
}

impl Losses {
    /// Lowers a score to what these losses leave of it.
    pub fn lower(self, score: &mut Score) {
        if self.lost == 0 {
            return;
        }
        let all = self.lost.saturating_add(self.seen) as f64;
        let most = (all / self.lost as f64).log10();
        for term in score.terms.iter_mut().filter(|term| term.kind == TermKind::Rate) {
            term.value = term.value.min(most);
            term.why = format!(
                "{}; {} events were lost while this was learned, so it may have been done before",
                term.why, self.lost
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use norma_baseline::norm::Term;

    fn lowered(seen: u64, lost: u64, value: f64) -> (f64, String) {
        let term = |kind| Term {
            kind,
            value,
            why: "rare".to_owned(),
        };
        let kinds = [
            TermKind::Rate,
            TermKind::Fleet,
            TermKind::Replicas,
            TermKind::Image,
        ];
        let mut score = Score {
            terms: kinds.map(term),
        };
        Losses { seen, lost }.lower(&mut score);
        assert!(
            score.terms[1..]
                .iter()
                .all(|term| term.value.to_bits() == value.to_bits())
        );
        (score.terms[0].value, score.terms[0].why.clone())
    }

    #[test]
    fn novelty_is_no_stronger_than_what_was_lost_leaves_of_it() {
        assert_eq!(lowered(1_000, 0, 3.0), (3.0, "rare".to_owned()));
        let (value, why) = lowered(99, 1, 3.0);
        assert!(
            (value - 2.0).abs() < 1e-9 && why.contains("1 events were lost"),
            "{value} {why}"
        );
        assert!(lowered(0, 5, 3.0).0.abs() < 1e-9, "all of it");
        assert!((lowered(99, 1, 0.5).0 - 0.5).abs() < 1e-9, "never higher");
    }
}
