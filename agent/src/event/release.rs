//! What a new revision of a workload did differently, as one event to decide on.

use super::own;
use norma_baseline::revision::ReleaseDelta;
use norma_wire::pb::{self, Kind, Reason, Severity, Verdict, VerdictKind};
use norma_wire::text::printable;
use norma_wire::{Detail, Event};
use std::fmt::Write as _;

/// Most of the text that goes into the event, in bytes.
const TEXT_MAX: usize = 16 << 10;

/// The event. It calls for action where there is something to decide on.
pub fn release(delta: &ReleaseDelta) -> Event {
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let new = delta.added.len() + delta.changed.len();
    let mut event = own(
        Kind::ReleaseDelta,
        Detail::ReleaseDelta(pb::ReleaseDelta {
            workload: delta.subject.workload.to_string(),
            revision: delta.subject.revision.to_string(),
            from: delta.from.to_string(),
            added: count(delta.added.len()),
            changed: count(delta.changed.len()),
            gone: count(delta.gone.len()),
            replicas: delta.replicas,
            text: bounded(&delta.to_string()),
        }),
    );
    if new > 0 {
        event.verdict = Some(Verdict {
            kind: VerdictKind::Novel as i32,
            severity: Severity::Low as i32,
            reasons: vec![Reason {
                code: "baseline.release".to_owned(),
                expected: "what the revision before does".to_owned(),
                why: "approve the release delta as a whole, or reject what does not belong to the change"
                    .to_owned(),
                controls: vec!["NIST 800-53 CM-3".to_owned(), "NIST 800-53 SI-4".to_owned()],
                ..Reason::default()
            }],
            ..Verdict::default()
        });
    }
    event
}

/// Whole lines, as many as fit, each printable.
fn bounded(text: &str) -> String {
    let mut out = String::new();
    let mut lines = text.lines();
    for line in lines.by_ref() {
        let line = printable(line.as_bytes());
        if out.len() + line.len() + 80 > TEXT_MAX {
            let left = lines.count() + 1;
            // Writing to a text does not fail.
            let _written = writeln!(out, "… and {left} lines more: see `norma-agent baseline diff`");
            return out;
        }
        out.push_str(&line);
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_at_a_line_and_says_so() {
        assert_eq!(bounded("a\nb\x1b"), "a\nb\\x1b\n");
        let long: String = (0..5_000).map(|number| format!("line {number}\n")).collect();
        let cut = bounded(&long);
        assert!(cut.len() <= TEXT_MAX, "{}", cut.len());
        let (last, before) = (cut.lines().last().unwrap(), cut.lines().count() - 1);
        assert_eq!(
            last,
            format!(
                "… and {} lines more: see `norma-agent baseline diff`",
                5_000 - before
            )
        );
    }
}
