//! Evasive ways to reach a file that is opened.

use super::open::{openat, opened};
use crate::deed::area::{Area, mount, own_mounts, text, tmpfs};
use crate::deed::sys::process::{fork, wait_forever};
use crate::deed::sys::{self, From, Into};
use crate::deed::technique::{
    BIND_MOUNT, CHROOT, FD_PASSING, GARBAGE_NAMES, HARD_LINK, LONG_PATH, NAMESPACE_CHANGE, OPEN_BY_HANDLE,
    PROC_ROOT, RELATIVE, SYMLINK, TOCTOU,
};
use crate::deed::truth::{FileTruth, Truth, written};
use crate::deed::{Deed, deed, lacking};
use anyhow::{Context as _, Result};
use rustix::fs::CWD;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

/// Opens while the name changes.
const RACES: u32 = 2_000;

pub const ALL: &[Deed] = &[
    reach("open-symlink", SYMLINK, "through a symbolic link", |area| {
        symlink(area.file("file")?, area.path("innocent"))?;
        openat(area.path("innocent"), libc::O_RDONLY)
    }),
    reach(
        "open-symlink-folder",
        SYMLINK,
        "through a symbolic link to its folder",
        |area| {
            area.file("folder/file")?;
            symlink("folder", area.path("innocent"))?;
            openat(area.path("innocent/file"), libc::O_RDONLY)
        },
    ),
    reach("open-hard-link", HARD_LINK, "by another hard link", |area| {
        fs::hard_link(area.file("file")?, area.path("innocent"))?;
        openat(area.path("innocent"), libc::O_RDONLY)
    }),
    reach(
        "open-bind-mount",
        BIND_MOUNT,
        "through a bind mount of its folder",
        |area| {
            area.file("folder/file")?;
            own_mounts()?;
            mount(
                Some(&area.path("folder")),
                area.sub("bound")?,
                None,
                libc::MS_BIND,
            )?;
            openat(area.path("bound/file"), libc::O_RDONLY)
        },
    ),
    reach("open-proc-root", PROC_ROOT, "through /proc/self/root", |area| {
        let given = format!("/proc/self/root{}", area.file("file")?.display());
        openat(given, libc::O_RDONLY)
    }),
    reach(
        "open-proc-root-other",
        PROC_ROOT,
        "through the root of a process with mounts of its own",
        proc_root_other,
    ),
    reach("open-proc-cwd", PROC_ROOT, "through /proc/self/cwd", |area| {
        area.file("file")?;
        std::env::set_current_dir(area.folder())?;
        openat("/proc/self/cwd/file", libc::O_RDONLY)
    }),
    reach("open-dotdot", RELATIVE, "by a path with `..`", |area| {
        area.file("file")?;
        area.sub("one/two")?;
        openat(area.path("one/two/.././../file"), libc::O_RDONLY)
    }),
    reach("open-relative", RELATIVE, "by a relative path", |area| {
        area.file("folder/file")?;
        std::env::set_current_dir(area.path("folder"))?;
        openat("file", libc::O_RDONLY)
    }),
    reach(
        "open-at-descriptor",
        RELATIVE,
        "by a path from a directory descriptor",
        |area| {
            area.file("folder/file")?;
            area.sub("other")?;
            let folder = File::open(area.path("other"))?;
            let flags = libc::O_RDONLY | libc::O_CLOEXEC;
            opened(
                &sys::file::openat(folder.as_fd(), c"../folder/file", flags, 0)?,
                "../folder/file",
            )
        },
    ),
    reach("open-chroot", CHROOT, "from a changed root directory", |area| {
        let path = area.file("root/file")?;
        let identity = FileTruth::at(&path, "/file");
        sys::file::chroot(&text(area.path("root"))?)?;
        openat_from_elsewhere("/file", identity)
    }),
    reach(
        "open-pivot-root",
        NAMESPACE_CHANGE,
        "after pivot_root(2)",
        |area| {
            super::mount::pivot(area)?;
            fs::write("/file", "x")?;
            // The new root is the root of the mounts now.
            openat_from_elsewhere("/file", FileTruth::at("/file", "/file"))
        },
    ),
    reach(
        "open-own-mounts",
        NAMESPACE_CHANGE,
        "on a tmpfs in a mount namespace of its own",
        |area| {
            let path = tmpfs(area, "tmpfs")?.join("file");
            fs::write(&path, "x")?;
            openat(path, libc::O_RDONLY)
        },
    ),
    reach(
        "open-by-handle",
        OPEN_BY_HANDLE,
        "open_by_handle_at(2)",
        by_handle,
    ),
    deed(
        "receive",
        "file.receive",
        FD_PASSING,
        "the descriptor of a file is received from another process, which opened it",
        received,
    ),
    reach(
        "open-toctou",
        TOCTOU,
        "a thread changes the name while another opens by it",
        toctou,
    ),
    reach("open-long-path", LONG_PATH, "by a path of 3,000 bytes", |area| {
        let folder = (0..12).fold(PathBuf::new(), |path, _| path.join("d".repeat(240)));
        openat(area.file(folder.join("file"))?, libc::O_RDONLY)
    }),
    reach("open-deep-path", LONG_PATH, "150 folders deep", |area| {
        let folder = (0..150).fold(PathBuf::new(), |path, level| path.join(format!("d{level}")));
        openat(area.file(folder.join("file"))?, libc::O_RDONLY)
    }),
    reach(
        "open-garbage-name",
        GARBAGE_NAMES,
        "by a name with a newline, an escape sequence and invalid UTF-8",
        |area| {
            let name = OsStr::from_bytes(b"new\nline \x1b[2J\xff\xfe");
            openat(area.file(name)?, libc::O_RDONLY)
        },
    ),
];

