//! Sockets of a network namespace, from the kernel by sock_diag(7).
//!
//! It tells what /proc/net does not: the cookie, by which the kernel side knows a socket too, and sockets of
//! families that have no table there. Requests and answers are a handful of fixed structures; the crate for
//! them, netlink-packet-sock-diag (0.5), has those of internet and Unix sockets only.

use foldhash::HashMap;
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// linux/sock_diag.h: the one type of message that is asked for.
const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// linux/netlink.h
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_DUMP: u16 = 0x300;
const ALIGNMENT: usize = 4;
/// The kernel packs its answers into no more than this.
const ANSWER_MAX: usize = 32 << 10;
/// It answers at once; this only keeps a fault of its from being waited for.
const PATIENCE: Duration = Duration::from_secs(5);

const AF_UNIX: u8 = 1;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const AF_PACKET: u8 = 17;
const AF_VSOCK: u8 = 40;
const IPPROTO_TCP: u8 = 6;
const IPPROTO_UDP: u8 = 17;
/// Stands for all of them.
const IPPROTO_RAW: u8 = 255;
const SOCK_STREAM: u16 = 1;
const SOCK_DGRAM: u16 = 2;
const SOCK_RAW: u16 = 3;

const UDIAG_SHOW_NAME: u32 = 1;
const UDIAG_SHOW_PEER: u32 = 4;
const UNIX_DIAG_NAME: u16 = 0;
const UNIX_DIAG_PEER: u16 = 2;

/// Where a socket is in its life, as far as anybody asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It listens.
    Listening,
    /// It has, or had, a peer.
    Connected,
    /// Neither.
    Idle,
}

/// A socket as the kernel lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Inode number, by which a process holds it.
    pub inode: u64,
    /// AF_*.
    pub family: u16,
    /// SOCK_*.
    pub kind: u16,
    /// IPPROTO_*, or the protocol of the family.
    pub protocol: u32,
    /// Where it is in its life.
    pub state: State,
    /// The same number means the same socket, also to the kernel side (from 5.12).
    pub cookie: u64,
    /// What it is bound and connected to.
    pub ends: Ends,
}

/// The ends of a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ends {
    /// Of its family alone.
    None,
    /// Of an internet socket; port 0 where there is no such end.
    Internet(SocketAddr, SocketAddr),
    /// Of a vsock: context id and port.
    Vsock((u32, u32), (u32, u32)),
    /// Own name of a Unix socket and that of its peer; empty where there is none. Abstract ones begin with NUL.
    Unix(Vec<u8>, Vec<u8>),
}

