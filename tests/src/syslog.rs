//! Messages as a SIEM gets them: RFC 5424.

use std::collections::BTreeMap;

/// One message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// 0 (emergency) to 7 (debug).
    pub severity: u8,
    /// As written.
    pub time: String,
    /// The node.
    pub host: String,
    /// MSGID.
    pub id: String,
    /// Structured data, all elements in one map.
    pub data: BTreeMap<String, String>,
    /// The free text.
    pub text: String,
}

impl Message {
    /// Reads a message; `None` where it is not one.
    pub fn parse(line: &str) -> Option<Self> {
        let (priority, rest) = line.strip_prefix('<')?.split_once('>')?;
        let priority: u8 = priority.parse().ok()?;
        let mut words = rest.splitn(7, ' ');
        if words.next()? != "1" {
            return None;
        }
        let mut word = || words.next().map(str::to_owned);
        let (time, host, _app, _process, id) = (word()?, word()?, word()?, word()?, word()?);
        let (data, text) = structured_data(&word()?)?;
        Some(Self {
            severity: priority % 8,
            time,
            host,
            id,
            data,
            text,
        })
    }
}

/// Splits structured data from the text that follows it.
fn structured_data(rest: &str) -> Option<(BTreeMap<String, String>, String)> {
    let mut data = BTreeMap::new();
    let text = |rest: &str| {
        rest.trim_start_matches(' ')
            .trim_start_matches('\u{feff}')
            .to_owned()
    };
    if let Some(rest) = rest.strip_prefix('-') {
        return Some((data, text(rest)));
    }
    let mut rest = rest;
    while let Some(element) = rest.strip_prefix('[') {
        let end = element.find([' ', ']'])?;
        rest = &element[end..];
        while let Some(parameter) = rest.strip_prefix(' ') {
            let (name, value) = parameter.split_once("=\"")?;
            let (value, after) = unescape(value)?;
            data.insert(name.to_owned(), value);
            rest = after;
        }
        rest = rest.strip_prefix(']')?;
    }
    Some((data, text(rest)))
}

/// A parameter's value up to its closing quote, and what follows (RFC 5424, 6.3.3).
fn unescape(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match characters.next()?.1 {
                escaped @ ('"' | '\\' | ']') => value.push(escaped),
                other => value.extend(['\\', other]),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structured_data_is_unescaped() {
        let line = r#"<165>1 2026-01-01T00:00:00.5Z n1 norma 7 novel [norma@1 a="x\"y\]\\z" b="2"][meta sequenceId="1"] hello [x]"#;
        let message = Message::parse(line).unwrap();
        assert_eq!(
            (message.severity, message.host.as_str(), message.id.as_str()),
            (5, "n1", "novel")
        );
        assert_eq!(message.data["a"], "x\"y]\\z");
        assert_eq!(message.data["sequenceId"], "1");
        assert_eq!(message.text, "hello [x]");
    }

    #[test]
    fn other_lines_are_no_messages() {
        for line in [
            "",
            "hello",
            "<34>Oct 11 22:14:15 mymachine su: x",
            "<34>1 - - - - - [unclosed",
        ] {
            assert_eq!(Message::parse(line), None, "{line}");
        }
    }
}
