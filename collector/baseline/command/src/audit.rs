//! What people did with baselines, as it goes into the audit log.

use crate::carry::Carried;
use norma_baseline::fact::Fact;
use norma_baseline::overlay::{Item, SignedDecision};
use norma_wire::pb::BaselineDecision;

/// Longest text that is repeated in the log, in bytes; whoever may hand something over can write any.
const TEXT_MAX: usize = 4 << 10;
/// The verb of what a bundle brought.
const IMPORT: &str = "import";

/// How a decision came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// By a command on this machine.
    Command,
    /// In a bundle.
    Bundle,
    /// From the collector.
    Collector,
}

impl Source {
    const fn name(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::Bundle => "bundle",
            Self::Collector => "collector",
        }
    }
}

/// A decision that was taken or, where there is a reason, refused.
#[must_use]
pub fn decision(signed: &SignedDecision, source: Source, refused: Option<&str>) -> BaselineDecision {
    let decision = signed.decision();
    let fact = match &decision.item {
        Item::Fact(fact) => Some(fact),
        Item::Whole => None,
    };
    BaselineDecision {
        workload: bounded(&decision.workload),
        revision: bounded(decision.revision.as_deref().unwrap_or_default()),
        verb: decision.verb.name().to_owned(),
        behaviour_id: fact.map(|fact| fact.code().to_string()).unwrap_or_default(),
        behaviour: fact
            .map(Fact::to_string)
            .as_deref()
            .map(bounded)
            .unwrap_or_default(),
        who: bounded(&decision.who),
        key: signed.signature().key.to_string(),
        why: bounded(&decision.why),
        decided_wall_ns: decision.at.as_unix().saturating_mul(1_000_000_000),
        source: source.name().to_owned(),
        refused: bounded(refused.unwrap_or_default()),
    }
}

/// What a bundle brought: one record for each baseline, one for each decision that was new, and one for each that
/// does not count.
pub fn bundle<'a>(
    carried: &'a Carried,
    new: &'a [SignedDecision],
) -> impl Iterator<Item = BaselineDecision> + 'a {
    let kept = carried.kept.iter().map(|kept| BaselineDecision {
        workload: bounded(&kept.subject().workload),
        revision: bounded(&kept.subject().revision),
        verb: IMPORT.to_owned(),
        behaviour: format!("evidence of {} behaviours", kept.evidence.facts().count()),
        who: bounded(&carried.who),
        key: carried.key.to_string(),
        decided_wall_ns: carried.at.as_unix().saturating_mul(1_000_000_000),
        source: Source::Bundle.name().to_owned(),
        ..BaselineDecision::default()
    });
    let taken = new.iter().map(|signed| decision(signed, Source::Bundle, None));
    let untrusted = carried
        .untrusted
        .iter()
        .map(|(signed, why)| decision(signed, Source::Bundle, Some(why)));
    kept.chain(taken).chain(untrusted)
}

/// What was handed over and refused: a record for each decision in it, or one for a file that cannot even be read.
#[must_use]
pub fn refused(file: &str, decisions: &[SignedDecision], why: &str) -> Vec<BaselineDecision> {
    if decisions.is_empty() {
        return vec![BaselineDecision {
            behaviour: bounded(file),
            source: Source::Command.name().to_owned(),
            refused: bounded(why),
            ..BaselineDecision::default()
        }];
    }
    decisions
        .iter()
        .map(|signed| decision(signed, Source::Command, Some(why)))
        .collect()
}

fn bounded(text: &str) -> String {
    let mut end = text.len().min(TEXT_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    norma_wire::text::single_line(&text[..end])
}
