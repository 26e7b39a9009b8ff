//! What paths and programs are, by their names: where programs lie, which files hold credentials, what a shell is.

/// Parts of the names of files whose reading is worth more than most: credentials, keys, other processes' memory and
/// environment.
const CREDENTIALS: [&str; 28] = [
    "/etc/shadow",
    "/etc/gshadow",
    "/etc/sudoers",
    "/etc/ssh/ssh_host_",
    "/etc/krb5.keytab",
    "/etc/kubernetes/",
    "/var/lib/kubelet/",
    "/.ssh/",
    "/.aws/",
    "/.azure/",
    "/.config/gcloud/",
    "/.kube/",
    "/.gnupg/",
    "/.docker/config.json",
    "/.git-credentials",
    "/.netrc",
    "/.pgpass",
    "/.my.cnf",
    "/.vault-token",
    "/.npmrc",
    "/id_rsa",
    "/id_ecdsa",
    "/id_ed25519",
    "/var/run/secrets/",
    "/run/secrets/",
    "/environ",
    "/proc/kcore",
    "/dev/mem",
];

/// Where programs lie.
const BINARIES: [&str; 7] = [
    "/bin/",
    "/sbin/",
    "/usr/bin/",
    "/usr/sbin/",
    "/usr/local/bin/",
    "/usr/local/sbin/",
    "/usr/libexec/",
];

/// Where libraries and the loader's settings lie.
const LIBRARIES: [&str; 7] = [
    "/lib/",
    "/lib32/",
    "/lib64/",
    "/usr/lib/",
    "/usr/lib64/",
    "/usr/local/lib/",
    "/etc/ld.so.",
];

/// What is started without being asked, and who may log in.
const PERSISTENCE: [&str; 18] = [
    "/etc/cron",
    "/var/spool/cron",
    "/etc/systemd/",
    "/usr/lib/systemd/",
    "/lib/systemd/",
    "/etc/init.d/",
    "/etc/rc",
    "/etc/profile",
    "/etc/bash.bashrc",
    "/etc/update-motd.d/",
    "/etc/pam.d/",
    "/etc/passwd",
    "/etc/shadow",
    "/etc/group",
    "/etc/gshadow",
    "/etc/sudoers",
    "/etc/ssh/",
    "/etc/xdg/autostart/",
];
/// The same wherever they are.
const PERSISTENCE_NAMES: [&str; 9] = [
    "/.ssh/authorized_keys",
    "/.ssh/authorized_keys2",
    "/.ssh/rc",
    "/.bashrc",
    "/.bash_profile",
    "/.bash_login",
    "/.profile",
    "/.zshrc",
    "/.config/autostart",
];

/// Files by which the kernel starts programs outside of containers, or devices are opened to them.
const ESCAPES: [&str; 10] = [
    "/core_pattern",
    "/release_agent",
    "/notify_on_release",
    "/devices.allow",
    "/uevent_helper",
    "/kernel/modprobe",
    "/kernel/hotplug",
    "/kernel/poweroff_cmd",
    "/binfmt_misc/register",
    "/sysrq-trigger",
];

/// Where settings of the kernel and of its start lie.
const KERNEL: [&str; 3] = ["/proc/sys/", "/sys/", "/boot/"];

/// Where the loader and libc look when a program starts.
const START_UP: [&str; 14] = [
    "/lib/",
    "/lib64/",
    "/usr/lib/",
    "/usr/lib64/",
    "/usr/share/locale/",
    "/etc/ld.so.",
    "/etc/nsswitch.conf",
    "/etc/localtime",
    "/etc/passwd",
    "/etc/group",
    "/proc/filesystems",
    "/proc/sys/",
    "/dev/null",
    "/dev/tty",
];

/// Sockets of container runtimes.
const RUNTIME_SOCKETS: [&str; 8] = [
    "/docker.sock",
    "/containerd.sock",
    "/containerd.sock.ttrpc",
    "/crio.sock",
    "/cri-dockerd.sock",
    "/dockershim.sock",
    "/podman.sock",
    "/buildkitd.sock",
];

/// Filesystems of devices, of control groups, and of the kernel itself.
const HOST_FILESYSTEMS: [&str; 15] = [
    "ext2",
    "ext3",
    "ext4",
    "xfs",
    "btrfs",
    "f2fs",
    "vfat",
    "ntfs3",
    "zfs",
    "cgroup",
    "cgroup2",
    "debugfs",
    "tracefs",
    "securityfs",
    "bpf",
];

const SHELLS: [&str; 22] = [
    "sh", "bash", "rbash", "dash", "ash", "hush", "zsh", "ksh", "mksh", "fish", "csh", "tcsh", "pwsh",
    "python", "pypy", "perl", "ruby", "node", "nodejs", "php", "lua", "tclsh",
];
const PACKAGE_MANAGERS: [&str; 26] = [
    "apt",
    "apt-get",
    "aptitude",
    "dpkg",
    "yum",
    "dnf",
    "microdnf",
    "tdnf",
    "rpm",
    "apk",
    "zypper",
    "pacman",
    "snap",
    "opkg",
    "pip",
    "pipx",
    "uv",
    "easy_install",
    "npm",
    "npx",
    "yarn",
    "pnpm",
    "gem",
    "cpan",
    "conda",
    "mamba",
];
/// Programs whose purpose is to run what they are told, on a schedule, as a supervisor or in another setting: that
/// they start a shell for the first time says nothing.
const LAUNCHERS: [&str; 39] = [
    "cron",
    "crond",
    "anacron",
    "atd",
    "supercronic",
    "systemd",
    "init",
    "tini",
    "dumb-init",
    "catatonit",
    "runsv",
    "runsvdir",
    "s6-svscan",
    "s6-supervise",
    "supervisord",
    "monit",
    "make",
    "gmake",
    "ninja",
    "bazel",
    "su",
    "sudo",
    "runuser",
    "setpriv",
    "gosu",
    "su-exec",
    "chroot",
    "env",
    "nice",
    "ionice",
    "nohup",
    "setsid",
    "timeout",
    "flock",
    "xargs",
    "find",
    "parallel",
    "watch",
    "run-parts",
];
/// Enters the namespaces of others, and has no other purpose.
const ESCAPE_TOOL: &str = "nsenter";
/// Programs that are many, by the name under which they are called.
const MULTI_CALL: [&str; 4] = ["busybox", "toybox", "coreutils", "gobusybox"];

