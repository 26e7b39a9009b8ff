//! The one shape that all facts have: a variant, a few small numbers, up to four texts.

use super::{Access, ArgumentShape, Fact, Peer, PeerClass, Protocol};
use std::borrow::Cow;

/// A fact without its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Flat<'a> {
    pub variant: u8,
    /// Access; protocol and kind of peer; see [`Fact::flatten`].
    pub detail: u8,
    pub port: u16,
    pub texts: [Option<Cow<'a, str>>; 4],
}

const EXEC: u8 = 0;
const FILE: u8 = 1;
const FILE_PATTERN: u8 = 2;
const CONNECT: u8 = 3;
const LISTEN: u8 = 4;
const ACCEPT: u8 = 5;
const DNS: u8 = 6;
const DNS_PATTERN: u8 = 7;
const CAPABILITY: u8 = 8;
const PRIVILEGE: u8 = 9;
const LIBRARY: u8 = 10;

const WORKLOAD: u8 = 0;
const DOMAIN: u8 = 1;
const REGISTERED_DOMAIN: u8 = 2;
const CIDR: u8 = 3;
const ADDRESS: u8 = 4;

fn both(high: u8, low: u8) -> u8 {
    high << 4 | low
}

impl<'a> Fact<&'a str> {
    pub(super) fn flatten(&self) -> Flat<'a> {
        let flat = |variant, detail, port, texts: [Option<&'a str>; 4]| Flat {
            variant,
            detail,
            port,
            texts: texts.map(|text| text.map(Cow::Borrowed)),
        };
        match *self {
            Fact::Exec {
                parent,
                exe,
                script,
                arguments,
            } => flat(
                EXEC,
                0,
                0,
                [Some(parent), Some(exe), script, Some(arguments.stored())],
            ),
            Fact::File { exe, path, access } => {
                flat(FILE, access as u8, 0, [Some(exe), Some(path), None, None])
            }
            Fact::FilePattern { exe, pattern, access } => flat(
                FILE_PATTERN,
                access as u8,
                0,
                [Some(exe), Some(pattern), None, None],
            ),
            Fact::Connect {
                exe,
                ref peer,
                protocol,
                port,
            } => {
                let (kind, name) = match peer {
                    Peer::Workload(name) => (WORKLOAD, Cow::Borrowed(*name)),
                    Peer::Domain(name) => (DOMAIN, Cow::Borrowed(*name)),
                    Peer::RegisteredDomain(name) => (REGISTERED_DOMAIN, Cow::Borrowed(*name)),
                    Peer::Cidr(block) => (CIDR, Cow::Owned(block.to_string())),
                    Peer::Address(address) => (ADDRESS, Cow::Owned(address.to_string())),
                };
                Flat {
                    variant: CONNECT,
                    detail: both(protocol as u8, kind),
                    port,
                    texts: [Some(Cow::Borrowed(exe)), Some(name), None, None],
                }
            }
            Fact::Listen { exe, protocol, port } => flat(
                LISTEN,
                both(protocol as u8, 0),
                port,
                [Some(exe), None, None, None],
            ),
            Fact::Accept {
                exe,
                protocol,
                port,
                peer,
            } => flat(
                ACCEPT,
                both(protocol as u8, peer as u8),
                port,
                [Some(exe), None, None, None],
            ),
            Fact::Dns { exe, name } => flat(DNS, 0, 0, [Some(exe), Some(name), None, None]),
            Fact::DnsPattern { exe, pattern } => {
                flat(DNS_PATTERN, 0, 0, [Some(exe), Some(pattern), None, None])
            }
            Fact::Capability { exe, capability } => {
                flat(CAPABILITY, 0, 0, [Some(exe), Some(capability), None, None])
            }
            Fact::Privilege {
                exe,
                operation,
                object,
            } => flat(PRIVILEGE, 0, 0, [Some(exe), Some(operation), Some(object), None]),
            Fact::Library { exe, path } => flat(LIBRARY, 0, 0, [Some(exe), Some(path), None, None]),
        }
    }

    /// The fact of that shape, which [`Fact::flatten`] gave; `None` if no fact has it.
    pub(super) fn of_flat(variant: u8, detail: u8, port: u16, texts: [Option<&'a str>; 4]) -> Option<Self> {
        let [first, second, third, fourth] = texts;
        let access = || Access::ALL.get(usize::from(detail)).copied();
        let protocol = || Protocol::ALL.get(usize::from(detail >> 4)).copied();
        let low = usize::from(detail & 0xf);
        Some(match variant {
            EXEC => Fact::Exec {
                parent: first?,
                exe: second?,
                script: third,
                arguments: ArgumentShape::from_stored(fourth?),
            },
            FILE => Fact::File {
                exe: first?,
                path: second?,
                access: access()?,
            },
            FILE_PATTERN => Fact::FilePattern {
                exe: first?,
                pattern: second?,
                access: access()?,
            },
            CONNECT => {
                let name = second?;
                let peer = match detail & 0xf {
                    WORKLOAD => Peer::Workload(name),
                    DOMAIN => Peer::Domain(name),
                    REGISTERED_DOMAIN => Peer::RegisteredDomain(name),
                    CIDR => Peer::Cidr(name.parse().ok()?),
                    ADDRESS => Peer::Address(name.parse().ok()?),
                    _ => return None,
                };
                Fact::Connect {
                    exe: first?,
                    peer,
                    protocol: protocol()?,
                    port,
                }
            }
            LISTEN => Fact::Listen {
                exe: first?,
                protocol: protocol()?,
                port,
            },
            ACCEPT => Fact::Accept {
                exe: first?,
                protocol: protocol()?,
                port,
                peer: *PeerClass::ALL.get(low)?,
            },
            DNS => Fact::Dns {
                exe: first?,
                name: second?,
            },
            DNS_PATTERN => Fact::DnsPattern {
                exe: first?,
                pattern: second?,
            },
            CAPABILITY => Fact::Capability {
                exe: first?,
                capability: second?,
            },
            PRIVILEGE => Fact::Privilege {
                exe: first?,
                operation: second?,
                object: third?,
            },
            LIBRARY => Fact::Library {
                exe: first?,
                path: second?,
            },
            _ => return None,
        })
    }

    /// It is of the one shape that [`Fact::flatten`] gives: two shapes of one fact would make two facts of it.
    pub(super) fn is_flat(&self, detail: u8, port: u16, texts: [Option<&str>; 4]) -> bool {
        let flat = self.flatten();
        flat.detail == detail
            && flat.port == port
            && flat
                .texts
                .iter()
                .zip(texts)
                .all(|(left, right)| left.as_deref() == right)
    }
}
