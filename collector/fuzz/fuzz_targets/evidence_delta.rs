//! Arbitrary bytes as evidence that a node tells: no panic, nothing of another node, and what comes again changes
//! nothing.

#![no_main]

use libfuzzer_sys::fuzz_target;
use norma_collector::baselines::{Change, Fleet};
use norma_wire::pb::EvidenceDelta;
use prost::Message as _;

const NODE: &str = "n";

fuzz_target!(|bytes: &[u8]| {
    let mut fleet = Fleet::default();
    let mut taken = |delta: &EvidenceDelta| {
        let Ok((subject, _, _)) = fleet.take(NODE, delta) else {
            return;
        };
        let known = fleet.known(&subject).expect("what is taken is known").clone();
        assert!(known.evidence.sources().all(|(source, _)| source.node.as_ref() == NODE));
        let (_, change, forgotten) = fleet.take(NODE, delta).expect("it was taken before");
        assert!(change == Change::Numbers && forgotten.is_empty());
        assert_eq!(fleet.known(&subject), Some(&known));
        known.to_bytes().expect("what is known can be written");
    };
    if let Ok(delta) = EvidenceDelta::decode(bytes) {
        taken(&delta);
    }
    // With names and a header that are right.
    let mut evidence = b"NormaBL\0\x01\0\x02\0".to_vec();
    evidence.extend((bytes.len() as u64).to_le_bytes());
    let sum = crc32c::crc32c_append(crc32c::crc32c(&evidence[8..20]), bytes);
    evidence.extend(sum.to_le_bytes());
    evidence.extend(bytes);
    taken(&EvidenceDelta {
        workload: "w".to_owned(),
        ready_since: vec![0; 8],
        evidence,
        ..EvidenceDelta::default()
    });
});
