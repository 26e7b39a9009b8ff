//! Capabilities of a Kubernetes securityContext.

use super::apparmor::capability_name;
use super::{ExportError, commented, head, yaml};
use crate::fact::{Fact, Field};
use crate::norm::Norm;
use serde_json::json;
use std::collections::BTreeSet;

/// Drops all capabilities but those that the norm expects to be used. To be put into the container's entry of the pod.
///
/// # Errors
/// It cannot be written as YAML.
pub fn security_context(norm: &Norm) -> Result<String, ExportError> {
    let mut lines = head(
        norm,
        &[Field::Capability],
        "capabilities that were used; the capabilities of a container are those of all its programs",
    );
    lines.push(
        "CAP_SYS_ADMIN, CAP_SYS_PTRACE, CAP_SYS_RESOURCE, CAP_SYSLOG and CAP_PERFMON are seen only where `norma-agent \
         doctor` does not say otherwise of capability-use."
            .to_owned(),
    );
    let mut add = BTreeSet::new();
    for fact in norm.expected() {
        match &fact {
            Fact::Capability { exe, capability } => {
                if let Some(name) = capability_name(capability) {
                    add.insert(name.to_ascii_uppercase());
                    lines.push(format!("{} is used by {exe}.", name.to_ascii_uppercase()));
                }
            }
            Fact::Privilege { operation, .. } if needs_more(operation) => {
                lines.push(format!("CHECK, may need a capability more: {fact}."));
            }
            _ => {}
        }
    }
    let capabilities = if add.is_empty() {
        json!({ "drop": ["ALL"] })
    } else {
        json!({ "drop": ["ALL"], "add": add })
    };
    let object = json!({ "securityContext": { "capabilities": capabilities } });
    Ok(commented(&lines) + &yaml(&object)?)
}

/// Operations for which the kernel asks for capabilities that are not seen everywhere.
fn needs_more(operation: &str) -> bool {
    ["mount.", "namespace.", "host.", "process.ptrace", "process.vm-"]
        .iter()
        .any(|beginning| operation.starts_with(beginning))
}
