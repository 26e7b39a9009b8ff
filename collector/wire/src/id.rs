//! Reading an event's place without reading the event.

use crate::pb::{Event, EventId, Kind, Severity, Verdict, VerdictKind};
use std::fmt;

/// The fields of an [`Event`] that say which it is; decoding it passes over everything else.
#[derive(Clone, PartialEq, prost::Message)]
pub struct EventHead {
    /// As [`Event::id`].
    #[prost(message, optional, tag = "1")]
    pub id: Option<EventId>,
    /// As [`Event::kind`], an open enum.
    #[prost(int32, tag = "4")]
    pub kind: i32,
}

/// `node/epoch/sequence`, the epoch in hex: the same text everywhere an event is named.
impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{:016x}/{}", self.node, self.epoch, self.sequence)
    }
}

/// Whether a verdict is one on which somebody should act: novel or a violation, and more than information.
pub fn calls_for_action(verdict: &Verdict) -> bool {
    matches!(
        VerdictKind::try_from(verdict.kind),
        Ok(VerdictKind::Novel | VerdictKind::Violation)
    ) && verdict.severity != Severity::Info as i32
}

/// Whether somebody should look: a novel or forbidden act, or something that Norma has to admit about
/// itself (a loss, a blind sensor, a clock that was set, a repair after a crash).
pub fn is_alert(event: &Event) -> bool {
    match Kind::try_from(event.kind) {
        Ok(Kind::Loss | Kind::ClockStep | Kind::Recovery) => return true,
        Ok(Kind::BaselineDecision) => {
            if let Some(crate::Detail::BaselineDecision(decision)) = &event.detail
                && !decision.refused.is_empty()
            {
                return true;
            }
        }
        Ok(Kind::Coverage) => {
            if let Some(crate::Detail::Coverage(coverage)) = &event.detail
                && coverage
                    .capabilities
                    .iter()
                    .any(|capability| capability.tier.is_empty() && !capability.off)
            {
                return true;
            }
        }
        _ => {}
    }
    event.verdict.as_ref().is_some_and(calls_for_action)
}

/// Severity of an event: its verdict's, or what its kind calls for where it was not judged.
pub fn severity(event: &Event) -> Severity {
    let judged = event
        .verdict
        .as_ref()
        .and_then(|verdict| Severity::try_from(verdict.severity).ok());
    match judged {
        Some(severity) if severity != Severity::Unspecified => severity,
        _ => match Kind::try_from(event.kind) {
            Ok(Kind::Loss) => Severity::Medium,
            Ok(Kind::Coverage) if is_alert(event) => Severity::Medium,
            Ok(Kind::ClockStep | Kind::Recovery) => Severity::Low,
            _ if is_alert(event) => Severity::Medium,
            _ => Severity::Info,
        },
    }
}