/// Why the sockets of a namespace cannot be listed.
#[derive(Debug, thiserror::Error)]
pub enum DiagError {
    /// Its namespace cannot be entered, for which CAP_SYS_ADMIN is needed.
    #[error("its network namespace cannot be entered: {0}")]
    Enter(#[source] Errno),
    /// The kernel has no sock_diag, or refuses it.
    #[error("sock_diag is refused: {0}")]
    Refused(#[source] Errno),
    /// The kernel says something else than its headers do.
    #[error("sock_diag gave something that is no answer")]
    Garbled,
}

/// A conversation about one namespace.
pub struct Diag {
    socket: OwnedFd,
}

impl Diag {
    /// Asks about the namespace that a process lives in.
    ///
    /// The calling thread is in that namespace afterwards: it should be one that does nothing else.
    pub fn of(pid: u32) -> Result<Self, DiagError> {
        let place = open(
            format!("/proc/{pid}/ns/net"),
            OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(DiagError::Enter)?;
        move_into_link_name_space(place.as_fd(), Some(LinkNameSpaceType::Network))
            .map_err(DiagError::Enter)?;
        Self::here()
    }

    /// Asks about the namespace of the calling thread.
    pub fn here() -> Result<Self, DiagError> {
        let socket = socket_with(
            AddressFamily::NETLINK,
            SocketType::DGRAM,
            SocketFlags::CLOEXEC,
            Some(netlink::SOCK_DIAG),
        )
        .map_err(DiagError::Refused)?;
        set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE)).map_err(DiagError::Refused)?;
        Ok(Self { socket })
    }

    /// Every socket of the namespace that has an inode.
    ///
    /// `is_known` tells whether the kernel has a protocol of this name already: to ask for one that it has not
    /// would make it load modules that this machine did without.
    pub fn list(&self, is_known: impl Fn(&str) -> bool) -> Result<Vec<Listed>, DiagError> {
        let mut found = Vec::new();
        for family in [AF_INET, AF_INET6] {
            for protocol in [IPPROTO_TCP, IPPROTO_UDP] {
                self.dump(&InetRequest::of(family, protocol), |bytes| {
                    found.extend(inet(bytes, protocol)?);
                    Some(())
                })?;
            }
            let raw = if family == AF_INET { "RAW" } else { "RAWv6" };
            if is_known(raw) {
                self.optional(&InetRequest::of(family, IPPROTO_RAW), |bytes| {
                    found.extend(inet(bytes, IPPROTO_RAW)?);
                    Some(())
                })?;
            }
        }
        let mut unix = Vec::new();
        let show = UDIAG_SHOW_NAME | UDIAG_SHOW_PEER;
        self.optional(&OtherRequest::of(AF_UNIX, show), |bytes| {
            unix.push(UnixSocket::parse(bytes)?);
            Some(())
        })?;
        found.extend(UnixSocket::list(unix));
        if is_known("PACKET") {
            self.optional(&OtherRequest::of(AF_PACKET, 0), |bytes| {
                found.push(packet(bytes)?);
                Some(())
            })?;
        }
        if is_known("AF_VSOCK") {
            self.optional(&OtherRequest::of(AF_VSOCK, 0), |bytes| {
                found.push(vsock(bytes)?);
                Some(())
            })?;
        }
        found.retain(|socket| socket.inode != 0);
        Ok(found)
    }

    /// As [`Self::dump`], for what not every kernel is built with.
    fn optional(
        &self,
        request: &(impl IntoBytes + Immutable),
        each: impl FnMut(&[u8]) -> Option<()>,
    ) -> Result<(), DiagError> {
        match self.dump(request, each) {
            Err(DiagError::Refused(Errno::NOENT)) => Ok(()),
            other => other,
        }
    }

    /// Gives each answer's body to `each`, which gives `None` for one that is too short.
    fn dump(
        &self,
        request: &(impl IntoBytes + Immutable),
        mut each: impl FnMut(&[u8]) -> Option<()>,
    ) -> Result<(), DiagError> {
        let header = MessageHeader {
            len: (size_of::<MessageHeader>() + size_of_val(request)) as u32,
            kind: SOCK_DIAG_BY_FAMILY,
            flags: NLM_F_REQUEST | NLM_F_DUMP,
            sequence: 0,
            port: 0,
        };
        let message = [header.as_bytes(), request.as_bytes()].concat();
        send(&self.socket, &message, SendFlags::empty()).map_err(DiagError::Refused)?;
        let mut buffer = vec![0; ANSWER_MAX];
        loop {
            let (length, _) =
                recv(&self.socket, &mut buffer[..], RecvFlags::empty()).map_err(DiagError::Refused)?;
            let mut rest = &buffer[..length];
            while !rest.is_empty() {
                let (header, _) = MessageHeader::read_from_prefix(rest).map_err(|_| DiagError::Garbled)?;
                let body = rest
                    .get(size_of::<MessageHeader>()..header.len as usize)
                    .ok_or(DiagError::Garbled)?;
                match header.kind {
                    NLMSG_DONE => return Ok(()),
                    NLMSG_ERROR => {
                        let (code, _) = i32::read_from_prefix(body).map_err(|_| DiagError::Garbled)?;
                        return Err(DiagError::Refused(Errno::from_raw_os_error(-code)));
                    }
                    SOCK_DIAG_BY_FAMILY => each(body).ok_or(DiagError::Garbled)?,
                    _ => {}
                }
                let next = (header.len as usize).next_multiple_of(ALIGNMENT);
                rest = rest.get(next..).unwrap_or_default();
            }
        }
    }
}

/// `struct nlmsghdr`
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct MessageHeader {
    len: u32,
    kind: u16,
    flags: u16,
    sequence: u32,
    port: u32,
}

/// `struct inet_diag_sockid`; numbers of the network are in its order.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct InetId {
    local_port: [u8; 2],
    remote_port: [u8; 2],
    local: [u8; 16],
    remote: [u8; 16],
    interface: u32,
    cookie: [u32; 2],
}

/// `struct inet_diag_req_v2`
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct InetRequest {
    family: u8,
    protocol: u8,
    extensions: u8,
    pad: u8,
    states: u32,
    id: InetId,
}

impl InetRequest {
    fn of(family: u8, protocol: u8) -> Self {
        Self {
            family,
            protocol,
            extensions: 0,
            pad: 0,
            states: u32::MAX,
            id: InetId {
                local_port: [0; 2],
                remote_port: [0; 2],
                local: [0; 16],
                remote: [0; 16],
                interface: 0,
                cookie: [u32::MAX; 2],
            },
        }
    }
}

