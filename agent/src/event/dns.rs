//! DNS messages.

use super::protocol;
use crate::observation::Dns;
use norma_wire::pb;

pub fn detail(dns: &Dns) -> pb::Dns {
    pb::Dns {
        direction: if dns.sent { "query" } else { "answer" }.to_owned(),
        protocol: protocol(dns.protocol),
        server_address: dns.remote.ip().to_string(),
        server_port: dns.remote.port().into(),
        truncated: (dns.message.len() as u32) < dns.total_len,
        ..pb::Dns::default()
    }
}
