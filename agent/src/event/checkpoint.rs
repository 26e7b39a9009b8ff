//! A collector that takes back what its audit log promised.

use super::own;
use norma_wire::pb::{self, Kind, Reason, Severity, Verdict, VerdictKind};
use norma_wire::{Detail, Event};

/// The event, which always calls for action: who keeps the evidence may be who changes it.
pub fn checkpoint_inconsistent(detail: pb::CheckpointInconsistent) -> Event {
    let mut event = own(
        Kind::CheckpointInconsistent,
        Detail::CheckpointInconsistent(detail),
    );
    event.verdict = Some(Verdict {
        kind: VerdictKind::Violation as i32,
        severity: Severity::Critical as i32,
        score: 100,
        reasons: vec![Reason {
            code: "audit.checkpoint".to_owned(),
            expected: "an audit log that only grows".to_owned(),
            why: "records were removed from the collector's audit log or changed, or it was set back to an older copy"
                .to_owned(),
            controls: vec!["NIST 800-53 AU-9".to_owned(), "NIST 800-53 AU-9(3)".to_owned()],
            next: "keep a copy of the collector's audit directory; run `norma-collector audit verify --expect` with \
                   the remembered checkpoint that this event has"
                .to_owned(),
            ..Reason::default()
        }],
        ..Verdict::default()
    });
    event
}
