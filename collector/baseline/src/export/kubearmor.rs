//! A KubeArmorPolicy.

use super::apparmor::capability_name;
use super::{ExportError, Paths, Target, Uses, check_labels, commented, glob, head, yaml};
use crate::fact::{Fact, Field, Protocol};
use crate::norm::Norm;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Allows what the norm expects. What else happens is up to KubeArmor's posture for the namespace.
pub fn kubearmor(norm: &Norm, target: &Target) -> Result<String, ExportError> {
    check_labels(norm, target)?;
    let facts: Vec<Fact> = norm.expected().collect();
    let mut lines = head(
        norm,
        &[
            Field::Exec,
            Field::File,
            Field::Library,
            Field::Capability,
            Field::Connect,
            Field::Listen,
        ],
        "programs, files, libraries, capabilities and protocols; addresses and ports cannot be expressed",
    );
    let paths = Paths::of(&facts);
    let mut process = Vec::new();
    let mut files = Vec::new();
    for (path, uses) in &paths.literal {
        if uses.run {
            process.push(json!({ "path": path }));
        }
        if uses.read || uses.write || uses.map {
            files.push(entry("path", path, *uses));
        }
    }
    let mut patterns = Vec::new();
    for (pattern, uses) in &paths.patterns {
        lines.push(format!("WIDER than observed, as there are no types: {pattern}."));
        patterns.push(entry("pattern", &glob(pattern, escaped), *uses));
    }
    let mut capabilities = BTreeSet::new();
    let mut protocols = BTreeSet::new();
    for fact in &facts {
        match fact {
            Fact::Capability { capability, .. } => capabilities.extend(capability_name(capability)),
            Fact::Connect { protocol, .. }
            | Fact::Listen { protocol, .. }
            | Fact::Accept { protocol, .. } => match protocol {
                Protocol::Tcp => drop(protocols.insert("tcp")),
                Protocol::Udp => drop(protocols.insert("udp")),
                Protocol::Sctp => lines.push(format!("NOT EXPRESSED: {fact}.")),
                Protocol::Other => drop(protocols.insert("raw")),
            },
            Fact::Dns { .. } | Fact::DnsPattern { .. } => drop(protocols.insert("udp")),
            Fact::Privilege { .. } => lines.push(format!("NOT EXPRESSED: {fact}.")),
            _ => {}
        }
    }
    let of = |key: &str, names: Vec<&str>| -> Vec<Value> {
        names.into_iter().map(|name| json!({ key: name })).collect()
    };
    let policy = json!({
        "apiVersion": "security.kubearmor.com/v1",
        "kind": "KubeArmorPolicy",
        "metadata": { "name": target.name, "namespace": target.namespace },
        "spec": {
            "action": "Allow",
            "selector": { "matchLabels": target.labels },
            "process": { "matchPaths": process },
            "file": { "matchPaths": files, "matchPatterns": patterns },
            "network": { "matchProtocols": of("protocol", protocols.into_iter().collect()) },
            "capabilities": {
                "matchCapabilities": of("capability", capabilities.iter().map(String::as_str).collect()),
            },
        },
    });
    Ok(commented(&lines) + &yaml(&policy)?)
}

fn entry(key: &str, path: &str, uses: Uses) -> Value {
    if uses.write {
        json!({ key: path })
    } else {
        json!({ key: path, "readOnly": true })
    }
}

/// A literal in a glob; what has a meaning there becomes any one character.
fn escaped(text: &str) -> String {
    text.replace(['*', '?', '[', ']', '{', '}', '\\'], "?")
}
