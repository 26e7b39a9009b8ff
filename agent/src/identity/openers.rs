//! Who began what later goes on without them.
//!
//! A connection is established and ends, and a DNS answer arrives, when packets do, while anybody runs: such
//! records name a socket and its control group, but no process. The process is that of the record that began
//! it.

use crate::observation::{Act, Actor, BootTime, Endpoint, Observation, Socket, SocketOp};
use foldhash::HashMap;
use std::net::SocketAddr;

/// Sockets of each of the two generations that are remembered. When one is full, what was not used since the
/// one before it is forgotten.
const GENERATION: usize = 65_536;

/// By what a socket is known: its number, and for those that were there before the agent its network namespace
/// and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    Cookie(u64),
    Ends(u32, SocketAddr, SocketAddr),
}

#[derive(Clone, Debug)]
struct Opener {
    actor: Actor,
    at: BootTime,
}

/// The memory.
#[derive(Debug, Default)]
pub(super) struct Openers {
    young: HashMap<Key, Opener>,
    old: HashMap<Key, Opener>,
}

impl Openers {
    /// Remembers who begins something, and names them in what goes on without them.
    pub fn name(&mut self, observation: &mut Observation) {
        let Observation { actor, act, at, .. } = observation;
        let nobody = actor.process.pid == 0;
        match act {
            Act::Connect(connect) if connect.cookie != 0 => {
                self.remember(Key::Cookie(connect.cookie), actor, *at);
            }
            Act::Socket(socket) if nobody => self.name_socket(socket, actor),
            // By both: before 5.12, the kernel side and the list of sockets have different numbers.
            Act::Socket(socket) if socket.from_proc => {
                let number = (socket.cookie != 0).then_some(Key::Cookie(socket.cookie));
                let ends = ends(actor.namespaces.net, socket);
                for key in number.into_iter().chain(ends) {
                    self.remember(key, actor, BootTime(0));
                }
            }
            Act::Socket(socket) if socket.cookie != 0 => {
                self.remember(Key::Cookie(socket.cookie), actor, *at);
            }
            Act::Dns(dns) if dns.cookie != 0 && nobody => {
                if let Some(opener) = self.find(Key::Cookie(dns.cookie)) {
                    *actor = opener.actor.clone();
                }
            }
            Act::Dns(dns) if dns.cookie != 0 => self.remember(Key::Cookie(dns.cookie), actor, *at),
            _ => {}
        }
    }

    fn name_socket(&mut self, socket: &mut Socket, actor: &mut Actor) {
        let keys = [
            Some(Key::Cookie(socket.cookie)),
            ends(actor.namespaces.net, socket),
        ];
        let over = socket.op == SocketOp::Closed;
        let mut opener = None;
        for key in keys.into_iter().flatten() {
            let found = if over {
                self.forget(key)
            } else {
                self.find(key).cloned()
            };
            opener = opener.or(found);
        }
        if let Some(opener) = opener {
            *actor = opener.actor;
            socket.opened = (opener.at != BootTime(0)).then_some(opener.at);
        }
    }

    fn remember(&mut self, key: Key, actor: &Actor, at: BootTime) {
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        let opener = Opener {
            actor: actor.clone(),
            at,
        };
        self.young.insert(key, opener);
    }

    fn find(&self, key: Key) -> Option<&Opener> {
        self.young.get(&key).or_else(|| self.old.get(&key))
    }

    fn forget(&mut self, key: Key) -> Option<Opener> {
        let old = self.old.remove(&key);
        self.young.remove(&key).or(old)
    }
}

