//! Where deeds are done: a folder, and namespaces that keep the machine as it was.

use super::lacking;
use super::sys::{self, Errno};
use anyhow::{Context as _, Result};
use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// No deed takes longer.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What the files of an area hold.
pub const CONTENT: &[u8] = b"norma-deed\n";

/// A folder for one deed.
pub struct Area {
    keep: tempfile::TempDir,
    folder: PathBuf,
}

impl Area {
    pub fn make(parent: &Path) -> Result<Self> {
        fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
        let keep = tempfile::Builder::new()
            .prefix("norma-deed-")
            .tempdir_in(parent)
            .with_context(|| parent.display().to_string())?;
        let folder = keep.path().canonicalize().context("the folder's real path")?;
        // Another user gets as far as the files, so that it is they who refuse.
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o711)).context("chmod")?;
        Ok(Self { keep, folder })
    }

    pub fn remove(self) -> Result<()> {
        self.keep.close().context("removing the folder")
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A path in it.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.join(name)
    }

    /// A file in it.
    pub fn file(&self, name: impl AsRef<Path>) -> Result<PathBuf> {
        let path = self.path(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
        }
        fs::write(&path, CONTENT).with_context(|| path.display().to_string())?;
        Ok(path)
    }

    /// A folder in it.
    pub fn sub(&self, name: &str) -> Result<PathBuf> {
        let path = self.path(name);
        fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
        Ok(path)
    }

    /// A program that ends well at once, in this folder of it.
    pub fn program(&self, folder: &str) -> Result<PathBuf> {
        let path = crate::nothing::program(&self.sub(folder)?)?;
        if !path.starts_with(&self.folder) {
            return Err(lacking("no small program is known for this processor"));
        }
        Ok(path)
    }
}

/// As system calls take names.
pub fn text(name: impl AsRef<Path>) -> Result<CString> {
    CString::new(name.as_ref().as_os_str().as_bytes()).context("a name with NUL")
}

/// Mounts are this process's own from here on.
pub fn own_mounts() -> Result<()> {
    sys::process::unshare(libc::CLONE_NEWNS).context("no mount namespace of its own")?;
    mount(None, "/", None, libc::MS_REC | libc::MS_PRIVATE).context("private mounts")
}

/// mount(2).
pub fn mount(
    source: Option<&Path>,
    target: impl AsRef<Path>,
    kind: Option<&str>,
    flags: libc::c_ulong,
) -> Result<()> {
    let source = source.map(text).transpose()?;
    let kind = kind.map(text).transpose()?;
    sys::file::mount(source.as_deref(), &text(&target)?, kind.as_deref(), flags, None)
        .with_context(|| format!("mount on {}", target.as_ref().display()))
}

/// A tmpfs in a folder of the area, in a mount namespace of this process.
pub fn tmpfs(area: &Area, name: &str) -> Result<PathBuf> {
    own_mounts()?;
    let path = area.sub(name)?;
    mount(Some(Path::new("none")), &path, Some("tmpfs"), 0)?;
    Ok(path)
}

/// The network is this process's own from here on, with a loopback interface that is up.
pub fn own_network() -> Result<()> {
    sys::process::unshare(libc::CLONE_NEWNET).context("no network namespace of its own")?;
    let socket = sys::network::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0)?;
    let mut request = [0; 40];
    request[..2].copy_from_slice(b"lo");
    let flags = i16::try_from(libc::IFF_UP | libc::IFF_RUNNING).context("interface flags")?;
    request[16..18].copy_from_slice(&flags.to_ne_bytes());
    sys::file::ioctl(&socket, libc::SIOCSIFFLAGS, sys::Into(&mut request)).context("lo up")?;
    Ok(())
}

/// What `result` says, with words for the kernels that refuse it as unknown.
pub fn known<T>(result: Result<T, Errno>, what: &str) -> Result<T> {
    match result {
        Err(Errno::EINVAL) => Err(lacking(format!("this kernel does not know {what}"))),
        result => result.with_context(|| what.to_owned()),
    }
}

/// A control group in the v2 hierarchy, removed in the end.
pub struct Group(PathBuf);

impl Group {
    pub fn make() -> Result<Self> {
        let root = crate::cgroup::v2_mount().map_err(|error| lacking(error.to_string()))?;
        let path = root.join(format!("norma-deed-{}", std::process::id()));
        fs::create_dir(&path).map_err(|error| lacking(format!("{}: {error}", path.display())))?;
        Ok(Self(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Moves a process into it.
    pub fn take(&self, pid: u32) -> Result<()> {
        fs::write(self.0.join("cgroup.procs"), pid.to_string()).context("moving to a control group")
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir(&self.0) {
            eprintln!("control group {} stays: {error}", self.0.display());
        }
    }
}
