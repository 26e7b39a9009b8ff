use super::*;
use crate::testing::any_evidence;
use proptest::prelude::*;

fn merged(mut left: Evidence, right: &Evidence) -> Evidence {
    left.merge(right);
    left
}

proptest! {
    #[test]
    fn merging_is_commutative_associative_and_idempotent(
        a in any_evidence(),
        b in any_evidence(),
        c in any_evidence(),
    ) {
        prop_assert_eq!(merged(a.clone(), &b), merged(b.clone(), &a));
        prop_assert_eq!(
            merged(merged(a.clone(), &b), &c),
            merged(a.clone(), &merged(b.clone(), &c))
        );
        prop_assert_eq!(merged(merged(a.clone(), &b), &b), merged(a.clone(), &b));
        prop_assert_eq!(merged(a.clone(), &a), a);
    }

    #[test]
    fn it_is_read_as_it_is_written(evidence in any_evidence()) {
        let written = rmp_serde::to_vec(&evidence).unwrap();
        prop_assert_eq!(rmp_serde::from_slice::<Evidence>(&written).unwrap(), evidence);
    }

    #[test]
    fn sharing_a_dictionary_changes_nothing(a in any_evidence(), b in any_evidence()) {
        let all = merged(b, &a);
        let mut shared = a.clone();
        prop_assert!(shared.renumber(all.dictionary()).is_some());
        prop_assert_eq!(shared, a);
    }
}

#[test]
fn what_is_too_much_is_refused_as_a_whole() {
    let seen = |paths: &[&str]| {
        crate::testing::evidence_of("n", 1, paths.iter().map(|path| ((*path).into(), [1, 1])))
    };
    let mut evidence = seen(&["/a", "/b"]);
    let before = evidence.clone();
    let limits = Limits {
        facts: 3,
        ..Limits::merged()
    };
    let error = evidence
        .merge_within(&seen(&["/b", "/c", "/d"]), &limits)
        .unwrap_err();
    assert_eq!(error.to_string(), "facts: 4, of which at most 3 are taken");
    assert_eq!(evidence, before);
    evidence.merge_within(&seen(&["/b", "/c"]), &limits).unwrap();
    let full = Limits {
        bytes: evidence.dictionary.content_bytes(),
        ..limits
    };
    let again = evidence.clone();
    evidence.merge_within(&again, &full).unwrap();
    assert!(evidence.merge_within(&seen(&["/e"]), &full).is_err());
}
