//! What must be on the machine besides Rust and the eBPF tool chain.

use super::Purpose;
use crate::run::find_program;
use std::path::Path;

/// One thing that must be there, and the packages that bring it.
#[derive(Debug)]
pub struct Requirement {
    /// Short name.
    pub name: &'static str,
    /// What it is for.
    pub why: &'static str,
    /// Whether it is there.
    pub present: fn() -> bool,
    /// The least for which it is needed.
    pub needed_for: Purpose,
    /// Debian and Ubuntu packages.
    pub debian: &'static [&'static str],
    /// Fedora packages.
    pub fedora: &'static [&'static str],
    /// Arch packages.
    pub arch: &'static [&'static str],
}

/// The emulator of this machine's own architecture, and its package.
const QEMU: &str = if cfg!(target_arch = "aarch64") {
    "qemu-system-aarch64"
} else {
    "qemu-system-x86_64"
};
const QEMU_DEBIAN: &str = if cfg!(target_arch = "aarch64") {
    "qemu-system-arm"
} else {
    "qemu-system-x86"
};

/// Everything but the eBPF tool chain, which has its own rules.
pub const REQUIREMENTS: &[Requirement] = &[
    Requirement {
        name: "C compiler",
        needed_for: Purpose::Build,
        why: "links Rust programs and builds the cryptography library",
        present: || find_program("cc").is_some(),
        debian: &["gcc", "libc6-dev"],
        fedora: &["gcc", "glibc-devel"],
        arch: &["gcc"],
    },
    Requirement {
        name: "C++ compiler",
        needed_for: Purpose::Build,
        why: "links bpf-linker with LLVM, and builds the fuzzer",
        present: || find_program("c++").is_some(),
        debian: &["g++"],
        fedora: &["gcc-c++"],
        arch: &["gcc"],
    },
    Requirement {
        name: "runc",
        why: "starts the containers that are watched",
        needed_for: Purpose::Demo,
        present: || find_program("runc").is_some(),
        debian: &["runc"],
        fedora: &["runc"],
        arch: &["runc"],
    },
    Requirement {
        name: "containerd",
        why: "runs the pods of the tests, on a socket of their own",
        needed_for: Purpose::All,
        present: || find_program("containerd").is_some() && find_program("ctr").is_some(),
        debian: &["containerd"],
        fedora: &["containerd"],
        arch: &["containerd"],
    },
    Requirement {
        name: "Docker",
        why: "runs containers of the tests, on a socket of its own",
        needed_for: Purpose::All,
        // Not by name: what the tests start is the distribution's.
        present: || {
            ["/usr/bin/docker", "/usr/sbin/dockerd"]
                .iter()
                .all(|program| Path::new(program).exists())
        },
        debian: &["docker.io"],
        fedora: &["moby-engine"],
        arch: &["docker"],
    },
    Requirement {
        name: "podman",
        why: "runs containers of the tests, in a storage of its own",
        needed_for: Purpose::All,
        present: || Path::new("/usr/bin/podman").exists(),
        debian: &["podman"],
        fedora: &["podman"],
        arch: &["podman"],
    },
    Requirement {
        name: "rsyslog",
        why: "is the SIEM that alerts are sent to",
        needed_for: Purpose::Demo,
        present: || find_program("rsyslogd").is_some(),
        debian: &["rsyslog"],
        fedora: &["rsyslog"],
        arch: &["rsyslog"],
    },
    Requirement {
        name: "rsyslog's OpenSSL driver",
        why: "lets rsyslog receive over TLS",
        needed_for: Purpose::Demo,
        present: has_rsyslog_openssl,
        debian: &["rsyslog-openssl"],
        fedora: &["rsyslog-openssl"],
        arch: &["rsyslog"],
    },
    Requirement {
        name: "qemu",
        why: "runs the tests on other kernels",
        present: || find_program(QEMU).is_some(),
        needed_for: Purpose::All,
        debian: &[QEMU_DEBIAN],
        fedora: &["qemu-system-x86-core", "qemu-system-aarch64-core"],
        arch: &["qemu-system-x86", "qemu-system-aarch64"],
    },
    Requirement {
        name: "busybox",
        why: "is a program that needs no libraries, for roots that have none",
        present: || Path::new("/bin/busybox").exists(),
        needed_for: Purpose::All,
        debian: &["busybox-static"],
        fedora: &["busybox"],
        arch: &["busybox"],
    },
    Requirement {
        name: "cpio",
        why: "reads what virtual machines boot from",
        present: || find_program("cpio").is_some(),
        needed_for: Purpose::All,
        debian: &["cpio"],
        fedora: &["cpio"],
        arch: &["cpio"],
    },
    Requirement {
        name: "strace",
        why: "kills the collector at each of its writes and syncs, and refuses them",
        present: || find_program("strace").is_some(),
        needed_for: Purpose::All,
        debian: &["strace"],
        fedora: &["strace"],
        arch: &["strace"],
    },
    Requirement {
        name: "ip and tc",
        why: "make networks slow and cut them",
        present: || find_program("ip").is_some() && find_program("tc").is_some(),
        needed_for: Purpose::All,
        debian: &["iproute2"],
        fedora: &["iproute", "iproute-tc"],
        arch: &["iproute2"],
    },
    Requirement {
        name: "debootstrap",
        why: "makes the images of the workloads of `cargo xtask eval`",
        present: || find_program("debootstrap").is_some(),
        needed_for: Purpose::Eval,
        debian: &["debootstrap"],
        fedora: &["debootstrap"],
        arch: &["debootstrap"],
    },
    Requirement {
        name: "ext4 tools",
        why: "make the disk of a virtual machine",
        present: || find_program("mke2fs").is_some(),
        needed_for: Purpose::All,
        debian: &["e2fsprogs"],
        fedora: &["e2fsprogs"],
        arch: &["e2fsprogs"],
    },
    Requirement {
        name: "kernel module tools",
        why: "find the modules that a virtual machine needs",
        present: || {
            ["depmod", "xz", "zstd"]
                .iter()
                .all(|name| find_program(name).is_some())
        },
        needed_for: Purpose::All,
        debian: &["kmod", "xz-utils", "zstd"],
        fedora: &["kmod", "xz", "zstd"],
        arch: &["kmod", "xz", "zstd"],
    },
    Requirement {
        name: "SoftHSM",
        why: "is the token in which the tests keep a key",
        present: || find_program("softhsm2-util").is_some(),
        needed_for: Purpose::All,
        debian: &["softhsm2"],
        fedora: &["softhsm"],
        arch: &["softhsm"],
    },
    Requirement {
        name: "OpenSC",
        why: "makes keys in that token",
        present: || find_program("pkcs11-tool").is_some(),
        needed_for: Purpose::All,
        debian: &["opensc"],
        fedora: &["opensc"],
        arch: &["opensc"],
    },
    Requirement {
        name: "Python with venv and pip",
        why: "runs the checks of the Kubernetes manifests and of evidence, and the store and the readers of the archive tests",
        present: has_python_venv,
        needed_for: Purpose::All,
        debian: &["python3", "python3-venv", "python3-pip"],
        fedora: &["python3", "python3-pip"],
        arch: &["python", "python-pip"],
    },
];

fn has_rsyslog_openssl() -> bool {
    let in_folder = |folder: &Path| folder.join("lmnsd_ossl.so").is_file();
    let multiarch = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    multiarch
        .map(|entry| entry.path().join("rsyslog"))
        .any(|folder| in_folder(&folder))
        || ["/usr/lib64/rsyslog", "/usr/lib/rsyslog"]
            .iter()
            .any(|folder| in_folder(Path::new(folder)))
}

fn has_python_venv() -> bool {
    std::process::Command::new("python3")
        .args(["-c", "import venv, ensurepip"])
        .stderr(std::process::Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
