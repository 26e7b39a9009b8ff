//! Which names are an open set.
//!
//! At each directory node the children are put together by signature: the sequence of their tokens, words as
//! they are and what varies by its class. Such a group becomes a template if
//!
//! - the directory has had at least 20 incidences, and the group at least five names;
//! - more than 0.3 of the group's incidences are names that were seen only once: its own unseen mass; or the names are
//!   those of a counter that begins anew now and then, of which each run comes as far as it comes;
//! - at least one token is of a variable class, which leaves out words alone;
//! - no protected name is in it, or below it.
//!
//! Of the tokens, those that all names have in common stay what they are. Below a template, the contents of
//! all its directories are one directory, where the same rules apply.

use super::Kind;
use super::template::{Part, Pattern, Segment};
use super::token::{Class, class_of, tokens};
use std::collections::{BTreeMap, BTreeSet};

/// Incidences at a directory without which nothing is said.
const INCIDENCES_MIN: u64 = 20;
/// Names of a group.
const NAMES_MIN: usize = 5;
/// Unseen mass of a group: the part of its incidences that are singletons.
const UNSEEN_MIN: f64 = 0.3;
/// Names without which a counter is not told from a few numbered files.
const COUNTER_MIN: usize = 10;
/// Letters in front that make what follows a name that was made up: `tmp`.
const PREFIX_MIN: usize = 3;
/// Letters and digits behind them.
const RANDOM_MIN: usize = 6;

/// The patterns of texts, each with the number of sampling units in which it was seen.
#[must_use]
pub fn mine<'a, K: Kind>(
    literals: impl IntoIterator<Item = (&'a str, u64)>,
    is_protected: impl Fn(&str) -> bool,
) -> BTreeSet<Pattern<K>> {
    let mut root = Node::default();
    for (text, incidence) in literals {
        if let Some(segments) = K::segments(text) {
            root.add(&segments, incidence, is_protected(text));
        }
    }
    let mut patterns = BTreeSet::new();
    root.mine::<K>(&mut Vec::new(), &mut Vec::new(), false, &mut patterns);
    patterns
}

/// Whether names with these incidences are an open set.
pub(super) fn is_open_set(incidences: impl Iterator<Item = u64>) -> bool {
    let (mut names, mut all, mut once) = (0, 0, 0);
    for incidence in incidences {
        names += 1;
        all += incidence;
        once += u64::from(incidence <= 1);
    }
    names >= NAMES_MIN && all >= INCIDENCES_MIN && has_unseen_mass(once, all)
}

fn has_unseen_mass(once: u64, all: u64) -> bool {
    once as f64 / all.max(1) as f64 > UNSEEN_MIN
}

#[derive(Clone, Default)]
struct Node {
    /// A text ends here.
    ends: bool,
    /// Units in which anything at or below was seen, as far as that can be told: at least as many as for the
    /// one that was seen most.
    incidence: u64,
    /// It, or something below, is protected.
    protected: bool,
    children: BTreeMap<String, Self>,
}

impl Node {
    fn add(&mut self, segments: &[&str], incidence: u64, protected: bool) {
        self.incidence = self.incidence.max(incidence);
        self.protected |= protected;
        match segments.split_first() {
            None => self.ends = true,
            Some((first, rest)) => self
                .children
                .entry((*first).to_owned())
                .or_default()
                .add(rest, incidence, protected),
        }
    }

    /// Takes in another directory of the same template. Units are added: what all of them have is no rarity.
    fn absorb(&mut self, other: Self) {
        self.ends |= other.ends;
        self.incidence = self.incidence.saturating_add(other.incidence);
        for (name, child) in other.children {
            self.children.entry(name).or_default().absorb(child);
        }
    }

    fn mine<K: Kind>(
        mut self,
        above: &mut Vec<String>,
        segments: &mut Vec<Segment>,
        generalised: bool,
        patterns: &mut BTreeSet<Pattern<K>>,
    ) {
        if self.ends && generalised {
            patterns.insert(Pattern::new(segments.clone()));
        }
        let templates = if K::is_closed(above) {
            Vec::new()
        } else {
            self.templates()
        };
        for (template, merged) in templates {
            above.push(template.to_string());
            segments.push(template);
            merged.mine(above, segments, true, patterns);
            segments.pop();
            above.pop();
        }
        for (name, child) in self.children {
            segments.push(Segment::new([Part::Literal(name.clone())]));
            above.push(name);
            child.mine(above, segments, generalised, patterns);
            above.pop();
            segments.pop();
        }
    }

