//! The head: the newest record that is known to be durable.

use super::format::Hash;
use crate::durable;
use std::fmt;
use std::fs;
use std::io;
use std::path::Path;
use std::str::FromStr;

const FILE: &str = "head";

/// Index and chain hash of a record; 0 and zeros before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Index of the record.
    pub index: u64,
    /// Its chain hash, which stands for it and everything before it.
    pub hash: Hash,
}

impl Head {
    /// Reads the head of a log; `None` where there is none.
    pub fn read(directory: &Path) -> io::Result<Option<Self>> {
        match fs::read_to_string(directory.join(FILE)) {
            Ok(text) => match text.trim().parse::<Self>() {
                Ok(head) if format!("{head}\n") == text => Ok(Some(head)),
                Ok(_) => Err(io::Error::other(
                    "it was changed: it is not written as the collector does",
                )),
                Err(error) => Err(io::Error::other(error)),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Replaces the head of a log.
    pub fn write(&self, directory: &Path, sync: durable::Sync) -> io::Result<()> {
        durable::replace(&directory.join(FILE), format!("{self}\n").as_bytes(), sync)
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.index, self.hash)
    }
}

impl FromStr for Head {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (index, hash) = text
            .split_once(':')
            .ok_or_else(|| format!("`{text}` is not a head such as `1234:<64 hex digits>`"))?;
        let index = index
            .parse()
            .map_err(|_| format!("`{index}` is not the index of a record"))?;
        Ok(Self {
            index,
            hash: hash.parse()?,
        })
    }
}
