//! What the agent's own report says of a deed, and whether that is so.

use super::compare::Found;
use norma_agent::sensor::{CoverageReport, Sight, Technique, Tier};
use norma_rig::deed::Deed;
use std::fmt;

/// How a deed was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All that the deed says was observed.
    Seen,
    /// Some of it, as the report admits.
    Partly,
    /// Nothing of it, as the report admits.
    Unseen,
    /// Other than the report says.
    Wrong,
    /// Not done.
    Skipped,
}

impl Verdict {
    /// All of them.
    pub const ALL: &[Self] = &[Self::Seen, Self::Partly, Self::Unseen, Self::Wrong, Self::Skipped];
}

impl fmt::Display for Verdict {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Seen => "seen",
            Self::Partly => "seen partly",
            Self::Unseen => "not seen",
            Self::Wrong => "NOT AS TOLD",
            Self::Skipped => "skipped",
        })
    }
}

/// The capability of the agent by which a deed is seen.
pub fn capability(deed: &Deed) -> &'static str {
    if deed.name.starts_with("refused-") {
        return match deed.operation {
            "host.bpf-load" => "bpf-refused",
            "host.clock-set" => "clock-refused",
            "socket.connected" | "socket.bound" => "network-failed",
            _ => "refused-privilege",
        };
    }
    match deed.operation {
        "file.unlink" | "file.rmdir" => "unlink",
        "file.rename" | "file.link" => "rename",
        "file.symlink" | "file.mkdir" | "file.mknod" => "create",
        "file.chmod" => "chmod",
        "file.chown" => "chown",
        "file.setxattr" | "file.removexattr" => "xattr",
        "file.truncate" => "truncate",
        "file.map-exec" | "file.map-write" => "map",
        "file.open-failed" => "open-failed",
        "file.open-path" => "open-path",
        "file.receive" => "receive",
        "file.sysctl-write" => "sysctl",
        "file.chroot" => "chroot",
        operation if operation.starts_with("mount.") => "mount",
        "privilege.ids" => "ids",
        "privilege.groups" => "groups",
        "privilege.capabilities" => "capabilities",
        "privilege.capability-use" => "capability-use",
        "privilege.no-new-privs" => "prctl",
        // prctl(2) is another call than seccomp(2).
        "privilege.seccomp" if deed.name.ends_with("prctl") => "prctl",
        "privilege.seccomp" => "seccomp",
        "namespace.clone" => "clone-namespace",
        operation if operation.starts_with("namespace.") => "namespace",
        "process.ptrace" => "ptrace",
        "process.vm-read" | "process.vm-write" => "vm-access",
        "process.signal" => "signal",
        "process.exec-memory" => "exec-memory",
        "process.comm" => "comm",
        "process.cgroup-move" => "cgroup-move",
        "process.exec-failed" => "exec-failed",
        "host.module-load" => "module",
        "host.bpf-load" | "host.bpf-attach" => "bpf",
        "host.keyctl" => "keys",
        "host.perf-event" => "perf-event",
        "host.userfaultfd" => "userfaultfd",
        "host.io-uring-setup" | "host.io-uring-op" => "io-uring",
        "host.kexec" => "kexec",
        "host.device" => "device",
        "host.clock-set" => "clock",
        // What a datagram socket connects to is what it may send to.
        "connect" if deed.name.starts_with("udp") => "datagram",
        "connect" if deed.name.ends_with("sctp") => "sctp",
        "socket.sent" if deed.name.starts_with("raw") => "raw-send",
        "socket.sent" if deed.name.starts_with("unix") => "unix-datagram",
        _ if deed.name.starts_with("vsock") => "vsock",
        _ if deed.name.starts_with("unix") => "unix",
        "socket.made" => "socket-made",
        "socket.sent" => "datagram",
        "socket.bound" => "bind",
        "socket.accepted" => "accept",
        "socket.established" | "socket.closed" => "close",
        // exec, exit, fork, open, connect, listen and dns have one each, of that name.
        operation => operation,
    }
}

