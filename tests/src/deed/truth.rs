//! What a deed says of itself.

use super::sys::Errno;
use anyhow::{Context as _, Result};
use rustix::fs::Stat;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::os::fd::{AsFd, AsRawFd as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// What truly happened.
///
/// Names are bytes to the kernel; here they are text in which what is not printable ASCII, and `\`, is
/// escaped as in Rust's byte strings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Truth {
    /// Name of the deed.
    pub deed: String,
    /// Its family.
    pub family: String,
    /// What was done.
    pub operation: String,
    /// The evasive way of doing it, empty where there is none.
    pub technique: String,
    /// Why it was not done; then nothing else below is true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skipped: Option<String>,
    /// Process that did it.
    pub pid: u32,
    /// Thread that did it.
    pub tid: u32,
    /// `ok`, or the name of the error number.
    pub result: String,
    /// The file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<FileTruth>,
    /// The second of two files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub other: Option<FileTruth>,
    /// The other end of a socket, as `ADDRESS:PORT`, `vsock:CID:PORT`, `unix:NAME` or `abstract:NAME`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote: Option<String>,
    /// Its own end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local: Option<String>,
    /// The process acted on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<u32>,
    /// What else is known.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub facts: Map<String, Value>,
}

/// What the kernel puts behind the name of a file that has none any more.
const DELETED: &[u8] = b" (deleted)";
/// What it calls anonymous memory, always with that mark.
const MEMFD: &[u8] = b"/memfd:";

/// A file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileTruth {
    /// The name that the system call was given; empty where it took none.
    pub given: String,
    /// Its real path in the mount namespace of the process.
    pub real: String,
    /// Inode number; 0 where there is no such file (any more).
    pub inode: u64,
    /// Device, major << 20 | minor as the kernel has it.
    pub device: u32,
    /// It has no name any more; `real` is the last one.
    pub deleted: bool,
}

/// A name as it is written in a truth.
pub fn written(name: &[u8]) -> String {
    name.escape_ascii().to_string()
}

fn device(stat: &Stat) -> u32 {
    rustix::fs::major(stat.st_dev) << 20 | rustix::fs::minor(stat.st_dev)
}

impl FileTruth {
    /// An open file, by what the kernel calls it.
    pub(super) fn of(file: impl AsFd, given: impl AsRef<Path>) -> Result<Self> {
        let file = file.as_fd();
        let link = format!("/proc/self/fd/{}", file.as_raw_fd());
        let real = rustix::fs::readlink(&link, Vec::new()).context(link)?;
        let stat = rustix::fs::fstat(file).context("fstat")?;
        let mut real = real.into_bytes();
        let marked = real.ends_with(DELETED);
        // What never had a name has not lost it.
        let deleted = marked && stat.st_nlink == 0 && !real.starts_with(MEMFD);
        if marked && stat.st_nlink == 0 {
            real.truncate(real.len() - DELETED.len());
        }
        Ok(Self {
            given: written(given.as_ref().as_os_str().as_bytes()),
            real: written(&real),
            inode: stat.st_ino,
            device: device(&stat),
            deleted,
        })
    }

    /// A file by its real path, whose last component is not followed.
    pub(super) fn at(real: impl AsRef<Path>, given: impl AsRef<Path>) -> Self {
        let stat = rustix::fs::lstat(real.as_ref()).ok();
        Self {
            given: written(given.as_ref().as_os_str().as_bytes()),
            real: written(real.as_ref().as_os_str().as_bytes()),
            inode: stat.as_ref().map_or(0, |stat| stat.st_ino),
            device: stat.as_ref().map_or(0, device),
            deleted: false,
        }
    }
}

impl Truth {
    /// Something that this very thread did, and that went well.
    pub(super) fn here() -> Self {
        Self {
            pid: std::process::id(),
            tid: rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs(),
            result: "ok".to_owned(),
            ..Self::default()
        }
    }

    /// Something that another process did, and that went well.
    pub(super) fn of(pid: u32) -> Self {
        Self {
            pid,
            tid: pid,
            result: "ok".to_owned(),
            ..Self::default()
        }
    }

    pub(super) fn result<T>(mut self, result: &Result<T, Errno>) -> Self {
        self.result = match result {
            Ok(_) => "ok".to_owned(),
            Err(errno) => format!("{errno:?}"),
        };
        self
    }

    pub(super) fn path(mut self, file: FileTruth) -> Self {
        self.path = Some(file);
        self
    }

    pub(super) fn other(mut self, file: FileTruth) -> Self {
        self.other = Some(file);
        self
    }

    pub(super) fn local(mut self, end: &impl ToString) -> Self {
        self.local = Some(end.to_string());
        self
    }

    pub(super) fn remote(mut self, end: &impl ToString) -> Self {
        self.remote = Some(end.to_string());
        self
    }

    pub(super) fn target(mut self, pid: u32) -> Self {
        self.target = Some(pid);
        self
    }

    pub(super) fn fact(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.facts.insert(name.to_owned(), value.into());
        self
    }
}
