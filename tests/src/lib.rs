//! The test rig: real containers, a real SIEM receiver and the real programs, each started, watched and
//! cleaned up by a value that owns it.
//!
//! Everything that is started belongs to a [`Scratch`] folder, whose ledger says which processes,
//! containers and mounts there are. A rig that was killed leaves that ledger behind, and the next
//! [`Scratch::sweep`] ends what it lists; so a kill -9 of a test or of the demo leaves nothing for good.
//!
//! All addresses are on the loopback interface.

#![deny(unsafe_code)]

pub mod agent;
pub mod audit;
pub mod cgroup;
pub mod collector;
pub mod container;
pub mod containerd;
pub mod daemon;
pub mod deed;
pub mod engine;
pub mod guest;
mod helpers;
pub mod inject;
pub mod interrupt;
mod ledger;
pub mod net;
pub mod nothing;
pub mod pki;
pub mod program;
pub mod python;
mod root;
pub mod rsyslog;
pub mod scratch;
pub mod skip;
pub mod syslog;
pub mod wait;

pub use agent::{Agent, AgentSettings};
pub use collector::{Collector, CollectorSettings};
pub use container::{Container, ContainerSpec};
pub use daemon::Daemon;
pub use pki::Pki;
pub use program::{Programs, sha256_of};
pub use rsyslog::Rsyslog;
pub use scratch::Scratch;
pub use wait::wait_until;
