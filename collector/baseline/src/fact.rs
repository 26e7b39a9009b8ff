//! Typed facts: a behaviour in the context of the executable that showed it.
//!
//! A [`Fact`] is generic over its texts: `Fact` alone owns them (`Arc<str>`, shared with whoever made them),
//! `Fact<&str>` is a view, which is what a [`Dictionary`] hands out. How texts become facts is decided here
//! once, for all who make them: [`ArgumentShape`] for command lines, [`Peer`] for who is at the other end.

mod arguments;
mod dictionary;
mod flat;
mod identity;
mod peer;
mod watch;

pub use arguments::ArgumentShape;
pub use dictionary::{Dictionary, DictionaryError, FactId};
pub use identity::{Code, Identity, Key};
pub use peer::{Block, Peer, PeerClass, registered_domain};

pub(crate) use arguments::is_uuid;

use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// What facts are estimated, judged and budgeted by. A workload can be done with one and far from it in another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Field {
    /// Programs that are started.
    Exec,
    /// Files that are read, written, made, deleted or executed.
    File,
    /// Peers that are connected to.
    Connect,
    /// Ports that are listened on, and what kind of peer is accepted there.
    Listen,
    /// Names that are asked for.
    Dns,
    /// Capabilities that are used.
    Capability,
    /// Namespaces, mounts, tracing, BPF and other privileged operations.
    Privilege,
    /// Libraries that are mapped for execution.
    Library,
}

impl Field {
    /// All fields, in the order of their discriminants.
    pub const ALL: [Self; 8] = [
        Self::Exec,
        Self::File,
        Self::Connect,
        Self::Listen,
        Self::Dns,
        Self::Capability,
        Self::Privilege,
        Self::Library,
    ];

    /// As in configuration and output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exec => "exec",
            Self::File => "file",
            Self::Connect => "connect",
            Self::Listen => "listen",
            Self::Dns => "dns",
            Self::Capability => "capability",
            Self::Privilege => "privilege",
            Self::Library => "library",
        }
    }

    /// Its place in [`Field::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Field {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// What was done to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Access {
    /// Opened for reading only.
    Read,
    /// Opened for writing, or its content changed.
    Write,
    /// It did not exist and was made.
    Create,
    /// Its name was taken away.
    Delete,
    /// Executed, or made executable. Never generalised.
    Execute,
    /// Its mode, owner or extended attributes were changed.
    Attribute,
    /// It could not be opened.
    Probe,
}

impl Access {
    pub(crate) const ALL: [Self; 7] = [
        Self::Read,
        Self::Write,
        Self::Create,
        Self::Delete,
        Self::Execute,
        Self::Attribute,
        Self::Probe,
    ];

    /// As in output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Create => "create",
            Self::Delete => "delete",
            Self::Execute => "execute",
            Self::Attribute => "attribute",
            Self::Probe => "probe",
        }
    }
}

/// Transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
    /// Any other, such as ICMP or raw IP.
    Other,
}

impl Protocol {
    pub(crate) const ALL: [Self; 4] = [Self::Tcp, Self::Udp, Self::Sctp, Self::Other];

    /// As in output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
            Self::Other => "other",
        }
    }
}

