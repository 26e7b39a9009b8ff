//! OSCAL assessment results (NIST, version 1.2): one finding for each control that the log says something of.

use super::assess::{Status, assess};
use super::rules::Check;
use super::{ENVELOPE, Evidence, date, uuid};
use crate::audit::verify::Report;
use crate::evidence::assess::Assessed;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The version of OSCAL.
pub const VERSION: &str = "1.2.1";
/// What the log itself shows of the AU family.
const OF_THE_LOG: [(&str, &str, Check); 5] = [
    (
        "au-8",
        "Time stamps come from clocks that are kept in step with UTC",
        Check::Clocks,
    ),
    (
        "au-9",
        "Audit information is protected from change and deletion",
        Check::Intact,
    ),
    (
        "au-9.3",
        "Audit information is protected by cryptography",
        Check::Intact,
    ),
    (
        "au-10",
        "What nodes sent cannot be denied or made up",
        Check::Signed,
    ),
    (
        "au-12",
        "Audit records are generated on every node",
        Check::Sensors,
    ),
];

/// What is known of a control.
#[derive(Default)]
struct Control {
    not_met: bool,
    observations: Vec<String>,
    remarks: Vec<String>,
}

/// The document.
pub fn document(evidence: &Evidence, results: &[Assessed]) -> Value {
    let facts = &evidence.facts;
    let name = format!(
        "{} {} {} {:?} {}",
        evidence.checkpoint.origin,
        facts.scope.from_ns,
        facts.scope.to_ns,
        facts.scope.namespace,
        evidence.checkpoint.root
    );
    let id = |what: &str| uuid::of(&format!("{name} {what}"));
    let mut observations = Vec::new();
    let mut controls: BTreeMap<String, Control> = BTreeMap::new();
    let mut observe = |what: &str, title: String, text: String, collected: u64| {
        let uuid = id(&format!("observation {what}"));
        observations.push(json!({
            "uuid": uuid,
            "title": title,
            "description": text,
            "methods": ["TEST"],
            "types": ["finding"],
            "collected": date(collected),
            "relevant-evidence": [{
                "href": format!("./{ENVELOPE}"),
                "description": "Signed statement over the segments of the audit log that this was taken from",
            }],
        }));
        uuid
    };

    for (code, finding) in &facts.findings {
        let text = format!(
            "{} events, the first {}: {}",
            finding.count, finding.first, finding.why
        );
        let uuid = observe(code, code.clone(), text, finding.first_ns);
        for control in finding.controls.iter().filter_map(|name| control_id(name)) {
            let control = controls.entry(control).or_default();
            control.not_met = true;
            control.observations.push(uuid.clone());
            control.remarks.push(format!("{code} ({})", finding.count));
        }
    }
    for ((container, code), posture) in &facts.postures {
        let text = format!("{container}: {} (event {})", posture.value, posture.event);
        let uuid = observe(
            &format!("{container} {code}"),
            code.clone(),
            text,
            posture.since_ns,
        );
        for control in posture.controls.iter().filter_map(|name| control_id(name)) {
            let control = controls.entry(control).or_default();
            control.not_met = true;
            control.observations.push(uuid.clone());
            control.remarks.push(format!("{code} of {container}"));
        }
    }
    let au3 = au3(results);
    let log = OF_THE_LOG.into_iter().map(|(control, title, check)| {
        let (status, details) = assess(check, evidence);
        (control, title, status, details)
    });
    for (control, title, status, details) in [au3].into_iter().chain(log) {
        // Nobody has decided: no finding, either way.
        if status == Status::NotReviewed {
            continue;
        }
        let uuid = observe(control, title.to_owned(), details, facts.last_ns);
        let control = controls.entry(control.to_owned()).or_default();
        control.not_met |= status == Status::Open;
        control.observations.push(uuid);
        control.remarks.push(title.to_owned());
    }

    let findings: Vec<Value> = controls
        .iter()
        .map(|(control, known)| {
            let state = if known.not_met {
                "not-satisfied"
            } else {
                "satisfied"
            };
            let related: Vec<Value> = known
                .observations
                .iter()
                .map(|uuid| json!({ "observation-uuid": uuid }))
                .collect();
            json!({
                "uuid": id(&format!("finding {control}")),
                "title": format!("{} as the audit log shows it", control.to_uppercase()),
                "description": known.remarks.join("; "),
                "target": {
                    "type": "statement-id",
                    "target-id": format!("{control}_smt"),
                    "status": { "state": state, "reason": if known.not_met { "fail" } else { "pass" } },
                },
                "related-observations": related,
            })
        })
        .collect();
    let reviewed: Vec<Value> = controls
        .keys()
        .map(|control| json!({ "control-id": control }))
        .collect();
    let selection = if reviewed.is_empty() {
        json!({ "include-all": {} })
    } else {
        json!({ "include-controls": reviewed })
    };
    let plan = id("plan");
    let mut result = json!({
        "uuid": id("result"),
        "title": "What the audit log shows",
        "description": scope_words(evidence),
        "start": date(facts.scope.from_ns),
        "end": date(facts.scope.to_ns),
        "props": props(&evidence.report, evidence),
        "reviewed-controls": { "control-selections": [selection] },
    });
    // OSCAL has no empty lists.
    if !observations.is_empty() {
        result["observations"] = observations.into();
    }
    if !findings.is_empty() {
        result["findings"] = findings.into();
    }
    json!({
        "assessment-results": {
            "uuid": id("document"),
            "metadata": {
                "title": format!("Norma: assessment results from the audit log {}", evidence.checkpoint.origin),
                "last-modified": date(facts.last_ns),
                "version": env!("CARGO_PKG_VERSION"),
                "oscal-version": VERSION,
            },
            "import-ap": {
                "href": format!("#{plan}"),
                "remarks": "There is no assessment plan: this is continuous monitoring; docs/controls.md says what is looked at.",
            },
            "results": [result],
            "back-matter": {
                "resources": [{
                    "uuid": plan,
                    "title": "What Norma looks at",
                    "description": "docs/controls.md of the release that made this document",
                    "rlinks": [{ "href": "docs/controls.md" }],
                }],
            },
        },
    })
}

