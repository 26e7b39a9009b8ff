//! NIST 800-53 AU-3: what happened, when, where, its source, its outcome, and whose identities it is tied to. For every
//! record there is an answer to each of the six, or an explicit unknown with the reason; this is the one place that
//! says which. [`coverage`] counts them.

pub mod coverage;
mod event;

use crate::audit::show::{record_kind, time};
use norma_wire::audit::{Administration, HoldPlaced, HoldReleased, Record, record::Body};
use norma_wire::{Event, describe};
use serde::Serialize;
use std::borrow::Cow;

/// The six questions, in AU-3's order.
pub const QUESTIONS: [&str; 6] = ["what", "when", "where", "source", "outcome", "identity"];

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It is in the record.
    Known(String),
    /// It is not, for this reason.
    Unknown(Cow<'static, str>),
}

/// The six answers of a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Answers {
    /// What type of event occurred.
    pub what: Answer,
    /// When.
    pub when: Answer,
    /// Where.
    #[serde(rename = "where")]
    pub place: Answer,
    /// Where it came from: the program that did it.
    pub source: Answer,
    /// How it ended.
    pub outcome: Answer,
    /// Which people, subjects or objects it is tied to.
    pub identity: Answer,
}

impl Answers {
    /// In the order of [`QUESTIONS`].
    pub fn all(&self) -> [&Answer; 6] {
        [
            &self.what,
            &self.when,
            &self.place,
            &self.source,
            &self.outcome,
            &self.identity,
        ]
    }
}

impl Answer {
    /// Why it is not known, if it is not.
    pub fn unknown(&self) -> Option<&str> {
        match self {
            Self::Known(_) => None,
            Self::Unknown(why) => Some(why),
        }
    }

    /// `text`, or why there is none.
    fn or(text: impl Into<String>, why: &'static str) -> Self {
        match text.into() {
            empty if empty.is_empty() => Self::Unknown(why.into()),
            text => Self::Known(text),
        }
    }
}

fn known(text: impl Into<String>) -> Answer {
    Answer::Known(text.into())
}

fn unknown(why: &'static str) -> Answer {
    Answer::Unknown(why.into())
}

/// When, of nanoseconds since 1970.
fn when(wall_ns: u64) -> Answer {
    match wall_ns {
        0 => unknown("the clock was not set"),
        wall_ns => known(time(wall_ns)),
    }
}

/// The answers of a record; `event` is the event that it holds, where that could be decoded.
pub fn answers(record: &Record, event: Option<&Event>) -> Answers {
    match (&record.body, event) {
        (Some(Body::Event(_)), Some(event)) => event::answers(event),
        (body, _) => own(record.received_wall_ns, body.as_ref()),
    }
}

/// Those of a record that the collector made.
fn own(wall_ns: u64, body: Option<&Body>) -> Answers {
    let (outcome, identity) = outcome_and_identity(body);
    Answers {
        what: match body {
            Some(Body::Event(_)) => unknown("the event cannot be decoded by this version"),
            None => unknown("a record that only a newer norma-collector knows"),
            Some(Body::Administration(done)) => known(act(done)),
            body => known(record_kind(body)),
        },
        when: when(wall_ns),
        place: known("the collector"),
        source: source(body),
        outcome,
        identity,
    }
}

fn act(done: &Administration) -> String {
    describe::act_name(done)
}

fn source(body: Option<&Body>) -> Answer {
    match body {
        Some(Body::Refused(refused)) => Answer::or(&refused.peer, "the peer has no address"),
        Some(Body::Enrolled(enrolled)) => Answer::or(&enrolled.peer, "the peer has no address"),
        Some(Body::Administration(done)) if !done.peer.is_empty() => known(&done.peer),
        Some(Body::Rejected(rejected)) => known(format!("agent of node {}", rejected.node)),
        Some(Body::Gap(gap)) => known(format!("agent of node {}", gap.node)),
        Some(Body::CheckpointConflict(conflict)) => known(&conflict.who),
        Some(Body::NodeKey(key)) => known(format!("agent of node {}", key.node)),
        Some(Body::HoldPlaced(HoldPlaced { actor, .. }) | Body::HoldReleased(HoldReleased { actor, .. }))
            if !actor.is_empty() =>
        {
            known("norma-collector api hold")
        }
        Some(Body::HoldPlaced(_) | Body::HoldReleased(_)) => known("norma-collector audit hold"),
        Some(Body::TokenMade(_)) => known("norma-collector pki token"),
        Some(Body::Event(_)) => unknown("the event cannot be decoded by this version"),
        Some(_) | None => known("norma-collector"),
    }
}

