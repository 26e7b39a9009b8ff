//! Sets of sequences as ranges.

use crate::audit::verify::Range;

/// How many there are.
pub(super) fn count(ranges: &[Range]) -> u64 {
    ranges.iter().map(Range::count).fold(0, u64::saturating_add)
}

/// In ascending order, none touching another.
pub(super) fn normal(ranges: impl Iterator<Item = Range>) -> Vec<Range> {
    let mut ranges: Vec<Range> = ranges.filter(|range| range.first <= range.last).collect();
    ranges.sort_by_key(|range| (range.first, range.last));
    let mut merged: Vec<Range> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.first <= last.last.saturating_add(1) => last.last = last.last.max(range.last),
            _ => merged.push(range),
        }
    }
    merged
}

/// What `ranges` has and `without` has not; both are normal.
pub(super) fn minus(ranges: &[Range], without: &[Range]) -> Vec<Range> {
    let mut rest = Vec::new();
    for range in ranges {
        let begins = without.partition_point(|other| other.last < range.first);
        let mut next = Some(range.first);
        for other in without[begins..]
            .iter()
            .take_while(|other| other.first <= range.last)
        {
            if let Some(first) = next.filter(|first| *first < other.first) {
                rest.push(Range {
                    first,
                    last: other.first - 1,
                });
            }
            next = other.last.checked_add(1);
        }
        if let Some(first) = next.filter(|first| *first <= range.last) {
            rest.push(Range {
                first,
                last: range.last,
            });
        }
    }
    rest
}

/// What is in both; both are normal.
pub(super) fn both(one: &[Range], other: &[Range]) -> Vec<Range> {
    minus(one, &minus(one, other))
}

/// Whether a sequence is among them; they are normal.
pub(super) fn holds(ranges: &[Range], sequence: u64) -> bool {
    let at = ranges.partition_point(|range| range.last < sequence);
    ranges.get(at).is_some_and(|range| range.first <= sequence)
}
