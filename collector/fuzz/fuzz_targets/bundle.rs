//! Arbitrary bytes as a bundle, and as the files of one that a trusted key signed: no panic, no unbounded allocation,
//! and a bundle of which one byte was changed is never taken for what was signed.

#![no_main]

use libfuzzer_sys::fuzz_target;
use norma_baseline::Timestamp;
use norma_baseline::bundle::{Entry, Sealed};
use norma_baseline::file;
use norma_baseline::signature::{Signer, TrustedKeys};
use norma_baseline_command::carry::Carried;

fuzz_target!(|bytes: &[u8]| {
    let signer = Signer::of_seed(&[1; 32]).expect("any seed is a key");
    let keys: TrustedKeys = [signer.key()].into_iter().collect();
    if let Ok(sealed) = file::from_bytes::<Sealed>(bytes) {
        assert!(Carried::open(sealed, &keys).is_err(), "nobody signed it");
    }
    let third = bytes.len() / 3;
    let entries = [
        ("0.norm", &bytes[..third]),
        ("0.evidence", &bytes[third..2 * third]),
        ("decisions", &bytes[2 * third..]),
    ]
    .map(|(name, content)| Entry {
        name: name.to_owned(),
        content: content.to_vec(),
    });
    let sealed =
        Sealed::seal(entries.into(), "fuzz", Timestamp::from_unix(1), &signer).expect("the names are plain");
    let mut written = file::to_bytes(&sealed).expect("what was sealed can be written");
    if let Ok(carried) = Carried::open(sealed, &keys) {
        assert!(
            carried.overlay.decisions().next().is_none(),
            "the fuzzer has no key to sign a decision with"
        );
    }
    // Behind the header, with a sum that is right again.
    let place = bytes.iter().fold(0_usize, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(usize::from(*byte))
    });
    let body = 24 + place % (written.len() - 24);
    written[body] ^= 1 | bytes.first().copied().unwrap_or_default();
    let sum = crc32c::crc32c_append(crc32c::crc32c(&written[8..20]), &written[24..]);
    written[20..24].copy_from_slice(&sum.to_le_bytes());
    if let Ok(changed) = file::from_bytes::<Sealed>(&written) {
        // Nothing but the form can have changed that the signature does not cover.
        if let Ok(carried) = Carried::open(changed, &keys) {
            assert_eq!(carried.who, "fuzz");
        }
    }
});
