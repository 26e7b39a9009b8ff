//! The form in which a behaviour is learned.

use crate::judge::fact::{Access, CAPABILITY_USE, Fact};
use norma_baseline::fact::{self, Peer, Protocol};
use std::sync::Arc;

/// Stable names of operations, and what they do to the file that they name.
const FILE_OPERATIONS: [(&str, fact::Access); 17] = [
    ("file.unlink", fact::Access::Delete),
    ("file.rmdir", fact::Access::Delete),
    ("file.rename", fact::Access::Create),
    ("file.link", fact::Access::Create),
    ("file.symlink", fact::Access::Create),
    ("file.mkdir", fact::Access::Create),
    ("file.mknod", fact::Access::Create),
    ("file.truncate", fact::Access::Write),
    ("file.map-write", fact::Access::Write),
    ("file.chmod", fact::Access::Attribute),
    ("file.chown", fact::Access::Attribute),
    ("file.setxattr", fact::Access::Attribute),
    ("file.removexattr", fact::Access::Attribute),
    ("file.open-failed", fact::Access::Probe),
    ("file.receive", fact::Access::Read),
    // Whoever connects to the socket of a path has to be allowed to write it.
    ("socket.connected", fact::Access::Write),
    ("socket.listening", fact::Access::Create),
];

impl Fact {
    /// The same behaviour, typed by what can be learned of it. Names of files and DNS names can be open sets, for
    /// which patterns stand; so operations that name a file are about the file and not about their name.
    pub(in crate::judge) fn learned(&self) -> fact::Fact {
        match self {
            Self::Exec {
                by,
                exe,
                script,
                arguments,
            } => fact::Fact::Exec {
                parent: Arc::clone(by),
                exe: Arc::clone(exe),
                script: script.clone(),
                arguments: arguments.clone(),
            },
            Self::Open { exe, path, access } => fact::Fact::File {
                exe: Arc::clone(exe),
                path: Arc::clone(path),
                access: match access {
                    Access::Read => fact::Access::Read,
                    Access::Write => fact::Access::Write,
                    Access::Create => fact::Access::Create,
                },
            },
            Self::Connect {
                exe,
                peer,
                names,
                port,
                udp,
            } => connect(
                exe,
                Peer::of(*peer, names.workload.clone(), names.domain.as_deref()),
                *port,
                *udp,
            ),
            Self::Listen { exe, port, udp } => fact::Fact::Listen {
                exe: Arc::clone(exe),
                protocol: protocol(*udp),
                port: *port,
            },
            Self::Accept { exe, port, class, .. } => fact::Fact::Accept {
                exe: Arc::clone(exe),
                protocol: Protocol::Tcp,
                port: *port,
                peer: *class,
            },
            Self::Act {
                exe,
                operation,
                object,
            } => act(exe, operation, object),
        }
    }

    /// What was learned of the opening of a file, as it was before [`Self::learned`].
    pub(super) fn opening(learned: &fact::Fact<&str>) -> Option<Self> {
        let fact::Fact::File { exe, path, access } = learned else {
            return None;
        };
        Some(Self::Open {
            exe: Arc::from(*exe),
            path: Arc::from(*path),
            access: match access {
                fact::Access::Read => Access::Read,
                fact::Access::Write => Access::Write,
                fact::Access::Create => Access::Create,
                _ => return None,
            },
        })
    }

    /// The same behaviour under the further names of its peer. What is expected under one of them is expected: which
    /// name is known changes with where the peer runs and with when the agent was started.
    pub(super) fn otherwise(&self) -> Vec<fact::Fact> {
        let Self::Connect {
            exe,
            peer,
            names,
            port,
            udp,
        } = self
        else {
            return Vec::new();
        };
        let domain = names.workload.as_ref().and(names.domain.as_deref());
        let named = domain.map(|name| Peer::of(*peer, None, Some(name)));
        let bare = (names.workload.is_some() || names.domain.is_some()).then(|| Peer::of(*peer, None, None));
        named
            .into_iter()
            .chain(bare)
            .map(|peer| connect(exe, peer, *port, *udp))
            .collect()
    }
}

