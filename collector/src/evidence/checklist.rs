//! The STIG checklist: CKLB, as STIG Viewer 3 and STIG Manager read it.
//!
//! Rule numbers carry no revision (`SV-233042`, not `SV-233042r…_rule`): which one an assessment is about is its
//! assessor's choice, and Norma does not make up numbers.

use super::assess::{Assessed, Status};
use super::rules::Check;
use super::{Evidence, uuid};
use serde_json::{Value, json};

/// The checklist of what was assessed.
pub fn document(evidence: &Evidence, results: &[Assessed]) -> Value {
    let name = format!(
        "{} {} {} {:?}",
        evidence.checkpoint.origin,
        evidence.facts.scope.from_ns,
        evidence.facts.scope.to_ns,
        evidence.facts.scope.namespace
    );
    let (platform, workloads): (Vec<_>, Vec<_>) =
        results.iter().partition(|result| result.rule.is_platform());
    let target = evidence
        .facts
        .scope
        .namespace
        .as_ref()
        .map_or_else(String::new, |namespace| format!(", namespace {namespace}"));
    json!({
        "title": format!("Norma: {}{target}", evidence.checkpoint.origin),
        "id": uuid::of(&name),
        "cklb_version": "1.0",
        "active": false,
        "mode": 1,
        "has_path": true,
        "target_data": {
            "target_type": "Computing",
            "host_name": evidence.checkpoint.origin,
            "ip_address": "",
            "mac_address": "",
            "fqdn": "",
            "comments": format!(
                "From the audit log {}, records received from {} to {}{target}; record {} is the newest.",
                evidence.checkpoint.origin,
                super::date(evidence.facts.scope.from_ns),
                super::date(evidence.facts.scope.to_ns),
                evidence.report.head.index
            ),
            "role": "None",
            "is_web_database": false,
            "technology_area": "",
            "web_db_site": "",
            "web_db_instance": "",
            "classification": null,
        },
        "stigs": [
            stig(
                &name,
                ("Container Platform Security Requirements Guide", "Container_Platform_SRG"),
                "Release: 4 Benchmark Date: 28 Oct 2025",
                "2",
                &platform,
            ),
            stig(
                &name,
                ("Kubernetes workloads as Norma's agents see them", "Norma_Kubernetes_Workloads"),
                "Release: 1",
                "1",
                &workloads,
            ),
        ],
    })
}

fn stig(
    document: &str,
    (name, id): (&str, &str),
    release: &str,
    version: &str,
    results: &[&Assessed],
) -> Value {
    let stig_uuid = uuid::of(&format!("{document} {id}"));
    let rules: Vec<Value> = results
        .iter()
        .map(|result| rule(document, (name, &stig_uuid), result))
        .collect();
    json!({
        "stig_name": name,
        "display_name": name,
        "stig_id": id,
        "release_info": release,
        "version": version,
        "uuid": stig_uuid,
        "reference_identifier": null,
        "size": rules.len(),
        "rules": rules,
    })
}

fn rule(document: &str, (stig, stig_uuid): (&str, &str), result: &Assessed) -> Value {
    let rule = result.rule;
    let rule_id = rule
        .id
        .strip_prefix("V-")
        .map_or_else(|| rule.id.to_owned(), |number| format!("SV-{number}"));
    let check = match rule.check {
        Check::Assessor(hint) => hint,
        _ => "Decided from the audit log: `norma-collector evidence`, docs/controls.md.",
    };
    let comments = match result.status {
        Status::NotReviewed => "Norma does not decide this; an assessor has to look.",
        Status::Met | Status::Open => "Decided by Norma from the audit log.",
    };
    // The rule that transport is protected is of category I.
    let severity = if rule.id == "V-233224" { "high" } else { "medium" };
    json!({
        "group_id_src": rule.id,
        "group_id": rule.id,
        "group_tree": [{ "id": rule.id, "title": rule.srg, "description": "" }],
        "group_title": if rule.srg.is_empty() { rule.id } else { rule.srg },
        "severity": severity,
        "rule_id_src": rule_id,
        "rule_id": rule_id,
        "rule_version": if rule.srg.is_empty() { rule.id } else { rule.srg },
        "rule_title": rule.title,
        "fix_text": "",
        "weight": "10.0",
        "check_content": check,
        "check_content_ref": { "href": "docs/controls.md", "name": "M" },
        "classification": "Unclassified",
        "discussion": "",
        "false_positives": "",
        "false_negatives": "",
        "documentable": "false",
        "security_override_guidance": "",
        "potential_impacts": "",
        "third_party_tools": "",
        "ia_controls": "",
        "responsibility": "",
        "mitigations": "",
        "mitigation_control": "",
        "legacy_ids": [],
        "ccis": [],
        "reference_identifier": null,
        "uuid": uuid::of(&format!("{document} {stig} {}", rule.id)),
        "stig_uuid": stig_uuid,
        "status": result.status.cklb(),
        "overrides": {},
        "comments": comments,
        "finding_details": result.details,
    })
}
