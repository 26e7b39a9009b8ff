//! Arbitrary bytes as a record of the event ring: no panic, and nothing that the record does not hold.

#![no_main]

use libfuzzer_sys::fuzz_target;
use norma_abi::{ABI_VERSION, KINDS};
use norma_agent::decode::decode;
use norma_agent::observation::Act;

fuzz_target!(|bytes: &[u8]| {
    check(bytes);
    // Past the version and the length, which arbitrary bytes rarely have right.
    if let Some(kind) = bytes.get(2) {
        let mut record = bytes.to_vec();
        record[..2].copy_from_slice(&ABI_VERSION.to_ne_bytes());
        if let Some(kind_and_len) = record.get_mut(2..8) {
            kind_and_len[..2].copy_from_slice(&(u16::from(*kind) % KINDS as u16).to_ne_bytes());
            kind_and_len[2..].copy_from_slice(&(bytes.len() as u32).to_ne_bytes());
            check(&record);
        }
    }
});

fn check(record: &[u8]) {
    let Ok(observation) = decode(record) else { return };
    // The marks of a cut path are the only bytes that a path has more than its record.
    let most = record.len() + "…/".len();
    match observation.act {
        Act::Exec(exec) => {
            assert!(exec.program.path.bytes.len() <= most);
            assert!(exec.script.is_none_or(|script| script.path.bytes.len() <= most));
            assert!(exec.argv.iter().map(Vec::len).sum::<usize>() + exec.filename.len() <= record.len());
        }
        Act::Open(open) => assert!(open.path.bytes.len() <= most),
        Act::Cgroup(change) => assert!(change.path.len() <= record.len()),
        Act::Operation(operation) => {
            let names = [&operation.path, &operation.other].into_iter().flatten();
            assert!(names.map(|name| name.bytes().len()).max().unwrap_or(0) <= most);
            assert!(operation.text.len() <= record.len());
        }
        Act::Socket(socket) => assert!(socket.path.is_none_or(|path| path.bytes().len() <= most)),
        Act::Dns(_) | Act::Fork(_) | Act::Exit(_) | Act::Connect(_) | Act::Listen(_) => {}
    }
}
