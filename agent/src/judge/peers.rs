//! By what names addresses are known: the pods of this node, and what each container resolved itself.
//!
//! A name counts for the container that asked for it, and only if the server that answered is one that it is expected
//! to ask: whoever asks a server of his own can have it answer with any name. Names of what runs on other nodes are
//! not known here but by DNS; the address alone remains.

use super::fact::PeerNames;
use crate::identity::Container;
use crate::observation::{BootTime, CgroupId, Dns};
use foldhash::{HashMap, HashMapExt as _, HashSet};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// The port of DNS servers.
pub(super) const DNS_PORT: u16 = 53;
/// A name is kept this long at least, and this long after each use: programs go on with what they resolved, whatever
/// its time to live was.
const KEPT: Duration = Duration::from_secs(3600);
/// Longest time to live that is believed.
const TTL_MAX: Duration = Duration::from_secs(24 * 3600);
/// Most addresses of a container that are remembered with a name, and most servers.
const NAMED_MAX: usize = 4_096;

/// Most addresses that are found again after a restart, of all containers together; those that were used last.
const KEPT_MAX: usize = 32_768;

/// Names that a container resolved, to be found again.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct KeptNames {
    container: CgroupId,
    servers: Vec<IpAddr>,
    names: Vec<(IpAddr, Arc<str>, BootTime)>,
}

/// The names.
#[derive(Default)]
pub(super) struct Peers {
    pods: HashMap<IpAddr, Arc<str>>,
    resolved: HashMap<CgroupId, Resolved>,
}

#[derive(Default)]
struct Resolved {
    names: HashMap<IpAddr, Bound>,
    servers: HashSet<IpAddr>,
}

struct Bound {
    name: Arc<str>,
    until: BootTime,
}

impl Peers {
    /// Takes over which pods there are.
    pub fn follow(&mut self, running: &[Arc<Container>]) {
        let mut pods = HashMap::with_capacity(self.pods.len());
        for container in running {
            let Some(described) = &container.described else {
                continue;
            };
            for address in &described.pod.ips {
                let workload = container.workload.0.as_str();
                let name = if container.pod.is_empty() {
                    workload
                } else {
                    // Without the container's own name: they share the address.
                    workload.rsplit_once('/').map_or("", |(pod, _)| pod)
                };
                pods.entry(*address).or_insert_with(|| Arc::from(name));
            }
        }
        self.pods = pods;
    }

    /// A container is expected to ask this server.
    pub fn trust(&mut self, cgroup: CgroupId, server: IpAddr) {
        let servers = &mut self.resolved.entry(cgroup).or_default().servers;
        if servers.len() < NAMED_MAX {
            servers.insert(server);
        }
    }

    /// Takes an answer that a container received.
    pub fn hear(&mut self, cgroup: CgroupId, dns: &Dns, at: BootTime) {
        let Ok(message) = &dns.message else { return };
        let Some(resolved) = self.resolved.get_mut(&cgroup) else {
            return;
        };
        if dns.sent || !message.answer || !resolved.servers.contains(&dns.remote.ip()) {
            return;
        }
        let name: Arc<str> = Arc::from(message.name.to_ascii_lowercase());
        for record in &message.answers {
            let Ok(address) = record.value.parse::<IpAddr>() else {
                continue;
            };
            let keep = Duration::from_secs(record.ttl.into()).clamp(KEPT, TTL_MAX);
            let until = BootTime(at.0.saturating_add(keep.as_nanos() as u64));
            resolved.bind(address, Arc::clone(&name), until, at);
        }
    }

    /// The names of an address, as a container knows it that uses it now.
    pub fn names(&mut self, cgroup: CgroupId, address: IpAddr, at: BootTime) -> PeerNames {
        let bound = self
            .resolved
            .get_mut(&cgroup)
            .and_then(|resolved| resolved.names.get_mut(&address))
            .filter(|bound| bound.until > at);
        if let Some(bound) = bound {
            let kept = BootTime(at.0.saturating_add(KEPT.as_nanos() as u64));
            bound.until = bound.until.max(kept);
        }
        self.look(cgroup, address, at)
    }

    /// The same where it does not use it.
    pub fn look(&self, cgroup: CgroupId, address: IpAddr, at: BootTime) -> PeerNames {
        if address.is_loopback() {
            return PeerNames::default();
        }
        let bound = self
            .resolved
            .get(&cgroup)
            .and_then(|resolved| resolved.names.get(&address))
            .filter(|bound| bound.until > at);
        PeerNames {
            workload: self.pods.get(&address).cloned(),
            domain: bound.map(|bound| Arc::clone(&bound.name)),
        }
    }

    /// What is to be found again.
    pub fn kept(&self) -> Vec<KeptNames> {
        let mut youngest: Vec<BootTime> = self
            .resolved
            .values()
            .flat_map(|resolved| resolved.names.values().map(|bound| bound.until))
            .collect();
        let from = if youngest.len() > KEPT_MAX {
            let at = youngest.len() - KEPT_MAX;
            *youngest.select_nth_unstable(at).1
        } else {
            BootTime(0)
        };
        self.resolved
            .iter()
            .map(|(container, resolved)| KeptNames {
                container: *container,
                servers: resolved.servers.iter().copied().collect(),
                names: resolved
                    .names
                    .iter()
                    .filter(|(_, bound)| bound.until >= from)
                    .map(|(address, bound)| (*address, Arc::clone(&bound.name), bound.until))
                    .collect(),
            })
            .collect()
    }

