//! Changes of names, permissions, attributes and lengths.

use crate::deed::area::{Area, known, text};
use crate::deed::sys::{self, Sys};
use crate::deed::technique::{IO_URING_FILE, PATH_OPERATION};
use crate::deed::truth::{FileTruth, Truth};
use crate::deed::{Deed, deed};
use anyhow::{Context as _, Result};
use io_uring::{opcode, types};
use rustix::fs::CWD;
use std::ffi::{CStr, CString};
use std::fs::{File, OpenOptions};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

const AT_CWD: types::Fd = types::Fd(libc::AT_FDCWD);
/// Of a class that every filesystem of attributes takes, for root.
const ATTRIBUTE: &CStr = c"trusted.norma";
const USER: u32 = 54_321;

pub const ALL: &[Deed] = &[
    by_path("unlink", "file.unlink", "unlink(2)", |area| {
        gone(&area.file("file")?, sys::file::unlink)
    }),
    by_path("unlink-at", "file.unlink", "unlinkat(2)", |area| {
        gone(&area.file("file")?, |path| sys::file::unlinkat(CWD, path, 0))
    }),
    by_ring(
        "unlink-io-uring",
        "file.unlink",
        "an io_uring unlinkat request",
        |area| {
            let path = area.file("file")?;
            let name = text(&path)?;
            let truth = Truth::here().path(FileTruth::at(&path, &path));
            request(&opcode::UnlinkAt::new(AT_CWD, name.as_ptr()).build(), "unlinkat")?;
            Ok(truth)
        },
    ),
    by_path("rmdir", "file.rmdir", "rmdir(2)", |area| {
        gone(&area.sub("folder")?, sys::file::rmdir)
    }),
    by_path("rmdir-at", "file.rmdir", "unlinkat(2) of a directory", |area| {
        gone(&area.sub("folder")?, |path| {
            sys::file::unlinkat(CWD, path, libc::AT_REMOVEDIR)
        })
    }),
    by_path("rename", "file.rename", "rename(2)", |area| {
        two(area, false, sys::file::rename)
    }),
    by_path("rename-at", "file.rename", "renameat(2)", |area| {
        two(area, false, |from, to| sys::file::renameat(CWD, from, CWD, to))
    }),
    by_path("rename-over", "file.rename", "renameat2(2) over a file", |area| {
        area.file("other")?;
        two(area, false, |from, to| {
            sys::file::renameat2(CWD, from, CWD, to, 0)
        })
    }),
    by_path(
        "rename-noreplace",
        "file.rename",
        "renameat2(RENAME_NOREPLACE)",
        |area| {
            two(area, false, |from, to| {
                sys::file::renameat2(CWD, from, CWD, to, libc::RENAME_NOREPLACE)
            })
        },
    ),
    by_path(
        "rename-exchange",
        "file.rename",
        "renameat2(RENAME_EXCHANGE)",
        |area| {
            area.file("other")?;
            two(area, false, |from, to| {
                sys::file::renameat2(CWD, from, CWD, to, libc::RENAME_EXCHANGE)
            })
            .map(|truth| truth.fact("flags", libc::RENAME_EXCHANGE))
        },
    ),
    by_ring(
        "rename-io-uring",
        "file.rename",
        "an io_uring renameat request",
        |area| {
            let (from, to) = (area.file("file")?, area.path("other"));
            let names = (text(&from)?, text(&to)?);
            let truth = Truth::here().path(FileTruth::at(&from, &from));
            let entry = opcode::RenameAt::new(AT_CWD, names.0.as_ptr(), AT_CWD, names.1.as_ptr()).build();
            request(&entry, "renameat")?;
            Ok(truth.other(FileTruth::at(&to, &to)))
        },
    ),
    by_path("link", "file.link", "link(2)", |area| {
        two(area, true, sys::file::link)
    }),
    by_path("link-at", "file.link", "linkat(2)", |area| {
        two(area, true, |from, to| sys::file::linkat(CWD, from, CWD, to, 0))
    }),
    by_ring(
        "link-io-uring",
        "file.link",
        "an io_uring linkat request",
        |area| {
            let (from, to) = (area.file("file")?, area.path("other"));
            let names = (text(&from)?, text(&to)?);
            let entry = opcode::LinkAt::new(AT_CWD, names.0.as_ptr(), AT_CWD, names.1.as_ptr()).build();
            request(&entry, "linkat")?;
            Ok(Truth::here()
                .path(FileTruth::at(&from, &from))
                .other(FileTruth::at(&to, &to)))
        },
    ),
    by_path("symlink", "file.symlink", "symlink(2)", |area| {
        made(area, |path| sys::file::symlink(c"/etc/shadow", path))
            .map(|truth| truth.fact("text", "/etc/shadow"))
    }),
    by_path("symlink-at", "file.symlink", "symlinkat(2)", |area| {
        made(area, |path| sys::file::symlinkat(c"/etc/shadow", CWD, path))
            .map(|truth| truth.fact("text", "/etc/shadow"))
    }),
    by_ring(
        "symlink-io-uring",
        "file.symlink",
        "an io_uring symlinkat request",
        |area| {
            let path = area.path("made");
            let name = text(&path)?;
            let entry = opcode::SymlinkAt::new(AT_CWD, c"/etc/shadow".as_ptr(), name.as_ptr()).build();
            request(&entry, "symlinkat")?;
            Ok(Truth::here()
                .path(FileTruth::at(&path, &path))
                .fact("text", "/etc/shadow"))
        },
    ),
    by_path("mkdir", "file.mkdir", "mkdir(2)", |area| {
        made(area, |path| sys::file::mkdir(path, 0o700))
    }),
    by_path("mkdir-at", "file.mkdir", "mkdirat(2)", |area| {
        made(area, |path| sys::file::mkdirat(CWD, path, 0o700))
    }),
    by_ring(
        "mkdir-io-uring",
        "file.mkdir",
        "an io_uring mkdirat request",
        |area| {
            let path = area.path("made");
            let name = text(&path)?;
            request(
                &opcode::MkDirAt::new(AT_CWD, name.as_ptr()).mode(0o700).build(),
                "mkdirat",
            )?;
            Ok(Truth::here().path(FileTruth::at(&path, &path)))
        },
    ),
    by_path("mknod", "file.mknod", "mknod(2) of a pipe", |area| {
        made(area, |path| sys::file::mknod(path, libc::S_IFIFO | 0o600, 0))
    }),
    by_path("mknod-at", "file.mknod", "mknodat(2) of a device", |area| {
        // The null device: harmless whoever opens it.
        let device = rustix::fs::makedev(1, 3);
        made(area, |path| {
            sys::file::mknodat(CWD, path, libc::S_IFCHR | 0o600, device)
        })
        .map(|truth| truth.fact("device", 1 << 20 | 3))
    }),
    by_path(
        "mknod-socket",
        "file.mknod",
        "bind(2) of a Unix socket makes its file",
        |area| {
            let path = area.path("made");
            let _socket = std::os::unix::net::UnixDatagram::bind(&path)?;
            Ok(Truth::here().path(FileTruth::at(&path, &path)))
        },
    ),
    by_path("chmod", "file.chmod", "chmod(2)", |area| {
        changed(area, |path| sys::file::chmod(path, 0o4755)).map(setuid_bit)
    }),
    deed("fchmod", "file.chmod", "", "fchmod(2)", |area| {
        changed_open(area, |file| sys::file::fchmod(file, 0o4755)).map(setuid_bit)
    }),
    by_path("fchmod-at", "file.chmod", "fchmodat(2)", |area| {
        changed(area, |path| sys::file::fchmodat(CWD, path, 0o4755)).map(setuid_bit)
    }),
    by_path("fchmod-at2", "file.chmod", "fchmodat2(2)", |area| {
        changed(area, |path| sys::file::fchmodat2(CWD, path, 0o4755, 0)).map(setuid_bit)
    }),
    by_path("chown", "file.chown", "chown(2)", |area| {
        changed(area, |path| sys::file::chown(path, USER, USER)).map(owner)
    }),
    by_path("lchown", "file.chown", "lchown(2)", |area| {
        changed(area, |path| sys::file::lchown(path, USER, USER)).map(owner)
    }),
    deed("fchown", "file.chown", "", "fchown(2)", |area| {
        changed_open(area, |file| sys::file::fchown(file, USER, USER)).map(owner)
    }),
    by_path("fchown-at", "file.chown", "fchownat(2)", |area| {
        changed(area, |path| sys::file::fchownat(CWD, path, USER, USER, 0)).map(owner)
    }),
    by_path("setxattr", "file.setxattr", "setxattr(2)", |area| {
        changed(area, |path| sys::file::setxattr(path, ATTRIBUTE, b"x", 0)).map(attribute)
    }),
    by_path("lsetxattr", "file.setxattr", "lsetxattr(2)", |area| {
        changed(area, |path| sys::file::lsetxattr(path, ATTRIBUTE, b"x", 0)).map(attribute)
    }),
    deed("fsetxattr", "file.setxattr", "", "fsetxattr(2)", |area| {
        changed_open(area, |file| sys::file::fsetxattr(file, ATTRIBUTE, b"x", 0)).map(attribute)
    }),
    by_ring(
        "setxattr-io-uring",
        "file.setxattr",
        "an io_uring setxattr request",
        |area| {
            let path = area.file("file")?;
            let name = text(&path)?;
            let value = c"x";
            let entry =
                opcode::SetXattr::new(ATTRIBUTE.as_ptr(), value.as_ptr().cast(), name.as_ptr(), 1).build();
            request(&entry, "setxattr")?;
            Ok(attribute(Truth::here().path(FileTruth::at(&path, &path))))
        },
    ),
    by_path("removexattr", "file.removexattr", "removexattr(2)", |area| {
        attributed(area)?;
        changed_again(area, |path| sys::file::removexattr(path, ATTRIBUTE)).map(attribute)
    }),
    by_path("lremovexattr", "file.removexattr", "lremovexattr(2)", |area| {
        attributed(area)?;
        changed_again(area, |path| sys::file::lremovexattr(path, ATTRIBUTE)).map(attribute)
    }),
    deed(
        "fremovexattr",
        "file.removexattr",
        "",
        "fremovexattr(2)",
        |area| {
            let path = attributed(area)?;
            let file = OwnedFd::from(File::open(&path)?);
            sys::file::fremovexattr(&file, ATTRIBUTE)?;
            Ok(attribute(Truth::here().path(FileTruth::of(&file, "")?)))
        },
    ),
    by_path("truncate", "file.truncate", "truncate(2)", |area| {
        changed(area, |path| sys::file::truncate(path, 3)).map(|truth| truth.fact("length", 3))
    }),
    deed("ftruncate", "file.truncate", "", "ftruncate(2)", |area| {
        changed_open(area, |file| sys::file::ftruncate(file, 3)).map(|truth| truth.fact("length", 3))
    }),
    by_ring(
        "truncate-io-uring",
        "file.truncate",
        "an io_uring ftruncate request",
        |area| {
            let path = area.file("file")?;
            let file = OpenOptions::new().write(true).open(&path)?;
            let descriptor = types::Fd(std::os::fd::AsRawFd::as_raw_fd(&file));
            request(&opcode::Ftruncate::new(descriptor, 3).build(), "ftruncate")?;
            Ok(Truth::here().path(FileTruth::of(&file, "")?).fact("length", 3))
        },
    ),
];

