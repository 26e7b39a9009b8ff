//! Baselines as people look at them: read from the disk, whether or not the agent runs.

use super::store;
use norma_baseline_command::shelf::{Kept, Shelf, ShelfError, read_overlay};
use std::io;
use std::path::Path;

/// Reads a directory of baselines, and changes nothing.
///
/// # Errors
/// It is not there, or may not be read. A file that cannot be used is a fault of the shelf.
pub fn shelf(directory: &Path) -> Result<Shelf, ShelfError> {
    let failed = |reason| ShelfError {
        path: directory.to_owned(),
        reason,
    };
    let mut kept = Vec::new();
    let mut faults = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().and_then(|extension| extension.to_str()) != Some(store::EXTENSION) {
            continue;
        }
        match store::read(&path) {
            Ok(stored) => {
                let mut evidence = stored.others.evidence;
                evidence.merge(stored.recorder.evidence());
                kept.push(Kept {
                    norm: stored.norm,
                    evidence,
                });
            }
            // The agent made room, or set it aside.
            Err(store::StoreError::System(error)) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => faults.push(format!("{}: {error}", path.display())),
        }
    }
    let overlay = read_overlay(directory, &mut faults);
    Ok(Shelf::new(kept, overlay, faults))
}
