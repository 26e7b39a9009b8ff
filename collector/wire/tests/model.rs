//! The model between versions: what this one does not know survives it, and its JSON form is stable.

use norma_wire::describe::{report, sentence};
use norma_wire::id::EventHead;
use norma_wire::pb::{self, EventId};
use norma_wire::{Detail, Event, audit};
use proptest::prelude::*;
use prost::Message as _;
use serde_json::{Value, json};

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z/]{0,12}",
        ".{0,12}",
        Just("a\nb\u{1b}[31m\u{202e}\"]\\".to_owned())
    ]
}

fn detail() -> impl Strategy<Value = Option<Detail>> {
    let counts = || {
        proptest::collection::vec((text(), any::<u64>()), 0..3).prop_map(|list| {
            list.into_iter()
                .map(|(kind, count)| pb::KindCount { kind, count })
                .collect::<Vec<_>>()
        })
    };
    prop_oneof![
        Just(None),
        text().prop_map(|filename| Some(Detail::Exec(pb::Exec {
            filename,
            ..Default::default()
        }))),
        (text(), text(), any::<bool>()).prop_map(|(path, unavailable, pending)| {
            let hash = pb::Hash {
                unavailable,
                pending,
                ..Default::default()
            };
            Some(Detail::FileHash(pb::FileHash {
                path: Some(pb::Path {
                    path,
                    ..Default::default()
                }),
                hash: Some(hash),
                ..Default::default()
            }))
        }),
        (any::<Option<u32>>(), any::<Option<u32>>(), any::<u64>()).prop_map(|(code, signal, duration_ns)| {
            Some(Detail::Exit(pb::Exit {
                code,
                signal,
                core_dumped: true,
                duration_ns,
                ..Default::default()
            }))
        }),
        (text(), any::<bool>(), any::<bool>()).prop_map(|(path, read, write)| {
            Some(Detail::Open(pb::Open {
                path,
                read,
                write,
                ..Default::default()
            }))
        }),
        (text(), any::<u32>()).prop_map(|(remote_address, remote_port)| {
            Some(Detail::Connect(pb::Connect {
                remote_address,
                remote_port,
                ..Default::default()
            }))
        }),
        (text(), any::<u32>()).prop_map(|(address, port)| {
            Some(Detail::Listen(pb::Listen {
                address,
                port,
                protocol: "tcp".into(),
            }))
        }),
        (any::<i32>(), counts(), any::<u64>()).prop_map(|(cause, counts, last_sequence)| {
            Some(Detail::Loss(pb::Loss {
                cause,
                counts,
                last_sequence,
                ..Default::default()
            }))
        }),
        (text(), text()).prop_map(|(name, tier)| {
            let capabilities = vec![pb::Capability {
                name,
                tier,
                ..Default::default()
            }];
            Some(Detail::Coverage(pb::Coverage {
                kernel: "6.1".into(),
                capabilities,
                ..Default::default()
            }))
        }),
        (text(), 0..6i32, text(), text()).prop_map(|(name, outcome, path, value)| {
            Some(Detail::Operation(pb::Operation {
                name,
                outcome,
                path: Some(pb::Path {
                    path,
                    ..Default::default()
                }),
                attributes: vec![pb::Attribute {
                    name: "flags".into(),
                    value,
                }],
                ..Default::default()
            }))
        }),
        (text(), text(), any::<u32>()).prop_map(|(name, remote_address, remote_port)| {
            Some(Detail::Socket(pb::Socket {
                name,
                remote_address,
                remote_port,
                ..Default::default()
            }))
        }),
        (text(), text()).prop_map(|(name, malformed)| {
            Some(Detail::Dns(pb::Dns {
                name,
                malformed,
                ..Default::default()
            }))
        }),
        any::<i64>().prop_map(|step_ns| Some(Detail::ClockStep(pb::ClockStep { step_ns }))),
        text().prop_map(|what| Some(Detail::Recovery(pb::Recovery {
            what,
            bytes_dropped: 1
        }))),
        counts().prop_map(|counts| Some(Detail::Rollup(pb::Rollup {
            counts,
            ..Default::default()
        }))),
        text().prop_map(|state| Some(Detail::Lifecycle(pb::Lifecycle {
            state,
            ..Default::default()
        }))),
        (text(), text(), any::<u64>()).prop_map(|(name, value, events)| {
            let attribute = pb::Attribute {
                name: name.clone(),
                value: value.clone(),
            };
            Some(Detail::IdentityResolved(pb::IdentityResolved {
                events,
                facts: Some(pb::ContainerFacts {
                    labels: vec![attribute],
                    mounts: vec![pb::Mount {
                        source: name,
                        destination: value,
                        read_only: true,
                    }],
                    privileges: Some(pb::Privileges::default()),
                    ..Default::default()
                }),
                ..Default::default()
            }))
        }),
        (text(), text(), text()).prop_map(|(name, change, value)| {
            Some(Detail::Posture(pb::Posture {
                name,
                change,
                value,
                ..Default::default()
            }))
        }),
        (text(), text(), any::<u16>()).prop_map(|(workload, text, added)| {
            Some(Detail::ReleaseDelta(pb::ReleaseDelta {
                workload,
                text,
                added: added.into(),
                ..Default::default()
            }))
        }),
        (text(), counts(), any::<u64>()).prop_map(|(workload, facts, learned_for_ns)| {
            Some(Detail::BaselineReady(pb::BaselineReady {
                workload,
                facts,
                learned_for_ns,
                ..Default::default()
            }))
        }),
        (text(), text(), text()).prop_map(|(verb, why, refused)| {
            Some(Detail::BaselineDecision(pb::BaselineDecision {
                verb,
                why,
                refused,
                ..Default::default()
            }))
        }),
        (text(), text(), text()).prop_map(|(collector, origin, remembered)| {
            Some(Detail::CheckpointInconsistent(pb::CheckpointInconsistent {
                collector,
                origin,
                remembered,
                ..Default::default()
            }))
        }),
    ]
}

