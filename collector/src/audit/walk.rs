//! Reading a log from its first record to its last, also while it is written.

use super::format::FrameError;
use super::read::ReadError;
use super::scan::{Defect, Found, Scan, State};
use super::segment::Segment;
use norma_wire::Event;
use norma_wire::audit::{Record, record::Body};
use prost::Message as _;
use std::io;
use std::path::Path;

/// What is done with each record, and the event that it holds where that can be decoded.
pub type Each<'a, E> = dyn FnMut(&Record, Option<&Event>) -> Result<(), E> + 'a;

/// Gives each record of the directory or file at `path` from index `from` on to `each`, with the event that it holds
/// where that can be decoded.
///
/// # Errors
/// The log cannot be read on, or what `each` says.
pub fn walk<E: From<ReadError>>(path: &Path, from: u64, each: &mut Each<'_, E>) -> Result<(), E> {
    let segments = match Segment::from_path(path) {
        Some(segment) => vec![segment],
        None => Segment::list(path).map_err(unreadable(path))?,
    };
    let begins = segments.partition_point(|segment| segment.first_index <= from);
    let segments = &segments[begins.saturating_sub(1)..];
    let mut before: Option<State> = None;
    for (number, segment) in segments.iter().enumerate() {
        // What policy removed lies before it.
        if let Some(state) = before.take_if(|state| state.index + 1 < segment.first_index) {
            let gone = Segment::new(path, state.index + 1);
            if !gone.tombstone().exists() {
                before = Some(state);
            }
        }
        let newest = number + 1 == segments.len();
        let mut scan =
            Scan::open(&segment.path, segment.first_index, before).map_err(unreadable(&segment.path))?;
        loop {
            match scan.next() {
                Ok(Some(Found { record, .. })) if record.index < from => {}
                Ok(Some(Found { record, .. })) => {
                    let event = match &record.body {
                        Some(Body::Event(bytes)) => Event::decode(bytes.clone()).ok(),
                        _ => None,
                    };
                    each(record, event.as_ref())?;
                }
                Ok(None) => break,
                // It is being written.
                Err(Defect::Frame(FrameError::Incomplete { .. })) if newest => break,
                Err(defect) => {
                    let (path, offset) = (segment.path.clone(), scan.offset());
                    return Err(ReadError::Damaged { path, offset, defect }.into());
                }
            }
        }
        before = Some(scan.into_state());
    }
    Ok(())
}

fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> ReadError + use<> {
    let path = path.to_owned();
    move |source| ReadError::Io { path, source }
}
