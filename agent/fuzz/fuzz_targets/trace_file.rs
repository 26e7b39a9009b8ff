//! Arbitrary bytes as a trace: no panic, bounded memory, and nothing after the first error.

#![no_main]

use libfuzzer_sys::fuzz_target;
use norma_agent::trace::file::Reader;

/// More frames than this are of a compressed stream that says the same again and again.
const FRAMES: usize = 10_000;

fuzz_target!(|bytes: &[u8]| {
    read(bytes);
    // Past the header, which arbitrary bytes rarely have.
    read(&[b"NORMATRC".as_slice(), &1u32.to_le_bytes(), bytes].concat());
});

fn read(bytes: &[u8]) {
    let Ok((mut reader, _)) = Reader::new(bytes) else {
        return;
    };
    for _ in 0..FRAMES {
        match reader.read() {
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => break,
        }
    }
}
