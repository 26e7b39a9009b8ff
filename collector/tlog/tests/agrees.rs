//! What this crate makes, independent implementations read, and the other way round.

#![expect(
    clippy::unwrap_used,
    reason = "a failure in a helper is a failure of the test"
)]

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _,
};
use norma_tlog::key::Use;
use norma_tlog::note::SignatureLine;
use norma_tlog::proof::Proof;
use norma_tlog::submission::Submission;
use norma_tlog::tile::{Tile, WIDTH, entries, push_entry};
use norma_tlog::tree::{Growing, Tree, Unproven, check_consistency, check_inclusion, consistency, inclusion};
use norma_tlog::{Checkpoint, Hash, Note, Policy, PublicKey, Rotation, SigningKey, VerifierKey};
use proptest::prelude::*;
use proptest::sample::Index;
use sha2::{Digest as _, Sha256};
use signed_note::{StandardVerifier, VerifierList};
use tlog_tiles::HashReader;

/// The other implementation's storage: nodes in its own linear order.
struct Stored(Vec<tlog_tiles::Hash>);

impl HashReader for Stored {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<tlog_tiles::Hash>, tlog_tiles::Error> {
        Ok(indexes.iter().map(|index| self.0[*index as usize]).collect())
    }
}

fn both(size: u64) -> (Tree, Stored) {
    let (mut tree, mut stored) = (Tree::default(), Stored(Vec::new()));
    for number in 0..size {
        let entry = number.to_be_bytes();
        tree.push(Hash::leaf(&entry));
        let new = tlog_tiles::stored_hashes(number, &entry, &stored).unwrap();
        stored.0.extend(new);
    }
    (tree, stored)
}

fn theirs(hashes: &[Hash]) -> Vec<tlog_tiles::Hash> {
    hashes.iter().map(|hash| tlog_tiles::Hash(hash.0)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn roots_and_proofs_are_those_of_another_implementation(size in 1u64..700, a: Index, b: Index) {
        let (tree, stored) = both(size);
        let root = tree.root();
        let mut growing = Growing::default();
        tree.leaves().iter().for_each(|leaf| growing.push(*leaf));
        prop_assert_eq!(growing.root(), root);
        let other = tlog_tiles::tree_hash(size, &stored).unwrap();
        prop_assert_eq!(root.0, other.0);

        let index = a.index(size as usize) as u64;
        let leaf = tree.leaves()[index as usize];
        let path = inclusion(&tree, index, size).unwrap();
        prop_assert_eq!(tlog_tiles::prove_record(size, index, &stored).unwrap(), theirs(&path));
        check_inclusion(index, leaf, size, root, &path).unwrap();

        let old = 1 + b.index(size as usize) as u64;
        let old_root = tree.root_at(old).unwrap();
        let proof = consistency(&tree, old, size).unwrap();
        prop_assert_eq!(tlog_tiles::prove_tree(size, old, &stored).unwrap(), theirs(&proof));
        check_consistency((old, old_root), (size, root), &proof).unwrap();
    }

    #[test]
    fn a_proof_of_anything_else_is_refused(size in 2u64..300, a: Index, b: Index, hit: Index, bit in 0u8..8) {
        let (tree, _) = both(size);
        let root = tree.root();
        let index = a.index(size as usize) as u64;
        let leaf = tree.leaves()[index as usize];
        let path = inclusion(&tree, index, size).unwrap();
        let other = b.index(size as usize) as u64;
        if other != index {
            prop_assert!(check_inclusion(other, leaf, size, root, &path).is_err());
        }
        let mut bad = path.clone();
        bad[hit.index(path.len())].0[0] ^= 1 << bit;
        prop_assert_eq!(check_inclusion(index, leaf, size, root, &bad), Err(Unproven::Root));
        prop_assert!(check_inclusion(index, leaf, size, root, &path[1..]).is_err());
        let longer = [path.as_slice(), &[root]].concat();
        prop_assert_eq!(check_inclusion(index, leaf, size, root, &longer), Err(Unproven::Shape));

        let old = 1 + b.index(size as usize - 1) as u64;
        let old_root = tree.root_at(old).unwrap();
        let proof = consistency(&tree, old, size).unwrap();
        let mut forked = old_root;
        forked.0[5] ^= 1 << bit;
        prop_assert!(check_consistency((old, forked), (size, root), &proof).is_err());
        prop_assert!(check_consistency((size, root), (old, old_root), &proof).is_err());
        prop_assert!(check_consistency((old, old_root), (size, root), &proof[1..]).is_err());
    }

    #[test]
    fn tiles_are_named_as_others_name_them(size in 1u64..300_000) {
        for tile in Tile::touched(size) {
            let theirs = tlog_tiles::Tile::new(8, tile.level.unwrap_or(0) as u8, tile.index, tile.width as u32, tile.level.is_none());
            let path = theirs.path().replace("tile/8/", "tile/").replace("tile/data/", "tile/entries/");
            let path = path.replace("tile/-1/", "tile/entries/");
            prop_assert_eq!(tile.path(), std::path::PathBuf::from(path));
        }
    }

    #[test]
    fn arbitrary_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..400), text in ".{0,200}") {
        let parsed = Note::parse(&bytes).is_ok() || Rotation::parse(&bytes).is_ok() || Submission::parse(&bytes).is_ok() || entries(&bytes).is_ok();
        let read = Proof::parse(&text).is_ok() || text.parse::<VerifierKey>().is_ok();
        prop_assert!(!(parsed && read) || bytes.is_empty());
    }
}