    /// Takes the groups that are open sets out of the children.
    fn templates(&mut self) -> Vec<(Segment, Self)> {
        let incidences: u64 = self.children.values().map(|child| child.incidence).sum();
        if incidences < INCIDENCES_MIN {
            return Vec::new();
        }
        let mut groups: BTreeMap<Vec<Piece>, Vec<String>> = BTreeMap::new();
        for (name, child) in &self.children {
            if let (false, Some(signature)) = (child.protected, signature(name)) {
                groups.entry(signature).or_default().push(name.clone());
            }
        }
        let mut templates = Vec::new();
        for names in groups.into_values().filter(|names| names.len() >= NAMES_MIN) {
            let incidence = |name: &String| self.children.get(name).map_or(0, |child| child.incidence);
            let all: u64 = names.iter().map(incidence).sum();
            let once = names.iter().filter(|name| incidence(name) <= 1).count() as u64;
            let is_open = has_unseen_mass(once, all) || is_counter(&names, incidence);
            let Some(template) = template(&names).filter(|_| is_open) else {
                continue;
            };
            let mut merged = Self::default();
            for name in &names {
                if let Some(child) = self.children.remove(name) {
                    merged.absorb(child);
                }
            }
            templates.push((template, merged));
        }
        templates
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Piece {
    Word(String),
    Class(Class),
}

/// `None` where nothing varies.
fn signature(name: &str) -> Option<Vec<Piece>> {
    let pieces: Vec<Piece> = tokens(name)
        .into_iter()
        .map(|token| match token.class {
            Some(class) => Piece::Class(class),
            None => Piece::Word(token.text.to_owned()),
        })
        .collect();
    pieces
        .iter()
        .any(|piece| matches!(piece, Piece::Class(_)))
        .then_some(pieces)
}

/// Whether names of one signature are what a counter gave that began anew now and then: one number varies, most numbers
/// of its range are there, and the higher ones are the rarer, since fewer runs came so far. How far the next one comes
/// is open. Numbered files that all are in use are seen alike.
fn is_counter(names: &[String], incidence: impl Fn(&String) -> u64) -> bool {
    let cut: Vec<Vec<_>> = names.iter().map(|name| tokens(name)).collect();
    let Some(first) = cut.first().filter(|_| names.len() >= COUNTER_MIN) else {
        return false;
    };
    let mut varying = (0..first.len()).filter(|at| {
        cut.iter()
            .any(|tokens| tokens.get(*at).map(|token| token.text) != Some(first[*at].text))
    });
    let (Some(at), None) = (varying.next(), varying.next()) else {
        return false;
    };
    let numbers: Option<BTreeMap<u64, u64>> = names
        .iter()
        .zip(&cut)
        .map(|(name, tokens)| {
            let token = tokens.get(at).filter(|token| token.class == Some(Class::Int))?;
            Some((token.text.parse().ok()?, incidence(name)))
        })
        .collect();
    let Some((numbers, (&low, &high))) = numbers.as_ref().and_then(|numbers| {
        let range = numbers.first_key_value()?.0;
        Some((numbers, (range, numbers.last_key_value()?.0)))
    }) else {
        return false;
    };
    let is_dense = (high - low) / 2 < numbers.len() as u64;
    let half = numbers.len() / 2;
    let lower: u64 = numbers.values().take(half).sum();
    let upper: u64 = numbers.values().rev().take(half).sum();
    is_dense
        && upper.saturating_mul(2) <= lower
        && numbers.last_key_value().is_some_and(|(_, last)| *last <= 1)
}

/// What stands for all these names, which have the same signature.
fn template(names: &[String]) -> Option<Segment> {
    let cut: Vec<Vec<_>> = names.iter().map(|name| tokens(name)).collect();
    let first = cut.first()?;
    let mut parts = Vec::new();
    for (at, token) in first.iter().enumerate() {
        let texts: BTreeSet<&str> = cut
            .iter()
            .filter_map(|tokens| tokens.get(at))
            .map(|token| token.text)
            .collect();
        match token.class {
            Some(class) if texts.len() > 1 => parts.extend(wildcard(class, &texts)),
            _ => parts.push(Part::Literal(token.text.to_owned())),
        }
    }
    let segment = Segment::new(parts);
    (segment.literal().is_none() && segment.is_short()).then_some(segment)
}

/// What stands for these texts of one class.
fn wildcard(class: Class, texts: &BTreeSet<&str>) -> Vec<Part> {
    let lengths = |texts: &BTreeSet<&str>| {
        let lengths = || texts.iter().map(|text| text.len());
        (lengths().min().unwrap_or(0), lengths().max().unwrap_or(0))
    };
    let (min, max) = lengths(texts);
    match class {
        Class::Int | Class::Uuid | Class::Date => {
            let (min, max) = class.bounds();
            vec![Part::Any { class, min, max }]
        }
        Class::Hex | Class::Random => vec![Part::Any { class, min, max }],
        Class::Mixed => {
            let prefix = common_letters(texts);
            let rest: BTreeSet<&str> = texts.iter().map(|text| &text[prefix.len()..]).collect();
            let (min, max) = lengths(&rest);
            let all = |class: Class| min >= class.bounds().0 && rest.iter().all(|text| class.holds(text));
            let class = if all(Class::Int) {
                return vec![
                    Part::Literal(prefix.to_owned()),
                    Part::Any {
                        class: Class::Int,
                        min: Class::Int.bounds().0,
                        max: Class::Int.bounds().1,
                    },
                ];
            } else if all(Class::Hex) {
                Class::Hex
            } else if prefix.len() >= PREFIX_MIN && min >= RANDOM_MIN && min == max {
                Class::Random
            } else if rest.iter().all(|text| class_of(text).is_some()) && all(Class::Mixed) {
                Class::Mixed
            } else {
                // Cut off its letters, one of them would be a word or a number.
                let (min, max) = lengths(texts);
                return vec![Part::Any { class, min, max }];
            };
            vec![Part::Literal(prefix.to_owned()), Part::Any { class, min, max }]
        }
    }
}

/// The letters that all texts begin with.
fn common_letters<'a>(texts: &BTreeSet<&'a str>) -> &'a str {
    let (Some(first), Some(last)) = (texts.first(), texts.last()) else {
        return "";
    };
    // What the first and the last in order have in common, all have.
    let length = first
        .bytes()
        .zip(last.bytes())
        .take_while(|(left, right)| left == right && left.is_ascii_alphabetic())
        .count();
    &first[..length]
}

