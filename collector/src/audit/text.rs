//! The line form that entries, manifests and proofs share: a first line that names what it is, then lines of a name
//! and values, one space between them, in a fixed order.

use norma_tlog::Hash;
use std::fmt;

/// Text that is not of the form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} is not {expected}")]
pub struct Malformed {
    /// From 1; 0 where it is about the whole.
    pub line: usize,
    /// What it should be.
    pub expected: String,
}

/// The lines that are not read yet.
#[derive(Debug)]
pub struct Lines<'a> {
    whole: &'a str,
    rest: std::iter::Peekable<std::str::Split<'a, char>>,
    line: usize,
}

impl<'a> Lines<'a> {
    /// Of text that ends with a newline.
    pub fn of(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let wrong = || Malformed {
            line: 0,
            expected: "text that ends with a newline".to_owned(),
        };
        let whole = std::str::from_utf8(bytes).map_err(|_| wrong())?;
        let rest = whole.strip_suffix('\n').ok_or_else(wrong)?.split('\n').peekable();
        Ok(Self { whole, rest, line: 0 })
    }

    /// A line as it is.
    pub fn word(&mut self) -> Result<&'a str, Malformed> {
        self.line += 1;
        self.rest.next().ok_or_else(|| self.wrong("there"))
    }

    /// The values of a line of this name.
    pub fn values(&mut self, name: &str, count: usize) -> Result<Vec<&'a str>, Malformed> {
        let line = self.word()?;
        let values = line.strip_prefix(name).and_then(|rest| rest.strip_prefix(' '));
        let values: Vec<&str> = values
            .map(|values| values.split(' ').collect())
            .unwrap_or_default();
        if values.len() == count {
            Ok(values)
        } else {
            Err(self.wrong(&format!("`{name}` and {count} values")))
        }
    }

    /// The values of a line of this name, if it is the next one.
    pub fn more(&mut self, name: &str, count: usize) -> Result<Option<Vec<&'a str>>, Malformed> {
        let next = self.rest.peek().and_then(|line| line.strip_prefix(name));
        if next.is_some_and(|rest| rest.starts_with(' ')) {
            self.values(name, count).map(Some)
        } else {
            Ok(None)
        }
    }

    /// A line of one number.
    pub fn number(&mut self, name: &str) -> Result<u64, Malformed> {
        let values = self.values(name, 1)?;
        self.parse(values.first().copied())
    }

    /// A line of two numbers.
    pub fn pair(&mut self, name: &str) -> Result<(u64, u64), Malformed> {
        let values = self.values(name, 2)?;
        Ok((
            self.parse(values.first().copied())?,
            self.parse(values.get(1).copied())?,
        ))
    }

    /// A line of one hash.
    pub fn hash(&mut self, name: &str) -> Result<Hash, Malformed> {
        let values = self.values(name, 1)?;
        self.parse(values.first().copied())
    }

    /// One value.
    pub fn parse<T: std::str::FromStr>(&self, value: Option<&str>) -> Result<T, Malformed> {
        value
            .and_then(|value| value.parse().ok())
            .ok_or_else(|| self.wrong("of readable values"))
    }

    /// Whether what was read is written just so.
    pub fn canonical(&self, read: &impl fmt::Display) -> Result<(), Malformed> {
        if read.to_string() == self.whole {
            Ok(())
        } else {
            Err(Malformed {
                line: 0,
                expected: "written in its one form".to_owned(),
            })
        }
    }

    /// The last line read is not what it should be.
    pub fn wrong(&self, expected: &str) -> Malformed {
        Malformed {
            line: self.line,
            expected: expected.to_owned(),
        }
    }
}
