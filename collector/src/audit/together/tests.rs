use super::*;

fn ranges(list: &[(u64, u64)]) -> Vec<Range> {
    list.iter().map(|&(first, last)| Range { first, last }).collect()
}

fn set(of: u32) -> BTreeSet<u64> {
    (0..6)
        .filter(|bit| of & (1 << bit) != 0)
        .map(|bit| bit + 1)
        .collect()
}

fn normal_of(set: &BTreeSet<u64>) -> Vec<Range> {
    normal(set.iter().map(|&sequence| Range {
        first: sequence,
        last: sequence,
    }))
}

#[test]
fn ranges_are_what_sets_of_their_sequences_are() {
    for (one, other) in (0..64).flat_map(|one| (0..64).map(move |other| (one, other))) {
        let (one, other) = (set(one), set(other));
        let (as_one, as_other) = (normal_of(&one), normal_of(&other));
        assert_eq!(minus(&as_one, &as_other), normal_of(&(&one - &other)));
        assert_eq!(both(&as_one, &as_other), normal_of(&(&one & &other)));
        assert_eq!(count(&as_one), one.len() as u64);
        assert!((1..=6).all(|sequence| holds(&as_one, sequence) == one.contains(&sequence)));
    }
    let all = ranges(&[(1, u64::MAX)]);
    assert_eq!(minus(&all, &all), []);
}

/// What east and west have, with what the hand-over in west says of east.
fn joined(
    east: &[(u64, u64)],
    west: &[(u64, u64)],
    held: (u64, u64),
    in_doubt: (u64, u64),
    given: &[&str],
) -> Joined {
    let told = |(first, last)| Told {
        range: Range { first, last },
        logs: ["east".to_owned()].into(),
    };
    let (held, in_doubt) = ([told(held)], [told(in_doubt)]);
    let admitted = ranges(&[(6, 6)]);
    let part = |name, place, arrived: &[(u64, u64)]| Part {
        place,
        name,
        last: 10,
        arrived: normal(ranges(arrived).into_iter()),
        admitted: &[],
        held: &[],
        in_doubt: &[],
    };
    let west = Part {
        admitted: &admitted,
        held: &held,
        in_doubt: &in_doubt,
        ..part("west", 1, west)
    };
    let mut parts = vec![west];
    if given.contains(&"east") {
        parts.push(part("east", 0, east));
    }
    join_one(&Outbox::new("n", 1), &parts, &given.iter().copied().collect()).joined
}

#[test]
fn what_is_lost_in_doubt_twice_not_there_or_not_given_is_told_apart() {
    let both = ["east", "west"];
    // 6 was lost before it was sent, 5 may be in both and is.
    let whole = joined(&[(1, 5)], &[(5, 5), (7, 10)], (1, 4), (5, 5), &both);
    assert!(whole.agrees() && whole.unexplained.is_empty() && whole.not_given.is_empty());
    assert_eq!((whole.arrived, whole.in_doubt, whole.lost), (9, 1, 1));
    let twice = joined(&[(1, 5)], &[(4, 5), (7, 10)], (1, 4), (5, 5), &both);
    assert_eq!(twice.twice[0].sequences, ranges(&[(4, 4)]));
    let gone = joined(&[(1, 2), (4, 4)], &[(5, 5), (7, 10)], (1, 4), (5, 5), &both);
    assert_eq!(gone.not_held[0].sequences, ranges(&[(3, 3)]));
    assert_eq!(gone.not_held[0].said_in, "west");
    // That somebody else has it does not make it so.
    let moved = joined(
        &[(1, 2), (4, 4)],
        &[(3, 3), (5, 5), (7, 10)],
        (1, 4),
        (5, 5),
        &both,
    );
    assert_eq!(moved.not_held[0].sequences, ranges(&[(3, 3)]));
    let away = joined(&[], &[(5, 5), (7, 10)], (1, 4), (5, 5), &["west"]);
    assert_eq!(away.not_given[0].sequences, ranges(&[(1, 4)]));
    assert_eq!(away.unexplained, []);
    let lost = joined(&[(1, 4)], &[(7, 10)], (1, 4), (5, 5), &both);
    assert_eq!(lost.unexplained, ranges(&[(5, 5)]));
}
