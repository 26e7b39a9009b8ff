//! Arbitrary bytes as an audit file: no panic, no unbounded allocation, and nothing proven that was not chained.

#![no_main]

use libfuzzer_sys::fuzz_target;
use norma_collector::audit::{MAGIC, OVERHEAD, walk};

fuzz_target!(|bytes: &[u8]| {
    let (proven, _) = walk(bytes, 1);
    assert!(proven as usize <= bytes.len() / OVERHEAD);
    // Past the magic, which arbitrary bytes rarely have.
    let with_magic = [&MAGIC, bytes].concat();
    let (proven, _) = walk(&with_magic, 1);
    assert!(proven as usize <= bytes.len() / OVERHEAD);
});
