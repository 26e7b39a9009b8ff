//! Sockets that are there before the agent is: who holds them, from /proc.
//!
//! The table of a network namespace is read through one process that lives in it, which takes no entering.

use super::cgroups::Hierarchy;
use super::process::{TICK_NS, namespace};
use crate::clock::boot_now;
use crate::observation::{
    Act, Actor, BootTime, CgroupId, Endpoint, Namespaces, Observation, Outcome, ProcessKey, Socket, SocketOp,
};
use foldhash::{HashMap, HashMapExt as _, HashSet};
use procfs::net::{TcpNetEntry, TcpState, UdpNetEntry};
use procfs::process::{FDTarget, Process};
use std::net::{IpAddr, SocketAddr};

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const SOCK_STREAM: u16 = 1;
const SOCK_DGRAM: u16 = 2;
const IPPROTO_TCP: u32 = 6;
const IPPROTO_UDP: u32 = 17;

/// Listeners, connections and bound datagram sockets, each with a process that holds it.
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
    let mut found = Vec::new();
    for process in spaces.values() {
        for (inode, socket) in table(process) {
            if let Some(actor) = holders.get(&inode) {
                found.push(Observation {
                    cpu: 0,
                    seq: 0,
                    at: now,
                    actor: actor.clone(),
                    act: Act::Socket(Box::new(socket)),
                });
            }
        }
    }
    found
}

/// Without those that the kernel side has reported meanwhile: they were made after it had begun to look.
pub fn without_reported(stock: Vec<Observation>, reported: &[Observation]) -> Vec<Observation> {
    let known: HashSet<Trace> = reported.iter().filter_map(Trace::of).collect();
    stock
        .into_iter()
        .filter(|found| Trace::of(found).is_none_or(|trace| !known.contains(&trace)))
        .collect()
}

/// What a socket has in common with the record of how it came to be.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Trace {
    /// In this network namespace, at this address.
    Listening(u32, SocketAddr),
    Bound(u32, SocketAddr),
    /// By this process, to this peer. The local end of a new connection is not chosen when it is reported.
    Connected(u32, SocketAddr),
    Accepted(u32, SocketAddr, SocketAddr),
}

impl Trace {
    fn of(observation: &Observation) -> Option<Self> {
        let Observation { actor, act, .. } = observation;
        let net = actor.namespaces.net;
        match act {
            Act::Listen(listen) => Some(Self::Listening(net, listen.local)),
            Act::Connect(connect) => Some(Self::Connected(actor.process.pid, connect.remote)),
            Act::Socket(socket) => match (socket.op, socket.local, socket.remote) {
                (SocketOp::Listening, Endpoint::Internet(local), _) => Some(Self::Listening(net, local)),
                (SocketOp::Bound, Endpoint::Internet(local), _) => Some(Self::Bound(net, local)),
                (SocketOp::Accepted, Endpoint::Internet(local), Endpoint::Internet(remote)) => {
                    Some(Self::Accepted(net, local, remote))
                }
                (SocketOp::Established, _, Endpoint::Internet(remote)) => {
                    Some(Self::Connected(actor.process.pid, remote))
                }
                _ => None,
            },
            _ => None,
        }
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

/// The sockets of the network namespace of a process, by inode.
fn table(process: &Process) -> Vec<(u64, Socket)> {
    let tcp: Vec<TcpNetEntry> = [process.tcp(), process.tcp6()]
        .into_iter()
        .flatten()
        .flatten()
        .collect();
    let udp: Vec<UdpNetEntry> = [process.udp(), process.udp6()]
        .into_iter()
        .flatten()
        .flatten()
        .collect();
    let listening: HashSet<u16> = tcp
        .iter()
        .filter(|entry| entry.state == TcpState::Listen)
        .map(|entry| entry.local_address.port())
        .collect();
    let streams = tcp.iter().filter_map(|entry| {
        let op = match entry.state {
            TcpState::Listen => SocketOp::Listening,
            // Nothing else tells who began it.
            TcpState::Established if listening.contains(&entry.local_address.port()) => SocketOp::Accepted,
            TcpState::Established => SocketOp::Established,
            _ => return None,
        };
        let socket = socket(op, IPPROTO_TCP, entry.local_address, entry.remote_address);
        Some((entry.inode, socket))
    });
    let datagrams = udp.iter().map(|entry| {
        let op = if entry.remote_address.port() == 0 {
            SocketOp::Bound
        } else {
            SocketOp::Established
        };
        let socket = socket(op, IPPROTO_UDP, entry.local_address, entry.remote_address);
        (entry.inode, socket)
    });
    streams.chain(datagrams).collect()
}

fn socket(op: SocketOp, protocol: u32, local: SocketAddr, remote: SocketAddr) -> Socket {
    Socket {
        op,
        outcome: Outcome::Succeeded,
        family: if local.is_ipv4() { AF_INET } else { AF_INET6 },
        socket_type: if protocol == IPPROTO_TCP {
            SOCK_STREAM
        } else {
            SOCK_DGRAM
        },
        protocol,
        remote: if remote.port() == 0 {
            Endpoint::None
        } else {
            Endpoint::Internet(canonical(remote))
        },
        local: Endpoint::Internet(canonical(local)),
        path: None,
        abstract_name: false,
        cookie: 0,
        opened: None,
        sent: 0,
        received: 0,
        was_established: matches!(op, SocketOp::Accepted | SocketOp::Established),
        address_claimed: false,
        from_proc: true,
    }
}

/// An IPv4-mapped address as IPv4.
fn canonical(address: SocketAddr) -> SocketAddr {
    let ip: IpAddr = address.ip().to_canonical();
    SocketAddr::new(ip, address.port())
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
    }
}
