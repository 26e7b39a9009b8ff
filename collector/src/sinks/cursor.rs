//! How far a sink has delivered, on disk.

use crate::durable::{self, Sync};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The record that a sink delivers next. A file with its index, replaced as a whole.
#[derive(Debug)]
pub struct Cursor {
    path: PathBuf,
    next_index: u64,
}

impl Cursor {
    /// The cursor of the sink `name`; a new one is at the first record.
    pub fn open(directory: &Path, name: &str) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let path = directory.join(name);
        let next_index = match fs::read_to_string(&path) {
            Ok(text) => text.trim().parse().map_err(|_| {
                io::Error::other("it is not the index of a record; remove it to send everything again")
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => 1,
            Err(error) => return Err(error),
        };
        Ok(Self { path, next_index })
    }

    /// Index of the record that is delivered next.
    pub fn next_index(&self) -> u64 {
        self.next_index
    }

    /// Everything before `next_index` is delivered.
    pub fn advance(&mut self, next_index: u64) -> io::Result<()> {
        if next_index != self.next_index {
            durable::replace(&self.path, format!("{next_index}\n").as_bytes(), Sync::Now)?;
            self.next_index = next_index;
        }
        Ok(())
    }
}
