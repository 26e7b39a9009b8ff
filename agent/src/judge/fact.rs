//! Typed facts: a behaviour in the context of the executable that showed it.

use super::places;
use crate::event::{capability_name, socket_family, socket_protocol};
use crate::identity::Identified;
use crate::observation::{Act, Dns, Endpoint, Exec, Operation, Outcome, Protocol, Socket, SocketOp};
use norma_baseline::fact::{ArgumentShape, PeerClass};
use norma_wire::text::printable;
use std::net::IpAddr;
use std::sync::Arc;

/// Stands for the executable of the container runtime, which starts a container's first program.
pub const RUNTIME: &str = "<runtime>";

/// Operation of a capability that is used.
pub(super) const CAPABILITY_USE: &str = "privilege.capability-use";

/// Ports from here on are those that kernels choose by themselves: another one each time.
const FIRST_CHOSEN: u16 = 32_768;
const IPPROTO_UDP: u32 = 17;

/// How a file was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// For reading only.
    Read,
    /// For writing, or both.
    Write,
    /// It did not exist and was made.
    Create,
}

/// By what names the other end of a connection is known, besides its address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PeerNames {
    /// The workload of this node that has the address.
    pub workload: Option<Arc<str>>,
    /// The name that this very container resolved to the address.
    pub domain: Option<Arc<str>>,
}

/// A behaviour.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Fact {
    /// `by` executed `exe`.
    Exec {
        /// Executable before, or [`RUNTIME`].
        by: Arc<str>,
        /// Executable after.
        exe: Arc<str>,
        /// What it was told to be besides: the script that it interprets, or the name under which a program that is
        /// many was called.
        script: Option<Arc<str>>,
        /// Form of its arguments.
        arguments: ArgumentShape,
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
        /// Its names.
        names: PeerNames,
        /// Remote port.
        port: u16,
        /// Whether by UDP; otherwise TCP.
        udp: bool,
    },
    /// `exe` listened on `port`.
    Listen {
        /// Executable.
        exe: Arc<str>,
        /// Local port, 0 for one that the kernel chooses, before or after.
        port: u16,
        /// Whether by UDP; otherwise TCP.
        udp: bool,
    },
    /// `exe` accepted a connection.
    Accept {
        /// Executable.
        exe: Arc<str>,
        /// Local port, 0 for one that the kernel chose.
        port: u16,
        /// What kind of peer it came from.
        class: PeerClass,
        /// Remote address.
        peer: IpAddr,
    },
    /// `exe` did something else.
    Act {
        /// Executable.
        exe: Arc<str>,
        /// Stable name of the operation, such as `file.unlink` or `socket.bound`.
        operation: Arc<str>,
        /// What it was done to: a path, a process's executable, a port; empty where there is nothing to name.
        object: Arc<str>,
    },
}

