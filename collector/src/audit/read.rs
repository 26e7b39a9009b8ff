//! Following the log while it is written, from any record on.

use super::frames::Plain;
use super::scan::{Defect, FileScan, Found, Scan, State};
use super::segment::Segment;
use norma_wire::audit::Record;
use std::fs::File;
use std::io::{self, BufReader, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

/// A reader of the log; it checks what it reads as [`verify`](super::verify) does.
#[derive(Debug)]
pub struct Follower {
    directory: PathBuf,
    next_index: u64,
    position: Option<Position>,
}

/// Within a file, after a record.
#[derive(Debug)]
struct Position {
    segment: Segment,
    offset: u64,
    state: State,
}

/// Why the log cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A file cannot be read.
    #[error("cannot read the audit log at {}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// A record is not what was written.
    #[error("{} at byte {offset}: {defect}; run `norma-collector audit verify`", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where the record begins.
        offset: u64,
        /// What is wrong.
        defect: Defect,
    },
    /// The files do not reach back so far.
    #[error("record {index} is not in the audit log at {}", path.display())]
    Missing {
        /// The directory.
        path: PathBuf,
        /// The record.
        index: u64,
    },
}

impl Follower {
    /// Follows the log in `directory` from record `next_index` on.
    pub fn new(directory: &Path, next_index: u64) -> Self {
        Self {
            directory: directory.to_owned(),
            next_index: next_index.max(1),
            position: None,
        }
    }

    /// Index of the record that is read next.
    pub fn next_index(&self) -> u64 {
        self.next_index
    }

    /// Up to `max` of the next records that are durable, which is those up to index `durable`.
    ///
    /// What lies after it in the file may yet be cut back and written anew, so it is not looked at.
    pub fn read(&mut self, durable: u64, max: usize) -> Result<Vec<Record>, ReadError> {
        let mut records = Vec::new();
        while records.len() < max && self.next_index <= durable {
            let (segment, mut scan) = self.open()?;
            while records.len() < max && self.next_index <= durable {
                match scan.next() {
                    Ok(Some(Found { record, .. })) if record.index < self.next_index => {}
                    Ok(Some(Found { record, .. })) => {
                        self.next_index = record.index + 1;
                        records.push(record.clone());
                    }
                    Ok(None) => break,
                    Err(defect) => {
                        let offset = scan.offset();
                        return Err(ReadError::Damaged {
                            path: segment.path,
                            offset,
                            defect,
                        });
                    }
                }
            }
            let at_end = scan.is_at_end();
            self.position = Some(Position {
                segment,
                offset: scan.offset(),
                state: scan.into_state(),
            });
            if at_end
                && self.next_index <= durable
                && let Err(error) = self.advance()
            {
                // What was read counts; the next call says what is missing.
                return if records.is_empty() {
                    Err(error)
                } else {
                    Ok(records)
                };
            }
        }
        Ok(records)
    }

    fn open(&mut self) -> Result<(Segment, FileScan), ReadError> {
        match self.position.take() {
            Some(Position {
                segment,
                offset,
                state,
            }) => {
                let scan = resume(&segment.path, offset, state).map_err(io_error(&segment.path))?;
                Ok((segment, scan))
            }
            None => {
                let segments = Segment::list(&self.directory).map_err(io_error(&self.directory))?;
                let segment = segments
                    .into_iter()
                    .rev()
                    .find(|segment| segment.first_index <= self.next_index);
                let segment = segment.ok_or_else(|| self.missing())?;
                let scan =
                    Scan::open(&segment.path, segment.first_index, None).map_err(io_error(&segment.path))?;
                Ok((segment, scan))
            }
        }
    }

    /// Goes to the file after the current one.
    fn advance(&mut self) -> Result<(), ReadError> {
        let Some(position) = self.position.take() else {
            return Ok(());
        };
        let next = position.state.index + 1;
        let found = Segment::new(&self.directory, next).path.exists();
        if found && next == self.next_index {
            Ok(())
        } else {
            Err(self.missing())
        }
    }

    fn missing(&self) -> ReadError {
        ReadError::Missing {
            path: self.directory.clone(),
            index: self.next_index,
        }
    }
}

fn resume(path: &Path, offset: u64, state: State) -> io::Result<FileScan> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(offset))?;
    Ok(Scan::resume(
        Plain::new(BufReader::with_capacity(1 << 18, file)),
        length,
        offset,
        state,
    ))
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> ReadError + use<> {
    let path = path.to_owned();
    move |source| ReadError::Io { path, source }
}
