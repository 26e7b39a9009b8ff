//! Opening of files.

use crate::watch::{Group, Watch, directory, scope};
use norma_abi::{PATH_COMPONENTS_MAX, SCOPE_MUTE_OPEN};
use norma_agent::observation::Act;
use norma_rig::skip::skipped;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::process::Command;

#[test]
fn a_symlink_shows_the_file_behind_it() {
    let Some(mut watch) = Watch::start() else { return };
    let (_keep, directory) = directory();
    let (file, link) = (directory.join("file"), directory.join("link"));
    fs::write(&file, "x").unwrap();
    symlink(&file, &link).unwrap();
    watch.drain();
    watch.seen.clear();
    File::open(&link).unwrap();
    let (observation, open) = watch.open(&file);
    assert!(open.read && !open.write && !open.created);
    let meta = fs::metadata(&file).unwrap();
    assert_eq!((open.file.inode, open.mode), (meta.ino(), meta.mode()));
    assert_eq!(observation.actor.process.pid, std::process::id());
    assert_eq!(
        i64::from(observation.actor.tid),
        i64::from(rustix::thread::gettid().as_raw_nonzero().get())
    );
}

#[test]
fn creation_and_access_are_told() {
    let Some(mut watch) = Watch::start() else { return };
    let (_keep, directory) = directory();
    let file = directory.join("new");
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(&file)
        .unwrap();
    let (_, open) = watch.open(&file);
    assert!(open.created && open.write && !open.read, "{open:?}");
    watch.seen.clear();
    OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .open(&file)
        .unwrap();
    let (_, open) = watch.open(&file);
    assert!(!open.created && open.write && open.read, "{open:?}");
    assert_ne!(open.flags & OFlags::APPEND.bits(), 0);
}

#[test]
fn openat2_and_relative_paths_are_seen_absolute() {
    let Some(mut watch) = Watch::start() else { return };
    let (_keep, directory) = directory();
    fs::create_dir(directory.join("sub")).unwrap();
    fs::write(directory.join("sub/file"), "x").unwrap();
    let at = File::open(&directory).unwrap();
    watch.open(&directory);
    watch.seen.clear();
    rustix::fs::openat2(
        &at,
        "sub/../sub/./file",
        OFlags::RDONLY,
        Mode::empty(),
        ResolveFlags::BENEATH,
    )
    .unwrap();
    watch.open(&directory.join("sub/file"));
    watch.seen.clear();
    rustix::fs::openat(&at, "sub/file", OFlags::RDONLY, Mode::empty()).unwrap();
    watch.open(&directory.join("sub/file"));
}

#[test]
fn mounts_are_crossed() {
    let Some(mut watch) = Watch::start() else { return };
    let (_keep, directory) = directory();
    for name in ["tmpfs", "bind", "source"] {
        fs::create_dir(directory.join(name)).unwrap();
    }
    let script = "mount -t tmpfs none tmpfs && mkdir tmpfs/a && echo x > tmpfs/a/file && \
                  echo x > source/file && mount --bind source bind && cat tmpfs/a/file bind/file";
    let status = Command::new("unshare")
        .args(["-m", "--propagation", "private", "/bin/sh", "-c", script])
        .current_dir(&directory)
        .status()
        .unwrap();
    if !status.success() {
        skipped("kernel", "mounts are not allowed here");
        return;
    }
    watch.open(&directory.join("tmpfs/a/file"));
    watch.open(&directory.join("bind/file"));
}

#[test]
fn a_deep_path_is_cut_at_its_root_and_flagged() {
    let Some(mut watch) = Watch::start() else { return };
    let (_keep, directory) = directory();
    let deep = (0..PATH_COMPONENTS_MAX + 20).fold(directory, |path, level| path.join(format!("d{level}")));
    fs::create_dir_all(&deep).unwrap();
    let file = deep.join("a-file-that-lies-deep");
    fs::write(&file, "x").unwrap();
    let open = watch.find("the deep file", |seen| match &seen.act {
        Act::Open(open) if open.path.bytes.ends_with(b"/a-file-that-lies-deep") => Some(open.clone()),
        _ => None,
    });
    assert!(open.path.truncated);
    let text = String::from_utf8(open.path.bytes).unwrap();
    assert!(text.starts_with("…/d"), "{text}");
    assert_eq!(text.matches('/').count(), PATH_COMPONENTS_MAX);
    assert!(file.to_str().unwrap().ends_with(text.trim_start_matches('…')));
}

#[test]
fn the_deepest_path_that_fits_is_whole() {
    let Some(mut watch) = Watch::start() else { return };
    let (_keep, directory) = directory();
    let room = PATH_COMPONENTS_MAX - directory.components().count();
    let deep = (0..room).fold(directory, |path, level| path.join(format!("d{level}")));
    fs::create_dir_all(&deep).unwrap();
    let file = deep.join("f");
    assert_eq!(file.components().count() - 1, PATH_COMPONENTS_MAX);
    fs::write(&file, "x").unwrap();
    let (_, open) = watch.open(&file);
    assert!(!open.path.truncated);
}

#[test]
fn strange_names_come_as_they_are() {
    let Some(mut watch) = Watch::start() else { return };
    let (_keep, directory) = directory();
    for name in [b"new\nline".as_slice(), b"\xff\xfe", b" ", &[b'n'; 255]] {
        let file = directory.join(OsStr::from_bytes(name));
        fs::write(&file, "x").unwrap();
        watch.open(&file);
    }
}

#[test]
fn a_muted_control_group_is_silent_and_others_are_not() {
    let (Some(mut watch), Some(muted), Some(loud)) = (Watch::start(), Group::make(), Group::make()) else {
        return;
    };
    let (_keep, directory) = directory();
    let (quiet_file, loud_file) = (directory.join("quiet"), directory.join("loud"));
    fs::write(&quiet_file, "x").unwrap();
    fs::write(&loud_file, "x").unwrap();
    watch.open(&loud_file);
    watch.seen.clear();
    let mut controls = watch.controls();
    controls.set_scope(muted.id(), scope(0, SCOPE_MUTE_OPEN)).unwrap();
    let cat = |group: &Group, file: &std::path::Path| {
        let status = group
            .shell(&format!("exec cat {}", file.display()))
            .status()
            .unwrap();
        assert!(status.success());
    };
    cat(&muted, &quiet_file);
    cat(&loud, &loud_file);
    let (observation, _) = watch.open(&loud_file);
    assert_eq!(observation.actor.cgroup, loud.id());
    assert!(!watch.has_open(&quiet_file));
    controls.remove_scope(muted.id()).unwrap();
    controls.remove_scope(muted.id()).unwrap();
    cat(&muted, &quiet_file);
    watch.open(&quiet_file);
}
