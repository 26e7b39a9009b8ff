//! Decisions on baselines in words.

use crate::pb::BaselineDecision;

/// Who decided what on which workload, and whether it counts.
pub fn words(decision: &BaselineDecision) -> String {
    let BaselineDecision {
        workload,
        revision,
        verb,
        behaviour,
        who,
        key,
        why,
        source,
        refused,
        ..
    } = decision;
    if verb.is_empty() {
        return format!("REFUSED what was handed over for baselines ({behaviour}): {refused}");
    }
    let key = key.get(..16).unwrap_or(key);
    let of = if revision.is_empty() {
        workload.clone()
    } else {
        format!("{workload} at {revision}")
    };
    let what = match (behaviour.as_str(), verb.as_str()) {
        ("", "approve" | "reject") => format!("{verb} all that was seen until then, for {of}"),
        ("", verb) => format!("{verb} {of}"),
        (behaviour, verb) => format!("{verb} `{behaviour}` for {of}"),
    };
    let why = if why.is_empty() {
        String::new()
    } else {
        format!(": {why}")
    };
    if refused.is_empty() {
        format!("{who} (key {key}, by {source}) decided to {what}{why}")
    } else {
        format!("REFUSED, as {refused}: {who} (key {key}, by {source}) wanted to {what}{why}")
    }
}