/// `struct unix_diag_req`, `struct vsock_diag_req`; `struct packet_diag_req` has no states, but this in their
/// place: the inode is not looked at in a dump.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct OtherRequest {
    family: u8,
    protocol: u8,
    pad: u16,
    words: [u32; 3],
    cookie: [u32; 2],
}

impl OtherRequest {
    fn of(family: u8, show: u32) -> Self {
        let words = match family {
            AF_PACKET => [0, show, 0],
            _ => [u32::MAX, 0, show],
        };
        Self {
            family,
            protocol: 0,
            pad: 0,
            words,
            cookie: [0; 2],
        }
    }
}

/// `struct inet_diag_msg`
#[derive(FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct InetAnswer {
    family: u8,
    state: u8,
    timer: u8,
    retransmissions: u8,
    id: InetId,
    expires: u32,
    receive_queue: u32,
    send_queue: u32,
    uid: u32,
    inode: u32,
}

/// `struct unix_diag_msg`; attributes follow.
#[derive(FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct UnixAnswer {
    family: u8,
    kind: u8,
    state: u8,
    pad: u8,
    inode: u32,
    cookie: [u32; 2],
}

/// `struct packet_diag_msg`
#[derive(FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct PacketAnswer {
    family: u8,
    kind: u8,
    ethertype: u16,
    inode: u32,
    cookie: [u32; 2],
}

/// `struct vsock_diag_msg`
#[derive(FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct VsockAnswer {
    family: u8,
    kind: u8,
    state: u8,
    shutdown: u8,
    local: [u32; 2],
    remote: [u32; 2],
    inode: u32,
    cookie: [u32; 2],
}

fn cookie([low, high]: [u32; 2]) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

/// `TCP_*` states of the kernel, which other families use too.
fn state(number: u8) -> Option<State> {
    match number {
        10 => Some(State::Listening),
        // ESTABLISHED, FIN_WAIT1, FIN_WAIT2, CLOSE_WAIT, LAST_ACK, CLOSING
        1 | 4 | 5 | 8 | 9 | 11 => Some(State::Connected),
        7 => Some(State::Idle),
        // On the way, or over.
        _ => None,
    }
}

/// `None` where the answer is too short; none or one socket.
fn inet(bytes: &[u8], asked: u8) -> Option<Option<Listed>> {
    let (answer, _) = InetAnswer::read_from_prefix(bytes).ok()?;
    let id = &answer.id;
    let address = |bytes: [u8; 16], port| {
        let [a, b, c, d, ..] = bytes;
        let ip = match answer.family {
            AF_INET => IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
            _ => IpAddr::V6(Ipv6Addr::from(bytes)),
        };
        SocketAddr::new(ip, u16::from_be_bytes(port))
    };
    // A raw socket has the protocol in the place of its port.
    let raw = asked == IPPROTO_RAW;
    let (local, remote) = (
        address(id.local, if raw { [0; 2] } else { id.local_port }),
        address(id.remote, if raw { [0; 2] } else { id.remote_port }),
    );
    let Some(state) = state(answer.state) else {
        return Some(None);
    };
    Some(Some(Listed {
        inode: answer.inode.into(),
        family: answer.family.into(),
        kind: match asked {
            IPPROTO_TCP => SOCK_STREAM,
            IPPROTO_UDP => SOCK_DGRAM,
            _ => SOCK_RAW,
        },
        protocol: if raw {
            u16::from_be_bytes(id.local_port).into()
        } else {
            asked.into()
        },
        state,
        cookie: cookie(id.cookie),
        ends: Ends::Internet(local, remote),
    }))
}

fn packet(bytes: &[u8]) -> Option<Listed> {
    let (answer, _) = PacketAnswer::read_from_prefix(bytes).ok()?;
    Some(Listed {
        inode: answer.inode.into(),
        family: answer.family.into(),
        kind: answer.kind.into(),
        // As socket(2) takes it: in the order of the network.
        protocol: answer.ethertype.to_be().into(),
        state: State::Idle,
        cookie: cookie(answer.cookie),
        ends: Ends::None,
    })
}

fn vsock(bytes: &[u8]) -> Option<Listed> {
    let (answer, _) = VsockAnswer::read_from_prefix(bytes).ok()?;
    let ([local, local_port], [remote, remote_port]) = (answer.local, answer.remote);
    Some(Listed {
        inode: answer.inode.into(),
        family: answer.family.into(),
        kind: answer.kind.into(),
        protocol: 0,
        state: state(answer.state).unwrap_or(State::Idle),
        cookie: cookie(answer.cookie),
        ends: Ends::Vsock((local, local_port), (remote, remote_port)),
    })
}