fn ends(net_ns: u32, socket: &Socket) -> Option<Key> {
    match (socket.local, socket.remote) {
        (Endpoint::Internet(local), Endpoint::Internet(remote)) => Some(Key::Ends(net_ns, local, remote)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observation::{
        CgroupId, Connect, Dns, KernelAction, Namespaces, Outcome, ProcessKey, Protocol,
    };
    use arrayvec::ArrayVec;

    fn observe(pid: u32, at: u64, act: Act) -> Observation {
        Observation {
            cpu: 0,
            seq: 1,
            at: BootTime(at),
            actor: Actor {
                process: ProcessKey {
                    pid,
                    start: BootTime(u64::from(pid)),
                },
                parent: ProcessKey {
                    pid: 1,
                    start: BootTime(1),
                },
                tid: pid,
                uid: 0,
                gid: 0,
                euid: 0,
                cgroup: CgroupId(7),
                namespaces: Namespaces {
                    net: 5,
                    ..Namespaces::default()
                },
                comm: ArrayVec::new(),
            },
            act,
        }
    }

    fn connect(cookie: u64) -> Act {
        Act::Connect(Connect {
            remote: "192.0.2.1:443".parse().unwrap(),
            local: None,
            protocol: Protocol::Tcp,
            action: KernelAction::None,
            cookie,
            id: None,
        })
    }

    fn socket(op: SocketOp, cookie: u64, from_proc: bool) -> Act {
        Act::Socket(Box::new(Socket {
            op,
            outcome: Outcome::Succeeded,
            family: 2,
            socket_type: 1,
            protocol: 6,
            remote: Endpoint::Internet("192.0.2.1:443".parse().unwrap()),
            local: Endpoint::Internet("192.0.2.9:50000".parse().unwrap()),
            path: None,
            abstract_name: false,
            cookie,
            opened: None,
            sent: 0,
            received: 0,
            was_established: true,
            address_claimed: false,
            from_proc,
            id: None,
        }))
    }

    fn named(openers: &mut Openers, mut observation: Observation) -> (u32, Option<BootTime>) {
        openers.name(&mut observation);
        let opened = match &observation.act {
            Act::Socket(socket) => socket.opened,
            _ => None,
        };
        (observation.actor.process.pid, opened)
    }

    #[test]
    fn the_end_of_a_connection_is_put_down_to_who_opened_it_and_only_once() {
        let mut openers = Openers::default();
        named(&mut openers, observe(10, 100, connect(3)));
        named(
            &mut openers,
            observe(11, 110, socket(SocketOp::Accepted, 4, false)),
        );
        let end = |openers: &mut Openers, cookie| {
            named(openers, observe(0, 200, socket(SocketOp::Closed, cookie, false)))
        };
        assert_eq!(
            named(
                &mut openers,
                observe(0, 120, socket(SocketOp::Established, 3, false))
            ),
            (10, Some(BootTime(100)))
        );
        assert_eq!(end(&mut openers, 3), (10, Some(BootTime(100))));
        assert_eq!(end(&mut openers, 4), (11, Some(BootTime(110))));
        assert_eq!(end(&mut openers, 3), (0, None));
    }

    #[test]
    fn what_was_there_before_the_agent_is_known_by_its_ends() {
        let mut openers = Openers::default();
        named(
            &mut openers,
            observe(12, 50, socket(SocketOp::Established, 0, true)),
        );
        assert_eq!(
            named(&mut openers, observe(0, 60, socket(SocketOp::Closed, 99, false))),
            (12, None)
        );
    }

    #[test]
    fn what_was_known_by_its_number_is_not_found_again_by_its_ends() {
        let mut openers = Openers::default();
        named(
            &mut openers,
            observe(12, 50, socket(SocketOp::Established, 7, true)),
        );
        let end = |cookie| observe(0, 60, socket(SocketOp::Closed, cookie, false));
        assert_eq!(named(&mut openers, end(7)), (12, None));
        assert_eq!(named(&mut openers, end(8)), (0, None));
    }

    #[test]
    fn an_answer_belongs_to_who_asked() {
        let mut openers = Openers::default();
        let dns = |sent| {
            Act::Dns(Box::new(Dns {
                sent,
                protocol: Protocol::Udp,
                remote: "192.0.2.53:53".parse().unwrap(),
                local_port: 5000,
                total_len: 0,
                cookie: 8,
                cut: false,
                message: Err(String::new()),
            }))
        };
        named(&mut openers, observe(20, 1, dns(true)));
        assert_eq!(named(&mut openers, observe(0, 2, dns(false))).0, 20);
    }

    #[test]
    fn the_memory_is_bounded_and_keeps_the_newest() {
        let mut openers = Openers::default();
        for cookie in 1..=(3 * GENERATION as u64) {
            openers.name(&mut observe(10, cookie, connect(cookie)));
        }
        assert!(openers.young.len() + openers.old.len() <= 2 * GENERATION);
        assert!(openers.find(Key::Cookie(3 * GENERATION as u64)).is_some());
        assert!(openers.find(Key::Cookie(1)).is_none());
    }
}