    /// Takes what was found again, as far as it still counts.
    pub fn take(&mut self, kept: Vec<KeptNames>, now: BootTime) {
        for KeptNames {
            container,
            servers,
            names,
        } in kept
        {
            let resolved = self.resolved.entry(container).or_default();
            resolved.servers.extend(servers.into_iter().take(NAMED_MAX));
            for (address, name, until) in names.into_iter().filter(|(_, _, until)| *until > now) {
                resolved.bind(address, name, until, now);
            }
        }
    }

    /// Forgets a container that is gone.
    pub fn forget(&mut self, cgroup: CgroupId) {
        self.resolved.remove(&cgroup);
    }
}

impl Resolved {
    fn bind(&mut self, address: IpAddr, name: Arc<str>, until: BootTime, now: BootTime) {
        if self.names.len() >= NAMED_MAX && !self.names.contains_key(&address) {
            self.names.retain(|_, bound| bound.until > now);
            let soonest = self.names.iter().min_by_key(|(_, bound)| bound.until);
            if self.names.len() >= NAMED_MAX
                && let Some(soonest) = soonest.map(|(address, _)| *address)
            {
                self.names.remove(&soonest);
            }
        }
        self.names.insert(address, Bound { name, until });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observation::{DnsAnswer, DnsMessage, Protocol};

    const SECOND: u64 = 1_000_000_000;
    const ONE: CgroupId = CgroupId(1);

    fn answer(server: &str, name: &str, address: &str) -> Dns {
        Dns {
            sent: false,
            protocol: Protocol::Udp,
            remote: format!("{server}:53").parse().unwrap(),
            local_port: 4000,
            total_len: 100,
            cookie: 1,
            cut: false,
            message: Ok(DnsMessage {
                answer: true,
                name: name.into(),
                answers: vec![DnsAnswer {
                    name: name.into(),
                    record_type: "A".into(),
                    value: address.into(),
                    ttl: 5,
                }],
                ..DnsMessage::default()
            }),
        }
    }

    fn domain(peers: &mut Peers, cgroup: CgroupId, address: &str, second: u64) -> Option<String> {
        let names = peers.names(cgroup, address.parse().unwrap(), BootTime(second * SECOND));
        names.domain.map(|name| name.to_string())
    }

    #[test]
    fn a_name_counts_for_who_resolved_it_at_a_server_that_it_is_to_ask() {
        let mut peers = Peers::default();
        peers.trust(ONE, "10.0.0.53".parse().unwrap());
        peers.hear(ONE, &answer("10.0.0.53", "Db.Example", "192.0.2.1"), BootTime(0));
        peers.hear(ONE, &answer("6.6.6.6", "db.example", "6.6.6.7"), BootTime(0));
        assert_eq!(
            domain(&mut peers, ONE, "192.0.2.1", 1).as_deref(),
            Some("db.example")
        );
        assert_eq!(
            domain(&mut peers, ONE, "6.6.6.7", 1),
            None,
            "an intruder's server"
        );
        assert_eq!(
            domain(&mut peers, CgroupId(2), "192.0.2.1", 1),
            None,
            "another container"
        );
    }

    #[test]
    fn a_name_is_known_for_as_long_as_it_is_used() {
        let mut peers = Peers::default();
        peers.trust(ONE, "10.0.0.53".parse().unwrap());
        peers.hear(ONE, &answer("10.0.0.53", "db.example", "192.0.2.1"), BootTime(0));
        for second in [3_000, 6_000, 9_000] {
            assert!(domain(&mut peers, ONE, "192.0.2.1", second).is_some(), "{second}");
        }
        assert_eq!(domain(&mut peers, ONE, "192.0.2.1", 9_000 + 3_600), None);
    }

    #[test]
    fn names_are_found_again_as_long_as_they_count() {
        let mut before = Peers::default();
        before.trust(ONE, "10.0.0.53".parse().unwrap());
        before.hear(ONE, &answer("10.0.0.53", "db.example", "192.0.2.1"), BootTime(0));
        let mut peers = Peers::default();
        peers.take(before.kept(), BootTime(SECOND));
        assert!(domain(&mut peers, ONE, "192.0.2.1", 2).is_some());
        peers.hear(
            ONE,
            &answer("10.0.0.53", "new.example", "192.0.2.2"),
            BootTime(SECOND),
        );
        assert!(domain(&mut peers, ONE, "192.0.2.2", 2).is_some(), "the server");
        let mut late = Peers::default();
        late.take(before.kept(), BootTime(2 * 3_600 * SECOND));
        assert_eq!(domain(&mut late, ONE, "192.0.2.1", 2), None);
    }

    #[test]
    fn there_is_an_end_to_what_a_container_can_have_remembered() {
        let mut peers = Peers::default();
        peers.trust(ONE, "10.0.0.53".parse().unwrap());
        for number in 0..2 * NAMED_MAX as u32 {
            let address = std::net::Ipv4Addr::from(0x0b00_0000 + number).to_string();
            let heard = answer("10.0.0.53", "x.example", &address);
            peers.hear(ONE, &heard, BootTime(u64::from(number)));
        }
        assert_eq!(peers.resolved[&ONE].names.len(), NAMED_MAX);
    }
}
