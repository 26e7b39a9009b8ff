//! The network.

use super::{
    At, Capability, Hook, NO_COMPAT, NO_IO_URING, PERMITTED_ONLY, Tier, Way, essential, extra, first,
    stand_in,
};
use crate::sensor::evasion::Sight::{Fully, Partly};
use crate::sensor::evasion::Technique;
use norma_abi::{Group, KIND_CONNECT, KIND_DNS, KIND_LISTEN, KIND_SOCKET, TURN_SOCKET};

const ADDRESS_CLAIMED: &str = "addresses are as the program gave them";
const STATE: At = At::BtfTracepoint("inet_sock_set_state");

const CHANGED: &[Hook] = &[
    first(TURN_SOCKET, "socket_state", STATE),
    stand_in("socket_state_second", STATE),
    stand_in("socket_state_third", STATE),
];

/// Capabilities of this family.
pub const ALL: &[Capability] = &[
    Capability {
        name: "connect",
        what: "connections that are started",
        kinds: &[KIND_CONNECT],
        ways: &[Way {
            tier: Tier::BtfTracepoint,
            needs: &[Group::Actor, Group::Cgroup, Group::Sock, Group::Tcp],
            hooks: CHANGED,
            sees: &[
                (Technique::TcpFastOpen, Fully),
                (Technique::Mptcp, Fully),
                (Technique::MappedAddress, Fully),
                (
                    Technique::Toctou,
                    Partly("addresses of TCP connections are the kernel's own"),
                ),
                (
                    Technique::IoUringNetwork,
                    Partly("that connections are made, not that they are accepted"),
                ),
            ],
            blind_spots: &[
                "what comes of an attempt is seen only with close",
                "datagrams are seen only with datagram, Unix and vsock sockets only with unix and vsock, raw and packet \
                 sockets only with socket-made and raw-send, SCTP only with sctp",
                "further subflows of a Multipath TCP connection are opened by the kernel's own threads",
            ],
        }],
    },
    Capability {
        name: "close",
        what: "what comes of connections: established or not, the error, bytes and duration",
        kinds: &[KIND_SOCKET],
        ways: &[Way {
            tier: Tier::BtfTracepoint,
            needs: &[Group::Actor, Group::Cgroup, Group::Sock, Group::Tcp],
            hooks: CHANGED,
            sees: &[(
                Technique::IoUringNetwork,
                Partly("what is accepted by a request is seen when it ends, without the process"),
            )],
            blind_spots: &[
                "bytes are known of TCP only",
                "a connection ends in the kernel while anybody runs; it is put down to whoever opened or accepted \
                 it, if that was seen",
                "a connection that was there before the agent is put down to who held it then",
            ],
        }],
    },
    Capability {
        name: "listen",
        what: "sockets that begin to listen",
        kinds: &[KIND_LISTEN],
        ways: &[Way {
            tier: Tier::BtfTracepoint,
            needs: &[Group::Actor, Group::Cgroup, Group::Sock, Group::Tcp],
            hooks: CHANGED,
            sees: &[],
            blind_spots: &["a port that the kernel chooses at listen(2) itself is reported as 0"],
        }],
    },
    Capability {
        name: "accept",
        what: "connections that are accepted",
        kinds: &[KIND_SOCKET],
        ways: &[
            Way {
                tier: Tier::Fentry,
                needs: &[Group::Actor, Group::Cgroup, Group::Sock],
                hooks: &[essential("fexit_accept", At::Fexit("inet_csk_accept"))],
                sees: &[(Technique::IoUringNetwork, Fully)],
                blind_spots: &["what is accepted from SCTP, Unix and vsock sockets is not seen"],
            },
            Way {
                tier: Tier::SyscallTracepoint,
                needs: &[Group::Actor, Group::Open, Group::Sock, Group::Socket],
                hooks: &[
                    essential("exit_accept", At::SyscallExit("accept4")),
                    extra("exit_accept", At::SyscallExit("accept")),
                ],
                sees: &[],
                blind_spots: &[
                    NO_IO_URING,
                    NO_COMPAT,
                    "what is accepted from Unix sockets is not seen, and of vsock not from whom",
                    "a thread that replaces or closes the descriptor before its sibling's accept returns changes \
                     or hides what is reported",
                ],
            },
        ],
    },
    Capability {
        name: "bind",
        what: "internet sockets that are bound to an address",
        kinds: &[KIND_SOCKET],
        ways: &[Way {
            tier: Tier::Cgroup,
            needs: &[Group::Actor],
            hooks: &[
                essential("post_bind4", At::RootCgroup),
                essential("post_bind6", At::RootCgroup),
            ],
            sees: &[],
            blind_spots: &[
                "raw and SCTP sockets are not seen",
                "a port that the kernel chooses because none was bound is not seen",
            ],
        }],
    },
    Capability {
        name: "datagram",
        what: "peers that datagrams are sent to, once for each program and peer in 30 seconds",
        kinds: &[KIND_SOCKET],
        ways: &[Way {
            tier: Tier::Cgroup,
            needs: &[Group::Actor, Group::Exec],
            hooks: &[
                essential("connect4", At::RootCgroup),
                essential("connect6", At::RootCgroup),
                essential("sendmsg4", At::RootCgroup),
                essential("sendmsg6", At::RootCgroup),
            ],
            sees: &[
                (Technique::UdpUnconnected, Fully),
                (Technique::MappedAddress, Fully),
            ],
            blind_spots: &[
                "of a connected socket the peer is seen, not whether anything is sent",
                "raw and packet sockets are seen only with raw-send, Unix sockets only with unix-datagram",
                "the replies of a server are seen like other datagrams, what it receives is not",
            ],
        }],
    },
    Capability {
        name: "network-failed",
        what: "attempts to connect or bind that are refused at once",
        kinds: &[KIND_SOCKET],
        ways: &[
            // What connect(2), bind(2) and socketcall(2) come to, but no request of io_uring.
            Way {
                tier: Tier::Fentry,
                needs: &[Group::Actor, Group::Path],
                hooks: &[
                    essential("shared_connect_failed", At::Fexit("__sys_connect")),
                    essential("shared_bind_failed", At::Fexit("__sys_bind")),
                ],
                sees: &[],
                blind_spots: &[ADDRESS_CLAIMED, NO_IO_URING],
            },
            Way {
                tier: Tier::SyscallTracepoint,
                needs: &[Group::Actor, Group::Regs, Group::Path],
                hooks: &[
                    essential("exit_connect_failed", At::SyscallExit("connect")),
                    essential("exit_bind_failed", At::SyscallExit("bind")),
                ],
                sees: &[],
                blind_spots: &[ADDRESS_CLAIMED, NO_IO_URING, NO_COMPAT],
            },
        ],
    },
    Capability {
        name: "unix",
        what: "Unix sockets that are connected, bound and listened on by name",
        kinds: &[KIND_SOCKET],
        ways: &[
            Way {
                tier: Tier::Fentry,
                needs: &[Group::Actor, Group::Path, Group::Sock, Group::Socket],
                hooks: &[
                    essential("fexit_unix_stream_connect", At::Fexit("unix_stream_connect")),
                    essential("fexit_unix_bind", At::Fexit("unix_bind")),
                    extra("fexit_unix_dgram_connect", At::Fexit("unix_dgram_connect")),
                    extra("fexit_unix_listen", At::Fexit("unix_listen")),
                ],
                sees: &[(Technique::IoUringNetwork, Fully)],
                blind_spots: &[UNIX_DATAGRAMS],
            },
            Way {
                tier: Tier::SyscallTracepoint,
                needs: &[
                    Group::Actor,
                    Group::Open,
                    Group::Path,
                    Group::Regs,
                    Group::Sock,
                    Group::Socket,
                ],
                hooks: &[
                    essential("exit_connect", At::SyscallExit("connect")),
                    essential("exit_bind", At::SyscallExit("bind")),
                    essential("exit_listen", At::SyscallExit("listen")),
                ],
                sees: &[],
                blind_spots: &[
                    NO_IO_URING,
                    NO_COMPAT,
                    UNIX_DATAGRAMS,
                    "a thread that replaces or closes the descriptor before its sibling's call returns hides it",
                    "a peer that is gone when connect returns has no name any more",
                ],
            },
        ],
    },
    Capability {
        name: "vsock",
        what: "vsock sockets that are connected, bound and listened on",
        kinds: &[KIND_SOCKET],
        ways: &[
            Way {
                tier: Tier::Lsm,
                needs: &[Group::Actor, Group::Sock, Group::Socket],
                hooks: &[
                    essential("lsm_connect_started", At::Lsm("socket_connect")),
                    essential("lsm_vsock_bind", At::Lsm("socket_bind")),
                    essential("lsm_vsock_listen", At::Lsm("socket_listen")),
                ],
                sees: &[],
                blind_spots: &[
                    PERMITTED_ONLY,
                    "where a listening socket is bound is seen when it is bound",
                ],
            },
            Way {
                tier: Tier::Fentry,
                needs: &[Group::Actor, Group::Sock, Group::Socket],
                hooks: &[
                    essential("fexit_connect_started", At::Fexit("security_socket_connect")),
                    essential("fexit_vsock_bind", At::Fexit("security_socket_bind")),
                    essential("fexit_vsock_listen", At::Fexit("security_socket_listen")),
                ],
                sees: &[],
                blind_spots: &[
                    PERMITTED_ONLY,
                    "where a listening socket is bound is seen when it is bound",
                ],
            },
            Way {
                tier: Tier::SyscallTracepoint,
                needs: &[
                    Group::Actor,
                    Group::Open,
                    Group::Path,
                    Group::Regs,
                    Group::Sock,
                    Group::Socket,
                ],
                hooks: &[
                    essential("exit_connect", At::SyscallExit("connect")),
                    essential("exit_bind", At::SyscallExit("bind")),
                    essential("exit_listen", At::SyscallExit("listen")),
                ],
                sees: &[],
                blind_spots: &[
                    ADDRESS_CLAIMED,
                    NO_IO_URING,
                    NO_COMPAT,
                    "where a listening socket is bound is seen when it is bound",
                ],
            },
        ],
    },
    Capability {
        name: "socket-made",
        what: "sockets of kinds that see or send packets past the rules for connections, or steer the kernel",
        kinds: &[KIND_SOCKET],
        ways: &[
            Way {
                tier: Tier::Lsm,
                needs: &[Group::Actor],
                hooks: &[essential("lsm_socket_made", At::Lsm("socket_post_create"))],
                sees: &[(Technique::RawSocket, Partly(SOCKET_ONLY))],
                blind_spots: &[SOCKET_ONLY, "a refusal before the socket is made is not seen"],
            },
            Way {
                tier: Tier::Fentry,
                needs: &[Group::Actor],
                hooks: &[essential(
                    "fexit_socket_made",
                    At::Fexit("security_socket_post_create"),
                )],
                sees: &[(Technique::RawSocket, Partly(SOCKET_ONLY))],
                blind_spots: &[SOCKET_ONLY, "a refusal before the socket is made is not seen"],
            },
            Way {
                tier: Tier::SyscallTracepoint,
                needs: &[Group::Actor, Group::Regs],
                hooks: &[essential("exit_socket", At::SyscallExit("socket"))],
                sees: &[(Technique::RawSocket, Partly(SOCKET_ONLY))],
                blind_spots: &[SOCKET_ONLY, NO_IO_URING, NO_COMPAT],
            },
        ],
    },
    Capability {
        name: "raw-send",
        what: "packets sent by raw and packet sockets, once for each program and peer in 30 seconds",
        kinds: &[KIND_SOCKET],
        ways: &[
            Way {
                tier: Tier::Lsm,
                needs: &[Group::Actor, Group::Exec, Group::Sock, Group::Socket],
                hooks: &[essential("lsm_raw_sent", At::Lsm("socket_sendmsg"))],
                sees: &[(Technique::RawSocket, Fully)],
                blind_spots: RAW_BLIND_SPOTS,
            },
            Way {
                tier: Tier::Fentry,
                needs: &[Group::Actor, Group::Exec, Group::Sock, Group::Socket],
                hooks: &[essential("fexit_raw_sent", At::Fexit("security_socket_sendmsg"))],
                sees: &[(Technique::RawSocket, Fully)],
                blind_spots: RAW_BLIND_SPOTS,
            },
        ],
    },
    Capability {
        name: "unix-datagram",
        what: "datagrams that Unix sockets send by name, once for each program and peer in 30 seconds",
        kinds: &[KIND_SOCKET],
        ways: &[
            Way {
                tier: Tier::Lsm,
                needs: UNIX_DATAGRAM_NEEDS,
                hooks: &[
                    essential("lsm_unix_sent", At::Lsm("unix_may_send")),
                    essential("fentry_unix_dgram_connect", At::Fentry("unix_dgram_connect")),
                    essential("fexit_unix_dgram_connected", At::Fexit("unix_dgram_connect")),
                ],
                sees: &[(Technique::UdpUnconnected, Fully)],
                blind_spots: UNIX_DATAGRAM_BLIND_SPOTS,
            },
            Way {
                tier: Tier::Fentry,
                needs: UNIX_DATAGRAM_NEEDS,
                hooks: &[
                    essential("fexit_unix_sent", At::Fexit("security_unix_may_send")),
                    essential("fentry_unix_dgram_connect", At::Fentry("unix_dgram_connect")),
                    essential("fexit_unix_dgram_connected", At::Fexit("unix_dgram_connect")),
                ],
                sees: &[(Technique::UdpUnconnected, Fully)],
                blind_spots: UNIX_DATAGRAM_BLIND_SPOTS,
            },
        ],
    },
    Capability {
        name: "sctp",
        what: "associations that are started by SCTP",
        kinds: &[KIND_CONNECT],
        ways: &[
            Way {
                tier: Tier::Lsm,
                needs: &[Group::Actor, Group::Sock, Group::Socket],
                hooks: &[
                    essential("lsm_connect_started", At::Lsm("socket_connect")),
                    essential("lsm_sctp_started", At::Lsm("sctp_bind_connect")),
                ],
                sees: &[],
                blind_spots: SCTP_BLIND_SPOTS,
            },
            Way {
                tier: Tier::Fentry,
                needs: &[Group::Actor, Group::Sock, Group::Socket],
                hooks: &[
                    essential("fexit_connect_started", At::Fexit("security_socket_connect")),
                    essential("fexit_sctp_started", At::Fexit("security_sctp_bind_connect")),
                ],
                sees: &[],
                blind_spots: SCTP_BLIND_SPOTS,
            },
        ],
    },
    Capability {
        name: "dns",
        what: "DNS queries and answers",
        kinds: &[KIND_DNS],
        ways: &[Way {
            tier: Tier::Cgroup,
            needs: &[Group::Actor],
            hooks: &[
                essential("dns_egress", At::RootCgroupEgress),
                essential("dns_ingress", At::RootCgroupIngress),
            ],
            sees: &[(
                Technique::DnsTunnel,
                Partly("names and answers on port 53 in the clear, not whether they carry data"),
            )],
            blind_spots: &[
                "only port 53: DNS over TLS, HTTPS or QUIC and other ports are not seen",
                "of a message the first 1232 bytes are seen, and by TCP the first segment",
                "what a DNS server answers to others is seen where they ask",
                "packets of raw and packet sockets are not understood as a process's",
            ],
        }],
    },
    Capability {
        name: "deny-connect",
        what: "connections refused where a rule says so",
        kinds: &[KIND_CONNECT],
        ways: &[Way {
            tier: Tier::Cgroup,
            needs: &[Group::Actor],
            hooks: &[
                essential("connect4", At::RootCgroup),
                essential("connect6", At::RootCgroup),
                essential("sendmsg4", At::RootCgroup),
                essential("sendmsg6", At::RootCgroup),
            ],
            sees: &[],
            blind_spots: &[
                "raw, packet and SCTP sockets are not refused",
                "connections that exist when a rule comes are not cut",
                "a control group made inside a container's own has no scope of its own until the agent gives it one",
            ],
        }],
    },
];

const SOCKET_ONLY: &str = "that the socket is made is seen, not what is sent by it";
const UNIX_DATAGRAMS: &str = "datagrams sent to a name without connecting are seen only with unix-datagram";
const PERMITTED_SENDING: &str =
    "seen at the security check: that it was permitted, not whether it then arrived";
const UNIX_DATAGRAM_NEEDS: &[Group] = &[Group::Actor, Group::Exec, Group::Path, Group::Sock, Group::Socket];
const RAW_BLIND_SPOTS: &[&str] = &[
    PERMITTED_SENDING,
    "where a program writes the header itself, the address in it may be another than the one that is reported",
    "of a packet socket it is seen that it sends, not what or to whom; of AF_XDP only that it is made",
];
const SCTP_BLIND_SPOTS: &[&str] = &[
    PERMITTED_ONLY,
    "of several addresses given at once the first four are seen",
    "addresses that are added to an association later are not seen",
];
const UNIX_DATAGRAM_BLIND_SPOTS: &[&str] = &[
    PERMITTED_SENDING,
    "of a connected socket the connection is seen, by unix, not whether anything is sent",
];