#[test]
fn tiles_cover_a_tree_and_bundles_give_back_their_entries() {
    for size in [0, 1, 255, 256, 257, 70_000] {
        let all = Tile::all(size);
        assert_eq!(
            all.iter()
                .filter(|tile| tile.level.is_none())
                .map(|tile| tile.width)
                .sum::<u64>(),
            size
        );
        assert!(
            Tile::touched(size).iter().all(|tile| all.contains(tile)),
            "{size}"
        );
    }
    let of_70000 = Tile::all(70_000);
    let partial: Vec<_> = of_70000
        .iter()
        .filter(|tile| tile.level.is_some() && !tile.is_full())
        .collect();
    assert_eq!(
        partial.iter().map(|tile| tile.width).collect::<Vec<_>>(),
        [112, 17, 1]
    );
    assert_eq!(
        Tile {
            level: Some(0),
            index: 1_234_067,
            width: WIDTH
        }
        .path()
        .to_str(),
        Some("tile/0/x001/x234/067")
    );
    let mut bundle = Vec::new();
    for entry in [b"a".as_slice(), b"", b"three"] {
        push_entry(&mut bundle, entry);
    }
    assert_eq!(entries(&bundle).unwrap(), [b"a".as_slice(), b"", b"three"]);
    assert!(entries(&bundle[..bundle.len() - 1]).is_err());
}

#[test]
fn a_note_is_verified_by_another_implementation_and_the_specifications_example_by_this_one() {
    let (key, file) = SigningKey::generate("example.org/audit").unwrap();
    let key = SigningKey::parse(&file).map_or(key, |read| read);
    let checkpoint = Checkpoint {
        origin: key.name().to_owned(),
        size: 3,
        root: Hash::leaf(b"x"),
    };
    let text = checkpoint.to_string();
    let note = Note {
        signatures: vec![key.sign(&text)],
        text,
    };
    let vkey = key.verifier(Use::Log).to_string();
    let verifier = StandardVerifier::new(&vkey).unwrap();
    let theirs = signed_note::Note::from_bytes(note.to_string().as_bytes()).unwrap();
    theirs
        .verify(&VerifierList::new(vec![Box::new(verifier)]))
        .unwrap();
    assert_eq!(Note::parse(note.to_string().as_bytes()).unwrap(), note);

    let example = "This is an example message.\n\n\u{2014} example.com/foo \
        Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";
    let vkey: VerifierKey = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
        .parse()
        .unwrap();
    let note = Note::parse(example.as_bytes()).unwrap();
    assert!(note.verify(&vkey).unwrap().is_some());
    let changed = Note {
        text: note.text.replace("an", "no"),
        ..note
    };
    assert!(changed.verify(&vkey).is_err());
    assert!(
        "example.com/fop+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
            .parse::<VerifierKey>()
            .is_err()
    );
}

#[test]
fn an_ecdsa_key_is_named_and_verified_as_others_do() {
    for algorithm in [&ECDSA_P256_SHA256_ASN1_SIGNING, &ECDSA_P384_SHA384_ASN1_SIGNING] {
        let random = SystemRandom::new();
        let pair = EcdsaKeyPair::generate(algorithm).unwrap();
        let spki = AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key()).unwrap();
        let key = PublicKey::of_point(pair.public_key().as_ref()).unwrap();
        assert_eq!(key.to_bytes(), spki.as_ref(), "as the library writes it");
        let vkey = VerifierKey::new("log.example", Use::Log, key.clone()).unwrap();
        assert_eq!(vkey.id(), Sha256::digest(spki.as_ref())[..4]);
        assert_eq!(vkey.to_string().parse::<VerifierKey>().unwrap(), vkey);
        assert!(VerifierKey::new("w.example", Use::Witness, key.clone()).is_err());

        let text = "text\n".to_owned();
        let line = SignatureLine {
            name: "log.example".to_owned(),
            id: vkey.id(),
            signature: pair.sign(&random, text.as_bytes()).unwrap().as_ref().to_vec(),
        };
        let mut note = Note {
            text,
            signatures: vec![line],
        };
        // SHA-256 goes with every curve; this library signs with P-384 and SHA-384 only.
        assert_eq!(note.verify(&vkey).is_ok(), matches!(key, PublicKey::P256(_)));
        note.text = "other\n".to_owned();
        assert!(note.verify(&vkey).is_err());
    }
}

