//! Facts and evidence by chance, for property tests.

use crate::evidence::{Evidence, Exposure, Sampling, Sighting, SourceId};
use crate::fact::{Access, ArgumentShape, Block, Fact, Peer, PeerClass, Protocol};
use crate::time::Timestamp;
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

fn text() -> impl Strategy<Value = Arc<str>> {
    prop_oneof![
        3 => "/(bin|etc|tmp)/[a-c]{1,2}",
        1 => "[a-c]{0,2}(\\.[a-c]){0,2}",
    ]
    .prop_map(Arc::from)
}

fn protocol() -> impl Strategy<Value = Protocol> {
    proptest::sample::select(&Protocol::ALL)
}

fn peer() -> impl Strategy<Value = Peer> {
    let address = any::<u32>().prop_map(|bits| IpAddr::V4(Ipv4Addr::from(bits & 0x0303)));
    prop_oneof![
        text().prop_map(Peer::Workload),
        text().prop_map(Peer::Domain),
        text().prop_map(Peer::RegisteredDomain),
        address
            .clone()
            .prop_map(|address| Peer::Cidr(Block::around(address))),
        address.prop_map(Peer::Address),
    ]
}

/// Any fact, of so few texts that equal ones come up.
pub(crate) fn any_fact() -> impl Strategy<Value = Fact> {
    let access = || proptest::sample::select(&Access::ALL);
    prop_oneof![
        (text(), text(), proptest::option::of(text()), text()).prop_map(|(parent, exe, script, word)| {
            Fact::Exec {
                parent,
                exe,
                script,
                arguments: ArgumentShape::of([&*word]),
            }
        }),
        (text(), text(), access()).prop_map(|(exe, path, access)| Fact::File { exe, path, access }),
        (text(), text(), access()).prop_map(|(exe, pattern, access)| Fact::FilePattern {
            exe,
            pattern,
            access
        }),
        (text(), peer(), protocol(), 0..3_u16).prop_map(|(exe, peer, protocol, port)| Fact::Connect {
            exe,
            peer,
            protocol,
            port
        }),
        (text(), protocol(), 0..3_u16).prop_map(|(exe, protocol, port)| Fact::Listen { exe, protocol, port }),
        (
            text(),
            protocol(),
            0..3_u16,
            proptest::sample::select(&PeerClass::ALL)
        )
            .prop_map(|(exe, protocol, port, peer)| Fact::Accept {
                exe,
                protocol,
                port,
                peer
            }),
        (text(), text()).prop_map(|(exe, name)| Fact::Dns { exe, name }),
        (text(), text()).prop_map(|(exe, pattern)| Fact::DnsPattern { exe, pattern }),
        (text(), text()).prop_map(|(exe, capability)| Fact::Capability { exe, capability }),
        (text(), text(), text()).prop_map(|(exe, operation, object)| Fact::Privilege {
            exe,
            operation,
            object
        }),
        (text(), text()).prop_map(|(exe, path)| Fact::Library { exe, path }),
    ]
}

/// `/bin/x` reads a file.
pub(crate) fn read_of(path: &str) -> Fact {
    Fact::File {
        exe: "/bin/x".into(),
        path: path.into(),
        access: Access::Read,
    }
}

/// An account of files that were read, each in so many units (small, large) of 100 and 25.
pub(crate) fn evidence_of(
    node: &str,
    generation: u64,
    reads: impl IntoIterator<Item = (String, [u32; 2])>,
) -> Evidence {
    seen_by(
        node,
        generation,
        reads.into_iter().map(|(path, units)| (read_of(&path), units)),
    )
}

/// The same, of a library that was mapped all the time.
pub(crate) fn library(node: &str, path: &str) -> Evidence {
    let fact = Fact::Library {
        exe: "/bin/x".into(),
        path: path.into(),
    };
    seen_by(node, 1, [(fact, [90, 25])])
}

/// The same, of any facts.
pub(crate) fn seen_by(
    node: &str,
    generation: u64,
    facts: impl IntoIterator<Item = (Fact, [u32; 2])>,
) -> Evidence {
    let exposure = Exposure {
        units: [100, 25],
        starts: 3,
        replicas: 3,
        refused: 0,
        from: Timestamp::from_unix(1_000_000),
        until: Timestamp::from_unix(1_360_000),
    };
    let source = SourceId {
        node: node.into(),
        generation,
    };
    let sightings = facts.into_iter().map(|(fact, units)| {
        (
            fact,
            Sighting {
                units,
                starts: 0,
                replicas: 2,
                first_seen: Timestamp::from_unix(1_000_000),
                last_seen: Timestamp::from_unix(1_300_000),
            },
        )
    });
    Evidence::of_account(source, Sampling::default(), exposure, sightings)
}

fn sighting() -> impl Strategy<Value = Sighting> {
    (any::<[u8; 2]>(), 0..4_u32, 1..4_u32, 0..50_u64, 0..50_u64).prop_map(
        |(units, starts, replicas, first, last)| Sighting {
            units: units.map(u32::from),
            starts,
            replicas,
            first_seen: Timestamp::from_unix(first),
            last_seen: Timestamp::from_unix(first + last),
        },
    )
}

fn exposure() -> impl Strategy<Value = Exposure> {
    (
        any::<[u8; 2]>(),
        0..4_u32,
        1..4_u32,
        0..3_u32,
        0..50_u64,
        0..50_u64,
    )
        .prop_map(|(units, starts, replicas, refused, from, until)| Exposure {
            units: units.map(u32::from),
            starts,
            replicas,
            refused,
            from: Timestamp::from_unix(from),
            until: Timestamp::from_unix(from + until),
        })
}

fn account() -> impl Strategy<Value = Evidence> {
    let source = ("[ab]", 0..2_u64).prop_map(|(node, generation)| SourceId {
        node: node.into(),
        generation,
    });
    let sightings = proptest::collection::vec((any_fact(), sighting()), 0..12);
    (source, exposure(), sightings).prop_map(|(source, exposure, sightings)| {
        Evidence::of_account(source, Sampling::default(), exposure, sightings)
    })
}

/// Evidence of up to three accounts.
pub(crate) fn any_evidence() -> impl Strategy<Value = Evidence> {
    proptest::collection::vec(account(), 0..4).prop_map(|accounts| {
        let mut evidence = Evidence::new();
        for account in &accounts {
            evidence.merge(account);
        }
        evidence
    })
}
