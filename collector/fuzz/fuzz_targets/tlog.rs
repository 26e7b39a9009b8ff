//! Text that comes from strangers: notes and checkpoints, proofs, submissions of logs, trust policies, manifests and
//! entries, and proofs of records.

#![no_main]

use libfuzzer_sys::fuzz_target;
use norma_collector::audit::prove::check;
use norma_collector::audit::reread;
use norma_tlog::proof::Proof;
use norma_tlog::submission::Submission;
use norma_tlog::tile::entries;
use norma_tlog::{Checkpoint, Note, Policy, VerifierKey};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(note) = Note::parse(bytes) {
        assert_eq!(Note::parse(note.to_string().as_bytes()), Ok(note));
    }
    if let Some(text) = reread(bytes) {
        assert_eq!(text.as_bytes(), bytes);
    }
    if let Ok(submission) = Submission::parse(bytes) {
        assert_eq!(
            Submission::parse(submission.to_string().as_bytes()),
            Ok(submission)
        );
    }
    if let Ok(entries) = entries(bytes) {
        let length: usize = entries.iter().map(|entry| entry.len() + 2).sum();
        assert_eq!(length, bytes.len());
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(checkpoint) = text.parse::<Checkpoint>() {
        assert_eq!(checkpoint.to_string().parse(), Ok(checkpoint));
    }
    if let Ok(key) = text.parse::<VerifierKey>() {
        assert_eq!(key.to_string().parse(), Ok(key));
    }
    if let Ok(proof) = Proof::parse(text) {
        assert_eq!(Proof::parse(&proof.to_string()), Ok(proof));
    }
    // The policy of one input checks the proof after it.
    if let Some((policy, proof)) = text.split_once('\0')
        && let Ok(policy) = Policy::parse(policy)
    {
        assert!(check(proof, &policy).is_err(), "nobody has signed it");
    }
});
