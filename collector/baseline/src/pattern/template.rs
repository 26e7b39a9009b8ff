//! Patterns and how they are written: `/var/lib/x/<uuid>/<date>.log`. A `<` of a name is written `<lt>`.

use super::Kind;
use super::token::Class;
use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

/// Most parts of a segment: each wildcard costs a matching attempt.
const PARTS_MAX: usize = 24;

/// Piece of a segment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// This text.
    Literal(String),
    /// Any text of a class, of so many bytes.
    Any {
        /// The class.
        class: Class,
        /// Shortest.
        min: usize,
        /// Longest.
        max: usize,
    },
}

/// A path component or a label of a name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Segment(Vec<Part>);

impl Segment {
    /// Of parts; neighbouring literals are joined, so that equal segments compare as equal.
    pub(super) fn new(parts: impl IntoIterator<Item = Part>) -> Self {
        let mut joined: Vec<Part> = Vec::new();
        for part in parts {
            match (joined.last_mut(), part) {
                (_, Part::Literal(text)) if text.is_empty() => {}
                (Some(Part::Literal(before)), Part::Literal(text)) => before.push_str(&text),
                (_, part) => joined.push(part),
            }
        }
        Self(joined)
    }

    /// The text, if it has no wildcard.
    #[must_use]
    pub fn literal(&self) -> Option<&str> {
        match self.0.as_slice() {
            [] => Some(""),
            [Part::Literal(text)] => Some(text),
            _ => None,
        }
    }

    /// What it is made of.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.0
    }

    /// It stands for this text.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        matches(&self.0, text, &mut 0)
    }

    pub(super) const fn is_short(&self) -> bool {
        self.0.len() <= PARTS_MAX
    }
}

/// Attempts for one text. What is mined takes a handful; a pattern from elsewhere can be made to take any number.
const ATTEMPTS_MAX: usize = 2_000;

fn matches(parts: &[Part], text: &str, attempts: &mut usize) -> bool {
    *attempts += 1;
    if *attempts > ATTEMPTS_MAX {
        return false;
    }
    let Some((part, rest)) = parts.split_first() else {
        return text.is_empty();
    };
    match part {
        Part::Literal(literal) => text
            .strip_prefix(literal.as_str())
            .is_some_and(|text| matches(rest, text, attempts)),
        Part::Any { class, min, max } => {
            // What a class can be made of at most; a date and a UUID contain separators.
            let reach = text
                .bytes()
                .take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
                .count()
                .min(*max);
            (*min..=reach)
                .rev()
                .any(|length| class.holds(&text[..length]) && matches(rest, &text[length..], attempts))
        }
    }
}

/// A path or name in which some segments vary.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pattern<K> {
    segments: Vec<Segment>,
    kind: PhantomData<K>,
}

impl<K> Pattern<K> {
    pub(super) const fn new(segments: Vec<Segment>) -> Self {
        Self {
            segments,
            kind: PhantomData,
        }
    }

    /// From what is most general to what is most particular.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }
}

/// A text that is no pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAPattern {
    /// It is no absolute path, or no domain name.
    #[error("not an absolute path or a domain name")]
    Form,
    /// What is between `<` and `>` is no class of text.
    #[error("unknown wildcard")]
    Wildcard,
    /// It stands for nothing but itself.
    #[error("it has no wildcard")]
    Literal,
    /// It has more parts than are matched against.
    #[error("a segment has too many wildcards")]
    Long,
}

impl<K: Kind> FromStr for Pattern<K> {
    type Err = NotAPattern;

    fn from_str(text: &str) -> Result<Self, NotAPattern> {
        let segments = K::segments(text)
            .ok_or(NotAPattern::Form)?
            .into_iter()
            .map(str::parse)
            .collect::<Result<Vec<Segment>, _>>()?;
        if segments.iter().all(|segment| segment.literal().is_some()) {
            return Err(NotAPattern::Literal);
        }
        Ok(Self::new(segments))
    }
}

impl FromStr for Segment {
    type Err = NotAPattern;

    fn from_str(text: &str) -> Result<Self, NotAPattern> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((literal, after)) = rest.split_once('<') {
            let (wildcard, after) = after.split_once('>').ok_or(NotAPattern::Wildcard)?;
            parts.push(Part::Literal(literal.to_owned()));
            parts.push(part_of(wildcard)?);
            rest = after;
        }
        parts.push(Part::Literal(rest.to_owned()));
        let segment = Self::new(parts);
        if segment.is_short() {
            Ok(segment)
        } else {
            Err(NotAPattern::Long)
        }
    }
}

