//! What the machine offers: kernel, capabilities, filesystems.

use super::btf::VMLINUX;
use procfs::process::{MountInfo, Process};
use rustix::mount::{MountFlags, mount};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

const SECURITYFS: &str = "/sys/kernel/security";
const TRACEFS: &str = "/sys/kernel/tracing";
/// Inode number of the root of a control group hierarchy. A container's private view of the tree shows a
/// directory below it, and a program attached there would see nothing of the rest.
const ROOT_CGROUP_INODE: u64 = 1;

/// Capabilities that the sensor uses, with their numbers and uses; see capabilities(7).
const CAPABILITIES: &[(&str, u32, &str)] = &[
    ("CAP_BPF", 39, "to create maps and load programs"),
    (
        "CAP_PERFMON",
        38,
        "to load tracing programs and read kernel memory from them",
    ),
    ("CAP_NET_ADMIN", 12, "to refuse connections"),
    ("CAP_SYS_ADMIN", 21, "to mount tracefs where nobody has"),
    (
        "CAP_DAC_READ_SEARCH",
        2,
        "to read tracefs when not running as root",
    ),
];
const CAP_SYS_ADMIN: u32 = 21;

/// What was found. Where something is missing, the error says how to provide it.
pub struct Facts {
    /// Release of the kernel.
    pub kernel: String,
    /// Where tracefs is.
    pub tracefs: Result<PathBuf, String>,
    /// The root of the v2 hierarchy.
    pub root_cgroup: Result<PathBuf, String>,
    /// Inode number of the pid namespace of the host's first process, 0 where it cannot be read.
    pub host_pid_ns: u32,
    /// Process id of the agent in the initial pid namespace, 0 where the agent is not in it.
    pub own_pid: u32,
    security_modules: String,
    effective: u64,
}

impl Facts {
    /// Looks around, and mounts tracefs where it is missing and that is allowed.
    pub fn collect() -> Self {
        let process = Process::myself();
        let effective = process
            .as_ref()
            .ok()
            .and_then(|process| process.status().ok())
            .map_or(0, |status| status.capeff);
        let mounts: Vec<MountInfo> = process
            .and_then(|process| process.mountinfo())
            .map(|mounts| mounts.into_iter().collect())
            .unwrap_or_default();
        Self {
            host_pid_ns: host_pid_ns().unwrap_or(0),
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            tracefs: tracefs(&mounts, effective),
            root_cgroup: root_cgroup(&mounts),
            own_pid: own_pid(),
            security_modules: security_modules(&mounts, effective),
            effective,
        }
    }

    /// Name and value of each fact.
    pub fn describe(&self) -> Vec<(String, String)> {
        let path = |result: &Result<PathBuf, String>| match result {
            Ok(path) => path.display().to_string(),
            Err(why) => format!("missing: {why}"),
        };
        let mut facts = vec![
            (
                "btf".to_owned(),
                if Path::new(VMLINUX).exists() {
                    VMLINUX
                } else {
                    "missing"
                }
                .to_owned(),
            ),
            (
                "security modules".to_owned(),
                self.security_modules.trim().to_owned(),
            ),
            ("tracefs".to_owned(), path(&self.tracefs)),
            ("cgroup v2 root".to_owned(), path(&self.root_cgroup)),
        ];
        for (name, bit, used) in CAPABILITIES {
            let state = if self.has(*bit) { "held" } else { "missing" };
            facts.push((name.to_ascii_lowercase(), format!("{state} ({used})")));
        }
        facts
    }

    /// The active security modules, for people.
    pub fn security_modules(&self) -> &str {
        self.security_modules.trim()
    }

    /// The capabilities without which no program loads and that are not held.
    pub fn missing_to_load(&self) -> Option<String> {
        self.missing(&["CAP_BPF", "CAP_PERFMON"])
    }

    /// Adds what to do to an error that comes from a missing capability.
    pub fn explain(&self, error: &str) -> String {
        let wanted: &[&str] = if error.contains("os error 1)") {
            &["CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN"]
        } else if error.contains("os error 13)") {
            &["CAP_DAC_READ_SEARCH"]
        } else {
            &[]
        };
        match self.missing(wanted) {
            Some(missing) => format!("{error} (not held: {missing})"),
            None => error.to_owned(),
        }
    }

