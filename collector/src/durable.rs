//! Files that are replaced as a whole or not at all.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Whether a replacement must survive power loss when the call returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// It must.
    Now,
    /// The older content may come back.
    Lazy,
}

/// Puts `content` in place of the file at `path`, which its owner alone can read.
pub fn replace(path: &Path, content: &[u8], sync: Sync) -> io::Result<()> {
    replace_as(path, content, 0o600, sync)
}

/// As [`replace`], with the permission bits `mode`.
pub fn replace_as(path: &Path, content: &[u8], mode: u32, sync: Sync) -> io::Result<()> {
    let temporary = beside(path);
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(&temporary)?;
    file.write_all(content)?;
    if sync == Sync::Now {
        file.sync_all()?;
    }
    fs::rename(&temporary, path)?;
    if sync == Sync::Now {
        sync_directory(path)?;
    }
    Ok(())
}

/// Makes a file that is not there yet, whole and durable, with the permission bits `mode`.
///
/// `AlreadyExists` where there is one; it is left as it is.
pub fn create(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let temporary = beside(path);
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    // A link, unlike a rename, never replaces what is there.
    let linked = fs::hard_link(&temporary, path);
    fs::remove_file(&temporary)?;
    linked?;
    sync_directory(path)
}

/// Makes a folder and those above it, each durable.
pub fn create_folders(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        create_folders(parent)?;
    }
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => sync_directory(path),
    }
}

/// Makes the creation, renaming or removal of `path` durable.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

/// SHA-256 of bytes.
pub fn digest_of(bytes: &[u8]) -> [u8; 32] {
    use sha2::{Digest as _, Sha256};
    Sha256::digest(bytes).into()
}

/// SHA-256 and length of a file.
pub fn digest(path: &Path) -> io::Result<([u8; 32], u64)> {
    use sha2::{Digest as _, Sha256};
    let mut digest = Sha256::new();
    let bytes = io::copy(&mut File::open(path)?, &mut digest)?;
    Ok((digest.finalize().into(), bytes))
}

fn beside(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".new");
    path.with_file_name(name)
}
