//! Key, certificate and authority in a directory, replaced all at once.
//!
//! `tls.crt`, `tls.key` and `ca.crt` are links into `..data`, which is a link to a directory with the three files. A new
//! set is a new directory, and takes effect when `..data` is renamed over: at no time, also after a crash, do key and
//! certificate not belong together.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// The certificate chain.
pub const CERTIFICATE: &str = "tls.crt";
/// Its key.
pub const KEY: &str = "tls.key";
/// The authorities of the collector's certificate.
pub const AUTHORITIES: &str = "ca.crt";
const DATA: &str = "..data";

/// What is stored, in PEM.
pub struct Files {
    /// The node's certificate and the intermediate ones.
    pub certificates: String,
    /// Its key.
    pub key: String,
    /// Authorities of the collector's certificate.
    pub authorities: String,
}

/// Certificates (DER) in PEM.
pub(super) fn pem(certificates: &[Vec<u8>]) -> String {
    certificates
        .iter()
        .map(|der| pem::encode(&pem::Pem::new("CERTIFICATE", der.as_slice())))
        .collect()
}

/// Whether a directory is one that [`replace`] made.
pub fn is_ours(directory: &Path) -> bool {
    fs::read_link(directory.join(DATA)).is_ok()
}

/// Keeps a key that has no certificate yet in a file of its own; durable when it returns.
pub(super) fn keep(path: &Path, key: &str) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let temporary = path.with_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)?;
    file.write_all(key.as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    File::open(folder)?.sync_all()
}

/// Puts `files` into `directory` for the first time.
///
/// # Errors
/// `AlreadyExists` where one of the files is there: keys are not overwritten.
pub fn create(directory: &Path, files: &Files) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    for name in [CERTIFICATE, KEY, AUTHORITIES, DATA] {
        if directory.join(name).symlink_metadata().is_ok() {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                format!(
                    "{name} is there already and is not overwritten; use another directory or move it away"
                ),
            ));
        }
    }
    replace(directory, files)?;
    for name in [CERTIFICATE, KEY, AUTHORITIES] {
        symlink(Path::new(DATA).join(name), directory.join(name))?;
    }
    File::open(directory)?.sync_all()
}

/// Puts `files` in place of those that are in `directory`.
pub fn replace(directory: &Path, files: &Files) -> io::Result<()> {
    let before = fs::read_link(directory.join(DATA)).ok();
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos());
    let name = PathBuf::from(format!("..{now}"));
    let new = directory.join(&name);
    DirBuilder::new().mode(0o700).create(&new)?;
    for (file, text, mode) in [
        (KEY, &files.key, 0o600),
        (CERTIFICATE, &files.certificates, 0o644),
        (AUTHORITIES, &files.authorities, 0o644),
    ] {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(new.join(file))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
    }
    File::open(&new)?.sync_all()?;
    let link = directory.join("..data.new");
    match fs::remove_file(&link) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    symlink(&name, &link)?;
    fs::rename(&link, directory.join(DATA))?;
    File::open(directory)?.sync_all()?;
    if let Some(before) = before.filter(|before| before.components().count() == 1)
        && let Err(error) = fs::remove_dir_all(directory.join(before))
    {
        tracing::warn!(%error, "cannot remove the certificate and key from before");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn files(text: &str) -> Files {
        Files {
            certificates: format!("certificate {text}"),
            key: format!("key {text}"),
            authorities: format!("authority {text}"),
        }
    }

    #[test]
    fn a_set_is_made_once_and_replaced_as_a_whole() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("node");
        create(&place, &files("one")).unwrap();
        assert_eq!(
            create(&place, &files("two")).unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
        replace(&place, &files("two")).unwrap();
        for (name, text) in [
            (CERTIFICATE, "certificate two"),
            (KEY, "key two"),
            (AUTHORITIES, "authority two"),
        ] {
            assert_eq!(fs::read_to_string(place.join(name)).unwrap(), text);
        }
        let mode = fs::metadata(place.join(KEY)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let sets = fs::read_dir(&place)
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().file_type().unwrap().is_dir());
        assert_eq!(sets.count(), 1, "the old key is still there");
        assert!(is_ours(&place) && !is_ours(dir.path()));
    }
}
