//! Command lines reduced to what stays the same from one run to the next.

use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::sync::Arc;

/// Most tokens that are kept; the rest is `…`.
const TOKENS_MAX: usize = 16;
/// Longest flag or word that is kept as it is.
const LITERAL_MAX: usize = 24;
/// From here on a run of hexadecimal digits is a number or digest and not a word.
const HEX_MIN: usize = 8;

/// The form of a command line without its first word: flags as they are, values by their type. `-c <path>
/// --workers=<int> start`. Values themselves are never kept: they change, and they can be secrets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ArgumentShape<S = Arc<str>>(S);

impl ArgumentShape {
    /// The shape of what follows the first word of a command line.
    pub fn of<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Self {
        let mut out = String::new();
        let mut last = String::new();
        let mut repeated = false;
        let mut kept = 0;
        for argument in arguments {
            let token = token(argument, kept == 0);
            // Files of a list are as many as there happen to be.
            if token == last && token.starts_with('<') {
                if !repeated {
                    out.push('+');
                    repeated = true;
                }
                continue;
            }
            if kept > 0 {
                out.push(' ');
            }
            if kept == TOKENS_MAX {
                out.push('…');
                break;
            }
            out.push_str(&token);
            last = token;
            repeated = false;
            kept += 1;
        }
        Self(Arc::from(out))
    }
}

impl<S> ArgumentShape<S> {
    pub(super) const fn from_stored(text: S) -> Self {
        Self(text)
    }

    pub(super) const fn stored(&self) -> &S {
        &self.0
    }
}

impl<S: AsRef<str>> ArgumentShape<S> {
    /// As text; empty for a command without arguments.
    pub fn as_str(&self) -> &str {
        self.0.as_ref()
    }
}

fn token(argument: &str, first: bool) -> String {
    let is_flag = argument.starts_with('-') && argument.bytes().any(|byte| byte.is_ascii_alphabetic());
    if is_flag {
        return match argument.split_once('=') {
            Some((flag, value)) if is_literal(flag) => format!("{flag}={}", value_type(value)),
            None if is_literal(argument) => short_flag(argument),
            _ => "<flag>".to_owned(),
        };
    }
    // `git clone`, `nginx start`: the first plain word decides what the program does.
    if first
        && is_literal(argument)
        && argument
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte == b'-')
    {
        return argument.to_owned();
    }
    value_type(argument).to_owned()
}

/// Behind one dash, all but the first letter can be a value: `-j8`, `-psecret`.
fn short_flag(flag: &str) -> String {
    if flag.starts_with("--") || flag.len() <= 2 {
        return flag.to_owned();
    }
    let (letter, value) = flag.split_at(2);
    format!("{letter}{}", value_type(value))
}

fn is_literal(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= LITERAL_MAX
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
        && !looks_chosen(text)
}

/// More digits than a name has: an identifier that somebody or something made up.
fn looks_chosen(text: &str) -> bool {
    text.bytes().filter(u8::is_ascii_digit).count() > 4
}

fn value_type(value: &str) -> &'static str {
    let hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let unsigned = value.strip_prefix(['-', '+']).unwrap_or(value);
    if value.is_empty() {
        "<empty>"
    } else if unsigned.bytes().all(|byte| byte.is_ascii_digit()) {
        "<int>"
    } else if unsigned.parse::<f64>().is_ok() {
        "<number>"
    } else if value.parse::<IpAddr>().is_ok() {
        "<address>"
    } else if is_uuid(value) {
        "<uuid>"
    } else if value.contains("://") {
        "<url>"
    } else if value.bytes().any(|byte| byte.is_ascii_whitespace()) {
        "<text>"
    } else if value.contains('/') {
        "<path>"
    } else if value.len() >= HEX_MIN && hex(value) {
        "<hex>"
    } else {
        "<word>"
    }
}

/// 8-4-4-4-12 hexadecimal digits.
pub(crate) fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shape(line: &str) -> String {
        ArgumentShape::of(line.split(' ').filter(|word| !word.is_empty()))
            .as_str()
            .to_owned()
    }

    #[test]
    fn flags_stay_and_values_become_types() {
        assert_eq!(shape("-c /etc/nginx.conf -g quiet"), "-c <path> -g <word>");
        assert_eq!(
            shape("start --workers=4 --id=0badc0de99"),
            "start --workers=<int> --id=<hex>"
        );
        assert_eq!(shape("a.txt b.txt c.txt -v"), "<word>+ -v");
        assert_eq!(shape("-j8 -p 10.0.0.1 -1"), "-j<int> -p <address> <int>");
        assert_eq!(shape("clone https://x/y"), "clone <url>");
        assert_eq!(shape(""), "");
        assert_eq!(ArgumentShape::of(["-c", "id; uname -a"]).as_str(), "-c <text>");
    }

    #[test]
    fn no_value_is_kept() {
        for secret in ["hunter2", "AKIA1234567890", "--password=hunter2", "-phunter"] {
            assert!(
                !ArgumentShape::of(["x", secret]).as_str().contains("hunter"),
                "{secret}"
            );
            assert!(
                !ArgumentShape::of(["x", secret]).as_str().contains("AKIA"),
                "{secret}"
            );
        }
    }

    proptest! {
        #[test]
        fn it_is_bounded(arguments in proptest::collection::vec(".{0,80}", 0..200)) {
            let shape = ArgumentShape::of(arguments.iter().map(String::as_str));
            prop_assert!(shape.as_str().len() <= TOKENS_MAX * (LITERAL_MAX + 12) + 8);
        }
    }
}