prop_compose! {
    fn event()(
        node in text(), epoch: u64, sequence: u64, kind in -1i32..80, exe in text(), argv in proptest::collection::vec(text(), 0..3),
        container in text(), verdict in -1i32..9, severity in -1i32..9, expected in text(), action in -1i32..6,
        result in -1i32..6, known in any::<bool>(), detail in detail()
    ) -> Event {
        let ancestors = vec![pb::Ancestor { pid: 1, exe: exe.clone(), ..Default::default() }];
        let words = expected.clone();
        let reasons = vec![pb::Reason { expected, controls: vec!["NIST 800-53 SI-4".into()], next: words.clone(), ..Default::default() }];
        let terms = vec![pb::Term { name: words.clone(), value: 0.5, words: words.clone() }];
        let incident = pb::Incident { id: words.clone(), findings: 2, repeated: 1, kinds: vec![words], ..Default::default() };
        Event {
            id: known.then_some(EventId { node, epoch, sequence }),
            kind,
            process: known.then(|| pb::Process { exe, argv, ancestors, ..Default::default() }),
            container: known.then(|| pb::Container { id: container.clone(), name: container, ..Default::default() }),
            verdict: known.then_some(pb::Verdict { kind: verdict, severity, score: 1, reasons, terms, weight: 2, ..Default::default() }),
            incident: known.then_some(incident),
            responses: vec![pb::Response { action, result, ..Default::default() }],
            detail,
            ..Default::default()
        }
    }
}

proptest! {
    #[test]
    fn an_event_survives_encoding(event in event()) {
        let bytes = event.encode_to_vec();
        prop_assert_eq!(&Event::decode(bytes.as_slice()).unwrap(), &event);
        let head = EventHead::decode(bytes.as_slice()).unwrap();
        prop_assert_eq!((head.id, head.kind), (event.id, event.kind));
    }

    #[test]
    fn every_event_is_said_in_single_lines(event in event()) {
        for line in std::iter::once(sentence(&event)).chain(report(&event)) {
            prop_assert!(!line.is_empty() && !line.chars().any(char::is_control), "{line:?}");
        }
    }

    #[test]
    fn every_event_has_a_json_form_and_unknown_values_are_numbers(event in event()) {
        let json = serde_json::to_value(&event).unwrap();
        let known = pb::Kind::try_from(event.kind).is_ok();
        prop_assert_eq!(json["kind"].is_string(), known);
        prop_assert_eq!(json["kind"].as_i64(), (!known).then_some(i64::from(event.kind)));
    }

    #[test]
    fn the_log_keeps_what_this_version_does_not_know(event in event(), field in 1000u32..2000, value: u64) {
        let mut bytes = event.encode_to_vec();
        prost::encoding::uint64::encode(field, &value, &mut bytes);
        let record = audit::Record {
            index: 1,
            received_wall_ns: 2,
            body: Some(audit::record::Body::Event(bytes.clone().into())),
        };
        let read = audit::Record::decode(record.encode_to_vec().as_slice()).unwrap();
        prop_assert_eq!(read.body, Some(audit::record::Body::Event(bytes.into())));
    }
}

