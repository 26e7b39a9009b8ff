//! Names cut into tokens, each with the narrowest class that it has.

use crate::fact::is_uuid;

/// From here on a run of hexadecimal digits is a number or digest and not a word.
const HEX_MIN: usize = 8;

/// What a wildcard stands for. Each is ASCII, within one path component or label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// Decimal digits.
    Int,
    /// Hexadecimal digits.
    Hex,
    /// 8-4-4-4-12 hexadecimal digits.
    Uuid,
    /// YYYYMMDD, with `-`, `_` or nothing between.
    Date,
    /// Letters and digits, of each at least one.
    Mixed,
    /// Letters or digits. Only behind letters that all have: `tmp<random:6>`.
    Random,
}

impl Class {
    pub(super) const ALL: [Self; 6] = [
        Self::Int,
        Self::Hex,
        Self::Uuid,
        Self::Date,
        Self::Mixed,
        Self::Random,
    ];

    /// As in the text of a pattern.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Int => "int",
            Self::Hex => "hex",
            Self::Uuid => "uuid",
            Self::Date => "date",
            Self::Mixed => "mixed",
            Self::Random => "random",
        }
    }

    /// Shortest and longest text.
    pub(super) const fn bounds(self) -> (usize, usize) {
        match self {
            Self::Int => (1, 20),
            Self::Hex => (HEX_MIN, 128),
            Self::Uuid => (36, 36),
            Self::Date => (8, 10),
            Self::Mixed => (2, 128),
            Self::Random => (4, 128),
        }
    }

    /// The whole text is of this class.
    pub(super) fn holds(self, text: &str) -> bool {
        let bytes = text.as_bytes();
        match self {
            Self::Int => bytes.iter().all(u8::is_ascii_digit),
            Self::Hex => bytes.iter().all(u8::is_ascii_hexdigit),
            Self::Uuid => is_uuid(text),
            Self::Date => date_length(text) == Some(text.len()),
            Self::Mixed => {
                bytes.iter().all(u8::is_ascii_alphanumeric)
                    && bytes.iter().any(u8::is_ascii_digit)
                    && bytes.iter().any(u8::is_ascii_alphabetic)
            }
            Self::Random => bytes.iter().all(u8::is_ascii_alphanumeric),
        }
    }
}

/// A piece of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub text: &'a str,
    /// `None` for what never varies: words and what separates them.
    pub class: Option<Class>,
}

/// Cuts a name where letters and digits end; a date and a UUID are one piece.
pub(super) fn tokens(name: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut rest = name;
    while !rest.is_empty() {
        let run = run_length(rest);
        let (length, class) = if run == 0 {
            let length = rest.chars().next().map_or(1, char::len_utf8);
            (length, None)
        } else if rest.get(..36).is_some_and(is_uuid) && run_length(&rest[36..]) == 0 {
            (36, Some(Class::Uuid))
        } else if let Some(date) = date_length(rest).filter(|date| run_length(&rest[*date..]) == 0) {
            (date, Some(Class::Date))
        } else {
            (run, class_of(&rest[..run]))
        };
        let (text, after) = rest.split_at(length);
        tokens.push(Token { text, class });
        rest = after;
    }
    tokens
}

fn run_length(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_alphanumeric).count()
}

/// Of letters and digits.
pub(super) fn class_of(run: &str) -> Option<Class> {
    if Class::Int.holds(run) {
        (run.len() <= Class::Int.bounds().1).then_some(Class::Int)
    } else if !Class::Mixed.holds(run) {
        // Letters alone are a word, even where all of them happen to be hexadecimal digits.
        None
    } else if run.len() >= HEX_MIN && Class::Hex.holds(run) {
        Some(Class::Hex)
    } else {
        Some(Class::Mixed)
    }
}

/// How much of the beginning of a text is a date, in bytes.
fn date_length(text: &str) -> Option<usize> {
    let number = |at: usize, length: usize| -> Option<u32> {
        let digits = text.get(at..at + length)?;
        Class::Int.holds(digits).then(|| digits.parse().ok()).flatten()
    };
    let year = number(0, 4)?;
    let separator = match text.as_bytes().get(4)? {
        b'-' | b'_' => 1,
        _ => 0,
    };
    let month = number(4 + separator, 2)?;
    if separator == 1 && text.as_bytes().get(7) != text.as_bytes().get(4) {
        return None;
    }
    let day = number(6 + 2 * separator, 2)?;
    ((1970..2100).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day))
        .then_some(8 + 2 * separator)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn classes(name: &str) -> Vec<String> {
        tokens(name)
            .iter()
            .map(|token| match token.class {
                Some(class) => format!("<{}>", class.name()),
                None => token.text.to_owned(),
            })
            .collect()
    }

    #[test]
    fn each_piece_has_its_narrowest_class() {
        for (name, expected) in [
            ("sess-0badc0de99", "sess - <hex>"),
            ("access.log.3", "access . log . <int>"),
            ("2026-11-21.log", "<date> . log"),
            ("backup_20261121.tar", "backup _ <date> . tar"),
            ("20261399", "<int>"),
            ("2026-11_21", "<int> - <int> _ <int>"),
            ("a-6ba7b810-9dad-11d1-80b4-00c04fd430c8", "a - <uuid>"),
            ("tmpab3kx9q", "<mixed>"),
            ("deadbeef", "deadbeef"),
            ("passwd", "passwd"),
            ("é7", "é <int>"),
        ] {
            assert_eq!(classes(name).join(" "), expected, "{name}");
        }
    }

    proptest! {
        #[test]
        fn pieces_make_up_the_name(name in ".{0,60}") {
            let joined: String = tokens(&name).iter().map(|token| token.text).collect();
            prop_assert_eq!(joined, name.clone());
            for token in tokens(&name) {
                if let Some(class) = token.class {
                    prop_assert!(class.holds(token.text));
                }
            }
        }
    }
}