/// What the report says of a deed.
pub struct Told {
    /// The capability that it is a matter of.
    pub capability: &'static str,
    tier: Option<Tier>,
    /// Why there is no tier.
    reason: Option<String>,
    blind_spots: Vec<&'static str>,
    /// It is done in an evasive way.
    evasive: bool,
    /// How far that way is seen by the capability.
    sight: Option<Sight>,
    /// What the report says of that way at all.
    words: String,
    /// Requests by io_uring are seen as such.
    as_request: bool,
    /// There are BPF-LSM programs, so that nothing may be missing.
    lsm: bool,
}

impl Told {
    pub fn of(report: &CoverageReport, deed: &Deed) -> Self {
        let name = capability(deed);
        let capability = report
            .capabilities
            .iter()
            .find(|capability| capability.name == name)
            .unwrap_or_else(|| panic!("the report has no {name}"));
        let technique = Technique::ALL
            .iter()
            .find(|technique| technique.name() == deed.technique);
        let technique = technique.and_then(|technique| {
            report
                .techniques
                .iter()
                .find(|report| report.technique == *technique)
        });
        let by = |name| technique.is_some_and(|report| report.by.contains(&name));
        let words = technique.map_or(String::new(), |report| match report.words() {
            (words, Some(limit)) => format!("{} {words}: {limit}", report.technique),
            (words, None) => format!("{} {words}, by {}", report.technique, report.by.join(", ")),
        });
        Self {
            capability: name,
            tier: capability.tier,
            reason: capability.reason(),
            blind_spots: capability.blind_spots.clone(),
            evasive: technique.is_some(),
            sight: technique.filter(|_| by(name)).and_then(|report| report.sight),
            words,
            as_request: by("io-uring"),
            lsm: report
                .capabilities
                .iter()
                .any(|capability| capability.tier == Some(Tier::Lsm)),
        }
    }

    /// The tier, as the table has it.
    pub fn tier(&self) -> String {
        self.tier.map_or("none".to_owned(), |tier| tier.to_string())
    }

    /// Whether what was found is what the report says, and why.
    pub fn judge(&self, found: Option<&Found>) -> (Verdict, String) {
        match found {
            Some(found) if found.is_complete() => (Verdict::Seen, self.better_than_told()),
            Some(found) => {
                let off: Vec<&str> = found
                    .wrong
                    .iter()
                    .chain(&found.less)
                    .map(String::as_str)
                    .collect();
                let off = off.join("; ");
                match self.admits_limits(found) {
                    Some(limit) => (Verdict::Partly, format!("{off} ({limit})")),
                    None => (Verdict::Wrong, format!("observed otherwise: {off}")),
                }
            }
            None => match self.admits_nothing() {
                Some(limit) => (Verdict::Unseen, limit),
                None => (Verdict::Wrong, format!("not observed ({})", self.words)),
            },
        }
    }

    /// The report may say less than the truth.
    fn better_than_told(&self) -> String {
        match self.evasive && self.sight.is_none() {
            true => format!("{} does not tell of it", self.capability),
            false => String::new(),
        }
    }

    /// The words by which the report admits that it is seen in part.
    fn admits_limits(&self, found: &Found) -> Option<String> {
        if found.as_request {
            return self.as_request.then(|| self.words.clone());
        }
        match self.sight {
            // It makes no difference: no less is told than is told of this without it.
            Some(Sight::Fully) if !found.wrong.is_empty() => None,
            Some(Sight::Partly(limit)) => Some(limit.to_owned()),
            None if self.evasive => Some(self.words.clone()),
            _ => (!self.blind_spots.is_empty()).then(|| self.blind_spots.join("; ")),
        }
    }

    /// The words by which the report admits that it is not seen.
    fn admits_nothing(&self) -> Option<String> {
        if self.lsm || self.as_request {
            return None;
        }
        if self.tier.is_none() {
            return Some(self.reason.clone().unwrap_or_default());
        }
        match self.sight {
            Some(Sight::Fully) => None,
            Some(Sight::Partly(limit)) => Some(limit.to_owned()),
            None => self.evasive.then(|| self.words.clone()),
        }
    }
}
