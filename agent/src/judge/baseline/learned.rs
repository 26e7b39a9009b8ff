//! The form in which a behaviour is learned.

use crate::judge::fact::{Access, Fact};
use norma_baseline::fact::{self, ArgumentShape, Peer, Protocol};
use std::sync::Arc;

/// Stable names of operations, and what they do to the file that they name.
const FILE_OPERATIONS: [(&str, fact::Access); 15] = [
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
];

impl Fact {
    /// The same behaviour, typed by what can be learned of it. Names of files and DNS names can be open sets, for
    /// which patterns stand; so operations that name a file are about the file and not about their name.
    pub(super) fn learned(&self) -> fact::Fact {
        match self {
            Self::Exec { by, exe } => fact::Fact::Exec {
                parent: Arc::clone(by),
                exe: Arc::clone(exe),
                script: None,
                arguments: ArgumentShape::default(),
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
            Self::Connect { exe, peer, port, udp } => fact::Fact::Connect {
                exe: Arc::clone(exe),
                peer: Peer::of(*peer, None, None),
                protocol: if *udp { Protocol::Udp } else { Protocol::Tcp },
                port: *port,
            },
            Self::Listen { exe, port } => fact::Fact::Listen {
                exe: Arc::clone(exe),
                protocol: Protocol::Tcp,
                port: *port,
            },
            Self::Act {
                exe,
                operation,
                object,
            } => act(exe, operation, object),
        }
    }
}

fn act(exe: &Arc<str>, operation: &Arc<str>, object: &Arc<str>) -> fact::Fact {
    let exe = Arc::clone(exe);
    let on_file = FILE_OPERATIONS
        .iter()
        .find(|(name, _)| *name == operation.as_ref())
        .filter(|_| object.starts_with('/'));
    match (operation.as_ref(), on_file) {
        ("dns.query", _) => fact::Fact::Dns {
            exe,
            name: Arc::clone(object),
        },
        ("file.map-exec", _) => fact::Fact::Library {
            exe,
            path: Arc::clone(object),
        },
        (_, Some((_, access))) => fact::Fact::File {
            exe,
            path: Arc::clone(object),
            access: *access,
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
        assert_eq!(field("file.rename", ""), Field::Privilege);
        assert_eq!(field("file.map-exec", "/lib/libc.so.6"), Field::Library);
        assert_eq!(field("dns.query", "example.org"), Field::Dns);
        assert_eq!(field("mount.new", "/mnt"), Field::Privilege);
        for (operation, _) in FILE_OPERATIONS {
            assert_eq!(field(operation, "/a"), Field::File, "{operation}");
        }
    }
}