fn outcome_and_identity(body: Option<&Body>) -> (Answer, Answer) {
    let collector = || known("the collector itself");
    match body {
        Some(Body::Header(_)) => (known("begun"), collector()),
        Some(Body::Started(_)) => (known("started"), collector()),
        Some(Body::Stopped(stopped)) => (known(format!("stopped: {}", stopped.reason)), collector()),
        Some(Body::Recovered(_)) => (known("cut off"), collector()),
        Some(Body::Event(_)) => (
            unknown("the event cannot be decoded by this version"),
            unknown("the event cannot be decoded by this version"),
        ),
        Some(Body::Rejected(rejected)) => (known("rejected"), known(format!("node {}", rejected.node))),
        Some(Body::Gap(gap)) => (known("not delivered"), known(format!("node {}", gap.node))),
        Some(Body::Refused(refused)) => (
            known("refused"),
            if refused.node.is_empty() {
                unknown("no valid certificate of a node was shown")
            } else {
                known(format!("node {}", refused.node))
            },
        ),
        Some(Body::BaselineDecision(decision)) => {
            let outcome = match decision.refused.as_str() {
                "" => known("in force"),
                why => known(format!("refused: {why}")),
            };
            let who = Answer::or(
                &decision.who,
                "what was handed over is not signed by anybody known",
            );
            (outcome, who)
        }
        Some(Body::WitnessQuorum(quorum)) => (
            known(if quorum.reached { "reached" } else { "not reached" }),
            known("the witnesses of the trust policy"),
        ),
        Some(Body::CheckpointConflict(conflict)) => (known("inconsistent"), known(&conflict.who)),
        Some(Body::BatchHeads(_)) => (known("signature verified"), known("the nodes that signed")),
        Some(Body::NodeKey(key)) => (known("verified"), known(format!("node {}", key.node))),
        Some(Body::Enrolled(enrolled)) => (known("issued"), known(format!("node {}", enrolled.node))),
        Some(Body::ClockState(state)) => (
            match state.synchronised {
                Some(true) => known("synchronised"),
                Some(false) => known("not synchronised"),
                None => unknown("the kernel does not tell"),
            },
            collector(),
        ),
        Some(Body::ClockStep(_)) => (
            known("stepped"),
            unknown("the kernel does not tell who set the clock"),
        ),
        Some(Body::Administration(done)) => (
            match done.refused.as_str() {
                "" => known("done"),
                why => known(format!("refused: {why}")),
            },
            Answer::or(&done.actor, "nobody is named"),
        ),
        Some(Body::Removed(removed)) => (
            known(format!(
                "removed records {} to {}",
                removed.first_record, removed.last_record
            )),
            collector(),
        ),
        Some(Body::Shredded(shredded)) => (
            known(format!(
                "records {} to {} cannot be read any more",
                shredded.first_record, shredded.last_record
            )),
            known(format!("{} (uid {})", shredded.who, shredded.uid)),
        ),
        Some(Body::HoldPlaced(placed)) => (
            known("in force"),
            known(format!("{} (uid {})", placed.who, placed.uid)),
        ),
        Some(Body::HoldReleased(released)) => (
            known("released"),
            known(format!("{} (uid {})", released.who, released.uid)),
        ),
        Some(Body::ArchiveState(state)) => (
            known(if state.working { "works again" } else { "failed" }),
            collector(),
        ),
        Some(Body::HandedOver(_)) => (known("signature verified"), known("the node that signed")),
        Some(Body::StorageState(state)) => (
            known(if state.low { "fills up" } else { "has room again" }),
            collector(),
        ),
        Some(Body::KeyRotation(_)) => (known("signed with both keys"), collector()),
        Some(Body::TokenMade(_)) => (
            known("made"),
            unknown("whoever is root on the collector's host made it"),
        ),
        None => (
            unknown("a record that only a newer norma-collector knows"),
            unknown("a record that only a newer norma-collector knows"),
        ),
    }
}

#[cfg(test)]
mod tests;
