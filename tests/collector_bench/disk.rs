//! What this machine does by itself, to hold the collector's figures against.

use anyhow::{Context as _, Result};
use norma_wire::head;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::time::{Duration, Instant};

/// Bytes that are written between two syncs.
pub const GROUP: usize = 1 << 20;

/// A loop that hashes, writes and syncs.
#[derive(Debug)]
pub struct Raw {
    /// Bytes a second, everything done.
    pub bytes_per_second: f64,
    /// Of hashing alone.
    pub hashed_per_second: f64,
    /// How long each sync took, sorted.
    pub syncs: Vec<Duration>,
}

/// SHA-256 of each `event` bytes, a write of each [`GROUP`], fdatasync after it: the least that a durable hashed log can
/// cost on this disk.
pub fn raw(folder: &Path, event: usize, bytes: usize) -> Result<Raw> {
    let path = folder.join("raw");
    let mut file = File::create(&path).context("cannot make a file")?;
    let block: Vec<u8> = (0..GROUP)
        .map(|at| (at as u32).wrapping_mul(2_654_435_761).to_le_bytes()[2])
        .collect();
    let (mut hashing, mut syncs) = (Duration::ZERO, Vec::new());
    let started = Instant::now();
    let mut last = head::hash(&[]);
    for _ in 0..bytes / GROUP {
        let begin = Instant::now();
        for event in block.chunks(event) {
            last = head::hash(event);
        }
        hashing += begin.elapsed();
        file.write_all(&block)?;
        file.write_all(&last)?;
        let begin = Instant::now();
        file.sync_data()?;
        syncs.push(begin.elapsed());
    }
    let took = started.elapsed();
    fs::remove_file(&path)?;
    syncs.sort();
    Ok(Raw {
        bytes_per_second: bytes as f64 / took.as_secs_f64(),
        hashed_per_second: bytes as f64 / hashing.as_secs_f64(),
        syncs,
    })
}

/// Bytes of the files of a folder whose names end with `suffix`, and how fast they are read, from the disk and not from
/// memory.
pub fn read(folder: &Path, suffix: &str) -> Result<(u64, f64)> {
    let mut bytes = 0;
    let mut buffer = vec![0; 1 << 20];
    forget(folder)?;
    let started = Instant::now();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.to_string_lossy().ends_with(suffix) {
            let mut file = File::open(&path)?;
            loop {
                let count = file.read(&mut buffer)?;
                if count == 0 {
                    break;
                }
                bytes += count as u64;
            }
        }
    }
    Ok((bytes, bytes as f64 / started.elapsed().as_secs_f64()))
}

/// Has the kernel forget what it keeps in memory of a folder's files.
pub fn forget(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let file = File::open(entry?.path())?;
        if file.metadata()?.is_file() {
            file.sync_all()?;
            rustix::fs::fadvise(file.as_fd(), 0, None, rustix::fs::Advice::DontNeed)?;
        }
    }
    Ok(())
}

/// The file system of a folder, and the device below it.
pub fn describe(folder: &Path) -> String {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let found = mounts
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            let (device, point, kind) = (words.next()?, words.next()?, words.next()?);
            folder
                .starts_with(point)
                .then(|| (point.len(), format!("{kind} on {device}")))
        })
        .max();
    found.map_or_else(|| "unknown".to_owned(), |(_, text)| text)
}
