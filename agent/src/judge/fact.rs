//! Typed facts: a behaviour in the context of the executable that showed it.

use crate::identity::Identified;
use crate::observation::{Act, Protocol};
use norma_wire::text::printable;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::sync::Arc;

/// Stands for the executable of the container runtime, which starts a container's first program.
pub const RUNTIME: &str = "<runtime>";

/// How a file was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    /// For reading only.
    Read,
    /// For writing, or both.
    Write,
    /// It did not exist and was made.
    Create,
}

/// A behaviour.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Fact {
    /// `by` executed `exe`.
    Exec {
        /// Executable before, or [`RUNTIME`].
        by: Arc<str>,
        /// Executable after.
        exe: Arc<str>,
    },
    /// `exe` opened `path`.
    Open {
        /// Executable.
        exe: Arc<str>,
        /// The file.
        path: Arc<str>,
        /// How.
        access: Access,
    },
    /// `exe` connected to `peer`.
    Connect {
        /// Executable.
        exe: Arc<str>,
        /// Remote address.
        peer: IpAddr,
        /// Remote port.
        port: u16,
        /// Whether by UDP; otherwise TCP.
        udp: bool,
    },
    /// `exe` listened on `port`.
    Listen {
        /// Executable.
        exe: Arc<str>,
        /// Local port, 0 for one that the kernel chooses.
        port: u16,
    },
}

impl Fact {
    /// The behaviour that an observation shows; `None` for one that is not a behaviour (an exit, say).
    pub fn of(identified: &Identified) -> Option<Self> {
        let exe = Arc::clone(&identified.process.exe);
        match &identified.observation.act {
            Act::Exec(_) => {
                let by = match &identified.exec_by {
                    Some(before) if !before.outside => Arc::clone(&before.exe),
                    _ => Arc::from(RUNTIME),
                };
                Some(Self::Exec { by, exe })
            }
            // Pipes, sockets and memory files have no path that could be expected.
            Act::Open(open) if open.path.disconnected => None,
            Act::Open(open) => Some(Self::Open {
                exe,
                path: Arc::from(without_pids(&printable(&open.path.bytes))),
                access: if open.created {
                    Access::Create
                } else if open.write {
                    Access::Write
                } else {
                    Access::Read
                },
            }),
            Act::Connect(connect) => Some(Self::Connect {
                exe,
                peer: connect.remote.ip(),
                port: connect.remote.port(),
                udp: connect.protocol == Protocol::Udp,
            }),
            Act::Listen(listen) => Some(Self::Listen {
                exe,
                port: listen.local.port(),
            }),
            Act::Fork(_) | Act::Exit(_) | Act::Cgroup(_) => None,
        }
    }

    /// The executable that showed the behaviour.
    pub fn actor(&self) -> &Arc<str> {
        match self {
            Self::Exec { by, .. } => by,
            Self::Open { exe, .. } | Self::Connect { exe, .. } | Self::Listen { exe, .. } => exe,
        }
    }

    /// Kind of behaviour, as in configuration and output.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Exec { .. } => "exec",
            Self::Open { .. } => "open",
            Self::Connect { .. } => "connect",
            Self::Listen { .. } => "listen",
        }
    }
}

/// Process and thread numbers below /proc as `<pid>`: they are another one each time.
fn without_pids(path: &str) -> String {
    let Some(below) = path.strip_prefix("/proc/") else {
        return path.to_owned();
    };
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let parts: Vec<&str> = below
        .split('/')
        .map(|part| if number(part) { "<pid>" } else { part })
        .collect();
    format!("/proc/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn process_numbers_are_not_part_of_a_behaviour() {
        assert_eq!(
            without_pids("/proc/12/task/34/stat"),
            "/proc/<pid>/task/<pid>/stat"
        );
        assert_eq!(
            without_pids("/proc/sys/kernel/pid_max"),
            "/proc/sys/kernel/pid_max"
        );
        assert_eq!(without_pids("/data/12"), "/data/12");
    }
}
