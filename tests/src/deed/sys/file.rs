//! Files and mounts.

use super::{From, Into, calls, old_calls};
use std::ffi::CStr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::AtomicU8;

old_calls! {
    open = SYS_open(path: &CStr, flags: i32, mode: u32) -> OwnedFd;
    creat = SYS_creat(path: &CStr, mode: u32) -> OwnedFd;
    unlink = SYS_unlink(path: &CStr) -> ();
    rmdir = SYS_rmdir(path: &CStr) -> ();
    rename = SYS_rename(from: &CStr, to: &CStr) -> ();
    link = SYS_link(from: &CStr, to: &CStr) -> ();
    symlink = SYS_symlink(target: &CStr, path: &CStr) -> ();
    mkdir = SYS_mkdir(path: &CStr, mode: u32) -> ();
    mknod = SYS_mknod(path: &CStr, mode: u32, device: u64) -> ();
    chmod = SYS_chmod(path: &CStr, mode: u32) -> ();
    chown = SYS_chown(path: &CStr, uid: u32, gid: u32) -> ();
    lchown = SYS_lchown(path: &CStr, uid: u32, gid: u32) -> ();
    renameat = SYS_renameat(from_dir: BorrowedFd<'_>, from: &CStr, to_dir: BorrowedFd<'_>, to: &CStr) -> ();
}

calls! {
    openat = SYS_openat(dir: BorrowedFd<'_>, path: &CStr, flags: i32, mode: u32) -> OwnedFd;
    openat_changing = SYS_openat(dir: BorrowedFd<'_>, path: &[AtomicU8], flags: i32, mode: u32) -> OwnedFd;
    openat2 = SYS_openat2(dir: BorrowedFd<'_>, path: &CStr, how: &[u8]) -> OwnedFd;
    name_to_handle_at = SYS_name_to_handle_at(dir: BorrowedFd<'_>, path: &CStr, handle: Into<'_>,
        mount: Into<'_>, flags: i32) -> ();
    open_by_handle_at = SYS_open_by_handle_at(mount: &OwnedFd, handle: From<'_>, flags: i32) -> OwnedFd;
    unlinkat = SYS_unlinkat(dir: BorrowedFd<'_>, path: &CStr, flags: i32) -> ();
    renameat2 = SYS_renameat2(from_dir: BorrowedFd<'_>, from: &CStr, to_dir: BorrowedFd<'_>, to: &CStr,
        flags: u32) -> ();
    linkat = SYS_linkat(from_dir: BorrowedFd<'_>, from: &CStr, to_dir: BorrowedFd<'_>, to: &CStr,
        flags: i32) -> ();
    symlinkat = SYS_symlinkat(target: &CStr, dir: BorrowedFd<'_>, path: &CStr) -> ();
    mkdirat = SYS_mkdirat(dir: BorrowedFd<'_>, path: &CStr, mode: u32) -> ();
    mknodat = SYS_mknodat(dir: BorrowedFd<'_>, path: &CStr, mode: u32, device: u64) -> ();
    fchmod = SYS_fchmod(file: &OwnedFd, mode: u32) -> ();
    fchmodat = SYS_fchmodat(dir: BorrowedFd<'_>, path: &CStr, mode: u32) -> ();
    fchmodat2 = SYS_fchmodat2(dir: BorrowedFd<'_>, path: &CStr, mode: u32, flags: i32) -> ();
    fchown = SYS_fchown(file: &OwnedFd, uid: u32, gid: u32) -> ();
    fchownat = SYS_fchownat(dir: BorrowedFd<'_>, path: &CStr, uid: u32, gid: u32, flags: i32) -> ();
    setxattr = SYS_setxattr(path: &CStr, name: &CStr, value: &[u8], flags: i32) -> ();
    lsetxattr = SYS_lsetxattr(path: &CStr, name: &CStr, value: &[u8], flags: i32) -> ();
    fsetxattr = SYS_fsetxattr(file: &OwnedFd, name: &CStr, value: &[u8], flags: i32) -> ();
    removexattr = SYS_removexattr(path: &CStr, name: &CStr) -> ();
    lremovexattr = SYS_lremovexattr(path: &CStr, name: &CStr) -> ();
    fremovexattr = SYS_fremovexattr(file: &OwnedFd, name: &CStr) -> ();
    truncate = SYS_truncate(path: &CStr, length: i64) -> ();
    ftruncate = SYS_ftruncate(file: &OwnedFd, length: i64) -> ();
    ioctl = SYS_ioctl(file: &OwnedFd, request: u64, argument: Into<'_>) -> ();
    memfd_create = SYS_memfd_create(name: &CStr, flags: u32) -> OwnedFd;
    mount = SYS_mount(source: Option<&CStr>, target: &CStr, kind: Option<&CStr>, flags: u64,
        data: Option<&CStr>) -> ();
    umount = SYS_umount2(target: &CStr, flags: i32) -> ();
    pivot_root = SYS_pivot_root(new: &CStr, old: &CStr) -> ();
    chroot = SYS_chroot(path: &CStr) -> ();
    fsopen = SYS_fsopen(kind: &CStr, flags: u32) -> OwnedFd;
    fsconfig = SYS_fsconfig(fs: &OwnedFd, command: u32, key: Option<&CStr>, value: Option<&CStr>, aux: i32) -> ();
    fsmount = SYS_fsmount(fs: &OwnedFd, flags: u32, attributes: u32) -> OwnedFd;
    move_mount = SYS_move_mount(from: &OwnedFd, from_path: &CStr, to: BorrowedFd<'_>, to_path: &CStr,
        flags: u32) -> ();
    open_tree = SYS_open_tree(dir: BorrowedFd<'_>, path: &CStr, flags: u32) -> OwnedFd;
    mount_setattr = SYS_mount_setattr(dir: BorrowedFd<'_>, path: &CStr, flags: u32, attributes: &[u8]) -> ();
}
