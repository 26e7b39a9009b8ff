//! What became known of a container.

use crate::pb::{Attribute, Container, ContainerFacts, IdentityResolved, Posture, Privileges};
use std::time::Duration;

pub(super) fn resolved(container: Option<&Container>, resolved: &IdentityResolved) -> String {
    let image = container.map_or("", |container| container.image.as_str());
    let runs = if image.is_empty() {
        "the container runtime told what runs".to_owned()
    } else {
        format!("the container runtime told that {image} runs")
    };
    match resolved.events {
        0 => runs,
        events => format!(
            "{runs}; this completes {events} earlier event{}",
            if events == 1 { "" } else { "s" }
        ),
    }
}

pub(super) fn posture(posture: &Posture) -> String {
    let what = posture.name.trim_start_matches("posture.").replace('-', " ");
    let now = if posture.value.is_empty() {
        String::new()
    } else {
        format!(": {}", posture.value)
    };
    match posture.change.as_str() {
        "gone" => format!("posture: no longer {what} (before: {})", posture.before),
        "changed" => format!("posture: {what}{now} (before: {})", posture.before),
        _ => format!("posture: {what}{now}"),
    }
}

pub(super) fn details(resolved: &IdentityResolved, facts: &mut Vec<(&'static str, String)>) {
    let Some(told) = &resolved.facts else {
        return;
    };
    facts.push(("command", told.command.join(" ")));
    facts.push(("labels", attributes(&told.labels)));
    facts.push(("annotations", attributes(&told.annotations)));
    facts.push(("mounts", mounts(told)));
    facts.extend(
        told.privileges
            .as_ref()
            .map(|privileges| ("privileges", self::privileges(privileges))),
    );
}

fn attributes(list: &[Attribute]) -> String {
    let pairs = list
        .iter()
        .map(|attribute| format!("{}={}", attribute.name, attribute.value));
    pairs.collect::<Vec<_>>().join(" ")
}

fn mounts(facts: &ContainerFacts) -> String {
    let words = facts.mounts.iter().map(|mount| {
        let how = if mount.read_only { " (read-only)" } else { "" };
        format!("{} at {}{how}", mount.source, mount.destination)
    });
    words.collect::<Vec<_>>().join(", ")
}

fn privileges(privileges: &Privileges) -> String {
    let mut words = Vec::new();
    words.extend(privileges.uid.map(|uid| format!("uid {uid}")));
    if privileges.privileged {
        words.push("privileged".to_owned());
    }
    if !privileges.added_capabilities.is_empty() {
        words.push(format!(
            "added capabilities {}",
            privileges.added_capabilities.join(" ")
        ));
    }
    if !privileges.host_namespaces.is_empty() {
        words.push(format!(
            "namespaces of the host: {}",
            privileges.host_namespaces.join(" ")
        ));
    }
    words.push(
        if privileges.read_only_root {
            "read-only root"
        } else {
            "writable root"
        }
        .to_owned(),
    );
    words.push(match privileges.cpu_limit_us {
        0 => "no CPU limit".to_owned(),
        limit => format!("CPU limited to {:?} per second", Duration::from_micros(limit)),
    });
    words.push(match privileges.memory_limit_bytes {
        0 => "no memory limit".to_owned(),
        limit => format!("memory limited to {limit} bytes"),
    });
    words.join(", ")
}
