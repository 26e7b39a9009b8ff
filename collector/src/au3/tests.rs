//! That every kind of event and record has its answers.

use super::*;
use crate::au3::coverage::{Coverage, percent};
use bytes::Bytes;
use norma_wire::Detail;
use norma_wire::audit;
use norma_wire::pb::{self, EventId, Process};
use proptest::prelude::*;
use prost::Message as _;

fn record(body: Body) -> Record {
    Record {
        index: 1,
        received_wall_ns: 1_700_000_000_000_000_000,
        body: Some(body),
    }
}

fn event(detail: Detail) -> Event {
    Event {
        id: Some(EventId {
            node: "n".into(),
            epoch: 1,
            sequence: 1,
        }),
        wall_ns: 1_700_000_000_000_000_000,
        kind: pb::Kind::Exec.into(),
        process: Some(Process {
            pid: 7,
            exe: "/bin/sh".into(),
            ..Process::default()
        }),
        detail: Some(detail),
        ..Event::default()
    }
}

fn of(event: &Event) -> Answers {
    answers(&record(Body::Event(event.encode_to_vec().into())), Some(event))
}

#[test]
fn an_ordinary_act_answers_all_six() {
    let answers = of(&event(Detail::Exec(pb::Exec::default())));
    assert_eq!(answers.what, known("exec"));
    assert_eq!(answers.when, known("2023-11-14T22:13:20.000000Z"));
    assert_eq!(answers.place, known("node n"));
    assert_eq!(answers.source, known("/bin/sh (pid 7)"));
    assert_eq!(answers.outcome, known("succeeded"));
    assert_eq!(answers.identity, known("uid 0 (effective 0), gid 0"));
}

#[test]
fn what_is_not_known_has_a_reason_of_its_own() {
    let mut pending = event(Detail::Open(pb::Open::default()));
    pending.container = Some(pb::Container {
        identity: pb::IdentityState::Pending.into(),
        ..pb::Container::default()
    });
    assert!(
        of(&pending)
            .place
            .unknown()
            .unwrap()
            .contains("identity_resolved")
    );
    let mut nobody = event(Detail::Operation(pb::Operation {
        name: "file.unlink".into(),
        ..pb::Operation::default()
    }));
    nobody.process = None;
    nobody.wall_ns = 0;
    nobody.id = None;
    let answers = of(&nobody);
    assert_eq!(answers.what, known("file.unlink"));
    for answer in &answers.all()[1..] {
        assert!(answer.unknown().is_some_and(|why| !why.is_empty()), "{answer:?}");
    }
}

#[test]
fn what_was_prevented_is_not_said_to_have_happened() {
    let mut denied = event(Detail::Exec(pb::Exec::default()));
    denied.responses.push(pb::Response {
        result: pb::ResponseResult::Prevented.into(),
        ..pb::Response::default()
    });
    assert_eq!(of(&denied).outcome, known("denied before it took effect"));
}

#[test]
fn the_collectors_own_records_answer_too() {
    let refused = record(Body::Refused(audit::Refused {
        peer: "192.0.2.1".into(),
        ..audit::Refused::default()
    }));
    let found = answers(&refused, None);
    assert_eq!(found.source, known("192.0.2.1"));
    assert!(found.identity.unknown().is_some());
    let done = record(Body::Administration(audit::Administration {
        actor: "auditor eve".into(),
        act: audit::AdministrativeAct::Query.into(),
        refused: "no".into(),
        ..audit::Administration::default()
    }));
    let found = answers(&done, None);
    assert_eq!(found.identity, known("auditor eve"));
    assert_eq!(found.outcome, known("refused: no"));
    assert_eq!(found.what, known("query"));
}

#[test]
fn shares_are_counted_by_node_and_never_rounded_up() {
    let mut coverage = Coverage::default();
    let whole = event(Detail::Exec(pb::Exec::default()));
    let mut without_time = whole.clone();
    without_time.wall_ns = 0;
    for event in [&whole, &whole, &without_time] {
        coverage.count(&record(Body::Event(Bytes::new())), Some(event));
    }
    coverage.count(&record(Body::Started(audit::Started::default())), None);
    let node = &coverage.nodes["n"];
    assert_eq!(
        (node.records, node.complete, node.answered),
        (3, 2, [3, 2, 3, 3, 3, 3])
    );
    assert_eq!(coverage.total().records, 4);
    assert_eq!(percent(2, 3), "66.66 %");
    assert_eq!(percent(99_999, 100_000), "99.99 %");
    assert_eq!(percent(0, 0), "none");
}

proptest! {
    /// Whatever bytes come, each question has an answer or a reason.
    #[test]
    fn answering_is_total(bytes in proptest::collection::vec(any::<u8>(), 0..200), kind in any::<i32>()) {
        let mut decoded = Event::decode(bytes.as_slice()).unwrap_or_default();
        decoded.kind = kind;
        let whole = record(Body::Event(bytes.into()));
        for found in [answers(&whole, Some(&decoded)), answers(&whole, None)] {
            for answer in found.all() {
                match answer {
                    Answer::Known(text) => prop_assert!(!text.is_empty()),
                    Answer::Unknown(why) => prop_assert!(!why.is_empty()),
                }
            }
        }
    }
}
