//! A Kubernetes NetworkPolicy.

use super::{ExportError, Target, check_labels, commented, head, yaml};
use crate::fact::{Fact, Field, Peer, PeerClass, Protocol};
use crate::norm::Norm;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Where another workload's pods are, if that is known.
pub type Pods<'a> = &'a dyn Fn(&str) -> Option<(String, BTreeMap<String, String>)>;

/// Addresses that are not public, by RFC 1918, 6598, 3927 and 4193.
const PRIVATE: [&str; 7] = [
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
    "169.254.0.0/16",
    "fc00::/7",
    "fe80::/10",
];
/// All addresses.
const ANYWHERE: [&str; 2] = ["0.0.0.0/0", "::/0"];

/// Allows what the norm expects, and nothing else. `pods` gives namespace and labels of another workload.
pub fn network_policy(norm: &Norm, target: &Target, pods: Pods<'_>) -> Result<String, ExportError> {
    check_labels(norm, target)?;
    let mut lines = head(
        norm,
        &[Field::Connect, Field::Listen],
        "connections made and accepted; the policy knows neither programs nor names, so it allows more",
    );
    let mut egress = BTreeMap::new();
    let mut ingress = BTreeMap::new();
    let mut asks = false;
    let facts: BTreeSet<Fact> = norm.expected().collect();
    for fact in &facts {
        match fact {
            Fact::Connect {
                peer, protocol, port, ..
            } => {
                let Some(door) = Door::of(*protocol, *port) else {
                    lines.push(format!("NOT EXPRESSED: {fact}."));
                    continue;
                };
                let peers = match peer {
                    Peer::Address(address) if address.is_loopback() => continue,
                    Peer::Address(address) => vec![address_block(*address)],
                    Peer::Cidr(block) => vec![json!({ "ipBlock": { "cidr": block.to_string() } })],
                    Peer::Workload(workload) => match pods(workload) {
                        Some((namespace, labels)) => vec![pod_selector(&namespace, &labels)],
                        None => {
                            lines.push(format!("NOT EXPRESSED, as its labels are not known: {fact}."));
                            continue;
                        }
                    },
                    // Names are beyond a NetworkPolicy, and their addresses are of the day.
                    Peer::Domain(_) | Peer::RegisteredDomain(_) => {
                        lines.push(format!("WIDER than observed, any address on that port: {fact}."));
                        blocks(&ANYWHERE)
                    }
                };
                admit(&mut egress, peers, door);
            }
            Fact::Dns { .. } | Fact::DnsPattern { .. } => asks = true,
            Fact::Accept {
                protocol, port, peer, ..
            } => {
                let Some(door) = Door::of(*protocol, *port) else {
                    lines.push(format!("NOT EXPRESSED: {fact}."));
                    continue;
                };
                let peers = match peer {
                    PeerClass::Loopback => continue,
                    PeerClass::Workload => vec![json!({ "namespaceSelector": {} })],
                    PeerClass::Private => blocks(&PRIVATE),
                    PeerClass::Public => blocks(&ANYWHERE),
                };
                admit(&mut ingress, peers, door);
            }
            _ => {}
        }
    }
    if asks {
        lines.push("Names are asked for: port 53 is open to any address.".to_owned());
        for protocol in ["UDP", "TCP"] {
            let door = Door { protocol, port: 53 };
            admit(&mut egress, blocks(&ANYWHERE), door);
            admit(&mut egress, vec![json!({ "namespaceSelector": {} })], door);
        }
    }
    let policy = json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": { "name": target.name, "namespace": target.namespace },
        "spec": {
            "podSelector": { "matchLabels": target.labels },
            "policyTypes": ["Ingress", "Egress"],
            "ingress": rules(ingress, "from"),
            "egress": rules(egress, "to"),
        },
    });
    Ok(commented(&lines) + &yaml(&policy)?)
}

/// Protocol and port.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Door {
    protocol: &'static str,
    port: u16,
}

impl Door {
    /// `None` for what a NetworkPolicy cannot name.
    fn of(protocol: Protocol, port: u16) -> Option<Self> {
        let protocol = match protocol {
            Protocol::Tcp => "TCP",
            Protocol::Udp => "UDP",
            Protocol::Sctp => "SCTP",
            Protocol::Other => return None,
        };
        (port != 0).then_some(Self { protocol, port })
    }
}

/// Ports by peer; peers by their text, so that each comes once and in order.
type Rules = BTreeMap<String, (Value, BTreeSet<Door>)>;

fn admit(rules: &mut Rules, peers: Vec<Value>, door: Door) {
    for peer in peers {
        rules
            .entry(peer.to_string())
            .or_insert_with(|| (peer, BTreeSet::new()))
            .1
            .insert(door);
    }
}

fn rules(rules: Rules, direction: &str) -> Vec<Value> {
    rules
        .into_values()
        .map(|(peer, doors)| {
            let ports: Vec<Value> = doors
                .into_iter()
                .map(|door| json!({ "protocol": door.protocol, "port": door.port }))
                .collect();
            json!({ direction: [peer], "ports": ports })
        })
        .collect()
}

fn blocks(blocks: &[&str]) -> Vec<Value> {
    blocks
        .iter()
        .map(|block| json!({ "ipBlock": { "cidr": block } }))
        .collect()
}

fn address_block(address: IpAddr) -> Value {
    let length = if address.is_ipv4() { 32 } else { 128 };
    json!({ "ipBlock": { "cidr": format!("{address}/{length}") } })
}

fn pod_selector(namespace: &str, labels: &BTreeMap<String, String>) -> Value {
    json!({
        "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": namespace } },
        "podSelector": { "matchLabels": labels },
    })
}