    fn missing(&self, wanted: &[&str]) -> Option<String> {
        let missing: Vec<&str> = CAPABILITIES
            .iter()
            .filter(|(name, bit, _)| wanted.contains(name) && !self.has(*bit))
            .map(|(name, _, _)| *name)
            .collect();
        (!missing.is_empty()).then(|| missing.join(", "))
    }

    /// bpf(2) takes CAP_SYS_ADMIN for each of CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN.
    fn has(&self, bit: u32) -> bool {
        let held = |bit: u32| self.effective & (1 << bit) != 0;
        held(bit) || (matches!(bit, 12 | 38 | 39) && held(CAP_SYS_ADMIN))
    }
}

/// Inode number of a process's pid namespace.
fn pid_ns(process: &Process) -> Option<u32> {
    let all = process.namespaces().ok()?;
    all.0.get(OsStr::new("pid"))?.identifier.try_into().ok()
}

/// That of the host's first process. Who may not look at it may still be in the initial namespace, which has
/// the same number on every kernel.
fn host_pid_ns() -> Option<u32> {
    const INITIAL: u32 = 0xefff_fffc;
    let first = Process::new(1).ok().and_then(|first| pid_ns(&first));
    first.or_else(|| {
        let own = Process::myself().ok().and_then(|own| pid_ns(&own));
        own.filter(|own| *own == INITIAL)
    })
}

/// The agent's pid is that of the host's namespace where that is its own.
fn own_pid() -> u32 {
    let own = Process::myself().ok().and_then(|own| pid_ns(&own));
    if own.is_some() && own == host_pid_ns() {
        std::process::id()
    } else {
        0
    }
}

fn security_modules(mounts: &[MountInfo], effective: u64) -> String {
    let list = Path::new(SECURITYFS).join("lsm");
    if !mounts.iter().any(|mount| mount.fs_type == "securityfs") && effective & (1 << CAP_SYS_ADMIN) != 0 {
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::RELATIME;
        if mount("securityfs", SECURITYFS, "securityfs", flags, None).is_ok() {
            tracing::info!(path = SECURITYFS, "mounted securityfs");
        }
    }
    fs::read_to_string(list).unwrap_or_else(|_| "unknown (securityfs is not mounted)".to_owned())
}

fn tracefs(mounts: &[MountInfo], effective: u64) -> Result<PathBuf, String> {
    if let Some(found) = mounts.iter().find(|mount| mount.fs_type == "tracefs") {
        return Ok(found.mount_point.clone());
    }
    let advice =
        format!("run `mount -t tracefs tracefs {TRACEFS}`, in a container with that path from the host");
    if effective & (1 << CAP_SYS_ADMIN) == 0 {
        return Err(format!(
            "tracefs is not mounted, and mounting it takes CAP_SYS_ADMIN; {advice}"
        ));
    }
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::RELATIME;
    match mount("tracefs", TRACEFS, "tracefs", flags, None) {
        Ok(()) => {
            tracing::info!(path = TRACEFS, "mounted tracefs");
            Ok(PathBuf::from(TRACEFS))
        }
        Err(error) => Err(format!(
            "tracefs is not mounted, and mounting it fails: {error}; {advice}"
        )),
    }
}

fn root_cgroup(mounts: &[MountInfo]) -> Result<PathBuf, String> {
    let trees: Vec<&MountInfo> = mounts.iter().filter(|mount| mount.fs_type == "cgroup2").collect();
    if let Some(root) = trees
        .iter()
        .find(|mount| fs::metadata(&mount.mount_point).is_ok_and(|root| root.ino() == ROOT_CGROUP_INODE))
    {
        return Ok(root.mount_point.clone());
    }
    Err(if trees.is_empty() {
        "no cgroup2 filesystem is mounted; run `mount -t cgroup2 none DIRECTORY`, in a container with \
         /sys/fs/cgroup from the host"
            .to_owned()
    } else {
        "the mounted cgroup2 filesystem shows only a part of the tree; give the container /sys/fs/cgroup \
         from the host"
            .to_owned()
    })
}