fn part_of(wildcard: &str) -> Result<Part, NotAPattern> {
    if wildcard == "lt" {
        return Ok(Part::Literal("<".to_owned()));
    }
    let (name, lengths) = match wildcard.split_once(':') {
        Some((name, lengths)) => (name, Some(lengths)),
        None => (wildcard, None),
    };
    let class = Class::ALL
        .into_iter()
        .find(|class| class.name() == name)
        .ok_or(NotAPattern::Wildcard)?;
    let (shortest, longest) = class.bounds();
    let (min, max) = match lengths {
        None => (shortest, longest),
        Some(lengths) => {
            let (min, max) = lengths.split_once('-').unwrap_or((lengths, lengths));
            let number = |text: &str| text.parse::<usize>().map_err(|_| NotAPattern::Wildcard);
            (number(min)?, number(max)?)
        }
    };
    if min < shortest || max > longest || min > max {
        return Err(NotAPattern::Wildcard);
    }
    Ok(Part::Any { class, min, max })
}

impl fmt::Display for Segment {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.0 {
            match part {
                Part::Literal(text) => out.write_str(&text.replace('<', "<lt>"))?,
                Part::Any { class, min, max } if (*min, *max) == class.bounds() => {
                    write!(out, "<{}>", class.name())?;
                }
                Part::Any { class, min, max } if min == max => write!(out, "<{}:{min}>", class.name())?,
                Part::Any { class, min, max } => write!(out, "<{}:{min}-{max}>", class.name())?,
            }
        }
        Ok(())
    }
}

impl<K: Kind> fmt::Display for Pattern<K> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let segments: Vec<String> = self.segments.iter().map(ToString::to_string).collect();
        out.write_str(&K::join(&segments))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{NamePattern, PathPattern};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn patterns_are_read_as_they_are_written() {
        for text in [
            "/proc/<int>/stat",
            "/tmp/sess-<hex:32>",
            "/a/<mixed:4-9>.<date>/<uuid>",
            "/a<lt>b/tmp<random:6>",
        ] {
            assert_eq!(text.parse::<PathPattern>().unwrap().to_string(), text);
        }
        let name: NamePattern = "<hex:8>.cdn.example.com".parse().unwrap();
        assert_eq!(name.to_string(), "<hex:8>.cdn.example.com");
        assert_eq!(name.segments()[0].literal(), Some("com"));
    }

    #[test]
    fn what_would_match_too_much_is_no_pattern() {
        for text in [
            "/a/*",
            "/a/<any>",
            "/a/<hex:1>",
            "/a/<hex:9-8>",
            "/a/<random>x<",
            "relative/<int>",
            "/plain",
            "//<int>",
            "/../<int>",
        ] {
            let parsed = text.parse::<PathPattern>();
            assert!(parsed.is_err(), "{text}: {parsed:?}");
        }
    }

    #[test]
    fn a_pattern_cannot_be_made_to_take_forever() {
        let hostile: Segment = "<int>".repeat(24).parse().unwrap();
        assert!(!hostile.matches(&("1".repeat(250) + "x")));
        assert!("<int>".repeat(25).parse::<Segment>().is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_a_pattern_or_none(
            pattern in "(/(<(int|hex|uuid|date|mixed|random|lt|x)(:[0-9]{1,3})?(-[0-9]{1,3})?>|[a-z<>é]){0,4}){0,4}",
            text in "(/[a-z0-9<>é-]{0,12}){0,4}",
        ) {
            if let Ok(pattern) = pattern.parse::<PathPattern>() {
                prop_assert_eq!(&pattern.to_string().parse::<PathPattern>().unwrap(), &pattern);
                let written = pattern.to_string();
                let matcher = super::super::Matcher::compile([pattern].into());
                let found = matcher.find(&text);
                prop_assert!(found.is_none_or(|found| **found == *written));
            }
        }
    }

    #[test]
    fn a_wildcard_takes_its_class_and_nothing_else() {
        let matches = |pattern: &str, text: &str| pattern.parse::<Segment>().unwrap().matches(text);
        assert!(matches("sess-<hex:8>", "sess-0badc0de"));
        assert!(
            matches("sess-<hex:8>", "sess-12345678"),
            "digits are hexadecimal too"
        );
        assert!(!matches("sess-<hex:8>", "sess-0badc0de0"));
        assert!(!matches("sess-<hex:8>", "sess-shadowed"));
        assert!(matches("<date>.log", "2026-11-21.log"));
        assert!(!matches("<date>.log", "2026-11-99.log"));
        assert!(!matches("<mixed:6>", "passwd"));
        assert!(matches("tmp<random:6>", "tmpabcdef"));
        assert!(matches("a<int>-<int>b", "a1-22b"));
        assert!(!matches("<int>", "1/2"));
        assert!(!matches("<int>", "1é"));
    }
}