/// A behaviour. Texts are as the agent prints them: one line, escaped, bounded.
///
/// The order of facts is that of their variants and then of their texts; everything that has to come out the
/// same on all nodes goes by it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fact<S = Arc<str>> {
    /// `parent` executed `exe`.
    Exec {
        /// Executable before; the agent's name for the container runtime where that started it.
        parent: S,
        /// Executable after.
        exe: S,
        /// The script that `exe` was told to interpret by the script's first line.
        script: Option<S>,
        /// Form of the command line.
        arguments: ArgumentShape<S>,
    },
    /// `exe` did something to the file `path`.
    File {
        /// Executable.
        exe: S,
        /// Absolute path in the container.
        path: S,
        /// What.
        access: Access,
    },
    /// As `File`, for whatever path a pattern stands for. Only a norm makes these, from what it has learned:
    /// a file whose name looks like a pattern stays a `File`.
    FilePattern {
        /// Executable.
        exe: S,
        /// Text of a [`PathPattern`](crate::pattern::PathPattern).
        pattern: S,
        /// What.
        access: Access,
    },
    /// `exe` connected, or sent, to `peer`.
    Connect {
        /// Executable.
        exe: S,
        /// The other end.
        peer: Peer<S>,
        /// By which protocol.
        protocol: Protocol,
        /// Remote port.
        port: u16,
    },
    /// `exe` listened.
    Listen {
        /// Executable.
        exe: S,
        /// By which protocol.
        protocol: Protocol,
        /// Local port; 0 for one that the kernel chooses.
        port: u16,
    },
    /// `exe` accepted a peer.
    Accept {
        /// Executable.
        exe: S,
        /// By which protocol.
        protocol: Protocol,
        /// Local port; 0 for one that the kernel chooses.
        port: u16,
        /// What kind of peer.
        peer: PeerClass,
    },
    /// `exe` asked for a name.
    Dns {
        /// Executable.
        exe: S,
        /// The name, in lower case, without the last dot.
        name: S,
    },
    /// As `Dns`, for whatever name a pattern stands for; see `FilePattern`.
    DnsPattern {
        /// Executable.
        exe: S,
        /// Text of a [`NamePattern`](crate::pattern::NamePattern).
        pattern: S,
    },
    /// `exe` used a capability.
    Capability {
        /// Executable.
        exe: S,
        /// Such as `CAP_NET_ADMIN`.
        capability: S,
    },
    /// `exe` did something that needs privileges.
    Privilege {
        /// Executable.
        exe: S,
        /// Stable name of the operation, such as `mount.new`.
        operation: S,
        /// What it was done to; empty where there is nothing to name.
        object: S,
    },
    /// `exe` mapped a library for execution.
    Library {
        /// Executable.
        exe: S,
        /// The library's path.
        path: S,
    },
}

impl<S> Fact<S> {
    /// It stands for names to come.
    #[must_use]
    pub const fn is_pattern(&self) -> bool {
        matches!(self, Self::FilePattern { .. } | Self::DnsPattern { .. })
    }

    /// What it is estimated and judged by.
    #[must_use]
    pub const fn field(&self) -> Field {
        match self {
            Self::Exec { .. } => Field::Exec,
            Self::File { .. } | Self::FilePattern { .. } => Field::File,
            Self::Connect { .. } => Field::Connect,
            Self::Listen { .. } | Self::Accept { .. } => Field::Listen,
            Self::Dns { .. } | Self::DnsPattern { .. } => Field::Dns,
            Self::Capability { .. } => Field::Capability,
            Self::Privilege { .. } => Field::Privilege,
            Self::Library { .. } => Field::Library,
        }
    }

    /// The executable that showed the behaviour; for an exec, the one before.
    pub const fn actor(&self) -> &S {
        match self {
            Self::Exec { parent, .. } => parent,
            Self::File { exe, .. }
            | Self::FilePattern { exe, .. }
            | Self::Connect { exe, .. }
            | Self::Listen { exe, .. }
            | Self::Accept { exe, .. }
            | Self::Dns { exe, .. }
            | Self::DnsPattern { exe, .. }
            | Self::Capability { exe, .. }
            | Self::Privilege { exe, .. }
            | Self::Library { exe, .. } => exe,
        }
    }

    /// Place of its variant in the order of facts.
    pub(crate) const fn rank(&self) -> u8 {
        match self {
            Self::Exec { .. } => 0,
            Self::File { .. } => 1,
            Self::FilePattern { .. } => 2,
            Self::Connect { .. } => 3,
            Self::Listen { .. } => 4,
            Self::Accept { .. } => 5,
            Self::Dns { .. } => 6,
            Self::DnsPattern { .. } => 7,
            Self::Capability { .. } => 8,
            Self::Privilege { .. } => 9,
            Self::Library { .. } => 10,
        }
    }

