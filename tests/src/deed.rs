//! Small truthful programs: each deed does one thing in one way, and says what the kernel told it of it.
//!
//! They are what a sensor is proven with. A deed works in a process of its own, in a folder of its own, and
//! what changes the machine (mounts, networks) is done in a namespace of its own. What the machine lacks
//! makes a deed skipped, never untrue.

mod area;
mod file;
mod host;
mod network;
mod process;
#[expect(
    unsafe_code,
    reason = "deeds need system calls in exactly the way that they name"
)]
mod sys;
mod truth;

pub use truth::{FileTruth, Truth};

use anyhow::{Context as _, Result};
use area::Area;
use nix::errno::Errno;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;

/// Evasion techniques that deeds use, by the names that the agent's table of evasions has.
pub mod technique {
    macro_rules! names {
        ($($name:ident = $text:literal;)*) => {
            $(pub(super) const $name: &str = $text;)*
            /// All of them.
            pub const ALL: &[&str] = &[$($text,)*];
        };
    }
    names! {
        ANONYMOUS_CODE = "anonymous-code";
        BIND_MOUNT = "bind-mount";
        BPF_PROGRAM = "bpf-program";
        CGROUP_MOVE = "cgroup-move";
        CHROOT = "chroot";
        COMM_FORGING = "comm-forging";
        COMPAT = "compat-32bit";
        CREDENTIAL_CHANGE = "credential-change";
        DELETED = "deleted";
        DNS_TUNNEL = "dns-tunnel";
        FAILED_OPEN = "failed-open";
        FD_PASSING = "fd-passing";
        GARBAGE_NAMES = "garbage-names";
        HARD_LINK = "hard-link";
        INJECTION = "injection";
        IO_URING_FILE = "io-uring-file";
        IO_URING_NETWORK = "io-uring-network";
        KERNEL_MODULE = "kernel-module";
        LD_SO = "ld-so";
        LONG_PATH = "long-path";
        MAPPED_ADDRESS = "mapped-address";
        MAPPED_CODE = "mapped-code";
        MEMFD = "memfd";
        MPTCP = "mptcp";
        NAMESPACE_CHANGE = "namespace-change";
        O_PATH = "o-path";
        OPEN_BY_HANDLE = "open-by-handle";
        PATH_OPERATION = "path-operation";
        PROC_ROOT = "proc-root";
        RAW_DEVICE = "raw-device";
        RAW_SOCKET = "raw-socket";
        RELATIVE = "relative";
        SCRIPT = "script";
        SHORT_LIVED = "short-lived";
        SIGNAL_OUTSIDE = "signal-outside";
        SYMLINK = "symlink";
        TCP_FAST_OPEN = "tcp-fast-open";
        THREAD_EXEC = "thread-exec";
        TOCTOU = "toctou";
        UDP_UNCONNECTED = "udp-unconnected";
        VOLUME = "volume";
    }
}

/// A deed.
#[derive(Clone, Copy)]
pub struct Deed {
    /// Its name.
    pub name: &'static str,
    /// `process`, `file`, `network` or `host`.
    pub family: &'static str,
    /// What is done, by the agent's name for it: `exec`, `open`, `file.unlink`, `socket.accepted`.
    pub operation: &'static str,
    /// The evasive way in which it is done; empty where there is nothing evasive about it.
    pub technique: &'static str,
    /// What it does.
    pub what: &'static str,
    act: fn(&Area) -> Result<Truth>,
}

/// A deed of the family of the module that calls this.
const fn deed(
    name: &'static str,
    operation: &'static str,
    technique: &'static str,
    what: &'static str,
    act: fn(&Area) -> Result<Truth>,
) -> Deed {
    Deed {
        name,
        family: "",
        operation,
        technique,
        what,
        act,
    }
}

/// Why a deed was not done: the machine lacks what it needs.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Lacking(String);

/// The error of a deed for which something is missing here.
fn lacking(why: impl Into<String>) -> anyhow::Error {
    Lacking(why.into()).into()
}

/// What a kernel answers that lacks a facility or does not give it to this process.
const LACKS: &[Errno] = &[
    Errno::ENOSYS,
    Errno::EPERM,
    Errno::EOPNOTSUPP,
    Errno::EAFNOSUPPORT,
    Errno::EPROTONOSUPPORT,
    Errno::ESOCKTNOSUPPORT,
    Errno::ENODEV,
];

/// All deeds.
pub fn deeds() -> impl Iterator<Item = Deed> {
    let families = [
        ("process", process::all()),
        ("file", file::all()),
        ("network", network::all()),
        ("host", host::all()),
    ];
    families.into_iter().flat_map(|(family, deeds)| {
        deeds
            .into_iter()
            .flat_map(|deeds| deeds.iter())
            .map(move |deed| Deed { family, ..*deed })
    })
}

/// The deed of this name.
pub fn find(name: &str) -> Option<Deed> {
    deeds().find(|deed| deed.name == name)
}

impl Deed {
    /// Does it, in a process and a folder below `parent` that are gone afterwards, and prints the truth.
    ///
    /// Gives whether it could be done or said why not. Only to be called while the process has one thread.
    pub fn perform(&self, parent: &Path) -> Result<bool> {
        let area = Area::make(parent)?;
        let worker = sys::process::fork(|| match self.truth(&area) {
            Ok(truth) => match serde_json::to_string(&truth) {
                Ok(text) => {
                    println!("{text}");
                    0
                }
                Err(error) => {
                    eprintln!("{}: {error}", self.name);
                    1
                }
            },
            Err(error) => {
                eprintln!("{}: {error:#}", self.name);
                1
            }
        })
        .context("fork")?;
        let ended = worker.wait_at_most(area::PATIENCE);
        area.remove()?;
        let status = ended.context("waiting for the deed")?;
        anyhow::ensure!(status.signal().is_none(), "{}: ended by {status:?}", self.name);
        Ok(status.code() == Some(0))
    }

    fn truth(&self, area: &Area) -> Result<Truth> {
        let mut truth = match (self.act)(area) {
            Ok(truth) => truth,
            Err(error) => Truth {
                skipped: Some(why_lacking(&error).ok_or(error)?),
                ..Truth::here()
            },
        };
        self.name.clone_into(&mut truth.deed);
        self.family.clone_into(&mut truth.family);
        self.operation.clone_into(&mut truth.operation);
        self.technique.clone_into(&mut truth.technique);
        Ok(truth)
    }
}

/// The words for an error that says that something is missing here.
fn why_lacking(error: &anyhow::Error) -> Option<String> {
    let lacks = error.chain().any(|cause| {
        cause.is::<Lacking>()
            || cause
                .downcast_ref::<Errno>()
                .is_some_and(|errno| LACKS.contains(errno))
    });
    lacks.then(|| format!("{error:#}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_and_techniques_are_named() {
        let mut names = BTreeSet::new();
        for deed in deeds() {
            assert!(names.insert(deed.name), "{} is there twice", deed.name);
            assert!(
                deed.technique.is_empty() || technique::ALL.contains(&deed.technique),
                "{}",
                deed.technique
            );
            assert!(!deed.what.is_empty() && !deed.operation.is_empty());
        }
    }

    #[test]
    fn every_technique_has_a_deed() {
        let used: BTreeSet<&str> = deeds().map(|deed| deed.technique).collect();
        for technique in technique::ALL {
            assert!(used.contains(technique), "{technique}");
        }
    }
}
