//! How full the file system of the audit log is (NIST 800-53 AU-5(1)): recorded when less room is left than was asked for,
//! and when there is enough again.

use crate::audit::AuditLog;
use crate::clock::note;
use norma_wire::audit::StorageState;
use norma_wire::audit::record::Body;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How often it is looked.
const LOOK: Duration = Duration::from_secs(5);
/// So many percent below the bound it is told that there is enough again, so that a log at the bound is not told of at
/// each look.
const APART: u64 = 5;

/// Records when so many percent of the file system that `directory` is on are used, until told to stop.
pub fn watch(log: AuditLog, directory: PathBuf, percent: u64, stop: CancellationToken) -> JoinHandle<()> {
    let mut low = false;
    tokio::spawn(async move {
        let mut looks = tokio::time::interval(LOOK);
        loop {
            tokio::select! {
                _ = looks.tick() => {}
                () = stop.cancelled() => return,
            }
            let (used, free_bytes) = match tokio::task::block_in_place(|| usage(&directory)) {
                Ok(usage) => usage,
                Err(error) => {
                    tracing::warn!(%error, directory = %directory.display(), "cannot tell how full the audit log's disk is");
                    continue;
                }
            };
            let bound = if low {
                percent.saturating_sub(APART)
            } else {
                percent
            };
            if (used >= bound) == low {
                continue;
            }
            low = !low;
            let state = StorageState {
                low,
                used_percent: used as u32,
                free_bytes,
                place: directory.display().to_string(),
            };
            if low {
                tracing::warn!(
                    used_percent = used,
                    free_bytes,
                    place = state.place,
                    "the audit log's disk fills up"
                );
            }
            if note(&log, Body::StorageState(state), &stop).await.is_err() {
                return;
            }
        }
    })
}

/// Percent used of what a program may use, and bytes that are left, as `df` tells them.
pub fn usage(directory: &Path) -> io::Result<(u64, u64)> {
    let disk = rustix::fs::statvfs(directory)?;
    let used = disk.f_blocks.saturating_sub(disk.f_bfree);
    let usable = used.saturating_add(disk.f_bavail).max(1);
    let percent = u128::from(used) * 100 / u128::from(usable);
    Ok((percent as u64, disk.f_bavail.saturating_mul(disk.f_frsize)))
}
