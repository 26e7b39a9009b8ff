//! The in-toto Statement v1: segments of the log by digest, and what they show.

use super::{Evidence, sha256};
use crate::audit::verify::Range;
use crate::evidence::INSTRUCTIONS;
use serde_json::{Value, json};

/// Type of the payload of an envelope.
pub const MEDIA_TYPE: &str = "application/vnd.in-toto+json";
/// Type of the predicate; docs/evidence.md has its fields.
pub const PREDICATE: &str = "https://norma.dev/audit-evidence/v1";

/// The statement; `documents` are those that are given with it, by name.
pub fn statement(evidence: &Evidence, documents: &[(&str, &String)]) -> Value {
    let Evidence {
        report,
        checkpoint,
        note,
        segments,
        facts,
    } = evidence;
    let note = note.to_string();
    let mut subjects: Vec<Value> = segments
        .iter()
        .map(|sealed| json!({ "name": sealed.file, "digest": { "sha256": sealed.sha256 } }))
        .collect();
    subjects.push(json!({ "name": "tlog/checkpoint", "digest": { "sha256": sha256(note.as_bytes()) } }));
    let gaps: Vec<Value> = report
        .outboxes
        .iter()
        .filter(|outbox| outbox.missing > 0)
        .map(|outbox| {
            let unexplained: Vec<String> = outbox.unexplained.iter().map(Range::to_string).collect();
            json!({
                "node": outbox.node,
                "epoch": outbox.epoch,
                "missing": outbox.missing,
                "unexplained": unexplained,
            })
        })
        .collect();
    let segments: Vec<Value> = segments
        .iter()
        .map(|sealed| {
            json!({
                "file": sealed.file,
                "segment": sealed.segment,
                "records": [sealed.records.0, sealed.records.1],
                "received": [super::date(sealed.time_ns.0), super::date(sealed.time_ns.1)],
                "manifest_sha256": sealed.manifest_sha256,
            })
        })
        .collect();
    let documents: serde_json::Map<String, Value> = documents
        .iter()
        .map(|(name, text)| ((*name).to_owned(), json!({ "sha256": sha256(text.as_bytes()) })))
        .collect();
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": subjects,
        "predicateType": PREDICATE,
        "predicate": {
            "log": {
                "origin": checkpoint.origin,
                "checkpoint": note,
                "signed_by": report.log.as_ref().and_then(|log| log.signed_by.clone()),
                "cosigned_by": report.log.as_ref().map(|log| {
                    log.cosigned_by.iter().map(|(witness, _)| witness).collect::<Vec<_>>()
                }),
                "verified_records": report.records,
                "head": report.head.to_string(),
                "not_proven": report.notes,
                "segments": segments,
                "removed": report.removed,
            },
            "gaps": gaps,
            "signatures": report.batches,
            "facts": facts,
            "documents": documents,
            "instructions": INSTRUCTIONS,
        },
    })
}
