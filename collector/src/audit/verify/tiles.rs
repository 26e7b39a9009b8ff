//! The files of a tile under verification.

use super::report::Fault;
use crate::audit::tlog::Tiles;
use norma_tlog::tile::{Tile, entries};
use std::fs;
use std::path::Path;

/// What is wrong with the files of a tile, in full and partial form, which must hold `bytes` or a beginning of it.
pub fn faults(tiles: &Tiles, folder: &Path, tile: &Tile, bytes: &[u8]) -> Vec<Fault> {
    let mut faults = Vec::new();
    let (path, there) = tiles.read(tile);
    let there = there.unwrap_or_default();
    // A full tile stands for a partial one of it.
    let is_longer = there.len() > bytes.len() && path == folder.join(tile.path());
    let offset = difference(&there, bytes).or(is_longer.then_some(bytes.len()));
    faults.extend(offset.map(|offset| fault(&path, offset)));
    for found in fs::read_dir(folder.join(tile.partial_folder()))
        .into_iter()
        .flatten()
        .flatten()
    {
        let width: u64 = found.file_name().to_string_lossy().parse().unwrap_or(0);
        if !(1..tile.width).contains(&width) {
            continue;
        }
        // One that is gone was dropped while this was read.
        if let Ok(there) = fs::read(found.path()) {
            let must = &bytes[..prefix(tile, bytes, width)];
            let offset = difference(&there, must).or((there.len() > must.len()).then_some(must.len()));
            faults.extend(offset.map(|offset| fault(&found.path(), offset)));
        }
    }
    faults
}

/// Where a file does not begin with what it must have.
fn difference(there: &[u8], must: &[u8]) -> Option<usize> {
    let same = there
        .iter()
        .zip(must)
        .take_while(|(there, must)| there == must)
        .count();
    (same < must.len()).then_some(same)
}

fn fault(path: &Path, offset: usize) -> Fault {
    let mut fault = Fault::of_file(
        path.to_owned(),
        "it does not hold what the entries of the log hash to".to_owned(),
    );
    fault.offset = offset as u64;
    fault
}

/// How many bytes the first `width` parts of a tile take.
fn prefix(tile: &Tile, bytes: &[u8], width: u64) -> usize {
    match tile.level {
        Some(_) => width as usize * 32,
        None => {
            let entries = entries(bytes).unwrap_or_default();
            entries
                .iter()
                .take(width as usize)
                .map(|entry| entry.len() + 2)
                .sum()
        }
    }
}
