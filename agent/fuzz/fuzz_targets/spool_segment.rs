//! Arbitrary bytes as a segment of the outbox: no panic, every byte accounted for, sequences that ascend.

#![no_main]

use libfuzzer_sys::fuzz_target;
use norma_agent::outbox::segment::{Item, Scanner, UNCHECKED_LEN};

fuzz_target!(|bytes: &[u8]| {
    check(bytes.to_vec());
    // Past the header, which arbitrary bytes rarely have.
    let older = header(2);
    check([older.as_slice(), bytes].concat());
    let checksum: u32 = 0x2d2d_4fc0;
    let whole = [header(3).as_slice(), &checksum.to_le_bytes(), bytes].concat();
    assert!(Scanner::new(whole.clone()).is_ok());
    check(whole);
});

/// What the checksum of version 3 is of, and the whole header of the older ones.
fn header(version: u32) -> Vec<u8> {
    [
        b"NORMASPL".as_slice(),
        &version.to_le_bytes(),
        &7u64.to_le_bytes(),
        &1u64.to_le_bytes(),
    ]
    .concat()
}

fn check(bytes: Vec<u8>) {
    let len = bytes.len() as u64;
    let Ok(scanner) = Scanner::new(bytes) else { return };
    let (mut at, mut last) = (UNCHECKED_LEN as u64, None);
    for item in scanner {
        match item {
            Item::Record { record, end } => {
                assert!(last.is_none_or(|last| record.sequence > last));
                // The records of a pack end where it ends.
                assert!(at <= end && end <= len);
                (at, last) = (end, Some(record.sequence));
            }
            Item::Mark { mark, end } => {
                assert!(mark.first <= mark.last);
                assert!(at < end && end <= len);
                at = end;
            }
            Item::Damaged { from, to } => {
                assert!(at <= from && from < to && to <= len);
                at = to;
            }
            Item::Torn { offset } => assert!(at <= offset && offset < len),
        }
    }
}
