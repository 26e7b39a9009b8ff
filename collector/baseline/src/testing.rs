//! Facts and evidence by chance, for property tests.

use crate::fact::{Access, ArgumentShape, Block, Fact, Peer, PeerClass, Protocol};
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