/// What changing a file means, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Changed {
    Escape,
    Persistence,
    Binary,
    Library,
    Kernel,
    Configuration,
    Trace,
    Plain,
}

pub(super) fn changed(path: &str) -> Changed {
    let below = |trees: &[&str]| trees.iter().any(|tree| path.starts_with(tree));
    let named = |names: &[&str]| names.iter().any(|name| path.ends_with(name));
    if named(&ESCAPES) {
        Changed::Escape
    } else if below(&PERSISTENCE) || named(&PERSISTENCE_NAMES) {
        Changed::Persistence
    } else if below(&BINARIES) {
        Changed::Binary
    // What an interpreter compiles beside its libraries by itself.
    } else if below(&LIBRARIES) && !path.contains("/__pycache__/") {
        Changed::Library
    } else if below(&KERNEL) {
        Changed::Kernel
    } else if path.starts_with("/etc/") {
        Changed::Configuration
    } else if is_trace(path) {
        Changed::Trace
    } else {
        Changed::Plain
    }
}

/// A log, or a shell's history.
fn is_trace(path: &str) -> bool {
    path.starts_with("/var/log/") || path.ends_with("_history")
}

pub(super) fn holds_credentials(path: &str) -> bool {
    CREDENTIALS.iter().any(|part| path.contains(part))
}

pub(super) fn is_start_up(path: &str) -> bool {
    START_UP.iter().any(|part| path.starts_with(part))
}

pub(super) fn is_runtime_socket(path: &str) -> bool {
    RUNTIME_SOCKETS.iter().any(|name| path.ends_with(name))
}

/// Whether a filesystem that is mounted is one of the node's; `text` is its type and its device.
pub(super) fn is_of_host(text: &str) -> bool {
    let mut words = text.split_whitespace();
    words.next().is_some_and(|kind| HOST_FILESYSTEMS.contains(&kind))
        || words.next().is_some_and(|device| device.starts_with("/dev/"))
}

pub(super) fn is_shell(program: &str) -> bool {
    SHELLS.contains(&without_version(program))
}

pub(super) fn is_launcher(program: &str) -> bool {
    LAUNCHERS.contains(&program)
}

pub(super) fn is_package_manager(program: &str) -> bool {
    PACKAGE_MANAGERS.contains(&without_version(program))
}

pub(super) fn is_escape_tool(program: &str) -> bool {
    program == ESCAPE_TOOL
}

/// The name under which a program that is many was called; `None` for others.
pub(super) fn applet<'a>(exe: &str, called: &'a str) -> Option<&'a str> {
    let called = name(called.trim_start_matches('-'));
    let own = name(exe);
    (MULTI_CALL.contains(&own) && called != own && !called.is_empty()).then_some(called)
}

/// The last part of a path.
pub(super) fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// `python3.11` is a `python`.
fn without_version(program: &str) -> &str {
    program.trim_end_matches(|letter: char| letter.is_ascii_digit() || letter == '.' || letter == '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_change_means_goes_by_the_most_dangerous_reading() {
        for (path, meaning) in [
            ("/proc/sys/kernel/core_pattern", Changed::Escape),
            ("/tmp/cg/x/release_agent", Changed::Escape),
            ("/etc/cron.d/x", Changed::Persistence),
            ("/home/app/.ssh/authorized_keys", Changed::Persistence),
            ("/usr/bin/ls", Changed::Binary),
            ("/etc/ld.so.preload", Changed::Library),
            ("/usr/lib/python3/__pycache__/x.pyc", Changed::Plain),
            ("/proc/sys/net/ipv4/ip_forward", Changed::Kernel),
            ("/etc/nginx/nginx.conf", Changed::Configuration),
            ("/root/.bash_history", Changed::Trace),
            ("/data/x", Changed::Plain),
        ] {
            assert_eq!(changed(path), meaning, "{path}");
        }
    }

    #[test]
    fn programs_are_known_with_their_versions_and_under_the_names_they_are_called_by() {
        assert!(is_shell("python3.11") && is_shell("bash") && !is_shell("bashful"));
        assert!(is_package_manager("pip3") && !is_package_manager("pipeline"));
        assert_eq!(applet("/bin/busybox", "/usr/bin/wget"), Some("wget"));
        assert_eq!(applet("/bin/busybox", "-sh"), Some("sh"));
        assert_eq!(applet("/bin/busybox", "busybox"), None);
        assert_eq!(applet("/usr/bin/dash", "sh"), None);
    }

    #[test]
    fn a_mount_of_a_disk_is_told_from_one_of_memory() {
        assert!(
            is_of_host("ext4 /dev/sda1") && is_of_host("cgroup cgroup") && is_of_host("fuseblk /dev/sdb")
        );
        assert!(!is_of_host("tmpfs tmpfs") && !is_of_host("proc proc") && !is_of_host(""));
    }
}
