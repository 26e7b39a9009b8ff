//! The calls by which files are opened, and what they are opened for.

use crate::deed::area::{Area, text};
use crate::deed::sys::{self, Errno, Layout};
use crate::deed::technique::{COMPAT, FAILED_OPEN, IO_URING_FILE, O_PATH};
use crate::deed::truth::{FileTruth, Truth};
use crate::deed::{Deed, deed, lacking};
use anyhow::{Context as _, Result};
use io_uring::{opcode, types};
use rustix::fs::CWD;
use std::fs;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

const RDONLY: i32 = libc::O_RDONLY | libc::O_CLOEXEC;
/// Nobody in particular.
const USER: u32 = 54_321;

pub const ALL: &[Deed] = &[
    plain("open-read", "for reading", |area| {
        openat(area.file("file")?, libc::O_RDONLY)
    }),
    plain("open-write", "for writing", |area| {
        openat(area.file("file")?, libc::O_WRONLY)
    }),
    plain("open-create", "making it", |area| {
        let path = area.path("new");
        openat(path, libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL).map(|truth| truth.fact("created", true))
    }),
    plain("open-truncate", "cutting it to nothing", |area| {
        openat(area.file("file")?, libc::O_WRONLY | libc::O_TRUNC)
    }),
    plain("open-append", "for writing at its end", |area| {
        openat(area.file("file")?, libc::O_WRONLY | libc::O_APPEND)
    }),
    plain("open-tmpfile", "for a file that has no name", |area| {
        openat(area.folder(), libc::O_RDWR | libc::O_TMPFILE)
    }),
    plain("open-directory", "of a directory", |area| {
        openat(area.folder(), libc::O_RDONLY | libc::O_DIRECTORY)
    }),
    plain("open-legacy", "by open(2)", |area| {
        let path = area.file("file")?;
        opened(&sys::file::open(&text(&path)?, RDONLY, 0)?, &path)
    }),
    plain("open-creat", "by creat(2)", |area| {
        let path = area.path("new");
        let file = sys::file::creat(&text(&path)?, 0o600)?;
        opened(&file, &path).map(|truth| truth.fact("created", true))
    }),
    plain("open-openat2", "by openat2(2)", |area| {
        let path = area.file("file")?;
        opened(&openat2(&path, RDONLY)?, &path)
    }),
    deed(
        "open-path",
        "file.open-path",
        O_PATH,
        "a file is opened with O_PATH",
        |area| openat(area.file("file")?, libc::O_PATH),
    ),
    deed(
        "open-reopen",
        "open",
        O_PATH,
        "what was opened with O_PATH is opened again through /proc/self/fd",
        |area| {
            let path = text(area.file("file")?)?;
            let handle = sys::file::openat(CWD, &path, libc::O_PATH | libc::O_CLOEXEC, 0)?;
            openat(format!("/proc/self/fd/{}", handle.as_raw_fd()), libc::O_RDWR)
        },
    ),
    deed("open-compat", "open", COMPAT, "by the 32-bit interface", |area| {
        let path = area.file("file")?;
        let file =
            sys::compat::open(&text(&path)?, RDONLY, 0).context("the 32-bit interface of this kernel")?;
        opened(&file, &path)
    }),
    deed(
        "open-io-uring",
        "open",
        IO_URING_FILE,
        "by an io_uring openat request",
        |area| {
            let path = area.file("file")?;
            let name = text(&path)?;
            let entry = opcode::OpenAt::new(types::Fd(libc::AT_FDCWD), name.as_ptr())
                .flags(RDONLY)
                .build();
            requested(&entry, "openat", &path)
        },
    ),
    deed(
        "open-io-uring-create",
        "open",
        IO_URING_FILE,
        "made by an io_uring openat request",
        |area| {
            let path = area.path("new");
            let name = text(&path)?;
            let entry = opcode::OpenAt::new(types::Fd(libc::AT_FDCWD), name.as_ptr())
                .flags(libc::O_WRONLY | libc::O_CREAT | libc::O_CLOEXEC)
                .mode(0o600)
                .build();
            requested(&entry, "openat", &path).map(|truth| truth.fact("created", true))
        },
    ),
    deed(
        "open-io-uring-openat2",
        "open",
        IO_URING_FILE,
        "by an io_uring openat2 request",
        |area| {
            let path = area.file("file")?;
            let name = text(&path)?;
            let how = types::OpenHow::new().flags(u64::from(RDONLY.unsigned_abs()));
            let entry =
                opcode::OpenAt2::new(types::Fd(libc::AT_FDCWD), name.as_ptr(), &raw const how).build();
            requested(&entry, "openat2", &path)
        },
    ),
    deed(
        "open-thread",
        "open",
        "",
        "by a thread that is not the first of its process",
        |area| {
            let path = area.file("file")?;
            let opening = std::thread::spawn(move || openat(path, libc::O_RDONLY));
            opening
                .join()
                .map_err(|_| anyhow::anyhow!("the thread panicked"))?
        },
    ),
    failed("open-failed-enoent", "a file that is not there", |area| {
        failing(&area.path("missing"), Errno::ENOENT)
    }),
    failed("open-failed-eacces", "a file that another user keeps", |area| {
        let path = area.file("file")?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        sys::process::setresuid(USER, USER, USER)?;
        failing(&path, Errno::EACCES)
    }),
    failed(
        "open-failed-openat2",
        "a file that is not there, by openat2(2)",
        |area| {
            let path = area.path("missing");
            refused(&openat2(&path, RDONLY), &path, Errno::ENOENT)
        },
    ),
    failed(
        "open-failed-io-uring",
        "a file that is not there, by io_uring",
        |area| {
            let path = area.path("missing");
            let name = text(&path)?;
            let entry = opcode::OpenAt::new(types::Fd(libc::AT_FDCWD), name.as_ptr())
                .flags(RDONLY)
                .build();
            refused(&sys::uring::request(&entry, "openat")?, &path, Errno::ENOENT)
        },
    ),
];

