//! Connections that were counted.

use super::peer_name;
use crate::judge::Fact;
use norma_abi::Traffic;
use norma_baseline::fact::PeerClass;
use norma_wire::pb;

/// What was counted of a connection that is known.
pub fn connections(fact: &Fact, begun: u64, traffic: &Traffic) -> pb::ConnectionCount {
    let counted = pb::ConnectionCount {
        exe: fact.actor().to_string(),
        begun,
        established: traffic.established,
        ended: traffic.ended,
        failed: traffic.failed,
        sent: traffic.sent,
        received: traffic.received,
        ..pb::ConnectionCount::default()
    };
    match fact {
        Fact::Connect {
            peer, names, port, ..
        } => {
            let (name, kind) = peer_name(names).unwrap_or_default();
            pb::ConnectionCount {
                remote_address: peer.to_string(),
                port: u32::from(*port),
                peer_name: name.to_owned(),
                peer_kind: kind.to_owned(),
                ..counted
            }
        }
        Fact::Accept {
            peer, class, port, ..
        } => pb::ConnectionCount {
            accepted: true,
            // The kernel side does not tell those apart.
            remote_address: if *class == PeerClass::Public {
                String::new()
            } else {
                peer.to_string()
            },
            port: u32::from(*port),
            peer_kind: class.name().to_owned(),
            ..counted
        },
        _ => counted,
    }
}
