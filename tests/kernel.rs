//! The kernel programs on the running kernel, through the agent's sensor.
//!
//! Needs root and BTF; where the sensor cannot start, each test says so loudly and passes. Other programs
//! run on the machine at the same time, so a test looks for its own events among all.
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

#[path = "kernel/cgroup.rs"]
mod cgroup;
#[path = "kernel/dns.rs"]
mod dns;
#[path = "kernel/file.rs"]
mod file;
#[path = "kernel/hash.rs"]
mod hash;
#[path = "kernel/host.rs"]
mod host;
#[path = "kernel/known.rs"]
mod known;
#[path = "kernel/known_connection.rs"]
mod known_connection;
#[path = "kernel/network.rs"]
mod network;
#[path = "kernel/open.rs"]
mod open;
#[path = "kernel/overload.rs"]
mod overload;
#[path = "kernel/privilege.rs"]
mod privilege;
#[path = "kernel/process.rs"]
mod process;
#[path = "kernel/proof.rs"]
mod proof;
#[path = "kernel/ring.rs"]
mod ring;
#[path = "kernel/rules.rs"]
mod rules;
#[path = "kernel/socket.rs"]
mod socket;
#[path = "kernel/watch.rs"]
mod watch;