const fn by_path(
    name: &'static str,
    operation: &'static str,
    what: &'static str,
    act: fn(&Area) -> Result<Truth>,
) -> Deed {
    deed(name, operation, PATH_OPERATION, what, act)
}

const fn by_ring(
    name: &'static str,
    operation: &'static str,
    what: &'static str,
    act: fn(&Area) -> Result<Truth>,
) -> Deed {
    deed(name, operation, IO_URING_FILE, what, act)
}

fn request(entry: &io_uring::squeue::Entry, what: &str) -> Result<i32> {
    sys::uring::request(entry, what)?.with_context(|| what.to_owned())
}

/// What is removed had its identity before.
fn gone(path: &Path, remove: impl FnOnce(&CStr) -> Sys<()>) -> Result<Truth> {
    let truth = Truth::here().path(FileTruth::at(path, path));
    remove(&text(path)?)?;
    Ok(truth)
}

/// `file` and `other`; the first one's identity is from before.
fn two(area: &Area, stays: bool, act: impl FnOnce(&CStr, &CStr) -> Sys<()>) -> Result<Truth> {
    let (from, to) = (area.file("file")?, area.path("other"));
    let truth = Truth::here().path(FileTruth::at(&from, &from));
    let names: (CString, CString) = (text(&from)?, text(&to)?);
    known(act(&names.0, &names.1), "the flags")?;
    let truth = truth.other(FileTruth::at(&to, &to));
    anyhow::ensure!(!stays || from.exists(), "the first name is gone");
    Ok(truth)
}