/// AU-3 is met where each of its six questions is.
fn au3(results: &[Assessed]) -> (&'static str, &'static str, Status, String) {
    let parts: Vec<&Assessed> = results
        .iter()
        .filter(|result| matches!(result.rule.check, Check::Answer(_)))
        .collect();
    let status = if parts.iter().all(|part| part.status == Status::Met) {
        Status::Met
    } else {
        Status::NotReviewed
    };
    let details: Vec<&str> = parts.iter().map(|part| part.details.as_str()).collect();
    (
        "au-3",
        "Records have the content that is demanded",
        status,
        details.join("; "),
    )
}

fn scope_words(evidence: &Evidence) -> String {
    let of = match &evidence.facts.scope.namespace {
        Some(namespace) => format!("Events of the namespace {namespace}"),
        None => "All records".to_owned(),
    };
    format!(
        "{of} that were received from {} to {}: {}. What is not listed was not seen, which is not the same as not \
         being there: agents say in coverage events what they cannot see.",
        date(evidence.facts.scope.from_ns),
        date(evidence.facts.scope.to_ns),
        evidence.facts.records
    )
}

fn props(report: &Report, evidence: &Evidence) -> Value {
    let prop = |name: &str, value: String| json!({ "name": name, "ns": "https://norma.dev/ns/oscal", "value": value });
    json!([
        prop("log-origin", evidence.checkpoint.origin.clone()),
        prop("checkpoint-size", evidence.checkpoint.size.to_string()),
        prop("log-head", report.head.to_string()),
        prop("records", evidence.facts.records.to_string()),
    ])
}

/// `NIST 800-53 AC-6(2)` as OSCAL's catalogue has it, `ac-6.2`; `None` for what is no such control.
fn control_id(name: &str) -> Option<String> {
    let control = name.strip_prefix("NIST 800-53 ")?;
    let id = control.to_ascii_lowercase().replace('(', ".").replace(')', "");
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    (!id.is_empty() && id.bytes().all(valid)).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::control_id;

    #[test]
    fn controls_are_named_as_the_catalogue_does() {
        assert_eq!(control_id("NIST 800-53 AC-6(2)").as_deref(), Some("ac-6.2"));
        assert_eq!(control_id("NIST 800-53 SI-4").as_deref(), Some("si-4"));
        assert_eq!(control_id("MITRE ATT&CK T1611"), None);
        assert_eq!(control_id("NIST 800-53 a b"), None);
    }
}