const fn plain(name: &'static str, what: &'static str, act: fn(&Area) -> Result<Truth>) -> Deed {
    deed(name, "open", "", what, act)
}

const fn failed(name: &'static str, what: &'static str, act: fn(&Area) -> Result<Truth>) -> Deed {
    deed(name, "file.open-failed", FAILED_OPEN, what, act)
}

/// The truth of a file that was opened by this thread.
pub fn opened(file: &OwnedFd, given: impl AsRef<Path>) -> Result<Truth> {
    let flags = rustix::fs::fcntl_getfl(file)?;
    let access = flags.bits() & libc::O_ACCMODE.unsigned_abs();
    let writes = access == libc::O_WRONLY.unsigned_abs() || access == libc::O_RDWR.unsigned_abs();
    let reads = access != libc::O_WRONLY.unsigned_abs();
    Ok(Truth::here()
        .path(FileTruth::of(file, given)?)
        .fact("read", reads)
        .fact("write", writes)
        .fact("flags", flags.bits()))
}

/// Opens by openat(2).
pub fn openat(given: impl AsRef<Path>, flags: i32) -> Result<Truth> {
    let file = sys::file::openat(CWD, &text(&given)?, flags | libc::O_CLOEXEC, 0o600)
        .with_context(|| given.as_ref().display().to_string())?;
    opened(&file, given)
}

fn openat2(path: &Path, flags: i32) -> sys::Sys<OwnedFd> {
    let how = Layout::default()
        .u64(u64::from(flags.unsigned_abs()))
        .up_to(24)
        .end();
    let name = text(path).map_err(|_| Errno::EINVAL)?;
    sys::file::openat2(CWD, &name, &how)
}

fn requested(entry: &io_uring::squeue::Entry, what: &str, path: &Path) -> Result<Truth> {
    let descriptor = sys::uring::request(entry, what)?.with_context(|| path.display().to_string())?;
    let file = <OwnedFd as sys::Answer>::from_word(descriptor.into());
    opened(&file, path)
}

fn failing(path: &Path, expected: Errno) -> Result<Truth> {
    refused(&sys::file::openat(CWD, &text(path)?, RDONLY, 0), path, expected)
}

fn refused<T>(result: &sys::Sys<T>, path: &Path, expected: Errno) -> Result<Truth> {
    match result {
        Ok(_) => Err(lacking("the file was opened after all")),
        Err(errno) if *errno == expected => Ok(Truth::here().path(FileTruth::at(path, path)).result(result)),
        Err(errno) => Err(anyhow::Error::from(*errno)),
    }
}
