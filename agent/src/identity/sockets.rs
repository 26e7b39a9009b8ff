//! Sockets that are there before the agent is, and who holds them.
//!
//! A namespace is asked by netlink, from a thread that enters it; where that is refused, the tables in
//! /proc/PID/net are read, which takes no entering, but knows neither cookies nor families besides the internet's.
//! Holders are found by the inode numbers among the descriptors of all processes.

mod diag;
mod table;

use super::cgroups::Hierarchy;
use super::process::TICK_NS;
use super::process::proc::namespace;
use crate::clock::boot_now;
use crate::observation::{
    Act, Actor, BootTime, CgroupId, Endpoint, Name, Namespaces, Observation, Outcome, ProcessKey, Socket,
    SocketOp,
};
use diag::{Diag, DiagError, Ends, Listed, State};
use foldhash::{HashMap, HashMapExt as _, HashSet};
use procfs::process::{FDTarget, Process};
use std::net::{IpAddr, SocketAddr};

const AF_UNIX: u16 = 1;
const AF_VSOCK: u16 = 40;
const SOCK_RAW: u16 = 3;
const IPPROTO_TCP: u32 = 6;

/// Listeners, connections, bound datagram sockets and special ones, each with a process that holds it.
pub fn take(hierarchy: &Hierarchy) -> Vec<Observation> {
    let Ok(processes) = procfs::process::all_processes() else {
        return Vec::new();
    };
    let members = hierarchy.members();
    let mut holders: HashMap<u64, Actor> = HashMap::new();
    let mut spaces: HashMap<u32, Process> = HashMap::new();
    for process in processes.flatten() {
        let inodes: Vec<u64> = process
            .fd()
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|fd| match fd.target {
                FDTarget::Socket(inode) => Some(inode),
                _ => None,
            })
            .collect();
        if inodes.is_empty() {
            continue;
        }
        let Some(actor) = actor(&process, &members) else {
            continue;
        };
        // The first holder counts: those that inherited the socket are younger.
        for inode in inodes {
            holders.entry(inode).or_insert_with(|| actor.clone());
        }
        spaces.entry(actor.namespaces.net).or_insert(process);
    }
    let now = boot_now();
    let sockets = in_namespaces(spaces.into_values().collect());
    let found = sockets
        .into_iter()
        .flat_map(|listed| observed(&listed, &holders, now));
    found.collect()
}

/// The sockets of the namespaces of these processes, by namespace.
fn in_namespaces(processes: Vec<Process>) -> Vec<Vec<Listed>> {
    // A thread that has entered a namespace stays there, so this one is for that alone.
    let thread = std::thread::Builder::new().name("sockets".to_owned()).spawn(move || {
        let known = protocols();
        let mut refused = HashMap::new();
        let lists = processes.iter().map(|process| {
            list(process, &known).unwrap_or_else(|error| {
                *refused.entry(error.to_string()).or_insert(0_u32) += 1;
                table::list(process)
            })
        });
        let lists: Vec<_> = lists.collect();
        for (why, namespaces) in refused {
            tracing::warn!(
                namespaces,
                why,
                "existing sockets are taken from /proc: without their numbers, and only those of TCP and UDP"
            );
        }
        lists
    });
    match thread.map(std::thread::JoinHandle::join) {
        Ok(Ok(lists)) => lists,
        Ok(Err(_)) => {
            tracing::error!("existing sockets are not known: the thread that takes them ended");
            Vec::new()
        }
        Err(error) => {
            tracing::error!(%error, "existing sockets are not known: no thread can be started");
            Vec::new()
        }
    }
}

fn list(process: &Process, known: &HashSet<String>) -> Result<Vec<Listed>, DiagError> {
    let own = namespace(process.pid().unsigned_abs(), "net") == thread_namespace();
    let diag = match own {
        true => Diag::here()?,
        false => Diag::of(process.pid().unsigned_abs())?,
    };
    diag.list(|name| known.contains(name))
}

/// Inode number of the network namespace of the calling thread; 0 where it cannot be read.
fn thread_namespace() -> u32 {
    std::fs::read_link("/proc/thread-self/ns/net")
        .ok()
        .and_then(|link| super::process::proc::namespace_number(&link))
        .unwrap_or(0)
}

/// Names of the protocols that the kernel has loaded.
fn protocols() -> HashSet<String> {
    let text = std::fs::read_to_string("/proc/net/protocols").unwrap_or_default();
    let names = text.lines().filter_map(|line| line.split_whitespace().next());
    names.map(str::to_owned).collect()
}