fn connect(exe: &Arc<str>, peer: Peer, port: u16, udp: bool) -> fact::Fact {
    fact::Fact::Connect {
        exe: Arc::clone(exe),
        peer,
        protocol: protocol(udp),
        port,
    }
}

const fn protocol(udp: bool) -> Protocol {
    if udp { Protocol::Udp } else { Protocol::Tcp }
}

/// What names a file. Where only the name is known that a program gave, it is relative to the program's directory.
fn path(object: &Arc<str>) -> Option<Arc<str>> {
    match object.as_bytes().first()? {
        b'/' | b'@' => Some(Arc::clone(object)),
        b'.' if object.starts_with("./") => Some(Arc::clone(object)),
        _ => Some(format!("./{object}").into()),
    }
}

fn act(exe: &Arc<str>, operation: &Arc<str>, object: &Arc<str>) -> fact::Fact {
    let exe = Arc::clone(exe);
    let on_file = FILE_OPERATIONS
        .iter()
        .find(|(name, _)| *name == operation.as_ref())
        .zip(path(object));
    match (operation.as_ref(), on_file) {
        ("dns.query", _) => fact::Fact::Dns {
            exe,
            name: Arc::clone(object),
        },
        (CAPABILITY_USE, _) => fact::Fact::Capability {
            exe,
            capability: Arc::clone(object),
        },
        ("file.map-exec", _) => fact::Fact::Library {
            exe,
            path: Arc::clone(object),
        },
        (_, Some(((_, access), path))) => fact::Fact::File {
            exe,
            path,
            access: *access,
        },
        ("socket.bound", _) => fact::Fact::Listen {
            exe,
            protocol: Protocol::Tcp,
            // One that the kernel may choose another time, where it is not a number.
            port: object.parse().unwrap_or(0),
        },
        (_, None) => fact::Fact::Privilege {
            exe,
            operation: Arc::clone(operation),
            object: Arc::clone(object),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use norma_baseline::fact::Field;

    #[test]
    fn an_opening_comes_back_as_what_it_was_and_nothing_else_does() {
        for access in [Access::Read, Access::Write, Access::Create] {
            let fact = Fact::Open {
                exe: "/bin/a".into(),
                path: "/etc/b".into(),
                access,
            };
            assert_eq!(Fact::opening(&fact.learned().view()), Some(fact));
        }
        let deleted = fact::Fact::File {
            exe: "/bin/a",
            path: "/etc/b",
            access: fact::Access::Delete,
        };
        assert_eq!(Fact::opening(&deleted), None);
    }

    #[test]
    fn what_names_a_file_is_about_the_file() {
        let field = |operation: &str, object: &str| {
            let act = Fact::Act {
                exe: "/bin/app".into(),
                operation: operation.into(),
                object: object.into(),
            };
            act.learned().field()
        };
        assert_eq!(field("file.rename", "/tmp/x"), Field::File);
        assert_eq!(field("file.rename", "base/16384/1259"), Field::File);
        assert_eq!(field("file.rename", ""), Field::Privilege);
        assert_eq!(field("file.map-exec", "/lib/libc.so.6"), Field::Library);
        assert_eq!(field("dns.query", "example.org"), Field::Dns);
        assert_eq!(field(CAPABILITY_USE, "CAP_NET_ADMIN"), Field::Capability);
        assert_eq!(field("mount.new", "/mnt"), Field::Privilege);
        assert_eq!(field("socket.bound", "8080"), Field::Listen);
        assert_eq!(field("socket.connected", "@abstract"), Field::File);
        assert_eq!(field("socket.made", "packet 0x0003"), Field::Privilege);
        for (operation, _) in FILE_OPERATIONS {
            assert_eq!(field(operation, "/a"), Field::File, "{operation}");
        }
    }
}
