//! What was lost on the way from the kernel while a workload was learned.
//!
//! Losses are counted by kind of record, behaviours are learned by field; [`fields`] says what a field is learned of. A
//! lost record of a kind that feeds several fields may have been of any of them, and counts for each.
//!
//! A loss counts twice. A sampling unit in which something was lost is no whole evidence for the field
//! ([`norma_baseline::evidence`] has the reasons): that is in the evidence, and outlives the agent. And a behaviour can
//! be new only because it was lost before: of the events of a field's learning time a share was lost; novelty is then
//! no stronger evidence than one in as many. This is of the agent's own time: a restart forgets it.
//!
//! What could not be described, rather than found no room, is nobody's that is known, and counts for none.

use norma_abi::{
    KIND_CONNECT, KIND_DNS, KIND_EXEC, KIND_FILE, KIND_FORK, KIND_HOST, KIND_LISTEN, KIND_OPEN,
    KIND_PRIVILEGE, KIND_SOCKET,
};
use norma_baseline::fact::Field;
use norma_baseline::norm::{Score, TermKind};

/// The fields that are learned of records of a `KIND_*`.
pub(super) fn fields(kind: usize) -> &'static [Field] {
    match u16::try_from(kind).unwrap_or(0) {
        // Without its fork nobody knows what a process ran before its exec.
        KIND_EXEC | KIND_FORK => &[Field::Exec],
        KIND_OPEN => &[Field::File],
        // Libraries that are mapped, and mounts.
        KIND_FILE => &[Field::File, Field::Library, Field::Privilege],
        KIND_CONNECT => &[Field::Connect],
        KIND_LISTEN => &[Field::Listen],
        // Sockets of files, peers that are sent to, what is bound and accepted, kinds of socket.
        KIND_SOCKET => &[Field::File, Field::Connect, Field::Listen, Field::Privilege],
        // Peers are known by the names that were answered.
        KIND_DNS => &[Field::Dns, Field::Connect],
        KIND_PRIVILEGE => &[Field::Capability, Field::Privilege],
        KIND_HOST => &[Field::Privilege],
        _ => &[],
    }
}

/// The events of a workload's learning time, by field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Losses([Counted; Field::ALL.len()]);

/// Those of one field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counted {
    seen: u64,
    lost: u64,
}

impl Losses {
    /// An event was looked at.
    pub fn saw(&mut self, field: Field) {
        let counted = &mut self.0[field.index()];
        counted.seen = counted.seen.saturating_add(1);
    }

    /// Events were lost.
    pub fn lose(&mut self, field: Field, events: u64) {
        let counted = &mut self.0[field.index()];
        counted.lost = counted.lost.saturating_add(events);
    }

    /// Events of a field that were lost.
    pub fn lost(&self, field: Field) -> u64 {
        self.0[field.index()].lost
    }

    /// Lowers the score of a behaviour of a field to what these losses leave of it.
    pub fn lower(&self, field: Field, score: &mut Score) {
        let Counted { seen, lost } = self.0[field.index()];
        if lost == 0 {
            return;
        }
        let all = lost.saturating_add(seen) as f64;
        let most = (all / lost as f64).log10();
        for term in score.terms.iter_mut().filter(|term| term.kind == TermKind::Rate) {
            term.value = term.value.min(most);
            term.why = format!(
                "{}; {lost} events that {field} is learned of were lost meanwhile, so it may have been done before",
                term.why
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
        let mut losses = Losses::default();
        (0..seen).for_each(|_| losses.saw(Field::File));
        losses.lose(Field::File, lost);
        let mut of_another = score.clone();
        losses.lower(Field::Connect, &mut of_another);
        assert_eq!(of_another, score, "nothing of it was lost");
        losses.lower(Field::File, &mut score);
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
            (value - 2.0).abs() < 1e-9 && why.contains("1 events that file is learned of were lost"),
            "{value} {why}"
        );
        assert!(lowered(0, 5, 3.0).0.abs() < 1e-9, "all of it");
        assert!((lowered(99, 1, 0.5).0 - 0.5).abs() < 1e-9, "never higher");
    }

    #[test]
    fn every_kind_of_record_that_says_something_of_a_behaviour_feeds_a_field() {
        let silent: Vec<_> = (1..norma_abi::KINDS)
            .filter(|kind| fields(*kind).is_empty())
            .filter_map(crate::sensor::kind_name)
            .collect();
        assert_eq!(silent, ["exit", "cgroup"]);
        for field in Field::ALL {
            assert!(
                (1..norma_abi::KINDS).any(|kind| fields(kind).contains(&field)),
                "{field}"
            );
        }
    }
}
