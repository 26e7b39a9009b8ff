//! Files whose every opening is of interest, in whatever name.
//!
//! A file has as many names as somebody makes for it: hard links, bind mounts, `/proc/PID/root`. So the
//! configured names are looked up in each container and remembered by inode, and an opening of such an inode
//! counts as one of the configured name. The looking up goes through the container's own mounts, where a
//! file system can answer as slowly as it likes: it is done on a thread of its own ([`Finder`]).

use crate::observation::{CgroupId, FileId};
use rustix::fs::{Dir, Mode, OFlags, ResolveFlags, fstat, major, minor, openat2};
use std::collections::HashMap;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

/// Where the configuration names none: credentials and keys.
const DEFAULTS: [&str; 12] = [
    "/etc/shadow",
    "/etc/shadow-",
    "/etc/gshadow",
    "/etc/gshadow-",
    "/etc/sudoers",
    "/etc/krb5.keytab",
    "/etc/ssh/*",
    "/root/.ssh/*",
    "/root/.aws/credentials",
    "/root/.kube/config",
    "/root/.docker/config.json",
    "/var/run/secrets/kubernetes.io/serviceaccount/token",
];
/// Most files of one directory that are watched.
const DIRECTORY_MAX: usize = 1000;

/// The configured names.
#[derive(Clone, Debug)]
pub struct Sensitive {
    names: Arc<[Arc<str>]>,
}

impl Default for Sensitive {
    fn default() -> Self {
        Self::new(DEFAULTS.map(str::to_owned))
    }
}

impl Sensitive {
    /// These names: absolute paths as the container sees them; `/dir/*` stands for all files of a directory.
    pub fn new(names: impl IntoIterator<Item = String>) -> Self {
        Self {
            names: names.into_iter().map(Arc::from).collect(),
        }
    }

    /// The configured name that a path is, or lies below as `/dir/*`.
    #[must_use]
    pub fn by_name(&self, path: &str) -> Option<&Arc<str>> {
        self.names.iter().find(|name| match name.strip_suffix("/*") {
            Some(directory) => path
                .strip_prefix(directory)
                .is_some_and(|rest| rest.len() > 1 && rest.starts_with('/') && !rest[1..].contains('/')),
            None => path == name.as_ref(),
        })
    }

    /// The inodes behind the names, as the process sees them; what does not exist has none.
    fn look_up(&self, pid: u32) -> HashMap<FileId, Arc<str>> {
        let mut found = HashMap::new();
        let Ok(root) = File::open(format!("/proc/{pid}/root")) else {
            return found;
        };
        for name in self.names.iter() {
            match name.strip_suffix("/*") {
                None => {
                    if let Some(file) = open(&root, name, OFlags::PATH).and_then(|file| file_id(&file)) {
                        found.insert(file, Arc::clone(name));
                    }
                }
                Some(directory) => add_directory(&root, directory, &mut found),
            }
        }
        found
    }
}

fn add_directory(root: &File, directory: &str, found: &mut HashMap<FileId, Arc<str>>) {
    let Some(opened) = open(root, directory, OFlags::RDONLY | OFlags::DIRECTORY) else {
        return;
    };
    let Ok(entries) = Dir::read_from(&opened) else {
        return;
    };
    for entry in entries.flatten().take(DIRECTORY_MAX) {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name == "." || name == ".." {
            continue;
        }
        let path = format!("{directory}/{name}");
        if let Some(file) = open(root, &path, OFlags::PATH).and_then(|file| file_id(&file)) {
            found.insert(file, Arc::from(path));
        }
    }
}

/// Links of the container lead within the container.
fn open(root: &File, path: &str, flags: OFlags) -> Option<OwnedFd> {
    openat2(
        root,
        path.trim_start_matches('/'),
        flags | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
    )
    .ok()
}

fn file_id(file: &impl AsFd) -> Option<FileId> {
    let stat = fstat(file).ok()?;
    Some(FileId {
        dev: (major(stat.st_dev) << 20) | minor(stat.st_dev),
        inode: stat.st_ino,
    })
}

/// Inodes of the sensitive files of each control group.
pub type Found = HashMap<(CgroupId, FileId), Arc<str>>;

/// Who finds out which inodes the sensitive files are.
pub trait SensitiveFiles: Send {
    /// Has the files of these control groups looked up, each by a process that sees them.
    fn order(&self, groups: Vec<(CgroupId, u32)>);

    /// What was found last.
    fn found(&self) -> Arc<Found>;
}

/// Looks sensitive files up, beside the pipeline.
pub struct Finder {
    orders: SyncSender<Vec<(CgroupId, u32)>>,
    found: Arc<Mutex<Arc<Found>>>,
}

impl Finder {
    /// Starts the thread; it ends when the finder is dropped.
    pub fn start(sensitive: Sensitive) -> std::io::Result<Self> {
        let (orders, taken) = sync_channel::<Vec<(CgroupId, u32)>>(1);
        let found = Arc::new(Mutex::new(Arc::new(Found::new())));
        let publish = Arc::clone(&found);
        std::thread::Builder::new()
            .name("sensitive".to_owned())
            .spawn(move || {
                for order in taken {
                    let mut all = Found::new();
                    for (cgroup, pid) in order {
                        for (file, name) in sensitive.look_up(pid) {
                            all.insert((cgroup, file), name);
                        }
                    }
                    *publish.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(all);
                }
            })?;
        Ok(Self { orders, found })
    }
}

impl SensitiveFiles for Finder {
    /// While an earlier order is being worked on, this one is dropped; the next comes soon.
    fn order(&self, groups: Vec<(CgroupId, u32)>) {
        match self.orders.try_send(groups) {
            Ok(()) | Err(TrySendError::Full(_)) => {}
            Err(TrySendError::Disconnected(_)) => {
                tracing::error!("sensitive files are not looked up any more: the thread ended");
            }
        }
    }

    fn found(&self) -> Arc<Found> {
        Arc::clone(&self.found.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::MetadataExt as _;

    #[test]
    fn a_directory_stands_for_its_files_and_not_for_what_lies_deeper() {
        let sensitive = Sensitive::new(["/etc/shadow".to_owned(), "/keys/*".to_owned()]);
        let name = |path: &str| sensitive.by_name(path).map(AsRef::as_ref);
        assert_eq!(name("/etc/shadow"), Some("/etc/shadow"));
        assert_eq!(name("/etc/shadow2"), None);
        assert_eq!(name("/keys/id"), Some("/keys/*"));
        assert_eq!(name("/keys/"), None);
        assert_eq!(name("/keys/deep/id"), None);
        assert_eq!(name("/keysid"), None);
    }

    #[test]
    fn an_inode_is_found_behind_its_configured_name() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("secret");
        fs::write(&file, "x").unwrap();
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let sensitive = Sensitive::new([
            link.to_str().unwrap().to_owned(),
            format!("{}/*", directory.path().to_str().unwrap()),
        ]);
        let found = sensitive.look_up(std::process::id());
        let meta = fs::metadata(&file).unwrap();
        let id = FileId {
            dev: (major(meta.dev()) << 20) | minor(meta.dev()),
            inode: meta.ino(),
        };
        assert!(found.contains_key(&id), "{found:?}");
    }
}