#[test]
fn a_policy_counts_witnesses_as_its_groups_say() {
    let keys: Vec<SigningKey> = ["log.example", "w1", "w2", "w3"]
        .iter()
        .map(|name| SigningKey::generate(name).unwrap().0)
        .collect();
    let [log, witnesses @ ..] = keys.as_slice() else {
        panic!()
    };
    let mut policy = format!("# test\nlog {}\n", log.verifier(Use::Log));
    for witness in witnesses {
        policy += &format!(
            "witness {} {} https://{}.example/\n",
            witness.name(),
            witness.verifier(Use::Witness),
            witness.name()
        );
    }
    policy += "group two 2 w1 w2 w3\nquorum two\n";
    let policy = Policy::parse(&policy).unwrap();
    let text = Checkpoint {
        origin: "log.example".into(),
        size: 0,
        root: Hash::empty(),
    }
    .to_string();
    let mut note = Note {
        signatures: vec![log.sign(&text)],
        text,
    };
    assert!(!policy.check(&note).unwrap().quorum);
    note.signatures
        .push(witnesses[0].cosign(&note.text, 1_700_000_000));
    assert!(!policy.check(&note).unwrap().quorum);
    note.signatures
        .push(witnesses[2].cosign(&note.text, 1_700_000_001));
    let trusted = policy.check(&note).unwrap();
    assert!(trusted.quorum);
    assert_eq!(
        trusted.cosigned,
        [("w1".to_owned(), 1_700_000_000), ("w3".to_owned(), 1_700_000_001)]
    );
    note.signatures[1].signature[3] ^= 1;
    assert!(policy.check(&note).is_err(), "a changed time is noticed");
    note.signatures.truncate(0);
    note.signatures.push(witnesses[0].sign(&note.text));
    assert!(policy.check(&note).is_err(), "a witness is not the log");

    let w1 = witnesses[0].verifier(Use::Witness);
    for (text, fault) in [
        ("", "no `quorum`"),
        ("quorum w1", "not defined above"),
        ("quorum none\nquorum none", "line 2"),
        (&format!("log {w1}\nquorum none"), "wrong type"),
        (
            &format!("witness a {w1}\nwitness b {w1}\nquorum a"),
            "on another line",
        ),
        (
            &format!("witness a {w1}\ngroup g 2 a\nquorum g"),
            "between 1 and all",
        ),
        (
            &format!("witness a {w1}\ngroup g all a\ngroup h all a\nquorum h"),
            "member of a group",
        ),
    ] {
        let error = Policy::parse(text).unwrap_err().to_string();
        assert!(error.contains(fault), "{text}: {error}");
    }
}

#[test]
fn proofs_and_submissions_are_read_as_they_are_written() {
    let (key, _) = SigningKey::generate("log.example").unwrap();
    let text = Checkpoint {
        origin: "log.example".into(),
        size: 2,
        root: Hash::leaf(b"r"),
    }
    .to_string();
    let checkpoint = Note {
        signatures: vec![key.sign(&text)],
        text,
    };
    for extra in [None, Some(b"extra".to_vec())] {
        let proof = Proof {
            extra,
            index: 1,
            path: vec![Hash::leaf(b"0")],
            checkpoint: checkpoint.clone(),
        };
        assert_eq!(Proof::parse(&proof.to_string()).unwrap(), proof);
    }
    let submission = Submission {
        old_size: 1,
        proof: vec![Hash::leaf(b"1")],
        checkpoint,
    };
    assert_eq!(
        Submission::parse(submission.to_string().as_bytes()).unwrap(),
        submission
    );
    let without = Submission {
        old_size: 0,
        proof: Vec::new(),
        ..submission
    };
    assert_eq!(
        Submission::parse(without.to_string().as_bytes()).unwrap(),
        without
    );
    let padded = without.to_string().replace("old 0", "old 00");
    assert!(Submission::parse(padded.as_bytes()).is_err());
}