/// A Unix socket, which names its peer by inode.
struct UnixSocket {
    listed: Listed,
    peer: Option<u32>,
    name: Vec<u8>,
}

impl UnixSocket {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let (answer, mut rest) = UnixAnswer::read_from_prefix(bytes).ok()?;
        let (mut name, mut peer) = (Vec::new(), None);
        // `struct nlattr`: its length with itself, its type.
        while let Some(([low, high, kind_low, kind_high], _)) = rest.split_first_chunk::<4>() {
            let len = usize::from(u16::from_ne_bytes([*low, *high]));
            let value = rest.get(4..len)?;
            match u16::from_ne_bytes([*kind_low, *kind_high]) {
                UNIX_DIAG_NAME => name = unix_name(value).to_vec(),
                UNIX_DIAG_PEER => peer = value.try_into().ok().map(u32::from_ne_bytes),
                _ => {}
            }
            rest = rest.get(len.next_multiple_of(ALIGNMENT)..).unwrap_or_default();
        }
        let listed = Listed {
            inode: answer.inode.into(),
            family: answer.family.into(),
            kind: answer.kind.into(),
            protocol: 0,
            state: state(answer.state).unwrap_or(State::Idle),
            cookie: cookie(answer.cookie),
            ends: Ends::None,
        };
        Some(Self { listed, peer, name })
    }

    fn list(all: Vec<Self>) -> Vec<Listed> {
        let names: HashMap<u64, Vec<u8>> = all
            .iter()
            .filter(|socket| !socket.name.is_empty())
            .map(|socket| (socket.listed.inode, socket.name.clone()))
            .collect();
        let list = all.into_iter().map(|socket| {
            let peer = socket.peer.and_then(|peer| names.get(&u64::from(peer)));
            Listed {
                ends: Ends::Unix(socket.name, peer.cloned().unwrap_or_default()),
                ..socket.listed
            }
        });
        list.collect()
    }
}

/// A path ends with its first NUL; of an abstract name each byte counts.
fn unix_name(bytes: &[u8]) -> &[u8] {
    match bytes.first() {
        Some(0) | None => bytes,
        Some(_) => bytes.split(|byte| *byte == 0).next().unwrap_or(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::sockopt::socket_cookie;
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::unix::net::{UnixListener, UnixStream};

    #[test]
    fn sockets_of_every_kind_are_listed_with_the_cookie_that_they_have() {
        let diag = match Diag::here() {
            Ok(diag) => diag,
            Err(error) => {
                eprintln!("skipped: {error}");
                return;
            }
        };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = listener.local_addr().unwrap();
        let client = TcpStream::connect(server).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let bound = UdpSocket::bind("127.0.0.1:0").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let named = UnixListener::bind(&path).unwrap();
        let connected = UnixStream::connect(&path).unwrap();
        let found = diag.list(|_| true).unwrap();
        let cookie = |fd: &dyn std::os::fd::AsFd| socket_cookie(fd.as_fd()).unwrap();
        let by_cookie = |cookie: u64| {
            let mut same = found.iter().filter(|socket| socket.cookie == cookie);
            let one = same
                .next()
                .unwrap_or_else(|| panic!("{cookie} is not among {found:?}"));
            assert_eq!(same.next(), None);
            one
        };
        let (local, nothing) = (client.local_addr().unwrap(), "0.0.0.0:0".parse().unwrap());
        for (fd, protocol, state, ends) in [
            (
                &listener as &dyn std::os::fd::AsFd,
                6,
                State::Listening,
                Ends::Internet(server, nothing),
            ),
            (&client, 6, State::Connected, Ends::Internet(local, server)),
            (&accepted, 6, State::Connected, Ends::Internet(server, local)),
            (
                &bound,
                17,
                State::Idle,
                Ends::Internet(bound.local_addr().unwrap(), nothing),
            ),
        ] {
            let listed = by_cookie(cookie(fd));
            assert_eq!(
                (listed.protocol, listed.state, &listed.ends),
                (protocol, state, &ends)
            );
        }
        let name = path.to_str().unwrap().as_bytes().to_vec();
        let listed = by_cookie(cookie(&named));
        assert_eq!(
            (listed.state, &listed.ends),
            (State::Listening, &Ends::Unix(name, Vec::new()))
        );
        let listed = by_cookie(cookie(&connected));
        assert_eq!((listed.family, listed.state), (1, State::Connected));
    }
}
