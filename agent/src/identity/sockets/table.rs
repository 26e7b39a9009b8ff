//! Internet sockets of a network namespace, from /proc/PID/net: without cookies, and without other families.

use super::diag::{Ends, Listed, State};
use procfs::net::{TcpState, UdpState};
use procfs::process::Process;
use std::net::SocketAddr;

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const SOCK_STREAM: u16 = 1;
const SOCK_DGRAM: u16 = 2;
const IPPROTO_TCP: u32 = 6;
const IPPROTO_UDP: u32 = 17;

/// The sockets of the namespace that a process lives in.
pub fn list(process: &Process) -> Vec<Listed> {
    let streams = [process.tcp(), process.tcp6()].into_iter().flatten().flatten();
    let streams = streams.filter_map(|entry| {
        let state = match entry.state {
            TcpState::Listen => State::Listening,
            TcpState::Established
            | TcpState::FinWait1
            | TcpState::FinWait2
            | TcpState::CloseWait
            | TcpState::LastAck
            | TcpState::Closing => State::Connected,
            _ => return None,
        };
        let ends = (entry.local_address, entry.remote_address);
        Some(listed(entry.inode, IPPROTO_TCP, state, ends))
    });
    let datagrams = [process.udp(), process.udp6()].into_iter().flatten().flatten();
    let datagrams = datagrams.map(|entry| {
        let state = match entry.state {
            UdpState::Established => State::Connected,
            _ => State::Idle,
        };
        let ends = (entry.local_address, entry.remote_address);
        listed(entry.inode, IPPROTO_UDP, state, ends)
    });
    // An inode of 0 has nobody who holds it.
    streams
        .chain(datagrams)
        .filter(|socket| socket.inode != 0)
        .collect()
}

fn listed(inode: u64, protocol: u32, state: State, (local, remote): (SocketAddr, SocketAddr)) -> Listed {
    Listed {
        inode,
        family: if local.is_ipv4() { AF_INET } else { AF_INET6 },
        kind: if protocol == IPPROTO_TCP {
            SOCK_STREAM
        } else {
            SOCK_DGRAM
        },
        protocol,
        state,
        cookie: 0,
        ends: Ends::Internet(local, remote),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream, UdpSocket};

    #[test]
    fn the_tables_tell_the_same_but_the_cookie() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = listener.local_addr().unwrap();
        let client = TcpStream::connect(server).unwrap();
        let bound = UdpSocket::bind("127.0.0.1:0").unwrap();
        let found = list(&Process::myself().unwrap());
        let nothing = "0.0.0.0:0".parse().unwrap();
        for (protocol, state, ends) in [
            (IPPROTO_TCP, State::Listening, (server, nothing)),
            (
                IPPROTO_TCP,
                State::Connected,
                (client.local_addr().unwrap(), server),
            ),
            (IPPROTO_UDP, State::Idle, (bound.local_addr().unwrap(), nothing)),
        ] {
            let ends = Ends::Internet(ends.0, ends.1);
            let same =
                |socket: &&Listed| (socket.protocol, socket.state, &socket.ends) == (protocol, state, &ends);
            let one = found.iter().find(same);
            let one = one.unwrap_or_else(|| panic!("{ends:?} is not among {found:?}"));
            assert_eq!(one.cookie, 0);
        }
    }
}
