//! Arbitrary bytes as files of baselines: no panic, no unbounded allocation, and what is read is read again as it is
//! written.

#![no_main]

use libfuzzer_sys::fuzz_target;
use norma_baseline::evidence::{Evidence, Saved};
use norma_baseline::file::{self, Filed};
use norma_baseline::norm::Norm;
use norma_baseline::overlay::Overlay;

/// As it came, and as the body of a file whose header is right, which arbitrary bytes rarely are.
fn read<T: Filed>(bytes: &[u8]) -> Option<T> {
    let as_it_came = file::from_bytes(bytes).ok();
    let mut whole = b"NormaBL\0\x01\0".to_vec();
    whole.extend([T::CONTENT as u8, 0]);
    whole.extend((bytes.len() as u64).to_le_bytes());
    let sum = crc32c::crc32c_append(crc32c::crc32c(&whole[8..20]), bytes);
    whole.extend(sum.to_le_bytes());
    whole.extend(bytes);
    as_it_came.or_else(|| file::from_bytes(&whole).ok())
}

fuzz_target!(|bytes: &[u8]| {
    if let Some(evidence) = read::<Evidence>(bytes) {
        let written = file::to_bytes(&evidence).expect("what was read can be written");
        let again: Evidence = file::from_bytes(&written).expect("what was written can be read");
        assert_eq!(again, evidence);
        let mut merged = evidence.clone();
        merged.merge(&evidence);
        assert_eq!(merged, evidence);
    }
    if let Some(saved) = read::<Saved>(bytes) {
        file::to_bytes(&saved).expect("what was read can be written");
    }
    if let Some(norm) = read::<Norm>(bytes) {
        assert!(norm.expected().count() <= bytes.len());
    }
    if let Some(overlay) = read::<Overlay>(bytes) {
        let written = file::to_bytes(&overlay).expect("what was read can be written");
        let again: Overlay = file::from_bytes(&written).expect("what was written can be read");
        assert_eq!(again, overlay);
    }
});