    /// The same fact with each text replaced.
    pub fn map<'a, T>(&'a self, mut text: impl FnMut(&'a S) -> T) -> Fact<T> {
        match self {
            Self::Exec {
                parent,
                exe,
                script,
                arguments,
            } => Fact::Exec {
                parent: text(parent),
                exe: text(exe),
                script: script.as_ref().map(&mut text),
                arguments: ArgumentShape::from_stored(text(arguments.stored())),
            },
            Self::File { exe, path, access } => Fact::File {
                exe: text(exe),
                path: text(path),
                access: *access,
            },
            Self::FilePattern { exe, pattern, access } => Fact::FilePattern {
                exe: text(exe),
                pattern: text(pattern),
                access: *access,
            },
            Self::Connect {
                exe,
                peer,
                protocol,
                port,
            } => Fact::Connect {
                exe: text(exe),
                peer: peer.map(text),
                protocol: *protocol,
                port: *port,
            },
            Self::Listen { exe, protocol, port } => Fact::Listen {
                exe: text(exe),
                protocol: *protocol,
                port: *port,
            },
            Self::Accept {
                exe,
                protocol,
                port,
                peer,
            } => Fact::Accept {
                exe: text(exe),
                protocol: *protocol,
                port: *port,
                peer: *peer,
            },
            Self::Dns { exe, name } => Fact::Dns {
                exe: text(exe),
                name: text(name),
            },
            Self::DnsPattern { exe, pattern } => Fact::DnsPattern {
                exe: text(exe),
                pattern: text(pattern),
            },
            Self::Capability { exe, capability } => Fact::Capability {
                exe: text(exe),
                capability: text(capability),
            },
            Self::Privilege {
                exe,
                operation,
                object,
            } => Fact::Privilege {
                exe: text(exe),
                operation: text(operation),
                object: text(object),
            },
            Self::Library { exe, path } => Fact::Library {
                exe: text(exe),
                path: text(path),
            },
        }
    }
}

impl<S: AsRef<str>> Fact<S> {
    /// A view of it.
    pub fn view(&self) -> Fact<&str> {
        self.map(AsRef::as_ref)
    }

    /// One that owns its texts.
    pub fn owned(&self) -> Fact {
        self.map(|text| Arc::from(text.as_ref()))
    }

    /// Bytes that it takes in a dictionary that has none of its texts.
    pub(crate) fn content_bytes(&self) -> usize {
        let mut bytes = 0;
        self.write_canonical(|piece| bytes += piece.len());
        bytes
    }

    /// What it is aimed at, in words that fit behind "only read", "only started" and so on.
    pub fn target(&self) -> String {
        match self.view() {
            Fact::Exec {
                exe,
                script,
                arguments,
                ..
            } => {
                let mut out = exe.to_owned();
                if let Some(script) = script {
                    out.push_str(&format!(" (script {script})"));
                }
                if !arguments.as_str().is_empty() {
                    out.push(' ');
                    out.push_str(arguments.as_str());
                }
                out
            }
            Fact::File { path, access, .. }
            | Fact::FilePattern {
                pattern: path,
                access,
                ..
            } => match access {
                Access::Read => path.to_owned(),
                access => format!("{path} ({})", access.name()),
            },
            Fact::Connect {
                peer, protocol, port, ..
            } => format!("{peer} {}/{port}", protocol.name()),
            Fact::Listen { protocol, port, .. } => format!("{} port {}", protocol.name(), chosen(port)),
            Fact::Accept {
                protocol, port, peer, ..
            } => format!("{} on {} port {}", peer.name(), protocol.name(), chosen(port)),
            Fact::Dns { name, .. } | Fact::DnsPattern { pattern: name, .. } => name.to_owned(),
            Fact::Capability { capability, .. } => capability.to_owned(),
            Fact::Privilege {
                operation, object, ..
            } => format!("{operation} {object}").trim_end().to_owned(),
            Fact::Library { path, .. } => path.to_owned(),
        }
    }
}

/// One line: who, what.
impl<S: AsRef<str>> fmt::Display for Fact<S> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = match self {
            Self::Exec { .. } => "starts",
            Self::File { access, .. } | Self::FilePattern { access, .. } => match access {
                Access::Read => "reads",
                Access::Write => "writes",
                Access::Create => "creates",
                Access::Delete => "deletes",
                Access::Execute => "executes",
                Access::Attribute => "changes attributes of",
                Access::Probe => "fails to open",
            },
            Self::Connect { .. } => "connects to",
            Self::Listen { .. } => "listens on",
            Self::Accept { .. } => "accepts",
            Self::Dns { .. } | Self::DnsPattern { .. } => "resolves",
            Self::Capability { .. } => "uses",
            Self::Privilege { .. } => "does",
            Self::Library { .. } => "maps",
        };
        let target = match self {
            Self::File { path, .. } | Self::FilePattern { pattern: path, .. } => path.as_ref().to_owned(),
            other => other.target(),
        };
        write!(out, "{} {verb} {target}", self.actor().as_ref())
    }
}

fn chosen(port: u16) -> String {
    if port == 0 {
        "chosen by the kernel".to_owned()
    } else {
        port.to_string()
    }
}
