//! The network.

use super::{At, Capability, Tier, Way, essential, extra};
use crate::sensor::evasion::Sight::{Fully, Partly};
use crate::sensor::evasion::Technique;
use norma_abi::Group;

/// Capabilities of this family.
pub const ALL: &[Capability] = &[
    Capability {
        name: "connect",
        what: "connections that are started",
        ways: &[Way {
            tier: Tier::BtfTracepoint,
            needs: &[Group::Actor, Group::Sock],
            hooks: &[essential(
                "socket_state",
                At::BtfTracepoint("inet_sock_set_state"),
            )],
            sees: &[],
            blind_spots: &[
                "the attempt is seen, not whether it succeeds",
                "UDP, raw and ping sockets are not seen, except where a rule refuses the peer",
                "Unix, vsock and other non-internet sockets are not seen",
                "accepted connections are not seen",
            ],
        }],
    },
    Capability {
        name: "listen",
        what: "sockets that begin to listen",
        ways: &[Way {
            tier: Tier::BtfTracepoint,
            needs: &[Group::Actor, Group::Sock],
            hooks: &[essential(
                "socket_state",
                At::BtfTracepoint("inet_sock_set_state"),
            )],
            sees: &[],
            blind_spots: &[
                "a port that the kernel chooses at listen(2) itself is reported as 0",
                "bound UDP sockets are not seen",
            ],
        }],
    },
    Capability {
        name: "deny-connect",
        what: "connections refused where a rule says so",
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
                "raw, packet and SCTP multi-homing sockets are not refused",
                "connections that exist when a rule comes are not cut",
                "a control group made inside a container's own has no scope of its own until the agent gives it one",
            ],
        }],
    },
];