impl Fact {
    /// The behaviour that an observation shows; `None` for one that is not a behaviour (an exit, say).
    pub fn of(identified: &Identified) -> Option<Self> {
        let exe = Arc::clone(&identified.process.exe);
        match &identified.observation.act {
            Act::Exec(exec) => Some(Self::of_exec(exe, exec, identified)),
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
                names: PeerNames::default(),
                port: connect.remote.port(),
                udp: connect.protocol == Protocol::Udp,
            }),
            Act::Listen(listen) => Some(Self::Listen {
                exe,
                port: lasting(listen.local.port()),
                udp: listen.protocol == Protocol::Udp,
            }),
            // That a capability is lacking shows in what then fails.
            Act::Operation(operation)
                if operation.op.name() == CAPABILITY_USE && operation.outcome != Outcome::Succeeded =>
            {
                None
            }
            Act::Operation(operation) => Some(Self::Act {
                exe,
                operation: Arc::from(operation.op.name()),
                object: object(operation, identified),
            }),
            Act::Socket(socket) => Self::of_socket(exe, socket),
            Act::Dns(dns) => Self::of_dns(exe, dns),
            Act::Fork(_) | Act::Exit(_) | Act::Cgroup(_) => None,
        }
    }

    fn of_exec(exe: Arc<str>, exec: &Exec, identified: &Identified) -> Self {
        let by = match &identified.exec_by {
            Some(before) if !before.outside => Arc::clone(&before.exe),
            _ => Arc::from(RUNTIME),
        };
        let argv = &identified.process.argv;
        let script = match &exec.script {
            Some(script) => Some(Arc::from(printable(&script.path.bytes))),
            None if exec.is_script => Some(Arc::from(printable(&exec.filename))),
            None => argv
                .first()
                .and_then(|called| places::applet(&exe, called))
                .map(Arc::from),
        };
        let arguments = ArgumentShape::of(argv.iter().skip(1).map(String::as_str));
        Self::Exec {
            by,
            exe,
            script,
            arguments,
        }
    }

    /// What a socket shows beyond its connections and listeners, which are facts of their own.
    fn of_socket(exe: Arc<str>, socket: &Socket) -> Option<Self> {
        let object = match (socket.op, socket.remote, socket.local) {
            (SocketOp::Sent, Endpoint::Internet(peer), _) => {
                return Some(Self::Connect {
                    exe,
                    peer: peer.ip(),
                    names: PeerNames::default(),
                    port: peer.port(),
                    udp: true,
                });
            }
            // Taken from /proc: no record of the kernel side tells of it.
            (SocketOp::Established, Endpoint::Internet(peer), _) if socket.from_proc => {
                return Some(Self::Connect {
                    exe,
                    peer: peer.ip(),
                    names: PeerNames::default(),
                    port: peer.port(),
                    udp: socket.protocol == IPPROTO_UDP,
                });
            }
            (SocketOp::Accepted, Endpoint::Internet(peer), Endpoint::Internet(local)) => {
                return Some(Self::Accept {
                    exe,
                    port: lasting(local.port()),
                    class: PeerClass::of(peer.ip(), false),
                    peer: peer.ip(),
                });
            }
            (SocketOp::Listening, _, Endpoint::Internet(local)) => {
                return Some(Self::Listen {
                    exe,
                    port: lasting(local.port()),
                    udp: false,
                });
            }
            (SocketOp::Bound, _, Endpoint::Internet(local)) if socket.protocol == IPPROTO_UDP => {
                return Some(Self::Listen {
                    exe,
                    port: lasting(local.port()),
                    udp: true,
                });
            }
            (SocketOp::Bound, _, Endpoint::Internet(local)) if local.port() >= FIRST_CHOSEN => {
                format!("{FIRST_CHOSEN} or higher")
            }
            (SocketOp::Bound, _, Endpoint::Internet(local)) => local.port().to_string(),
            // As the program gave it, and not resolved: what is seen of others cannot be compared with it.
            _ if socket.from_proc && socket.path.is_some() => return None,
            (SocketOp::Made, _, _) => format!(
                "{} {}",
                socket_family(socket.family),
                socket_protocol(socket.family, socket.protocol)
            ),
            (SocketOp::Connected | SocketOp::Listening, _, _) => match &socket.path {
                Some(path) if socket.abstract_name => format!("@{}", printable(path.bytes())),
                Some(path) => printable(path.bytes()),
                None => socket_family(socket.family),
            },
            _ => return None,
        };
        Some(Self::Act {
            exe,
            operation: Arc::from(format!("socket.{}", socket.op.name())),
            object: Arc::from(object),
        })
    }

    /// Names the other end, where there is one. `of` knows the names of an address.
    pub fn name_peer(&mut self, of: impl FnOnce(IpAddr) -> PeerNames) {
        match self {
            Self::Connect { peer, names, .. } => *names = of(*peer),
            Self::Accept { peer, class, .. } => {
                *class = PeerClass::of(*peer, of(*peer).workload.is_some());
            }
            _ => {}
        }
    }

    /// The behaviour without what differs from time to time, by which repetitions are told: a peer that has a name is
    /// the same at each of its addresses.
    pub fn recurring(self) -> Self {
        const ANY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);
        match self {
            Self::Connect {
                exe,
                names,
                port,
                udp,
                ..
            } if names != PeerNames::default() => Self::Connect {
                exe,
                peer: ANY,
                names,
                port,
                udp,
            },
            Self::Accept { exe, port, class, .. } => Self::Accept {
                exe,
                port,
                class,
                peer: ANY,
            },
            other => other,
        }
    }

    /// The name that is asked for. An answer says nothing of the behaviour of who asked.
    fn of_dns(exe: Arc<str>, dns: &Dns) -> Option<Self> {
        let object = match &dns.message {
            Ok(message) if message.answer => return None,
            Ok(message) => Arc::from(message.name.to_ascii_lowercase()),
            Err(_) if !dns.sent => return None,
            Err(_) => Arc::from("<malformed>"),
        };
        Some(Self::Act {
            exe,
            operation: Arc::from("dns.query"),
            object,
        })
    }

    /// Whether it is one of those that come in numbers, so that repeats are counted instead of reported.
    pub fn gets_old(&self) -> bool {
        match self {
            Self::Open { .. } => true,
            Self::Act { operation, .. } => ["file.", "socket.", "dns.", "process.comm", CAPABILITY_USE]
                .iter()
                .any(|bulk| operation.starts_with(bulk)),
            Self::Connect { udp, .. } => *udp,
            Self::Exec { .. } | Self::Listen { .. } | Self::Accept { .. } => false,
        }
    }

    /// The executable that showed the behaviour.
    pub fn actor(&self) -> &Arc<str> {
        match self {
            Self::Exec { by, .. } => by,
            Self::Open { exe, .. }
            | Self::Connect { exe, .. }
            | Self::Listen { exe, .. }
            | Self::Accept { exe, .. }
            | Self::Act { exe, .. } => exe,
        }
    }

    /// Where a name that can be made up lies, as a path: of files, of DNS names (the last label first), of sockets.
    /// `None` for what has no such name.
    pub fn place(&self) -> Option<String> {
        match self {
            Self::Open { path, .. } => Some(path.to_string()),
            Self::Act {
                operation, object, ..
            } if operation.as_ref() == "dns.query" => {
                let labels = object.rsplit('.');
                Some(labels.fold(String::new(), |path, label| path + "/" + label))
            }
            Self::Act { object, .. } if object.starts_with('/') => Some(object.to_string()),
            Self::Act { object, .. } => Some(format!("/{object}")),
            Self::Exec { .. } | Self::Connect { .. } | Self::Listen { .. } | Self::Accept { .. } => None,
        }
    }

    /// Kind of behaviour, as in configuration and output.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Exec { .. } => "exec",
            Self::Open { .. } => "open",
            Self::Connect { .. } => "connect",
            Self::Listen { .. } => "listen",
            Self::Accept { .. } => "accept",
            Self::Act { .. } => "act",
        }
    }
}

/// A port that is the same the next time; 0 for one that the kernel chose.
const fn lasting(port: u16) -> u16 {
    if port >= FIRST_CHOSEN { 0 } else { port }
}

/// What an operation was done to.
fn object(operation: &Operation, identified: &Identified) -> Arc<str> {
    if operation.op.name() == CAPABILITY_USE {
        return Arc::from(
            operation
                .args
                .first()
                .map(|set| capability_name(*set))
                .unwrap_or_default(),
        );
    }
    if let Some(path) = operation.other.as_ref().or(operation.path.as_ref()) {
        return Arc::from(without_pids(&printable(path.bytes())));
    }
    if let Some(exe) = &identified.target_exe {
        return Arc::clone(exe);
    }
    Arc::from(printable(&operation.text))
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