const fn reach(
    name: &'static str,
    technique: &'static str,
    what: &'static str,
    act: fn(&Area) -> Result<Truth>,
) -> Deed {
    deed(name, "open", technique, what, act)
}

/// Opens for reading what is known to be `file`, where /proc is not in sight.
fn openat_from_elsewhere(given: &str, file: FileTruth) -> Result<Truth> {
    let descriptor = sys::file::openat(CWD, &text(given)?, libc::O_RDONLY | libc::O_CLOEXEC, 0)?;
    let stat = rustix::fs::fstat(&descriptor)?;
    anyhow::ensure!(stat.st_ino == file.inode, "another file was opened");
    Ok(Truth::here().path(file).fact("read", true).fact("write", false))
}

/// The file is in no place of this process's own mounts.
fn proc_root_other(area: &Area) -> Result<Truth> {
    let (mut reader, mut writer) = std::io::pipe()?;
    let child = fork(|| {
        let made = tmpfs(area, "hidden").and_then(|path| Ok(fs::write(path.join("file"), "x")?));
        match made {
            Ok(()) if std::io::Write::write_all(&mut writer, b"x").is_ok() => wait_forever(),
            _ => 1,
        }
    })?;
    drop(writer);
    if std::io::Read::read(&mut reader, &mut [0])? == 0 {
        return Err(lacking("no mount namespace is to be had"));
    }
    let real = area.path("hidden/file");
    let given = format!("/proc/{}/root{}", child.pid(), real.display());
    let truth = openat(&given, libc::O_RDONLY)?;
    // To this process the file is in no place; to the mounts that it is on, it is.
    Ok(truth.fact("real_there", written(real.as_os_str().as_bytes())))
}

fn by_handle(area: &Area) -> Result<Truth> {
    let path = area.file("file")?;
    let mut handle = [0; 8 + 128];
    handle[..4].copy_from_slice(&128u32.to_ne_bytes());
    let mut mount = [0; 4];
    sys::file::name_to_handle_at(CWD, &text(&path)?, Into(&mut handle), Into(&mut mount), 0)
        .context("this filesystem's handles")?;
    let folder = OwnedFd::from(File::open(area.folder())?);
    let file = sys::file::open_by_handle_at(&folder, From(&handle), libc::O_RDONLY | libc::O_CLOEXEC)?;
    opened(&file, "")
}

fn received(area: &Area) -> Result<Truth> {
    let path = area.file("file")?;
    let (here, there) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    let child = fork(|| i32::from(send(&there, &path).is_err()))?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    rustix::net::recvmsg(
        &here,
        &mut [IoSliceMut::new(&mut byte)],
        &mut ancillary,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    let file = ancillary
        .drain()
        .find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut files) => files.next(),
            _ => None,
        })
        .context("no descriptor came")?;
    let sender = child.pid();
    child.wait()?;
    Ok(Truth::here()
        .path(FileTruth::of(&file, "")?)
        .fact("opened_by", sender))
}

fn send(socket: &OwnedFd, path: &Path) -> Result<()> {
    let file = File::open(path)?;
    let files = [file.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    anyhow::ensure!(
        ancillary.push(SendAncillaryMessage::ScmRights(&files)),
        "no room for a descriptor"
    );
    rustix::net::sendmsg(socket, &[IoSlice::new(b"x")], &mut ancillary, SendFlags::empty())?;
    Ok(())
}

/// Which file was got is told by its inode, each time.
fn toctou(area: &Area) -> Result<Truth> {
    let paths = [area.file("file-a")?, area.file("file-b")?];
    let inodes = [FileTruth::at(&paths[0], ""), FileTruth::at(&paths[1], "")];
    let name: Vec<AtomicU8> = text(&paths[0])?
        .into_bytes_with_nul()
        .into_iter()
        .map(AtomicU8::new)
        .collect();
    let letter = name.get(name.len() - 2).context("the last letter")?;
    let done = AtomicBool::new(false);
    let mut got: BTreeMap<usize, u64> = BTreeMap::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                letter.store(b'b', Ordering::Relaxed);
                letter.store(b'a', Ordering::Relaxed);
            }
        });
        let opens = || -> Result<()> {
            for _ in 0..RACES {
                let flags = libc::O_RDONLY | libc::O_CLOEXEC;
                let file = sys::file::openat_changing(CWD, &name, flags, 0)?;
                let inode = rustix::fs::fstat(&file)?.st_ino;
                let which = inodes
                    .iter()
                    .position(|known| known.inode == inode)
                    .context("neither file was opened")?;
                *got.entry(which).or_default() += 1;
            }
            Ok(())
        };
        let mut opens = opens;
        let result = opens();
        done.store(true, Ordering::Relaxed);
        result
    })?;
    let counts: serde_json::Map<_, _> = got
        .into_iter()
        .map(|(which, count)| (inodes[which].real.clone(), count.into()))
        .collect();
    Ok(Truth::here()
        .path(FileTruth::at(&paths[0], &paths[0]))
        .other(FileTruth::at(&paths[1], &paths[1]))
        .fact("opened", counts))
}