fn made(area: &Area, make: impl FnOnce(&CStr) -> Sys<()>) -> Result<Truth> {
    let path = area.path("made");
    make(&text(&path)?)?;
    Ok(Truth::here().path(FileTruth::at(&path, &path)))
}

/// By its name.
fn changed(area: &Area, change: impl FnOnce(&CStr) -> Sys<()>) -> Result<Truth> {
    area.file("file")?;
    changed_again(area, change)
}

fn changed_again(area: &Area, change: impl FnOnce(&CStr) -> Sys<()>) -> Result<Truth> {
    let path = area.path("file");
    change(&text(&path)?)?;
    Ok(Truth::here().path(FileTruth::at(&path, &path)))
}

/// By its descriptor.
fn changed_open(area: &Area, change: impl FnOnce(&OwnedFd) -> Sys<()>) -> Result<Truth> {
    let file = OpenOptions::new().write(true).open(area.file("file")?)?;
    let file = OwnedFd::from(file);
    change(&file)?;
    Ok(Truth::here().path(FileTruth::of(&file, "")?))
}

/// A file with the attribute.
fn attributed(area: &Area) -> Result<PathBuf> {
    let path = area.file("file")?;
    sys::file::setxattr(&text(&path)?, ATTRIBUTE, b"x", 0)?;
    Ok(path)
}

fn setuid_bit(truth: Truth) -> Truth {
    truth.fact("mode", 0o4755)
}

fn owner(truth: Truth) -> Truth {
    truth.fact("uid", USER).fact("gid", USER)
}

fn attribute(truth: Truth) -> Truth {
    truth.fact("text", "trusted.norma")
}
