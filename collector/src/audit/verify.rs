//! Proving that a log is what the collector wrote, from its files alone.
//!
//! Works on a log that is being written: the head is read before the files are listed, so that it can only
//! lag, and a record that is not whole at the end of the newest file counts as being written.

mod coverage;
mod report;

pub use report::{Bad, OutboxReport, Range, Report, Torn};

use super::format::FrameError;
use super::head::Head;
use super::recover::frame_follows;
use super::scan::{Defect, Scan, State};
use super::segment::Segment;
use coverage::Coverage;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Why nothing could be verified.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// A file or directory cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// Nothing there.
    #[error("{} holds no audit files (audit-<20 digits>.log)", .0.display())]
    NoFiles(PathBuf),
    /// A file whose name does not say where in the log it belongs.
    #[error("{} is not named as an audit file is (audit-<20 digits>.log); give it back its name", .0.display())]
    Name(PathBuf),
}

/// Verifies a directory, or one file of it. `expected` is a head that was kept elsewhere.
pub fn verify(path: &Path, expected: Option<Head>) -> Result<Report, VerifyError> {
    let metadata = fs::metadata(path).map_err(unreadable(path))?;
    let mut run = Run {
        expected,
        ..Run::default()
    };
    if metadata.is_dir() {
        match Head::read(path) {
            Ok(head) => run.head = head,
            Err(error) => run
                .report
                .notes
                .push(format!("the head file is not used: {error}")),
        }
        let segments = Segment::list(path).map_err(unreadable(path))?;
        if segments.is_empty() {
            return Err(VerifyError::NoFiles(path.to_owned()));
        }
        run.directory(&segments)?;
    } else {
        let segment = Segment::from_path(path).ok_or_else(|| VerifyError::Name(path.to_owned()))?;
        run.report.notes.push(
            "one file alone: that it continues the file before it, and that nothing follows it, is not proven"
                .to_owned(),
        );
        run.segment(&segment, None, true)?;
    }
    Ok(run.finish(path))
}

#[derive(Default)]
struct Run {
    head: Option<Head>,
    expected: Option<Head>,
    expected_seen: bool,
    coverage: Coverage,
    report: Report,
}

impl Run {
    fn directory(&mut self, segments: &[Segment]) -> Result<(), VerifyError> {
        let mut state = State::default();
        for (number, segment) in segments.iter().enumerate() {
            let newest = number + 1 == segments.len();
            match self.segment(segment, Some(state), newest)? {
                Some(after) => state = after,
                None => break,
            }
        }
        Ok(())
    }

    /// Verifies one file; `None` where it ends the run.
    fn segment(
        &mut self,
        segment: &Segment,
        before: Option<State>,
        newest: bool,
    ) -> Result<Option<State>, VerifyError> {
        self.report.files += 1;
        let mut scan =
            Scan::open(&segment.path, segment.first_index, before).map_err(unreadable(&segment.path))?;
        loop {
            match scan.next() {
                Ok(Some(record)) => {
                    let index = record.index;
                    self.report.count(&record);
                    self.coverage.follow(&record);
                    self.report.head = Head {
                        index,
                        hash: scan.state().hash,
                    };
                    if let Some(fault) = self.check_heads() {
                        self.report.bad = Some(Bad::new(segment, scan.offset(), index, fault, index - 1));
                        return Ok(None);
                    }
                }
                Ok(None) => return Ok(Some(scan.into_state())),
                Err(defect) => {
                    self.defect(segment, &scan, &defect, newest)?;
                    return Ok(None);
                }
            }
        }
    }

    /// What is wrong where the newest record read is one that a head names.
    fn check_heads(&mut self) -> Option<String> {
        let here = self.report.head;
        if self
            .head
            .is_some_and(|head| head.index == here.index && head.hash != here.hash)
        {
            return Some("the head file names another hash for this record: the log was replaced".to_owned());
        }
        if let Some(expected) = self.expected.filter(|expected| expected.index == here.index) {
            if expected.hash != here.hash {
                return Some(
                    "the expected head names another hash for this record: the log was rewritten".to_owned(),
                );
            }
            self.expected_seen = true;
        }
        None
    }

    fn defect<R: io::Read>(
        &mut self,
        segment: &Segment,
        scan: &Scan<R>,
        defect: &Defect,
        newest: bool,
    ) -> Result<(), VerifyError> {
        let index = scan.next_index();
        let unfinished = newest
            && matches!(defect, Defect::Frame(FrameError::Incomplete { .. }))
            && self.head.is_none_or(|head| head.index < index)
            && !frame_follows(&segment.path, scan.offset()).map_err(unreadable(&segment.path))?;
        if unfinished {
            let Defect::Frame(FrameError::Incomplete { have, .. }) = defect else {
                return Ok(());
            };
            self.report.torn = Some(Torn {
                file: segment.path.clone(),
                offset: scan.offset(),
                index,
                bytes: *have,
            });
        } else {
            let proven = self.report.head.index;
            self.report.bad = Some(Bad::new(
                segment,
                scan.offset(),
                index,
                defect.to_string(),
                proven,
            ));
        }
        Ok(())
    }

    fn finish(mut self, path: &Path) -> Report {
        let last = self.report.head.index;
        if self.report.bad.is_none() {
            let cut = match (self.head, self.expected) {
                (Some(head), _) if head.index > last => Some(("the head file", head)),
                (_, Some(expected)) if !self.expected_seen && expected.index > last => {
                    Some(("the expected head", expected))
                }
                _ => None,
            };
            if let Some((name, head)) = cut {
                let what = format!(
                    "the log ends with record {last}, but {name} says that record {} was durable: its end was removed",
                    head.index
                );
                self.report.bad = Some(Bad {
                    file: path.to_owned(),
                    offset: 0,
                    index: last + 1,
                    what,
                    proven: last,
                });
            }
        }
        self.report.outboxes = self.coverage.finish();
        self.report
    }
}

fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> VerifyError + use<> {
    let path = path.to_owned();
    move |source| VerifyError::Unreadable { path, source }
}