fn alert() -> Event {
    Event {
        id: Some(EventId {
            node: "worker-1".into(),
            epoch: 10,
            sequence: 7,
        }),
        kind: pb::Kind::Connect.into(),
        process: Some(pb::Process {
            pid: 99,
            exe: "/usr/bin/curl".into(),
            ..Default::default()
        }),
        container: Some(pb::Container {
            name: "web".into(),
            workload: "shop/web".into(),
            ..Default::default()
        }),
        verdict: Some(pb::Verdict {
            kind: pb::VerdictKind::Violation.into(),
            severity: pb::Severity::Critical.into(),
            score: 100,
            reasons: vec![pb::Reason {
                code: "policy.connect".into(),
                expected: "no connection to 203.0.113.9".into(),
                policy: "no-exfiltration".into(),
                ..Default::default()
            }],
            ..Default::default()
        }),
        responses: vec![pb::Response {
            action: pb::Action::Deny.into(),
            result: pb::ResponseResult::Prevented.into(),
            ..Default::default()
        }],
        detail: Some(Detail::Connect(pb::Connect {
            remote_address: "203.0.113.9".into(),
            remote_port: 443,
            protocol: "tcp".into(),
            ..Default::default()
        })),
        ..Default::default()
    }
}

#[test]
fn an_alert_says_what_who_where_and_what_was_done() {
    assert_eq!(
        sentence(&alert()),
        "violation (critical): /usr/bin/curl tried to connect to 203.0.113.9:443/tcp in container web of shop/web; \
         expected: no connection to 203.0.113.9; policy no-exfiltration; denied before it took effect"
    );
    let lines = report(&alert());
    assert!(
        lines.contains(&"who: /usr/bin/curl (pid 99, uid 0)".to_owned()),
        "{lines:#?}"
    );
    assert!(
        lines.contains(&"rule: policy.connect, no-exfiltration".to_owned()),
        "{lines:#?}"
    );
    assert_eq!(
        lines.last().map(String::as_str),
        Some("event: worker-1/000000000000000a/7")
    );
}

#[test]
fn the_json_form_is_what_others_rely_on() {
    let json = serde_json::to_value(alert()).unwrap();
    let expected: Value = json!({
        "id": {"node": "worker-1", "epoch": 10, "sequence": 7},
        "kind": "connect",
        "verdict": {"kind": "violation", "severity": "critical", "score": 100, "reasons": [{
            "code": "policy.connect", "expected": "no connection to 203.0.113.9", "why": "",
            "policy": "no-exfiltration", "clause": "", "controls": [], "next": ""
        }], "terms": [], "weight": 0, "behaviour_id": "", "behaviour": ""},
        "responses": [{"action": "deny", "result": "prevented", "policy": "", "policy_revision": "", "detail": ""}],
        "connect": {"remote_address": "203.0.113.9", "remote_port": 443, "local_address": "", "local_port": 0,
                    "protocol": "tcp", "cookie": 0, "peer_name": "", "peer_kind": ""},
    });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&json[name], value, "{name}");
    }
}

#[test]
fn a_signed_head_is_shown_as_what_it_says() {
    let head = pb::BatchHead {
        node: "worker-1".into(),
        epoch: 10,
        first_sequence: 4,
        last_sequence: 9,
        events: 6,
        digest: vec![0xab, 0xcd],
        ..Default::default()
    };
    let signed = pb::SignedHead {
        head: head.encode_to_vec(),
        scheme: 0x0503,
        signature: vec![1],
        key: vec![2],
    };
    let record = audit::Record {
        body: Some(audit::record::Body::BatchHeads(audit::BatchHeads {
            heads: vec![signed],
        })),
        ..Default::default()
    };
    let json = serde_json::to_value(record).unwrap();
    assert_eq!(
        json["batch_heads"]["heads"][0],
        json!({
            "head": {"node": "worker-1", "epoch": 10, "previous": "", "first_sequence": 4, "last_sequence": 9,
                     "events": 6, "digest": "abcd", "kernel_lost": [], "wall_ns": 0},
            "scheme": 0x0503, "signature": "01", "key": "02"
        })
    );
}