#[cfg(test)]
mod tests {
    use super::super::{Matcher, Path};
    use super::*;
    use proptest::prelude::*;

    fn patterns(literals: &[(String, u64)]) -> Vec<String> {
        mine::<Path>(
            literals.iter().map(|(path, units)| (path.as_str(), *units)),
            |path| path.contains("secret"),
        )
        .iter()
        .map(ToString::to_string)
        .collect()
    }

    fn each(count: u64, units: u64, path: impl Fn(u64) -> String) -> Vec<(String, u64)> {
        (0..count).map(|number| (path(number), units)).collect()
    }

    /// As session names are: no two alike.
    fn scrambled(number: u64) -> u64 {
        (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    #[test]
    fn open_sets_become_typed_templates() {
        let cases = [
            (
                each(30, 1, |n| format!("/tmp/sess-{:016x}", scrambled(n))),
                vec!["/tmp/sess-<hex:16>"],
            ),
            (
                each(30, 1, |n| format!("/proc/{}/stat", 100 + n)),
                vec!["/proc/<int>/stat"],
            ),
            (
                each(28, 1, |n| format!("/var/log/x/2026-11-{:02}.log", n + 1)),
                vec!["/var/log/x/<date>.log"],
            ),
            (
                each(30, 1, |n| {
                    format!(
                        "/var/lib/x/6ba7b810-9dad-11d1-80b4-{:012x}/data",
                        scrambled(n) >> 16
                    )
                }),
                vec!["/var/lib/x/<uuid>/data"],
            ),
            (
                each(30, 1, |n| format!("/tmp/tmpa{}bcd{}", n % 10, n / 10)),
                vec!["/tmp/tmpa<mixed:5>"],
            ),
            (
                each(30, 1, |n| format!("/tmp/worker{n}.sock")),
                vec!["/tmp/worker<int>.sock"],
            ),
        ];
        for (literals, expected) in cases {
            assert_eq!(patterns(&literals), expected);
        }
    }

    #[test]
    fn a_counter_that_begins_anew_is_open() {
        // Forty runs, each of which came to another number.
        let runs = |path: fn(u64) -> String| -> Vec<(String, u64)> {
            (0..40).map(|number| (path(number), 40 - number)).collect()
        };
        assert_eq!(
            patterns(&runs(|n| format!("/var/lib/nginx/body/{n:010}"))),
            ["/var/lib/nginx/body/<int>"]
        );
        assert_eq!(patterns(&runs(|n| format!("./base/{n}/1"))), ["./base/<int>/1"]);
        // Sparse numbers, and such of which the highest is as common as any other, are names.
        assert_eq!(patterns(&runs(|n| format!("/data/{}", n * n * 100))), [""; 0]);
        let mut all = runs(|n| format!("/data/{n}"));
        all.push(("/data/40".to_owned(), 40));
        assert_eq!(patterns(&all), [""; 0]);
    }

    #[test]
    fn what_is_closed_stays_as_it_is() {
        // Many, but each of them every hour.
        assert_eq!(patterns(&each(500, 50, |n| format!("/data/{n}"))), [""; 0]);
        // Words, even if each was seen once.
        let word = |n: u64| format!("/data/{}", char::from(b'a' + (n % 26) as u8)).repeat(2);
        assert_eq!(patterns(&each(26, 1, word)), [""; 0]);
        // Too few incidences, too few names.
        assert_eq!(patterns(&each(19, 1, |n| format!("/data/{n}"))), [""; 0]);
        assert_eq!(patterns(&each(4, 5, |n| format!("/data/{n}"))), [""; 0]);
        // Top level, and trees that images ship.
        assert_eq!(patterns(&each(50, 1, |n| format!("/{n}"))), [""; 0]);
        assert_eq!(patterns(&each(50, 1, |n| format!("/etc/{n}"))), [""; 0]);
        // Secrets, also below.
        assert_eq!(patterns(&each(50, 1, |n| format!("/data/secret-{n}"))), [""; 0]);
        assert_eq!(patterns(&each(50, 1, |n| format!("/data/{n}/secret"))), [""; 0]);
    }

    #[test]
    fn a_busy_neighbour_hides_no_open_set() {
        let mut literals = each(30, 1, |n| format!("/tmp/sess-{:016x}", scrambled(n)));
        literals.push(("/tmp/access.log".to_owned(), 10_000));
        assert_eq!(patterns(&literals), ["/tmp/sess-<hex:16>"]);
    }

    fn any_path() -> impl Strategy<Value = (String, u64)> {
        let segment = prop_oneof![
            2 => "[a-c]",
            2 => "[0-9]{1,3}",
            2 => "s-[0-9a-f]{8}",
            1 => "tmp[a-z0-9]{6}",
            1 => "2026-1[0-2]-[0-2][0-9]",
            1 => "secret",
            1 => "[a-z0-9<>:é_-]{1,6}",
        ];
        (proptest::collection::vec(segment, 1..5), 1..4_u64)
            .prop_map(|(segments, units)| (format!("/var/{}", segments.join("/")), units))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn whatever_is_left_out_is_matched_and_order_is_nothing(
            literals in proptest::collection::vec(any_path(), 0..150),
            turn in any::<prop::sample::Index>(),
        ) {
            let found = patterns(&literals);
            let mut turned = literals.clone();
            if !turned.is_empty() {
                let by = turn.index(turned.len());
                turned.rotate_left(by);
            }
            prop_assert_eq!(&patterns(&turned), &found);

            let mined = mine::<Path>(
                literals.iter().map(|(path, units)| (path.as_str(), *units)),
                |path| path.contains("secret"),
            );
            // Texts are what is sent: they have to mean the same.
            for pattern in &mined {
                prop_assert_eq!(&pattern.to_string().parse::<Pattern<Path>>().unwrap(), pattern);
            }
            let matcher = Matcher::compile(mined);
            // A name without any protected neighbour in its group is covered as soon as its group is.
            for pattern in matcher.patterns() {
                let covered = literals
                    .iter()
                    .filter(|(path, _)| matcher.find(path) == Some(pattern))
                    .count();
                prop_assert!(covered > 0, "{pattern} stands for nothing that was seen");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_template_stands_for_all_that_it_was_made_of(
            names in proptest::collection::btree_set("(tmp|s-)?[a-f0-9]{1,9}(\\.log)?", 5..60),
        ) {
            let mut groups: BTreeMap<_, Vec<String>> = BTreeMap::new();
            for name in names {
                if let Some(signature) = signature(&name) {
                    groups.entry(signature).or_default().push(name);
                }
            }
            for names in groups.into_values() {
                if let Some(template) = template(&names) {
                    for name in &names {
                        prop_assert!(template.matches(name), "{template} does not stand for {name}");
                    }
                }
            }
        }
    }
}