/// The sockets of a namespace, as if they were observed now.
fn observed(listed: &[Listed], holders: &HashMap<u64, Actor>, now: BootTime) -> Vec<Observation> {
    let ports: HashSet<u16> = listed
        .iter()
        .filter(|socket| socket.state == State::Listening)
        .filter_map(|socket| match socket.ends {
            Ends::Internet(local, _) => Some(local.port()),
            _ => None,
        })
        .collect();
    let observations = listed.iter().filter_map(|listed| {
        let actor = holders.get(&listed.inode)?.clone();
        Some(Observation {
            cpu: 0,
            seq: 0,
            at: now,
            actor,
            act: Act::Socket(Box::new(socket(listed, &ports)?)),
        })
    });
    observations.collect()
}

/// Without those that the kernel side has reported meanwhile: they were made after it had begun to look.
pub fn without_reported(stock: Vec<Observation>, reported: &[Observation]) -> Vec<Observation> {
    let known: HashSet<Trace> = reported.iter().flat_map(Trace::of).collect();
    stock
        .into_iter()
        .filter(|found| !Trace::of(found).iter().any(|trace| known.contains(trace)))
        .collect()
}

/// What a socket has in common with the record of how it came to be.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Trace {
    /// The number of the socket, where its beginning tells it.
    Cookie(u64),
    /// In this network namespace, at this address.
    Listening(u32, SocketAddr),
    Bound(u32, SocketAddr),
    /// By this process, to this peer. The local end of a new connection is not chosen when it is reported.
    Connected(u32, SocketAddr),
    Accepted(u32, SocketAddr, SocketAddr),
    /// By this process: a Unix socket of this name, or a vsock to this peer.
    Named(u32, SocketOp, Vec<u8>),
    /// By this process: family and protocol.
    Made(u32, u16, u32),
}

impl Trace {
    /// Those of the beginning of a socket: what goes on with one, or ends it, tells nothing about that.
    fn of(observation: &Observation) -> Vec<Self> {
        let Observation { actor, act, .. } = observation;
        let (net, pid) = (actor.namespaces.net, actor.process.pid);
        let (cookie, other) = match act {
            Act::Listen(listen) => (0, Some(Self::Listening(net, listen.local))),
            Act::Connect(connect) => (connect.cookie, Some(Self::Connected(pid, connect.remote))),
            Act::Socket(socket) => (socket.cookie, Self::of_socket(net, pid, socket)),
            _ => return Vec::new(),
        };
        let Some(other) = other else {
            return Vec::new();
        };
        // Before 5.12 the kernel side has an address for a number, which no list has.
        let cookie = (cookie != 0 && cookie >> 63 == 0).then_some(Self::Cookie(cookie));
        match (cookie, act) {
            (Some(cookie), Act::Socket(socket)) if socket.from_proc => vec![cookie, other],
            // The number alone decides where both sides know it.
            (Some(cookie), _) => vec![cookie],
            (None, _) => vec![other],
        }
    }

    fn of_socket(net: u32, pid: u32, socket: &Socket) -> Option<Self> {
        Some(match (socket.op, socket.local, socket.remote) {
            (SocketOp::Listening, Endpoint::Internet(local), _) => Self::Listening(net, local),
            (SocketOp::Bound, Endpoint::Internet(local), _) => Self::Bound(net, local),
            (SocketOp::Accepted, Endpoint::Internet(local), Endpoint::Internet(remote)) => {
                Self::Accepted(net, local, remote)
            }
            // The kernel side tells of one whose beginning it has told before.
            (SocketOp::Established, _, Endpoint::Internet(remote)) if socket.from_proc => {
                Self::Connected(pid, remote)
            }
            (SocketOp::Listening | SocketOp::Connected | SocketOp::Bound, _, remote) => {
                let name = socket.path.as_ref().map(|path| path.bytes().to_vec());
                let name = name.unwrap_or_else(|| format!("{remote:?}").into_bytes());
                Self::Named(pid, socket.op, name)
            }
            (SocketOp::Made, _, _) => Self::Made(pid, socket.family, socket.protocol),
            _ => return None,
        })
    }
}

fn actor(process: &Process, members: &HashMap<u32, CgroupId>) -> Option<Actor> {
    let (stat, status) = (process.stat().ok()?, process.status().ok()?);
    let pid = u32::try_from(stat.pid).ok()?;
    let parent = Process::new(stat.ppid).and_then(|parent| parent.stat());
    Some(Actor {
        process: ProcessKey {
            pid,
            start: BootTime(stat.starttime * TICK_NS),
        },
        parent: ProcessKey {
            pid: u32::try_from(stat.ppid).unwrap_or(0),
            start: BootTime(parent.map_or(0, |parent| parent.starttime * TICK_NS)),
        },
        tid: pid,
        uid: status.ruid,
        gid: status.rgid,
        euid: status.euid,
        cgroup: members.get(&pid).copied().unwrap_or_default(),
        namespaces: Namespaces {
            mnt: namespace(pid, "mnt"),
            pid: namespace(pid, "pid_for_children"),
            net: namespace(pid, "net"),
            user: namespace(pid, "user"),
        },
        comm: stat.comm.bytes().take(16).collect(),
    })
}

