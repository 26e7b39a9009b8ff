//! Traces: what the agent took in, in a file, and the same again without the node that it came from.
//!
//! Everything that the stages behind the sensor take is in a trace, at the place where it was taken: the records of
//! the ring as bytes, what was asked of the running system and answered (processes, control groups, containers), and
//! the time of each round of the pipeline. Played again it goes through the same code: decode, identity, judge. So
//! what a change of detection changes is seen on the same input, and what was found on a node can be looked into
//! elsewhere.
//!
//! In the order in which data flows: [`tape`] records a running agent, [`file`] is the file, [`cut`] takes out of it
//! what belongs to some containers, [`replay`] plays it.
//!
//! ```text
//! header   "NORMATRC"  u32 version = 1                                   12 bytes
//! frames   one zstd stream of: u32 length  MessagePack of a Frame        repeated
//! ```
//!
//! Integers are little-endian. The first frame is a [`Start`], the last an [`End`]; a trace without one was cut.
//! A trace has arguments, paths and addresses of all that ran, and is readable by its owner only.

pub mod cut;
pub mod file;
pub mod replay;
pub mod tape;
#[cfg(test)]
mod tests;

use crate::identity::cri::Snapshot;
use crate::identity::system::{Listed, Programs, RuntimeState, Seen, Tree};
use crate::observation::{Act, Actor, BootTime, CgroupId, FileId, Observation, Socket};
use crate::sensor::{Losses, Totals};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use std::sync::Arc;

/// A piece of a trace.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Frame {
    /// Whose it is.
    Start(Start),
    /// A record of the ring.
    Record(ByteBuf),
    /// Something was asked of the system.
    Asked(Question, Answer),
    /// The container runtime told something new.
    Told(Arc<Snapshot>),
    /// Inodes of the sensitive files are others than before.
    Sensitive(Vec<(CgroupId, FileId, Arc<str>)>),
    /// The kernel side counted losses.
    Lost(Lost),
    /// A round of the pipeline is over, with what it took before this and asked after the round before.
    Round(Round),
    /// Nothing follows.
    End(End),
    /// All control groups, at that time.
    Tree(BootTime, Vec<(CgroupId, ByteBuf)>),
    /// What processes in doubt run.
    Programs(Programs),
}

/// Whose trace it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// Name of the node.
    pub node: String,
    /// Id of its boot, which is part of the ids of processes.
    pub boot_id: String,
    /// Version of the agent.
    pub agent_version: String,
    /// Version of the kernel contract that the records are of.
    pub abi: u16,
    /// When it begins.
    pub at: BootTime,
    /// Nanoseconds from kernel time to wall time.
    pub wall_offset_ns: i64,
    /// How much faster than the clocks was judged.
    pub speed: u32,
}

impl Frame {
    /// All control groups of a moment.
    pub fn of_tree(tree: &Tree) -> Self {
        let groups = tree.groups.iter();
        Self::Tree(
            tree.at,
            groups
                .map(|(id, path)| (*id, ByteBuf::from(path.clone())))
                .collect(),
        )
    }
}

/// What is asked of the running system.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Question {
    /// All processes.
    Processes,
    /// A process.
    Process(u32),
    /// All control groups.
    Cgroups,
    /// A container by its id.
    Container(String),
    /// A container by the path of its control group.
    ContainerAt(String),
    /// All sockets.
    Sockets,
}

/// What the system answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// Of [`Question::Processes`].
    Processes(Vec<Listed>),
    /// Of [`Question::Process`].
    Process(Seen),
    /// Of [`Question::Cgroups`].
    Cgroups(Vec<(CgroupId, ByteBuf)>),
    /// Of [`Question::Container`] and [`Question::ContainerAt`].
    Container(Option<RuntimeState>),
    /// Of [`Question::Sockets`].
    Sockets(Vec<Held>),
}

/// A socket that was there, and who held it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    at: BootTime,
    actor: Actor,
    socket: Socket,
}

impl Held {
    /// Of an observation of a socket.
    pub fn of(observation: &Observation) -> Option<Self> {
        match &observation.act {
            Act::Socket(socket) => Some(Self {
                at: observation.at,
                actor: observation.actor.clone(),
                socket: (**socket).clone(),
            }),
            _ => None,
        }
    }

    /// As it was observed.
    pub fn observation(&self) -> Observation {
        Observation {
            cpu: 0,
            seq: 0,
            at: self.at,
            actor: self.actor.clone(),
            act: Act::Socket(Box::new(self.socket.clone())),
        }
    }
}

/// What the kernel side counted since it started, by `KIND_*`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    seen: Vec<u64>,
    lost: Vec<u64>,
    failed: Vec<u64>,
    losses: Vec<(CgroupId, usize, u64)>,
    #[serde(default)]
    passed_over: Vec<u64>,
}

impl Lost {
    /// Of the counters.
    pub fn new(totals: &Totals, losses: &Losses) -> Self {
        Self {
            seen: totals.seen.to_vec(),
            lost: totals.lost.to_vec(),
            failed: totals.failed.to_vec(),
            passed_over: totals.passed_over.to_vec(),
            losses: losses
                .iter()
                .map(|((cgroup, kind), count)| (*cgroup, *kind, *count))
                .collect(),
        }
    }

    /// As counters. Kinds that are not known here are left out.
    pub fn counters(&self) -> (Totals, Losses) {
        fn fill(to: &mut [u64], from: &[u64]) {
            for (to, from) in to.iter_mut().zip(from) {
                *to = *from;
            }
        }
        let mut totals = Totals::default();
        fill(&mut totals.seen, &self.seen);
        fill(&mut totals.lost, &self.lost);
        fill(&mut totals.failed, &self.failed);
        fill(&mut totals.passed_over, &self.passed_over);
        let losses = self
            .losses
            .iter()
            .map(|(cgroup, kind, count)| ((*cgroup, *kind), *count))
            .collect();
        (totals, losses)
    }
}

/// The time of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Round {
    /// When its records had been taken.
    pub now: BootTime,
    /// Nanoseconds from kernel time to wall time then.
    pub wall_offset_ns: i64,
}

/// How a trace ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// Records that are in it.
    pub records: u64,
    /// It had reached its largest size; the agent went on.
    pub full: bool,
}
