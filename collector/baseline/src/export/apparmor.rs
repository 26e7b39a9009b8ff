//! An AppArmor profile.

use super::{Paths, Uses, commented, glob, head};
use crate::fact::{Fact, Field, Protocol};
use crate::norm::Norm;
use std::collections::BTreeSet;

/// Allows what the norm expects, and nothing else. All programs run under the one profile (`ix`), so a rule for
/// one of them is a rule for all.
#[must_use]
pub fn apparmor(norm: &Norm, name: &str) -> String {
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
        "files, programs, libraries, capabilities and protocols; addresses and ports cannot be expressed",
    );
    let mut rules = BTreeSet::new();
    for fact in &facts {
        match fact {
            Fact::Capability { capability, .. } => {
                if let Some(name) = capability_name(capability) {
                    rules.insert(format!("capability {name},"));
                }
            }
            Fact::Connect { protocol, .. }
            | Fact::Listen { protocol, .. }
            | Fact::Accept { protocol, .. } => {
                for family in ["inet", "inet6"] {
                    rules.insert(format!("network {family} {},", socket_type(*protocol)));
                }
            }
            // Names are asked for over UDP, and over TCP if the answer is long.
            Fact::Dns { .. } | Fact::DnsPattern { .. } => {
                for family in ["inet", "inet6"] {
                    rules.insert(format!("network {family} dgram,"));
                    rules.insert(format!("network {family} stream,"));
                }
            }
            Fact::Privilege { .. } => lines.push(format!("NOT EXPRESSED: {fact}.")),
            _ => {}
        }
    }
    let paths = Paths::of(&facts);
    for (path, uses) in &paths.literal {
        rules.insert(rule(&escaped(path), *uses));
    }
    for (pattern, uses) in &paths.patterns {
        lines.push(format!("WIDER than observed, as there are no types: {pattern}."));
        rules.insert(rule(&glob(pattern, escaped), *uses));
    }
    let name: String = name
        .chars()
        .map(|character| {
            if character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '.') {
                character
            } else {
                '-'
            }
        })
        .collect();
    let mut out = commented(&lines);
    out.push_str("abi <abi/3.0>,\n\n");
    out.push_str(&format!(
        "profile {name} flags=(attach_disconnected,mediate_deleted) {{\n"
    ));
    for rule in rules {
        out.push_str(&format!("  {rule}\n"));
    }
    out.push_str("}\n");
    out
}

fn rule(path: &str, uses: Uses) -> String {
    let mut modes = String::new();
    if uses.map {
        modes.push('m');
    }
    if uses.read {
        modes.push('r');
    }
    if uses.write {
        modes.push('w');
    }
    if uses.run {
        modes.push_str("ix");
    }
    format!("\"{path}\" {modes},")
}

/// A literal between quotes. What has a meaning in a glob is escaped; what could end the quotes, begin a
/// variable or a line, becomes any one character, which is as narrow as it gets.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '*' | '?' | '[' | ']' | '{' | '}' | '^' | ',' => {
                out.push('\\');
                out.push(character);
            }
            '"' | '\\' | '@' => out.push('?'),
            character if character.is_control() => out.push('?'),
            character => out.push(character),
        }
    }
    out
}

/// `net_admin` of `CAP_NET_ADMIN`; `None` for what is no capability's name.
pub(super) fn capability_name(capability: &str) -> Option<String> {
    let name = capability.to_ascii_lowercase();
    let name = name.strip_prefix("cap_").unwrap_or(&name);
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    is_name.then(|| name.to_owned())
}

fn socket_type(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "stream",
        Protocol::Udp => "dgram",
        Protocol::Sctp => "seqpacket",
        Protocol::Other => "raw",
    }
}
