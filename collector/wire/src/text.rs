//! Texts from the node as printable UTF-8, without loss.

use std::fmt::{self, Write as _};

/// Bytes that are displayed in lower-case hex.
#[derive(Clone, Copy, Debug)]
pub struct Hex<'a>(pub &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Bytes as UTF-8 in which a control or bidirectional character, a backslash or a byte that is not UTF-8 is `\xNN`.
///
/// The result holds no line break and no terminal control sequence, whatever a program put into its
/// name or arguments, and different inputs give different results.
pub fn printable(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if is_deceptive(character) || character == '\\' {
                let mut buffer = [0; 4];
                for byte in character.encode_utf8(&mut buffer).bytes() {
                    push_escape(&mut out, byte);
                }
            } else {
                out.push(character);
            }
        }
        for byte in chunk.invalid() {
            push_escape(&mut out, *byte);
        }
    }
    out
}

/// Text in which a control character is `\xNN`, so that it is one line; a backslash stays, since
/// [`printable`] texts are meant.
pub fn single_line(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if is_deceptive(character) {
            let mut buffer = [0; 4];
            character
                .encode_utf8(&mut buffer)
                .bytes()
                .for_each(|byte| push_escape(&mut out, byte));
        } else {
            out.push(character);
        }
    }
    out
}

/// A character that can break a line or make it read as something else: controls, line and paragraph
/// separators, and those that change the direction of text (Unicode TR 36, bidirectional spoofing).
fn is_deceptive(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn push_escape(out: &mut String, byte: u8) {
    // Writing to a String cannot fail.
    let _infallible = write!(out, "\\x{byte:02x}");
}

/// The bytes that [`printable`] was given; `None` where `text` is not such a text.
pub fn original(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        if *first == b'\\' {
            let digits = std::str::from_utf8(tail.strip_prefix(b"x")?.get(..2)?).ok()?;
            out.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &tail[3..];
        } else {
            out.push(*first);
            rest = tail;
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn hostile_names_cannot_break_a_line() {
        assert_eq!(printable(b"/tmp/a\nb\x1b[31m\\x"), "/tmp/a\\x0ab\\x1b[31m\\x5cx");
        assert_eq!(printable(b"/caf\xc3\xa9/\xff"), "/café/\\xff");
        assert_eq!(printable("a\u{202e}fdp".as_bytes()), "a\\xe2\\x80\\xaefdp");
    }

    proptest! {
        #[test]
        fn round_trips(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let text = printable(&bytes);
            prop_assert!(!text.chars().any(char::is_control));
            prop_assert_eq!(original(&text), Some(bytes));
        }
    }
}
