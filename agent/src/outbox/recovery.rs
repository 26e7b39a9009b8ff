//! What is found when the spool is opened, and its repair.

use super::segment::{Item, Scanner};
use super::{OutboxError, Repair, Segment, remove};
use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

/// Takes the directory for this agent alone, until the file is dropped.
pub(super) fn lock(directory: &Path) -> Result<File, OutboxError> {
    let path = directory.join("lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|reason| OutboxError::Io {
            path: path.clone(),
            reason,
        })?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(OutboxError::Locked {
            path: directory.to_owned(),
        }),
        Err(error) => Err(OutboxError::Io {
            path,
            reason: error.into(),
        }),
    }
}

/// Finds the segments, repairs the newest, and tells the epoch.
pub(super) fn recover(directory: &Path, repairs: &mut Vec<Repair>) -> io::Result<(u64, VecDeque<Segment>)> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(directory)?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "spool"))
        .collect();
    paths.sort();
    let mut epoch = None;
    let mut segments = VecDeque::new();
    let count = paths.len();
    for (position, path) in paths.into_iter().enumerate() {
        let scanner = match Scanner::open(&path) {
            Ok(scanner) => scanner,
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                // Made and never written to, or not a segment at all: there is no record to lose or save.
                let bytes = std::fs::metadata(&path).map_or(0, |metadata| metadata.len());
                repairs.push(Repair {
                    what: format!("segment {} without a header was removed", path.display()),
                    bytes,
                });
                remove(&path);
                continue;
            }
            Err(error) => return Err(error),
        };
        let header = scanner.header();
        if epoch.is_some_and(|epoch| epoch != header.epoch) {
            repairs.push(Repair {
                what: format!("segment {} is of another epoch and was set aside", path.display()),
                bytes: 0,
            });
            std::fs::rename(&path, path.with_extension("foreign"))?;
            continue;
        }
        epoch = Some(header.epoch);
        let newest = position + 1 == count;
        let segment = inspect(&path, header.first, scanner, newest, repairs)?;
        segments.push_back(segment);
    }
    Ok((epoch.unwrap_or_else(new_epoch), segments))
}

fn inspect(
    path: &Path,
    first: u64,
    scanner: Scanner,
    newest: bool,
    repairs: &mut Vec<Repair>,
) -> io::Result<Segment> {
    let mut last = first.saturating_sub(1);
    let mut reduced = false;
    let mut bytes = std::fs::metadata(path)?.len();
    for item in scanner {
        match item {
            Item::Record { record, .. } => {
                reduced |= record.sequence > last + 1;
                last = record.sequence;
            }
            Item::Torn { offset } if newest => {
                let file = OpenOptions::new().write(true).open(path)?;
                file.set_len(offset)?;
                file.sync_all()?;
                repairs.push(Repair {
                    what: format!(
                        "an unfinished record at the end of {} was cut off",
                        path.display()
                    ),
                    bytes: bytes - offset,
                });
                bytes = offset;
            }
            // The reader tells what is missing when it comes to it.
            Item::Torn { .. } | Item::Damaged { .. } => {}
        }
    }
    if newest {
        // After a kill its end may be in memory only, and what is given out must be on stable storage.
        File::open(path)?.sync_all()?;
    }
    Ok(Segment {
        path: path.to_owned(),
        first,
        last,
        bytes,
        reduced,
    })
}

/// Wall time in nanoseconds: different for each spool of a node, and later for a later one.
fn new_epoch() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(1, |since| u64::try_from(since.as_nanos()).unwrap_or(1))
}
