//! Arbitrary bytes as a DNS message that the kernel side has carried: no panic, and texts that can be printed.

#![no_main]

use libfuzzer_sys::fuzz_target;
use norma_abi::{ABI_VERSION, DNS_MAX, DnsBody, Header, KIND_DNS};
use norma_agent::decode::decode;
use norma_agent::observation::{Act, DnsMessage};

const IPPROTO_TCP: u32 = 6;
const IPPROTO_UDP: u32 = 17;

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, message)) = bytes.split_first() else {
        return;
    };
    let message = &message[..message.len().min(DNS_MAX)];
    let body = DnsBody {
        direction: 1 + u32::from(choice & 1),
        protocol: if choice & 2 == 0 { IPPROTO_UDP } else { IPPROTO_TCP },
        remote_addr: [0; 16],
        remote_port: 53,
        local_port: 40_000,
        total_len: message.len() as u32 + u32::from(choice & 4 != 0),
        message_len: message.len() as u32,
        cookie: 0,
    };
    let len = size_of::<Header>() + size_of::<DnsBody>() + message.len();
    let mut record = vec![0; size_of::<Header>()];
    record[..2].copy_from_slice(&ABI_VERSION.to_ne_bytes());
    record[2..4].copy_from_slice(&KIND_DNS.to_ne_bytes());
    record[4..8].copy_from_slice(&(len as u32).to_ne_bytes());
    for word in [body.direction, body.protocol] {
        record.extend(word.to_ne_bytes());
    }
    record.extend(body.remote_addr);
    for word in [
        body.remote_port,
        body.local_port,
        body.total_len,
        body.message_len,
    ] {
        record.extend(word.to_ne_bytes());
    }
    record.extend(body.cookie.to_ne_bytes());
    record.extend(message);
    let Act::Dns(dns) = decode(&record).expect("the record is well formed").act else {
        panic!("not a DNS record")
    };
    match dns.message {
        Ok(message) => check(&message),
        Err(why) => assert!(!why.is_empty()),
    }
});

fn check(message: &DnsMessage) {
    let printable = |text: &str| assert!(!text.chars().any(char::is_control), "{text:?}");
    printable(&message.name);
    printable(&message.record_type);
    // A name of 255 bytes, each of which may take four.
    assert!(message.name.len() <= 4 * 255);
    for answer in &message.answers {
        printable(&answer.name);
        printable(&answer.record_type);
        printable(&answer.value);
    }
}
