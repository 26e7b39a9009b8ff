//! One file per hook family.

mod cgroup;
mod connect;
mod dns;
mod exec;
mod file;
mod host;
mod open;
mod privilege;
mod process;
mod security;
mod sending;
mod socket;
mod state;
mod syscall;
mod trial;
