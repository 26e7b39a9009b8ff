//! DNS messages.

use super::{protocol, socket};
use crate::observation::Dns;
use norma_wire::pb;

pub fn detail(dns: &Dns) -> pb::Dns {
    let direction = match &dns.message {
        Ok(message) if message.answer => "answer",
        Ok(_) => "query",
        // What cannot be understood is called by the way that it went.
        Err(_) if dns.sent => "query",
        Err(_) => "answer",
    };
    let detail = pb::Dns {
        direction: direction.to_owned(),
        protocol: protocol(dns.protocol),
        server_address: dns.remote.ip().to_string(),
        server_port: dns.remote.port().into(),
        truncated: dns.cut,
        cookie: socket::cookie(dns.cookie),
        ..pb::Dns::default()
    };
    match &dns.message {
        Err(why) => pb::Dns {
            malformed: why.clone(),
            ..detail
        },
        Ok(message) => pb::Dns {
            id: message.id.into(),
            name: message.name.clone(),
            r#type: message.record_type.clone(),
            code: message.code.clone(),
            answers: message
                .answers
                .iter()
                .map(|record| pb::DnsRecord {
                    name: record.name.clone(),
                    r#type: record.record_type.clone(),
                    value: record.value.clone(),
                    ttl: record.ttl,
                })
                .collect(),
            truncated: dns.cut || message.incomplete.is_some(),
            ..detail
        },
    }
}