/// What is known of a socket; `None` where that is nothing worth telling.
fn socket(listed: &Listed, listening: &HashSet<u16>) -> Option<Socket> {
    let stream = listed.protocol == IPPROTO_TCP;
    let mut path = None;
    let (op, local, remote) = match (&listed.ends, listed.state) {
        // Of an address only the protocol's sockets know what that means.
        (Ends::Internet(..), _) if listed.kind == SOCK_RAW => {
            (SocketOp::Made, Endpoint::None, Endpoint::None)
        }
        (Ends::Internet(local, remote), state) => {
            let op = match state {
                State::Listening => SocketOp::Listening,
                // Nothing else tells who began it.
                State::Connected if stream && listening.contains(&local.port()) => SocketOp::Accepted,
                State::Connected => SocketOp::Established,
                State::Idle if stream => return None,
                State::Idle => SocketOp::Bound,
            };
            (op, internet(*local), internet(*remote))
        }
        (Ends::Vsock(local, remote), state) => {
            let end = |(cid, port)| Endpoint::Vsock { cid, port };
            match state {
                State::Listening => (SocketOp::Listening, end(*local), Endpoint::None),
                State::Connected => (SocketOp::Connected, end(*local), end(*remote)),
                State::Idle => (SocketOp::Made, Endpoint::None, Endpoint::None),
            }
        }
        (Ends::Unix(own, peer), state) => {
            let (op, name) = match state {
                State::Listening => (SocketOp::Listening, own),
                // The accepted end has the listener's name, and its peer mostly none.
                _ if !peer.is_empty() => (SocketOp::Connected, peer),
                State::Idle if !own.is_empty() => (SocketOp::Bound, own),
                _ => return None,
            };
            path = Some(name.clone());
            (op, Endpoint::None, Endpoint::None)
        }
        (Ends::None, _) => (SocketOp::Made, Endpoint::None, Endpoint::None),
    };
    let abstract_name = path.as_ref().is_some_and(|path| path.first() == Some(&0));
    Some(Socket {
        op,
        outcome: Outcome::Succeeded,
        family: listed.family,
        socket_type: listed.kind,
        protocol: listed.protocol,
        remote,
        local,
        path: path.map(|path| Name::Claimed(path.strip_prefix(b"\0").unwrap_or(&path).to_vec())),
        abstract_name,
        cookie: listed.cookie,
        opened: None,
        sent: 0,
        received: 0,
        was_established: listed.state == State::Connected && !matches!(listed.family, AF_UNIX | AF_VSOCK),
        address_claimed: false,
        from_proc: true,
        id: None,
    })
}

/// An IPv4-mapped address as IPv4; none without a port.
fn internet(address: SocketAddr) -> Endpoint {
    let ip: IpAddr = address.ip().to_canonical();
    match address.port() {
        0 => Endpoint::None,
        port => Endpoint::Internet(SocketAddr::new(ip, port)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream, UdpSocket};

    fn own(stock: &[Observation]) -> Vec<(SocketOp, Endpoint, Endpoint)> {
        stock
            .iter()
            .filter(|found| found.actor.process.pid == std::process::id())
            .filter_map(|found| match &found.act {
                Act::Socket(socket) => Some((socket.op, socket.local, socket.remote)),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn what_this_process_holds_is_found_with_its_addresses() {
        let Some(hierarchy) = Hierarchy::find() else {
            eprintln!("skipped: no cgroup v2 hierarchy is mounted");
            return;
        };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = listener.local_addr().unwrap();
        let client = TcpStream::connect(server).unwrap();
        let local = client.local_addr().unwrap();
        let (_accepted, _) = listener.accept().unwrap();
        let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
        let bound = datagrams.local_addr().unwrap();
        let stock = take(&hierarchy);
        let own = own(&stock);
        let at = Endpoint::Internet;
        for expected in [
            (SocketOp::Listening, at(server), Endpoint::None),
            (SocketOp::Established, at(local), at(server)),
            (SocketOp::Accepted, at(server), at(local)),
            (SocketOp::Bound, at(bound), Endpoint::None),
        ] {
            assert!(own.contains(&expected), "{expected:?} is not among {own:?}");
        }
        let left = without_reported(stock.clone(), &stock);
        assert!(left.is_empty(), "{left:?}");
        // The same address again is another socket, where its number tells.
        let found = stock.iter().find(|found| match &found.act {
            Act::Socket(socket) => socket.local == at(bound) && socket.cookie != 0,
            _ => false,
        });
        let Some(found) = found else {
            eprintln!("skipped: sock_diag is refused");
            return;
        };
        let mut other = found.clone();
        if let Act::Socket(socket) = &mut other.act {
            socket.cookie += 1_000_000;
            socket.from_proc = false;
        }
        assert_eq!(without_reported(vec![found.clone()], &[other]).len(), 1);
    }
}
