//! What comes of judging: a verdict and what follows from it.

use super::fact::{Fact, PeerNames};
use super::incident::Incident;
use super::policy::{ClauseRef, Response};
use norma_wire::pb::{Reason, Severity, Verdict, VerdictKind};
use std::sync::Arc;

/// A verdict and what follows from it.
#[derive(Clone, Debug)]
pub struct Judgement {
    /// The verdict.
    pub verdict: Verdict,
    /// What the policy wants done, where one was violated.
    pub response: Option<(ClauseRef, Response)>,
    /// Whether the event says something that was not said before.
    pub news: News,
    /// The configured name of the sensitive file that it is about, by whatever name it was reached.
    pub sensitive: Option<Arc<str>>,
    /// What an alert is part of.
    pub incident: Option<Incident>,
    /// By what names the other end of a connection is known.
    pub peer: PeerNames,
    /// It is what a probe does, in a session that comes like clockwork.
    pub of_probe: bool,
    /// The behaviour, where the kernel side may recognise it from now on instead of reporting it.
    pub recognisable: Option<Fact>,
}

/// Whether an event is worth an event of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// It is to be reported.
    Yes,
    /// The same container did the same before: counted.
    Repeated,
    /// An alert that was raised before for the same container: counted as such.
    RepeatedAlert,
}

impl Judgement {
    pub(super) fn unjudged(news: News) -> Self {
        Self {
            verdict: verdict(VerdictKind::Unjudged, Severity::Info, 0, Vec::new()),
            response: None,
            news,
            sensitive: None,
            incident: None,
            peer: PeerNames::default(),
            of_probe: false,
            recognisable: None,
        }
    }

    pub(super) fn plain(verdict: Verdict) -> Self {
        Self {
            verdict,
            response: None,
            news: News::Yes,
            sensitive: None,
            incident: None,
            peer: PeerNames::default(),
            of_probe: false,
            recognisable: None,
        }
    }

    /// The stable name of its first reason; empty where there is none.
    pub fn code(&self) -> &str {
        let first = self.verdict.reasons.first();
        first.map_or("", |reason| reason.code.as_str())
    }

    /// Somebody should read it.
    pub fn is_alert(&self) -> bool {
        norma_wire::id::calls_for_action(&self.verdict)
    }
}

/// Says by what a person approves or rejects what was done.
pub(super) fn name_behaviour(verdict: &mut Verdict, fact: &Fact) {
    let learned = fact.learned();
    verdict.behaviour_id = learned.code().to_string();
    // A fact is texts and numbers, which JSON has a form for.
    verdict.behaviour = serde_json::to_string(&learned).unwrap_or_default();
}

/// The verdict of what is as it should be.
pub(super) fn expected() -> Verdict {
    verdict(VerdictKind::Expected, Severity::Info, 0, Vec::new())
}

/// A verdict of these parts.
pub(super) fn verdict(kind: VerdictKind, severity: Severity, score: u32, reasons: Vec<Reason>) -> Verdict {
    Verdict {
        kind: kind as i32,
        severity: severity as i32,
        score,
        reasons,
        ..Verdict::default()
    }
}
