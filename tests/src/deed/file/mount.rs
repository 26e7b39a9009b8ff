//! Mounts and roots, in a mount namespace of the deed's own.

use crate::deed::area::{Area, mount, own_mounts, text, tmpfs};
use crate::deed::sys;
use crate::deed::technique::NAMESPACE_CHANGE;
use crate::deed::truth::{FileTruth, Truth};
use crate::deed::{Deed, deed, lacking};
use anyhow::{Context as _, Result, ensure};
use rustix::fs::CWD;
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

const FSCONFIG_CMD_CREATE: u32 = 6;
const MOVE_MOUNT_F_EMPTY_PATH: u32 = 4;
const OPEN_TREE_CLONE: u32 = 1;
const O_CLOEXEC: u32 = libc::O_CLOEXEC.unsigned_abs();

pub const ALL: &[Deed] = &[
    deed("mount-tmpfs", "mount.mount", "", "mount(2) of a tmpfs", |area| {
        own_mounts()?;
        let place = area.sub("place")?;
        let truth = at(&place);
        mount(Some(Path::new("norma")), &place, Some("tmpfs"), 0)?;
        Ok(truth.fact("type", "tmpfs").fact("source", "norma"))
    }),
    deed("mount-bind", "mount.mount", "", "mount(MS_BIND)", |area| {
        own_mounts()?;
        let (folder, place) = (area.sub("folder")?, area.sub("place")?);
        let truth = at(&place);
        mount(Some(&folder), &place, None, libc::MS_BIND)?;
        same(&folder, &place)?;
        Ok(truth
            .other(FileTruth::at(&folder, &folder))
            .fact("flags", libc::MS_BIND))
    }),
    deed(
        "mount-bind-file",
        "mount.mount",
        "",
        "mount(MS_BIND) over a file",
        |area| {
            own_mounts()?;
            let (from, over) = (area.file("from")?, area.file("over")?);
            let truth = at(&over);
            mount(Some(&from), &over, None, libc::MS_BIND)?;
            same(&from, &over)?;
            Ok(truth
                .other(FileTruth::at(&from, &from))
                .fact("flags", libc::MS_BIND))
        },
    ),
    deed("mount-remount", "mount.mount", "", "mount(MS_REMOUNT)", |area| {
        let place = tmpfs(area, "place")?;
        let flags = libc::MS_REMOUNT | libc::MS_RDONLY;
        mount(None, &place, None, flags)?;
        ensure!(fs::write(place.join("x"), "x").is_err(), "it is still writable");
        Ok(at(&place).fact("flags", flags))
    }),
    deed("mount-move", "mount.move", "", "mount(MS_MOVE)", |area| {
        let from = tmpfs(area, "from")?;
        let to = area.sub("to")?;
        let truth = Truth::here().path(FileTruth::at(&from, &from));
        mount(Some(&from), &to, None, libc::MS_MOVE)?;
        Ok(truth.other(FileTruth::at(&to, &to)))
    }),
    deed(
        "mount-fsopen",
        "mount.move",
        "",
        "fsopen(2), fsmount(2), move_mount(2)",
        |area| {
            own_mounts()?;
            let place = area.sub("place")?;
            let fs = sys::file::fsopen(c"tmpfs", 1)?;
            sys::file::fsconfig(&fs, FSCONFIG_CMD_CREATE, None, None, 0)?;
            let mounted = sys::file::fsmount(&fs, 1, 0)?;
            // Until it is attached it is in no place but its own.
            let truth = Truth::here().path(FileTruth::of(&mounted, "")?);
            attach(&mounted, &place)?;
            Ok(truth.other(FileTruth::at(&place, &place)))
        },
    ),
    deed(
        "mount-open-tree",
        "mount.move",
        "",
        "open_tree(OPEN_TREE_CLONE), move_mount(2)",
        |area| {
            own_mounts()?;
            let (folder, place) = (area.sub("folder")?, area.sub("place")?);
            let tree = sys::file::open_tree(CWD, &text(&folder)?, OPEN_TREE_CLONE | O_CLOEXEC)?;
            let truth = Truth::here().path(FileTruth::of(&tree, "")?);
            attach(&tree, &place)?;
            same(&folder, &place)?;
            Ok(truth.other(FileTruth::at(&place, &place)))
        },
    ),
    deed(
        "mount-setattr",
        "mount.attributes",
        "",
        "mount_setattr(MOUNT_ATTR_RDONLY)",
        |area| {
            let place = tmpfs(area, "place")?;
            // attr_set = MOUNT_ATTR_RDONLY.
            let attributes = sys::Layout::default().u64(1).up_to(32).end();
            sys::file::mount_setattr(CWD, &text(&place)?, 0, &attributes)?;
            Ok(at(&place).fact("set", 1))
        },
    ),
    deed("umount", "mount.umount", "", "umount2(2)", |area| {
        let place = tmpfs(area, "place")?;
        let truth = at(&place);
        sys::file::umount(&text(&place)?, 0)?;
        Ok(truth)
    }),
    deed(
        "umount-detach",
        "mount.umount",
        "",
        "umount2(MNT_DETACH)",
        |area| {
            let place = tmpfs(area, "place")?;
            let truth = at(&place).fact("flags", libc::MNT_DETACH);
            let _busy = File::open(&place)?;
            sys::file::umount(&text(&place)?, libc::MNT_DETACH)?;
            Ok(truth)
        },
    ),
    deed(
        "pivot-root",
        "mount.pivot-root",
        NAMESPACE_CHANGE,
        "pivot_root(2)",
        pivot,
    ),
    deed("chroot", "file.chroot", "", "chroot(2)", |area| {
        let root = area.sub("root")?;
        let truth = at(&root);
        sys::file::chroot(&text(&root)?)?;
        Ok(truth)
    }),
];

fn at(place: &Path) -> Truth {
    Truth::here().path(FileTruth::at(place, place))
}

fn same(one: &Path, other: &Path) -> Result<()> {
    ensure!(
        fs::metadata(one)?.ino() == fs::metadata(other)?.ino(),
        "the mount is not seen"
    );
    Ok(())
}

fn attach(mounted: &OwnedFd, place: &Path) -> Result<()> {
    sys::file::move_mount(mounted, c"", CWD, &text(place)?, MOVE_MOUNT_F_EMPTY_PATH).context("move_mount")
}

/// A tmpfs becomes the root.
pub fn pivot(area: &Area) -> Result<Truth> {
    let new = tmpfs(area, "root")?;
    let old: PathBuf = new.join("old");
    fs::create_dir(&old)?;
    let truth = at(&new).other(FileTruth::at(&old, &old));
    match sys::file::pivot_root(&text(&new)?, &text(&old)?) {
        Err(sys::Errno::EINVAL) => Err(lacking("the root is the initial ramfs, which stays the root")),
        other => other.context("pivot_root"),
    }?;
    std::env::set_current_dir("/")?;
    Ok(truth)
}
